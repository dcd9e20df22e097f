"""The files that say which image has which tags: tables, tags.json, classes.txt and the lists of names."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from typing import TYPE_CHECKING

from tag2mask.datasets.class_colours import split_colours
from tag2mask.datasets.table_columns import TAG_NAMES, column_key, find_columns, flag, is_flag, is_header
from tag2mask.datasets.table_file import Cells, as_text, json_lines, json_records, read_cells
from tag2mask.datasets.table_text import decode
from tag2mask.datasets.tag_cells import is_background, one_spelling, read_tag_cells, tidy
from tag2mask.datasets.tag_row import TagRow
from tag2mask.datasets.tag_votes import without_denied
from tag2mask.datasets.tag_words import check_words
from tag2mask.sources import TagReading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from tag2mask.datasets.table_columns import Columns

__all__ = ["TagRow", "is_background", "read_classes", "read_names", "read_tag_table"]

logger = logging.getLogger(__name__)

_HABIT = 3
"""Words that stand only beside each other in so many cells may be one name."""

_NUMBERED = re.compile(r"(\d+)\s*(?:[\s:.,;=)|-])\s*(\D.*)")
"""A line of a list of classes that begins with a number, as 0 cat or 1: cat."""

_AS_USUAL = TagReading()
_JSON_REMEDY = 'Write {"image": ["tag", "tag"], "image of background": []}.'


def read_tag_table(
    path: Path,
    known: Collection[str] | None = None,
    reading: TagReading = _AS_USUAL,
    *,
    fits: Callable[[str], bool] = bool,
) -> list[TagRow]:
    """Read a table of images and tags; what was guessed is logged.

    The table has a column of tags, several (tag1, tag2 ...), or a column of 0 and 1 for each class.

    Args:
        path: CSV, TSV, Excel, Parquet, JSON lines or JSON.
        known: the class names in their order, if there is a list of them; see `read_tag_cells`.
        reading: which columns count, and which words mean no tag.
        fits: whether a cell names an image; it chooses between several columns that may name images.

    Returns:
        A row for each row of the table, less those whose tag another column denies.

    Raises:
        ValueError: if the file is no such table, or a tag can be no name of a class.
    """
    if path.suffix.lower() == ".json":
        text = _read_text(path)
        cells = _json_table(path, text, reading)
    else:
        text = ""
        cells = read_cells(path, lambda row: is_header(row, reading))
    rows = _json_images(path, text, known) if cells is None else _table_rows(path, cells, known, reading, fits=fits)
    return check_words(path, rows, reading, known)


def _table_rows(
    path: Path, cells: Cells, known: Collection[str] | None, reading: TagReading, *, fits: Callable[[str], bool]
) -> list[TagRow]:
    columns = find_columns(path, cells, reading, fits)
    if not cells.rows:
        raise ValueError(f"{path}: expected a row for each image below the first line, found none. Add rows.")
    for note in (*cells.notes, *columns.notes):
        logger.warning("%s: %s.", path, note)
    if columns.flags:
        return _flag_rows(path, cells, columns)
    return without_denied(path, cells, columns, _tag_rows(path, cells, columns, known))


def read_classes(path: Path) -> tuple[str, ...]:
    """Read class names, one per line, perhaps with the colour that each has in masks; the order gives the class ids.

    Raises:
        ValueError: if there is none, one stands twice, or one is the background.
    """
    lines = [line for line in _read_text(path).split("\n") if line.strip()]
    names = tuple(one_spelling(name) for name in split_colours(path, lines)[0])
    if not names:
        raise ValueError(f"{path}: expected a class name per line, found none. Fill or remove the file.")
    _check_lines(path, names)
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"{path}: expected each class once, found {', '.join(twice)} twice. Remove one.")
    background = [name for name in names if is_background(name)]
    if background:
        raise ValueError(
            f"{path}: expected classes of objects, found {background[0]!r}. Remove that line: "
            "background is label 0 of every mask, and the first class is label 1."
        )
    return names


def _check_lines(path: Path, names: Sequence[str]) -> None:
    """Refuse several names in a single line, and lines that are numbered in order."""
    parts = tidy(re.split("[,;|]", names[0]))
    if len(names) == 1 and len(parts) > 1:
        raise ValueError(
            f"{path}: expected one class per line, found {names[0][:60]!r} as the only line. Write each of its "
            f"{len(parts)} names on a line of its own."
        )
    numbered = [_NUMBERED.fullmatch(name) for name in names]
    pairs = [(int(match[1]), match[2]) for match in numbered if match is not None]
    first = pairs[0][0] if pairs else -1
    in_order = [number for number, _ in pairs] == list(range(first, first + len(names)))
    if in_order and first in (0, 1) and len({name for _, name in pairs}) == len(names):
        raise ValueError(
            f"{path}: expected class names, found numbers before them, as {names[0]!r}. Remove the numbers: "
            "the order of the lines gives them."
        )


def read_names(path: Path) -> list[str]:
    """Read a list of images, one per line.

    Raises:
        ValueError: if the file cannot be read.
    """
    return [line.strip() for line in _read_text(path).split("\n") if line.strip()]


class _Pairs(list[tuple[str, object]]):
    """A JSON object as pairs, so that a key that stands twice is seen."""


def _read_text(path: Path) -> str:
    try:
        text, notes = decode(path, path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: expected a text file, found: {error}.") from error
    for note in notes:
        logger.warning("%s: %s.", path, note)
    return text


def _json_table(path: Path, text: str, reading: TagReading) -> Cells | None:
    """A table in JSON: objects in a list or one per line, or an object of columns; None for an object of images."""
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            return json_lines(path, text)
        raise ValueError(f"{path}: expected JSON, found an error in it ({error}). Correct it.") from error
    if isinstance(content, dict) and is_header(list(content), reading):
        columns = list(content.values())
        if all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
            # As pandas saves a table.
            content = [{name: column[row] for name, column in content.items()} for row in columns[0]]
        elif any(column_key(name) in TAG_NAMES for name in content):
            content = [content]
    if isinstance(content, list) and content:
        return json_records(path, content, [f"{path.name}, entry {number}" for number in range(1, len(content) + 1)])
    if not isinstance(content, dict):
        found = "an empty list" if content == [] else type(content).__name__
        raise ValueError(f"{path}: expected an object, found {found}. {_JSON_REMEDY}")
    return None


def _json_images(path: Path, text: str, known: Collection[str] | None) -> list[TagRow]:
    """``{"image": ["tag", ...], "image": "tag"}``."""
    pairs: list[tuple[str, object]] = list(json.loads(text, object_pairs_hook=_Pairs))
    for image, tags in pairs:
        if type(tags) not in (list, str):
            shown = str(dict(tags) if isinstance(tags, _Pairs) else tags)[:60]
            raise ValueError(f"{path}, {image!r}: expected a list of names, found {shown}. {_JSON_REMEDY}")
    places = [f"{path.name}, {image!r}" for image, _ in pairs]
    lists = [as_text([tags] if isinstance(tags, str) else tags) for _, tags in pairs]
    every = read_tag_cells(lists, known, lambda row: str(path.parent / places[row]))
    return [TagRow(image, tags, place) for (image, _), tags, place in zip(pairs, every, places, strict=True)]


def _flag_rows(path: Path, cells: Cells, columns: Columns) -> list[TagRow]:
    """The rows of a table with one column per class."""
    names = [one_spelling(cells.header[column]) for column in columns.flags]
    rows = []
    for row, place in zip(cells.rows, cells.places, strict=True):
        _check_width(path, cells, row, place)
        where = f"{path.parent / place}: expected 0 or 1"
        shown = [name for name, column in zip(names, columns.flags, strict=True) if flag(row[column], where)]
        rows.append(TagRow(row[columns.image].strip(), tidy(shown), place))
    return rows


def _tag_rows(path: Path, cells: Cells, columns: Columns, known: Collection[str] | None) -> list[TagRow]:
    """The rows of a table with tags in cells."""
    # `a.jpg,cow,car` without quotes means two tags.
    mark = cells.delimiter if cells.delimiter in (",", "|") else ";"
    texts = []
    for row, place in zip(cells.rows, cells.places, strict=True):
        extra = [cell for cell in row[len(cells.header) :] if cell.strip()]
        if extra and columns.tags[-1] != len(cells.header) - 1:
            _check_width(path, cells, row, place)
        parts = [row[column] for column in columns.tags]
        texts.append(
            mark.join([part for part in parts if part.strip()] + extra) if extra or len(parts) > 1 else parts[0]
        )
    _check_no_flags(path, cells, columns)
    every = read_tag_cells(texts, known, lambda number: str(path.parent / cells.places[number]))
    _tell_spaces(path, texts, every, known)
    images = [row[columns.image].strip() for row in cells.rows]
    return [TagRow(image, tags, place) for image, tags, place in zip(images, every, cells.places, strict=True)]


def _check_width(path: Path, cells: Cells, row: Sequence[str], place: str) -> None:
    width = max((number for number, cell in enumerate(row, start=1) if cell.strip()), default=0)
    if width > len(cells.header):
        raise ValueError(
            f"{path.parent / place}: expected {len(cells.header)} columns, found {width}. Put the tags into quotes."
        )


def _check_no_flags(path: Path, cells: Cells, columns: Columns) -> None:
    """Refuse columns of 0 and 1 below a header that has no name for each of them."""
    wide = [(row, place) for row, place in zip(cells.rows, cells.places, strict=True) if len(row) > len(cells.header)]
    if not wide:
        return
    found = {cell.strip() for row, _ in wide for cell in (row[columns.tags[-1]], *row[len(cells.header) :])}
    if all(map(is_flag, found)):
        raise ValueError(
            f"{path.parent / wide[0][1]}: expected tags, found 0 and 1 in {len(wide[0][0]) - columns.tags[0]} columns. "
            "For one column per class, write the name of each class into the first line: image,cat,dog"
        )


def _tell_spaces(
    path: Path, texts: Sequence[str], every: Sequence[tuple[str, ...]], known: Collection[str] | None
) -> None:
    """Say it where spaces came to separate what may be names of several words: words that stand in no other cell."""
    if known is not None:
        return
    phrases = Counter(
        text.strip()
        for text, tags in zip(texts, every, strict=True)
        if len(tags) > 1 and list(dict.fromkeys(text.split())) == list(tags)
    )
    cells = Counter(word for tags in every for word in tags)
    names = sorted(text for text, count in phrases.items() if count >= _HABIT and count in map(cells.get, text.split()))
    if names:
        logger.warning(
            "%s: tags were split at spaces, as %r into %s. If these are names with spaces, list the classes in "
            "classes.txt, one per line.",
            path,
            names[0],
            ", ".join(names[0].split()),
        )
    elif phrases:
        logger.info("%s: tags were split at spaces.", path)
