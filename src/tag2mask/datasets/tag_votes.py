"""Tables with a row for each image and tag, and a column beside them that says whether the image shows it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from tag2mask.datasets.table_columns import NO_CLASS_NAMES, NOT_SHOWN, column_key, says_no, vote_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tag2mask.datasets.table_columns import Columns
    from tag2mask.datasets.table_file import Cells
    from tag2mask.datasets.tag_row import TagRow

logger = logging.getLogger(__name__)


def without_denied(path: Path, cells: Cells, columns: Columns, rows: Sequence[TagRow]) -> list[TagRow]:
    """The rows without the tags that a column beside them denies, as Open Images' ``Confidence`` of 0.

    Only where the table has a row for each image and tag: elsewhere such a column says something of the image.

    Args:
        path: of the table, for messages.
        cells: the table.
        columns: those that count.
        rows: one for each row of the table.

    Returns:
        The rows less those denied; an image with no others keeps one, without tags.

    Raises:
        ValueError: if such a column is filled in part, two of them differ, or one tag is both shown and denied.
    """
    usual = [place for place in vote_columns(cells, columns.image) if place not in columns.tags]
    if not _differ(rows):
        for place in usual:
            logger.warning("%s: column %r is passed over: no image has rows of several tags.",
                           path, cells.header[place].strip())  # fmt: skip
        return list(rows)
    for place, name in enumerate(cells.header):
        used = place in (columns.image, *columns.tags, *usual)
        if not used and column_key(name) not in NO_CLASS_NAMES and says_no(cells, place):
            _tell_other(path, cells, place)
    if not usual:
        return list(rows)
    _check_one_tag(path, cells, rows, usual[0])
    denied = _denied(path, cells, usual)
    _check_one_answer(path, cells, rows, denied, usual[0])
    return _without(path, cells.header[usual[0]].strip(), rows, denied)


def _differ(rows: Sequence[TagRow]) -> bool:
    """Whether some image has rows of different tags."""
    first: dict[str, tuple[str, ...]] = {}
    return any(first.setdefault(row.image, row.tags) != row.tags for row in rows if row.tags)


def _check_one_tag(path: Path, cells: Cells, rows: Sequence[TagRow], place: int) -> None:
    for row in rows:
        if len(row.tags) > 1:
            raise ValueError(
                f"{path.parent / row.place}: expected one tag, of which column {cells.header[place].strip()!r} says "
                f"whether the image shows it, found {', '.join(row.tags)}. If these are one name, list the classes in "
                "classes.txt, one per line; if they are several, write a row for each, or remove that column."
            )


def _tell_other(path: Path, cells: Cells, place: int) -> None:
    name = cells.header[place].strip() or "(no name)"
    count = sum(row[place].strip().casefold() in NOT_SHOWN - {""} for row in cells.rows)
    logger.warning(
        "%s: column %r says no (as %r) in %d of %d rows and is passed over: these rows count as tags, too. If it says "
        "whether the image shows the tag, call it present.",
        path,
        name,
        next(word for row in cells.rows if (word := row[place].strip()).casefold() in NOT_SHOWN - {""}),
        count,
        len(cells.rows),
    )


def _denied(path: Path, cells: Cells, usual: Sequence[int]) -> list[bool]:
    """For every row, whether its tag is denied."""
    names = " and ".join(repr(cells.header[place].strip()) for place in usual)
    found = []
    for row, where in zip(cells.rows, cells.places, strict=True):
        words = [row[place].strip().casefold() for place in usual]
        if "" in words:
            raise ValueError(
                f"{path.parent / where}: expected 0 or 1 in column {names}, found an empty cell. Write 1 where the "
                "image shows the tag and 0 where not, or remove the row."
            )
        answers = {word in NOT_SHOWN for word in words}
        if len(answers) > 1:
            raise ValueError(
                f"{path.parent / where}: expected one answer, found columns {names} with different ones. Remove or "
                "rename the column that does not say whether the image shows the tag."
            )
        found.append(answers.pop())
    return found


def _check_one_answer(path: Path, cells: Cells, rows: Sequence[TagRow], denied: Sequence[bool], place: int) -> None:
    first: dict[tuple[str, tuple[str, ...]], int] = {}
    for number, row in enumerate(rows):
        before = first.setdefault((row.image, row.tags), number)
        if row.tags and denied[before] != denied[number]:
            raise ValueError(
                f"{path.parent / row.place}: expected one answer for each image and tag, found {row.tags[0]!r} of "
                f"{row.image!r} with {cells.rows[before][place].strip()!r} ({rows[before].place}) and "
                f"{cells.rows[number][place].strip()!r} in column {cells.header[place].strip()!r}. Remove one."
            )


def _without(path: Path, column: str, rows: Sequence[TagRow], denied: Sequence[bool]) -> list[TagRow]:
    kept = {row.image for row, no in zip(rows, denied, strict=True) if not no}
    bare: set[str] = set()
    left: list[TagRow] = []
    for row, no in zip(rows, denied, strict=True):
        if not no:
            left.append(row)
        elif row.image not in kept and row.image not in bare:
            bare.add(row.image)
            left.append(replace(row, tags=()))
    only = f"; {len(bare)} images have no other rows and count as showing none of the classes" if bare else ""
    logger.warning(
        "%s: %d of %d rows have 0 or no in column %r: the image does not show their tag%s. If the column says "
        "something else, rename or remove it.",
        path,
        sum(denied),
        len(rows),
        column,
        only,
    )
    return left
