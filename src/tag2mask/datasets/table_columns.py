"""Which columns of a table name the image, and which say what it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from tag2mask.datasets.images import image_suffixes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from tag2mask.datasets.table_file import Cells
    from tag2mask.sources import TagReading

IMAGE_NAMES = (
    "image", "imagename", "imagefile", "imagefilename", "imagepath", "imageindex", "images", "filename", "filenames",
    "filepath", "filepaths", "file", "files", "path", "paths", "img", "imgname", "imgfile", "imgpath", "photo",
    "picture", "imageid", "imgid", "imageurl", "imagefilepath", "relativepath", "fullpath", "fname", "name", "id",
)  # fmt: skip
"""What the column of images is called, the surest first; without regard to case, spaces and punctuation."""

TAG_NAMES = (
    "tags", "tag", "labelnames", "labelname", "classnames", "classname", "categoryname", "labels", "label", "classes",
    "class", "categories", "category", "choices", "choice", "findinglabels", "keywords", "concepts", "tagnames",
    "classlabel", "classlabels", "imagelabel", "imagelabels", "imagetags", "annotation", "annotations", "targets",
    "target", "objects", "species", "breed", "diagnosis", "findings",
)  # fmt: skip
"""What the column of tags is called; likewise."""

NO_CLASS_NAMES = frozenset(
    {"index", "id", "split", "subset", "fold", "train", "istrain", "val", "isval", "valid", "isvalid", "test", "istest",
     "width", "height", "imagewidth", "imageheight", "difficult", "truncated", "occluded", "iscrowd"}
)  # fmt: skip
"""Columns that are no class, also where they hold 0 and 1."""

SHOWN = frozenset({"1", "1.0", "true", "yes", "t", "y", "x"})
NOT_SHOWN = frozenset({"0", "0.0", "false", "no", "f", "n", ""})

VOTE_NAMES = frozenset(
    {"confidence", "present", "ispresent", "presence", "value", "labelvalue", "vote", "positive", "ispositive",
     "exists", "truth"}
)  # fmt: skip
"""Beside rows of an image and a tag, columns that say whether the image shows it; likewise."""

_SPLIT_NAMES = frozenset({"split", "splits", "subset", "set", "partition", "phase", "usage", "datasplit", "dataset"})
_SPLIT_WORDS = frozenset(
    {"train", "training", "trn", "val", "valid", "validation", "validate", "dev", "test", "testing", "eval", "holdout",
     "trainval", "unused"}
)  # fmt: skip

_CELLS_TRIED = 200
"""So many rows show which of several columns names the images."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that count.

    Args:
        image: the one that names the image.
        tags: those with tags in their cells; none if there is one column per class.
        flags: those of a class each, with 0 and 1.
        notes: what a person should know about the choice.
    """

    image: int
    tags: tuple[int, ...]
    flags: tuple[int, ...]
    notes: tuple[str, ...]


def column_key(name: str) -> str:
    """A column's name without case, spaces and punctuation.

    Example:
        >>> column_key(' "File_Name" ')
        'filename'
    """
    return re.sub(r"[\W_]+", "", name.casefold())


def is_header(row: Sequence[str], reading: TagReading) -> bool:
    """Whether a row names a column of images and any other; pandas gives its index no name."""
    keys = {column_key(cell) for cell in row}
    wanted = {column_key(reading.image_column)} if reading.image_column else set(IMAGE_NAMES)
    unnamed = not reading.image_column and not row[0].strip() and bool(keys - {""}) if row else False
    return len(row) > 1 and (bool(keys & wanted) or unnamed)


def find_columns(path: Path, cells: Cells, reading: TagReading, fits: Callable[[str], bool]) -> Columns:
    """Find the columns by their names, and by what they hold.

    Args:
        path: of the table, for messages.
        cells: the table.
        reading: the columns that a person named.
        fits: whether a cell names an image; it chooses between several columns of images.

    Raises:
        ValueError: if there is no column of images or of tags.
    """
    image = _named(path, cells, reading.image_column, "--image-column")
    notes: list[str] = []
    if image is None:
        image = _image_column(path, cells, fits, notes)
    tag = _named(path, cells, reading.tag_column, "--tag-column")
    splits = [place for place in range(len(cells.header)) if place not in (image, tag) and _is_split(cells, place)]
    notes += [_split_note(cells, place) for place in splits]
    if tag is not None:
        return Columns(image, (tag,), (), tuple(notes))
    tags = _tag_columns(cells, image, splits, notes)
    return Columns(image, tags, () if tags else _flag_columns(path, cells, image, notes), tuple(notes))


def _tag_columns(cells: Cells, image: int, splits: Sequence[int], notes: list[str]) -> tuple[int, ...]:
    """The column of tags by its name, or several that are numbered; none: there may be one per class."""
    keys = [column_key(name) for name in cells.header]
    named = [keys.index(name) for name in TAG_NAMES if name in keys and keys.index(name) != image]
    if named:
        others = _names_without(cells, {image, named[0], *splits, *vote_columns(cells, image)})
        if others:
            notes.append(
                f"tags are in column {cells.header[named[0]].strip()!r}; passed over: {others}. "
                "If another one holds them, name it with --tag-column"
            )
        return (named[0],)
    numbered = tuple(p for p, key in enumerate(keys) if re.fullmatch(r"(tag|label|class|category)s?\d+", key))
    if not numbered or all(is_flag(row[place]) for row in cells.rows for place in numbered):
        return ()
    names = ", ".join(cells.header[place].strip() for place in numbered)
    others = _names_without(cells, {image, *numbered, *splits})
    what = f"tags are in {len(numbered)} columns: {names}" + (f"; passed over: {others}" if others else "")
    notes.append(f"{what}. If only one holds them, name it with --tag-column")
    return numbered


def vote_columns(cells: Cells, image: int) -> list[int]:
    """Columns of the usual names that say no in some row, where images have several rows."""
    if len({row[image].strip() for row in cells.rows}) == len(cells.rows):
        return []
    named = [place for place, name in enumerate(cells.header) if column_key(name) in VOTE_NAMES and place != image]
    return [place for place in named if says_no(cells, place)]


def says_no(cells: Cells, place: int) -> bool:
    """Whether a column holds yes and no only, and a no among them."""
    words = {row[place].strip().casefold() for row in cells.rows} - {""}
    return not words.isdisjoint(NOT_SHOWN) and all(map(is_flag, words))


def _names_without(cells: Cells, gone: Collection[int]) -> str:
    """The names of the other columns, the first twenty of them."""
    names = [name.strip() for place, name in enumerate(cells.header) if place not in gone and name.strip()]
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _is_split(cells: Cells, place: int) -> bool:
    """Whether a column says which images are for training, and which are held out."""
    if column_key(cells.header[place]) not in _SPLIT_NAMES:
        return False
    words = {column_key(row[place]) for row in cells.rows} - {""}
    return bool(words) and words <= _SPLIT_WORDS


def _split_note(cells: Cells, place: int) -> str:
    words = sorted({row[place].strip() for row in cells.rows} - {""})
    return (
        f"column {cells.header[place].strip()!r} ({', '.join(words)}) is not used: train.txt and val.txt beside the "
        "images say which are held out. Write the names of images to hold out into val.txt, one per line, and those "
        "of training into train.txt"
    )


def flag(cell: str, place: str) -> bool:
    """Whether a cell of a class's column says that the image shows it.

    Raises:
        ValueError: if it says neither yes nor no.
    """
    word = cell.strip().casefold()
    if word in SHOWN or word in NOT_SHOWN:
        return word in SHOWN
    raise ValueError(
        f"{place}, found {cell.strip()!r}. Write 1 where the image shows it and 0 where not, or remove the column "
        "if it is no class."
    )


def _named(path: Path, cells: Cells, name: str | None, option: str) -> int | None:
    """The column that a person named."""
    if name is None:
        return None
    exact = [place for place, column in enumerate(cells.header) if column.strip() == name.strip()]
    alike = [place for place, column in enumerate(cells.header) if column_key(column) == column_key(name)]
    if not exact and len(alike) != 1:
        known = ", ".join(column.strip() or "(no name)" for column in cells.header)
        raise ValueError(f"{path}: expected a column {name!r} ({option}), found {known}. Name one of these.")
    return (exact or alike)[0]


def _image_column(path: Path, cells: Cells, fits: Callable[[str], bool], notes: list[str]) -> int:
    keys = [column_key(name) for name in cells.header]
    places = [keys.index(name) for name in IMAGE_NAMES if name in keys]
    tried = cells.rows[:_CELLS_TRIED]
    if not places and cells.header and not cells.header[0].strip() and any(fits(row[0]) for row in tried):
        notes.append(
            "images are in the first column, which has no name. If another one names them, give --image-column"
        )
        return 0
    if not places:
        raise ValueError(_no_image_column(path, cells.header))
    if len(places) == 1:
        return places[0]
    # The first of the names counts where several fit equally often.
    best = max(places, key=lambda place: sum(fits(row[place]) for row in tried))
    if best != places[0]:
        others = ", ".join(cells.header[place].strip() for place in places if place != best)
        notes.append(
            f"images are in column {cells.header[best].strip()!r}; {others} is passed over. "
            "If another one names them, give --image-column"
        )
    return best


def _no_image_column(path: Path, header: Sequence[str]) -> str:
    shown = ",".join(cell.strip() for cell in header)[:80]
    what = f"{path}: expected a first line that names the columns image and tags, found {shown!r}."
    if any(PurePosixPath(cell.strip().lower()).suffix in image_suffixes() for cell in header if cell.strip()):
        return f"{what} This looks like a row of the table: write above it the line: image,tags"
    return f"{what} Write the line: image,tags. Or name the columns with --image-column and --tag-column."


def is_flag(cell: str) -> bool:
    """Whether a cell says yes or no; an empty one says no."""
    word = cell.strip().casefold()
    return word in SHOWN or word in NOT_SHOWN


def _flag_columns(path: Path, cells: Cells, image: int, notes: list[str]) -> tuple[int, ...]:
    """One column per class: those that hold 0 and 1 (or yes and no)."""
    flags, others = [], []
    for place, name in enumerate(cells.header):
        if place == image or not name.strip():
            continue
        values = [(row[place], number) for number, row in enumerate(cells.rows) if row[place].strip()]
        wrong = [number for value, number in values if not is_flag(value)]
        if column_key(name) in NO_CLASS_NAMES or not values or 2 * len(wrong) > len(values):
            others.append(name.strip())
        elif wrong:
            where = f"{path.parent / cells.places[wrong[0]]}: expected 0 or 1 in column {name.strip()!r}"
            flag(cells.rows[wrong[0]][place], where)
        else:
            flags.append(place)
    found = ", ".join(name.strip() for name in cells.header)
    if not flags:
        raise ValueError(
            f"{path}: expected a first line that names the columns image and tags, or a column of 0 and 1 for each "
            f"class, found {found[:200]}. Name the column of tags with --tag-column."
        )
    classes = [cells.header[place].strip() for place in flags]
    notes.append(
        f"one column per class ({len(flags)}): {', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}"
        + (f"; no class, passed over: {', '.join(others)}" if others else "")
        + ". If that is wrong, rename or remove columns"
    )
    return tuple(flags)
