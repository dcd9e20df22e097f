"""The table of tags that lies beside the images: which file it is, and which image each of its rows means."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tag2mask.datasets.image_calls import call_key
from tag2mask.datasets.table_file import TABLE_SUFFIXES
from tag2mask.datasets.tag_table import TagRow, read_tag_table
from tag2mask.datasets.tag_words import tell_words

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from tag2mask.datasets.image_calls import ImageCalls
    from tag2mask.sources import TagReading

logger = logging.getLogger(__name__)

OWN_NAME = "tags"
"""A table of this name, whatever its suffix, goes before all others."""

_JSON_NAMES = frozenset({OWN_NAME, "labels", "metadata"})
"""Other JSON files are of some other kind: COCO, LabelMe."""

_OF_A_SPLIT = frozenset({OWN_NAME, "metadata", "_classes", "_annotations"})
"""Tables in the folder of a split."""

_NO_TAGS = frozenset(
    {"classes", "class_names", "classnames", "class_dict", "colors", "colours", "palette", "results", "predictions",
     "submission", "sample_submission", "requirements"}
)  # fmt: skip
"""Tables of these names hold no tags of images."""

_TEXTS = frozenset({OWN_NAME, "labels", "annotations", "metadata", "list", "attributes"})

_UPLOAD = re.compile(r"(?:https?://[^/]+)?/?data/(?:upload/(?:\d+/)?|local-files/\?d=)")
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")


def tables_beside(root: Path, top: Path) -> list[Path]:
    """The tables of tags that lie in a folder: the one called tags, else all others, else those in its sub-folders.

    Args:
        root: the folder.
        top: where its images are.
    """
    beside = [file for folder in dict.fromkeys((root, top)) for file in _tables_in(folder)]
    own = [file for file in beside if file.stem.casefold() == OWN_NAME]
    if beside:
        return own or _of_training(beside)
    if not top.is_dir():
        return []
    # As Hugging Face and Roboflow lay them: a folder per split, each with its own table.
    folders = sorted(f for f in top.iterdir() if f.is_dir() and not f.name.startswith("."))
    return [file for folder in folders for file in _tables_in(folder) if file.stem.casefold() in _OF_A_SPLIT]


def _of_training(tables: list[Path]) -> list[Path]:
    """Without the table of test images, as competitions lay it beside the one of training images."""
    stems = {table: table.stem.casefold().split("_")[0] for table in tables}
    return [table for table in tables if stems[table] != "test" or "train" not in stems.values()]


def has_own_table(root: Path) -> bool:
    """Whether a folder holds a table called tags."""
    return root.is_dir() and any(file.stem.casefold() == OWN_NAME for file in _tables_in(root))


def other_text(root: Path) -> str:
    """Words for an error: the text files that may hold tags, and are no table."""
    found = sorted(
        f.name for f in root.iterdir() if f.stem.casefold() in _TEXTS and f.suffix.lower() in (".txt", ".xls")
    )
    return f", but {', '.join(found)}, which is no table" if found else ""


def rows_beside(
    calls: ImageCalls, known: Collection[str] | None, reading: TagReading, *, told_elsewhere: Callable[[], bool]
) -> list[TagRow] | None:
    """The rows of the table that lies beside the images, each with the name of its image if it has one.

    Args:
        calls: the folder and its images.
        known: the class names in their order, if there is a list of them.
        reading: how the table is read.
        told_elsewhere: whether folders or annotation files tell the tags, too; then a table that does not is passed
            over.

    Returns:
        None if there is no table, or none that tells tags where something else does.

    Raises:
        ValueError: if there are several tables, it cannot be read, or no row names an image.
    """
    tables = tables_beside(calls.root, calls.top)
    own = any(table.stem.casefold() == OWN_NAME for table in tables)
    if not tables:
        return None
    names = [table.relative_to(calls.root).as_posix() for table in tables]
    if len({table.parent for table in tables}) < len(tables) or tables[0].parent in (calls.root, calls.top):
        if len(tables) > 1 and not own and told_elsewhere():
            logger.warning("%s: passed over: %s. Other files or folders tell the tags; call a table of them tags.csv.",
                           calls.root, ", ".join(names))  # fmt: skip
            return None
        if len(tables) > 1:
            remedy = "Remove all but one." if own else "Call the one with the tags tags.csv, or remove the others."
            raise ValueError(f"{calls.root}: expected one table of tags, found {' and '.join(names)}. {remedy}")
    try:
        rows = [row for table in tables for row in _rows_of(calls, table, known, reading)]
    except ValueError as error:
        if own or not told_elsewhere():
            raise
        logger.warning("%s: passed over: it is read as no table of tags (%s). Other files or folders tell the tags.",
                       tables[0], str(error).partition(". ")[0].removeprefix(f"{tables[0]}: "))  # fmt: skip
        return None
    if not own:
        logger.info("%s: the tags are from %s.", calls.root, ", ".join(names))
    return rows


def _tables_in(folder: Path) -> list[Path]:
    return [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in TABLE_SUFFIXES
        and not file.name.startswith((".", "~$"))
        and (file.suffix.lower() != ".json" or file.stem.casefold() in _JSON_NAMES)
        and file.stem.casefold() not in _NO_TAGS
        and file.is_file()
    ]


def _rows_of(calls: ImageCalls, table: Path, known: Collection[str] | None, reading: TagReading) -> list[TagRow]:
    def fits(cell: str) -> bool:
        return bool(calls.fitting(cell) or calls.fitting(call_key(cell).rpartition("/")[2]))

    rows = read_tag_table(table, known, reading, fits=fits)
    if table.parent not in (calls.root, calls.top):
        folder = table.parent.relative_to(calls.top).as_posix()
        rows = [replace(row, image=f"{folder}/{row.image}") for row in rows]
    rows = _with_images(calls, table, rows)
    if table.suffix.lower() != ".json":
        rows = _joined(calls, table, rows)
    tell_words(table, rows, known)
    return rows


def _with_images(calls: ImageCalls, table: Path, rows: Sequence[TagRow]) -> list[TagRow]:
    """The rows, each with a call of its image that fits, where there is one."""
    there = rows if any(calls.fitting(row.image) for row in rows) else _without_prefix(calls, table, rows)
    other = [row if calls.fitting(row.image) else _uploaded(calls, row) for row in there]
    uploaded = [before for before, row in zip(there, other, strict=True) if row.image != before.image]
    if not any(len(calls.fitting(row.image)) == 1 for row in other):
        shown = ", ".join(path.relative_to(calls.top).as_posix() for path in list(calls.paths.values())[:3])
        shown += " and so on" if len(calls.paths) > 3 else ""
        raise ValueError(
            f"{table}: none of {len(rows)} rows names an image: the first says {rows[0].image!r}, but "
            f"{calls.why_not(other[0].image)}; images are called {shown}. "
            "Correct the column of images, or name another one with --image-column."
        )
    if uploaded:
        logger.warning("%s: %d rows name uploaded files, as %r; what the upload put before the names is passed over. "
                       "If they are other images, correct the column.",
                       table, len(uploaded), uploaded[0].image)  # fmt: skip
    loose = [row for row in other if not calls.exactly(row.image) and len(calls.fitting(row.image)) == 1]
    if loose:
        logger.info("%s: %d rows name their image by its whole path or in other letters, as %r.",
                    table, len(loose), loose[0].image)  # fmt: skip
    return list(other)


def _without_prefix(calls: ImageCalls, table: Path, rows: Sequence[TagRow]) -> list[TagRow]:
    """The rows less the folders that all of them name and that are not there."""
    before = calls.common_folders([row.image for row in rows])
    if not before:
        return list(rows)
    logger.warning("%s: every row names its image below %s, which is not there and is passed over. "
                   "If they are other images, correct the column.", table, before)  # fmt: skip
    return [replace(row, image=call_key(row.image).removeprefix(before)) for row in rows]


def _uploaded(calls: ImageCalls, row: TagRow) -> TagRow:
    """A row less what Label Studio puts before the name of an uploaded file."""
    call = call_key(row.image)
    start = _UPLOAD.match(call)
    rest = unquote(call[start.end() :]) if start else call
    folder, slash, name = rest.rpartition("/")
    for other in (rest, folder + slash + _UPLOAD_PREFIX.sub("", name, count=1), _UPLOAD_PREFIX.sub("", name, count=1)):
        if other != call and (start or _UPLOAD_PREFIX.match(name)) and calls.fitting(other):
            return replace(row, image=other)
    return row


def _joined(calls: ImageCalls, table: Path, rows: Sequence[TagRow]) -> list[TagRow]:
    """The rows, those of one image joined, if the table has a row for each image and tag."""
    if any(len(row.tags) > 1 for row in rows):
        return list(rows)
    groups: dict[str, list[TagRow]] = {}
    for row in rows:
        fitting = calls.fitting(row.image)
        # Rows that mean no image stay as they are.
        groups.setdefault(fitting[0] if len(fitting) == 1 else f"\0{row.place}", []).append(row)
    several = {name for name, own in groups.items() if len({row.tags for row in own}) > 1}
    joinable = {name for name in several if all(row.tags for row in groups[name])}
    if not joinable:
        return list(rows)
    joined: list[TagRow] = []
    # Where a table has a row for each tag, a tag that stands twice (a row for each object) says nothing new.
    for name, own in groups.items():
        if name in several - joinable:
            joined += own
            continue
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        joined.append(TagRow(own[0].image, tuple(dict.fromkeys(t for r in own for t in r.tags)), own[0].place + more))
    logger.warning(
        "%s: read as one row for each image and tag: %d rows joined to %d images, %d of them with several tags, as %s. "
        "If the rows contradict each other, remove the wrong ones.",
        table, len(rows), len(joined), len(joinable), ", ".join(sorted(joinable)[:3]),
    )  # fmt: skip
    return joined
