"""The tables that say which image has which tags: tags.csv, tags.json, classes.txt and the lists of names."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

BACKGROUND_NAMES = frozenset({"background", "_background", "_background_", "__background__"})
"""Names of no class: background is label 0 of every mask, so as a tag they say nothing."""

_SEPARATORS = ",;|"


@dataclass(frozen=True, slots=True)
class TagRow:
    """One row of a table of tags.

    Args:
        image: what the row calls its image.
        tags: class names, each once; none for pure background.
        place: where the row stands, for messages.
    """

    image: str
    tags: tuple[str, ...]
    place: str


def read_tag_csv(path: Path, known: Collection[str] | None = None) -> list[TagRow]:
    """Read a table with the columns ``image`` and ``tags`` (others are passed over).

    Args:
        path: UTF-8 text, any line ends; columns separated by comma, semicolon or tab.
        known: the class names, if they are known; see `split_tags`.

    Raises:
        ValueError: if the file is no such table.
    """
    places, images, cells = [], [], []
    for place, image, cell in _csv_cells(path, _read_text(path)):
        places.append(place)
        images.append(image)
        cells.append(cell)
    every = split_tags(cells, known)
    return [TagRow(image, tags, place) for image, tags, place in zip(images, every, places, strict=True)]


def read_tag_json(path: Path) -> list[TagRow]:
    """Read ``{"image": ["tag", ...], ...}``.

    Raises:
        ValueError: if the file is not made like that.
    """
    try:
        content = json.loads(_read_text(path), object_pairs_hook=_Pairs)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, found an error in it ({error}). Correct it.") from error
    remedy = 'Write {"image": ["tag", "tag"], "image of background": []}.'
    if not isinstance(content, _Pairs):
        raise ValueError(f"{path}: expected an object, found {type(content).__name__}. {remedy}")
    rows = []
    for image, tags in content:
        if type(tags) is not list or not all(isinstance(tag, str) for tag in tags):
            raise ValueError(f"{path}, {image!r}: expected a list of names, found {tags!r}. {remedy}")
        rows.append(TagRow(image, _tidy(tags), f"{path.name}, {image!r}"))
    return rows


def read_classes(path: Path) -> tuple[str, ...]:
    """Read class names, one per line; the order gives the class ids.

    Raises:
        ValueError: if there is none, one stands twice, or one is the background.
    """
    names = tuple(line.strip() for line in _read_text(path).split("\n") if line.strip())
    if not names:
        raise ValueError(f"{path}: expected a class name per line, found none. Fill or remove the file.")
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


def read_names(path: Path) -> list[str]:
    """Read a list of images, one per line.

    Raises:
        ValueError: if the file cannot be read.
    """
    return [line.strip() for line in _read_text(path).split("\n") if line.strip()]


def is_background(tag: str) -> bool:
    """Whether a tag or a folder stands for pure background."""
    return tag.casefold() in BACKGROUND_NAMES


def split_tags(cells: Sequence[str], known: Collection[str] | None = None) -> list[tuple[str, ...]]:
    """Split the cells of a table into tags, every cell the same way.

    If any cell holds a comma, a semicolon or a bar, these separate and spaces belong to the names;
    otherwise spaces separate. With the class names known, the way that gives the fewest unknown
    names is taken.

    Args:
        cells: the tag cell of every row.
        known: the class names, if they are known.

    Example:
        >>> split_tags(["cow car", ""]), split_tags(["polar bear;cow", "polar bear"])
        ([('cow', 'car'), ()], [('polar bear', 'cow'), ('polar bear',)])
        >>> split_tags(["polar bear", "cow"], known=["cow", "polar bear"])
        [('polar bear',), ('cow',)]
    """
    present = "".join(mark for mark in _SEPARATORS if any(mark in cell for cell in cells))
    ways = [present, *present, present + " ", ""] if present else [" ", ""]

    def split(way: str) -> list[tuple[str, ...]]:
        if not way:
            return [_tidy([cell]) for cell in cells]
        marks = "[" + re.escape(way).replace(r"\ ", r"\s") + "]"
        return [_tidy(re.split(marks, cell)) for cell in cells]

    if known is None:
        return split(ways[0])
    names = set(known)
    splits = [split(way) for way in ways]
    return min(splits, key=lambda rows: len({tag for row in rows for tag in row} - names))


class _Pairs(list[tuple[str, object]]):
    """A JSON object as pairs, so that a key that stands twice is seen."""


def _tidy(words: Sequence[str]) -> tuple[str, ...]:
    tags = (word.strip() for word in words)
    return tuple(dict.fromkeys(tag for tag in tags if tag and not is_background(tag)))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, found other bytes. Save it as UTF-8.") from error
    except OSError as error:
        raise ValueError(f"{path}: expected a text file, found: {error}.") from error


def _csv_cells(path: Path, text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the place, the image cell and the tag cell of every row."""
    delimiter, header = _csv_header(path, text)
    image_column, tag_column = header.index("image"), header.index("tags")
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    seen_header = False
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if not seen_header:
                seen_header = True
                continue
            place = f"{path.name}, line {reader.line_num}"
            extra = [cell for cell in row[len(header) :] if cell.strip()]
            if extra and tag_column != len(header) - 1:
                raise ValueError(
                    f"{path}, line {reader.line_num}: expected {len(header)} columns, found {len(row)}. "
                    "Put the tags into quotes."
                )
            cells = row + [""] * (len(header) - len(row))
            # `a.jpg,cow,car` without quotes means two tags.
            tags = (delimiter if delimiter in _SEPARATORS else ";").join([cells[tag_column], *extra])
            yield place, cells[image_column].strip(), tags
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}: expected a table, found an error ({error}). Save it as CSV again."
        ) from error


def _csv_header(path: Path, text: str) -> tuple[str, list[str]]:
    """The delimiter that makes the first line a header, and its columns in lower case."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    for delimiter in ",;\t":
        header = [cell.strip().lower() for cell in next(csv.reader([first], delimiter=delimiter), [])]
        if "image" in header and "tags" in header:
            return delimiter, header
    raise ValueError(
        f"{path}: expected a first line that names the columns image and tags, found {first[:80]!r}. "
        "Write the line: image,tags"
    )
