"""Tags that are no classes' names: words for a missing value or for nothing to see, and what a person should know."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from tag2mask.datasets.table_columns import column_key
from tag2mask.datasets.tag_cells import is_odd

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from tag2mask.datasets.tag_row import TagRow
    from tag2mask.sources import TagReading

logger = logging.getLogger(__name__)

NOTHING_WORDS = frozenset(
    {"no finding", "no findings", "nofinding", "normal", "good", "healthy", "none", "ok", "negative", "nothing",
     "no object", "no objects", "clean", "no label", "no tag", "unlabeled", "unlabelled", "other"}
)  # fmt: skip
"""Tags that may mean "none of the classes", also as No_Finding or no-finding; a person decides."""

_MISSING = re.compile(
    r"(?i:nan|<nan>|null|<na>|n/a|#n/a|n\.a\.|nil|nat|unlabell?ed|unknown|not[ _-]labell?ed|todo)|NA|None|-+|\?+"
)
_BELOW_ZERO = re.compile(r"-\d*\.?\d+")
"""Alone in a cell beside names, as -1, such a number stands for a missing value, too."""

_NUMBER = re.compile(r"-?\d*\.?\d+%?")
_MARKS = ",;|#/+&:~*\\-_"
_SCORED = re.compile(r"(.*\w)\s*[:=(]\s*\d*\.?\d+%?\)?")

MANY_ROWS, MANY_SHARE = 10, 0.1
"""So many rows with a word for a missing value, or such a share of all, are a habit and no slip."""


def check_words(path: Path, rows: Sequence[TagRow], reading: TagReading, known: Collection[str] | None) -> list[TagRow]:
    """Drop the tags that mean nothing, and refuse those that can be no names.

    Args:
        path: of the table, for messages.
        rows: what it says.
        reading: which words mean "none of the classes".
        known: the class names, if there is a list of them; these are names in any case.

    Returns:
        The rows with names of classes only.

    Raises:
        ValueError: for words of a missing value, unless they mean no tag; for brackets and quotes around a tag.
    """
    names = set(known or ())
    rows = without_background(path, rows, reading)
    every = {tag for row in rows for tag in row.tags} - names
    missing = {tag for tag in every if _MISSING.fullmatch(tag)}
    if not all(map(_NUMBER.fullmatch, every - missing)) or names:
        alone = {row.tags[0] for row in rows if len(row.tags) == 1}
        missing |= {tag for tag in alone & every if _BELOW_ZERO.fullmatch(tag)}
    if missing and not reading.none_means_no_tag:
        raise ValueError(_missing_words(path, rows, missing))
    for row in rows:
        for tag in row.tags:
            if tag in every and is_odd(tag):
                raise ValueError(
                    f"{path.parent / row.place}: expected the name of a class, found {tag!r}. Write tags without "
                    'brackets and quotes, as cat;dog, or the whole cell as a list, as ["cat", "dog"].'
                )
    return _without(rows, missing)


def without_background(place: Path, rows: Sequence[TagRow], reading: TagReading) -> list[TagRow]:
    """The rows without the tags that a person says mean none of the classes; one that no row has is told.

    Args:
        place: the table or folder, for messages.
        rows: what it says.
        reading: which words mean "none of the classes".
    """
    wanted = {tag.casefold(): tag for tag in reading.background_tags}
    found = {tag for row in rows for tag in row.tags if tag.casefold() in wanted}
    for small in wanted.keys() - {tag.casefold() for tag in found}:
        logger.warning("%s: no row has the tag %r of --background-tag. Check its spelling.", place, wanted[small])
    return _without(rows, found)


def tell_nothing_words(place: Path, rows: Iterable[TagRow], known: Collection[str] | None) -> None:
    """Log the tags that may mean "none of the classes": they stand beside no other one.

    Args:
        place: the table or folder.
        rows: what it says.
        known: the class names, if there is a list of them; these are not doubted.
    """
    alone, together = _counts(rows)
    words = {column_key(word) for word in NOTHING_WORDS}
    for tag in sorted(alone):
        doubted = column_key(tag) in words and tag not in (known or ()) and not together[tag]
        if doubted and len(alone.keys() | together.keys()) > 1:
            logger.warning(
                "%s: %d rows have the tag %r, never beside another one. If it means none of the classes, give "
                "--background-tag %s.",
                place,
                alone[tag],
                tag,
                f'"{tag}"' if " " in tag else tag,
            )


def tell_words(path: Path, rows: Sequence[TagRow], known: Collection[str] | None) -> None:
    """Log what may be wrong with the tags of a table.

    Args:
        path: of the table.
        rows: what it says.
        known: the class names, if there is a list of them.
    """
    tell_nothing_words(path, rows, known)
    if known is not None:
        return
    alone, together = _counts(rows)
    counts = alone + together
    _tell_joined(path, counts)
    _tell_scores(path, counts)
    _tell_numbers(path, counts)
    _tell_alike(path, counts)


def _counts(rows: Iterable[TagRow]) -> tuple[Counter[str], Counter[str]]:
    """How often each tag stands alone, and how often beside another one."""
    alone: Counter[str] = Counter()
    together: Counter[str] = Counter()
    for row in rows:
        (alone if len(row.tags) == 1 else together).update(row.tags)
    return alone, together


def _without(rows: Sequence[TagRow], gone: Collection[str]) -> list[TagRow]:
    return [replace(row, tags=tuple(t for t in row.tags if t not in gone)) for row in rows] if gone else list(rows)


def _missing_words(path: Path, rows: Sequence[TagRow], missing: set[str]) -> str:
    with_one = [row for row in rows if not missing.isdisjoint(row.tags)]
    first = with_one[0]
    word = next(tag for tag in first.tags if tag in missing)
    if len(with_one) < MANY_ROWS and len(with_one) < MANY_SHARE * len(rows):
        more = f" ({len(with_one)} such rows)" if len(with_one) > 1 else ""
        return (
            f"{path.parent / first.place}: expected tags, found {word!r}{more}. If the image shows none of the "
            "classes, leave the cell empty; if it is not known, remove the row; if it is a class, list the classes in "
            "classes.txt."
        )
    return (
        f"{path}: expected tags, found {word!r} or the like in {len(with_one)} of {len(rows)} rows, the first "
        f"{first.place}. If these images show none of the classes, leave the cell empty or give --none-means-no-tag; "
        "if it is not known, remove the rows; if it is a class, list the classes in classes.txt."
    )


def _tell_joined(path: Path, counts: Mapping[str, int]) -> None:
    """Classes that are made of others and a mark, as cat#dog."""
    for tag in sorted(counts):
        for mark in _MARKS:
            parts = [part.strip() for part in tag.split(mark)]
            if len(parts) > 1 and all(part in counts for part in parts):
                logger.warning(
                    "%s: %d rows have the tag %r, which is made of the tags %s and %r. If it is several tags, separate "
                    "them with a semicolon.",
                    path,
                    counts[tag],
                    tag,
                    ", ".join(parts),
                    mark,
                )
                break


def _tell_scores(path: Path, counts: Mapping[str, int]) -> None:
    """Tags with a score or a count behind them, as cat:0.98."""
    scored = [tag for tag in sorted(counts) if _SCORED.fullmatch(tag)]
    stems = {match[1] for tag in scored if (match := _SCORED.fullmatch(tag))}
    if len(scored) > len(stems) or not stems.isdisjoint(counts):
        logger.warning(
            "%s: %d tags end in a number, as %s: each is taken as a class of its own. If it is a score or a count, "
            "remove it.",
            path,
            len(scored),
            ", ".join(map(repr, scored[:5])),
        )


def _tell_numbers(path: Path, counts: Mapping[str, int]) -> None:
    """Tags that are numbers: written by pandas beside missing values, scores beside names, or 0 for "without"."""
    numbers = sorted(tag for tag in counts if re.fullmatch(r"\d*\.?\d+%?", tag))
    shown = ", ".join(map(repr, numbers[:5]))
    if numbers and len(numbers) < len(counts):
        what = (
            "%s: %d tags are numbers beside names (%s), each taken as a class. If it is a score or a count, remove it."
        )
        logger.warning(what, path, len(numbers), shown)
    elif numbers and all(tag.endswith(".0") for tag in numbers):
        what = "%s: all tags are numbers (%s), each taken as the name of a class. Write whole numbers, or names."
        logger.warning(what, path, shown)
    elif numbers == ["0", "1"]:
        what = "%s: the tags are %s, taken as the names of two classes. If 0 means without, give --background-tag 0."
        logger.warning(what, path, "0 and 1")


def _tell_alike(path: Path, counts: Mapping[str, int]) -> None:
    """Classes whose names differ by spaces and the like; those that differ by case alone are told elsewhere."""
    alike: dict[str, dict[str, str]] = {}
    for tag in sorted(counts):
        alike.setdefault(re.sub(r"[\s_-]+", "", tag.casefold()), {}).setdefault(tag.casefold(), tag)
    for tags in alike.values():
        if len(tags) > 1:
            found = ", ".join(f"{tag!r} ({counts[tag]} rows)" for tag in tags.values())
            logger.warning("%s: classes differ by spaces or hyphens only: %s. Write one name everywhere.", path, found)
