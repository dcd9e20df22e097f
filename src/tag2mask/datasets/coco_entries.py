"""The entries of an instances file of MS COCO: categories, images and annotations, joined and checked."""

from __future__ import annotations

import json
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tag2mask.checks import few
from tag2mask.datasets.tag_table import is_background

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

REMEDY = "Give an instances file in the COCO format, such as instances_train2017.json."
SECTIONS = ("categories", "images", "annotations")
SAMPLE = 100
"""So many images are looked for, to find out which of the folders in front of a file_name are on this disc."""

Entry = dict[str, Any]


@dataclass(frozen=True, eq=False)
class CocoEntries:
    """An instances file.

    Args:
        file: where it lies.
        class_names: the categories that are classes, in the order of their ids (of their names where ids are words).
        class_ids: the class id of each of these categories, by the category's id as text.
        images: the entry of each image, by its id as text.
        annotations: those of each image that have a class.
        left_out: the names of categories that are no classes.
        orphans: the annotations whose image is not listed, in words.
    """

    file: Path
    class_names: tuple[str, ...]
    class_ids: Mapping[str, int]
    images: Mapping[str, Entry]
    annotations: Mapping[str, Sequence[Entry]]
    left_out: frozenset[str]
    orphans: tuple[str, ...]


def read_entries(file: Path, train: CocoEntries | None = None) -> CocoEntries:
    """Read an instances file.

    Args:
        file: JSON.
        train: the file of the training images, whose classes these are, if it is another one.

    Raises:
        ValueError: naming the entry and the field, if something is missing or contradicts.
    """
    content = read_coco_json(file)
    categories, images, annotations = (
        _section(file, content, name) for name in ("categories", "images", "annotations")
    )
    names = {_id(file, "category", one, "id"): str(_field(file, "category", one, "name")) for one in categories}
    _check_names(file, tuple(names.values()))
    of_category = [_id(file, "annotation", one, "category_id") for one in annotations]
    for one, category in zip(annotations, of_category, strict=True):
        if category not in names:
            raise ValueError(
                f"{file}, annotation {one.get('id', '?')}: expected as category_id one of the {len(names)} categories "
                f"({few(list(names))}), found {one['category_id']!r}. Correct it, or add the category."
            )
    counts = Counter(of_category)
    left_out = _no_classes(categories, names, counts) if train is None else train.left_out
    class_names = tuple(names[category] for category in _ordered(names) if names[category] not in left_out)
    if train is not None:
        _check_same_names(file, class_names, train)
        class_names = train.class_names
    elif left_out:
        _tell_left_out(file, names, counts, left_out)
    numbers = {name: class_id for class_id, name in enumerate(class_names)}
    class_ids = {category: numbers[name] for category, name in names.items() if name not in left_out}
    listed = _by_id(file, images)
    of_image: dict[str, list[Entry]] = {image: [] for image in listed}
    orphans = []
    for one, category in zip(annotations, of_category, strict=True):
        image = _id(file, "annotation", one, "image_id")
        if image not in of_image:
            orphans.append(f"annotation {one.get('id', '?')} of image_id {image}")
        elif category in class_ids:
            of_image[image].append(one)
    return CocoEntries(file, class_names, class_ids, listed, of_image, left_out, tuple(orphans))


def category_of(annotation: Entry) -> str:
    """The id of an annotation's category as text."""
    return _as_text(annotation["category_id"])


def read_coco_json(file: Path) -> Entry:
    """Read a JSON file that holds an object; polygons come as arrays.

    Raises:
        ValueError: if it is anything else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), object_hook=_with_arrays)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file}: expected a JSON file, found: {error}. {REMEDY}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected a JSON object, found {type(content).__name__}. {REMEDY}")
    return content


def calls_of_images(entries: CocoEntries, folder: Path) -> tuple[dict[str, str], int]:
    """Where the images lie below a folder: their ``file_name``, less folders in front that are not on this disc.

    Args:
        entries: of an instances file.
        folder: of the images.

    Returns:
        The path below the folder of each image, by its id as text; and how many of up to `SAMPLE` are there.

    Raises:
        ValueError: if a file_name leads out of the folder, or two are alike.
    """
    parts = {image: _parts(entries.file, entry) for image, entry in entries.images.items()}
    if len(set(parts.values())) < len(parts):
        twice = [call for call, count in Counter(parts.values()).items() if count > 1]
        raise ValueError(
            f"{entries.file}: expected each file_name once, found {'/'.join(twice[0])} twice. Remove one of the images."
        )
    sample = list(parts.values())[:: max(1, -(-len(parts) // SAMPLE))]
    found = []
    for drop in range(max(map(len, sample), default=1)):
        found.append(sum(folder.joinpath(*_less(call, drop)).is_file() for call in sample))
        if found[-1] == len(sample):
            break
    drop = found.index(max(found))
    if len({_less(call, drop) for call in parts.values()}) < len(parts):
        drop = 0
    return {image: "/".join(_less(call, drop)) for image, call in parts.items()}, found[drop]


def size_in(entry: Entry) -> tuple[int, int] | None:
    """(height, width) as an image's entry says; None if it does not."""
    try:
        size = int(entry["height"]), int(entry["width"])
    except (KeyError, TypeError, ValueError):
        return None
    return size if min(size) > 0 else None


def _parts(file: Path, entry: Entry) -> tuple[str, ...]:
    """The folders and the name in an image's file_name, without drive, root, and what leads out of the folder."""
    file_name = str(_field(file, "image", entry, "file_name")).replace("\\", "/")
    every = [part for part in file_name.split("/") if part not in ("", ".")]
    # Names of masks are made of it, so nothing up to the last ".." is kept.
    inside = every[len(every) - every[::-1].index("..") :] if ".." in every else every
    parts = tuple(inside[1:] if inside and inside[0].endswith(":") else inside)
    if not parts:
        raise ValueError(
            f"{file}, image {entry.get('id', '?')}: expected as file_name a path below the folder of images, found "
            f"{entry['file_name']!r}. Correct it."
        )
    return parts


def _less(parts: tuple[str, ...], drop: int) -> tuple[str, ...]:
    return parts[min(drop, len(parts) - 1) :]


def _section(file: Path, content: Entry, name: str) -> list[Entry]:
    section = content.get(name)
    if not isinstance(section, list) or not all(isinstance(entry, dict) for entry in section):
        found = "none" if section is None else f"{type(section).__name__}"
        raise ValueError(f"{file}: expected a list {name} of objects, found {found}. {REMEDY}")
    return section


def _field(file: Path, kind: str, entry: Entry, field: str) -> Any:
    if entry.get(field) is None:
        raise ValueError(
            f"{file}, {kind} {entry.get('id', '?')}: expected the field {field}, found only {few(list(entry))}. "
            "Export the file again."
        )
    return entry[field]


def _id(file: Path, kind: str, entry: Entry, field: str) -> str:
    return _as_text(_field(file, kind, entry, field))


def _as_text(value: Any) -> str:
    """An id as text: tools write 3, 3.0 and "3" for the same one."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _by_id(file: Path, images: Sequence[Entry]) -> dict[str, Entry]:
    by_id = {_id(file, "image", entry, "id"): entry for entry in images}
    if len(by_id) < len(images):
        twice = [image for image, count in Counter(_as_text(entry["id"]) for entry in images).items() if count > 1]
        raise ValueError(f"{file}: expected each image id once, found {twice[0]} twice. Number the images anew.")
    return by_id


def _ordered(names: Mapping[str, str]) -> list[str]:
    """The categories by number; by name, if their ids are words."""
    if all(category.lstrip("-").isdecimal() for category in names):
        return sorted(names, key=int)
    return sorted(names, key=lambda category: names[category])


def _no_classes(categories: Iterable[Entry], names: Mapping[str, str], counts: Mapping[str, int]) -> frozenset[str]:
    """Background, and a category without annotations that others are kinds of."""
    above = {(str(one.get("supercategory")), str(one.get("name"))) for one in categories}
    kinds_of = {upper for upper, name in above if upper != name}
    return frozenset(
        name for category, name in names.items() if is_background(name) or (name in kinds_of and not counts[category])
    )


def _tell_left_out(file: Path, names: Mapping[str, str], counts: Mapping[str, int], left_out: Collection[str]) -> None:
    said = [f"{name} ({counts[category]} annotations)" for category, name in names.items() if name in left_out]
    logger.warning(
        "%s: categories that are no classes, left out: %s. The background has label 0 in every mask, and a category "
        "above others needs annotations of its own to be a class.",
        file, few(said),
    )  # fmt: skip


def _check_names(file: Path, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        found = f"{', '.join(twice)} twice" if twice else "none"
        raise ValueError(f"{file}: expected categories with different names, found {found}. Rename them.")


def _check_same_names(file: Path, class_names: Sequence[str], train: CocoEntries) -> None:
    if set(class_names) != set(train.class_names):
        strange = sorted(set(class_names) ^ set(train.class_names))
        raise ValueError(
            f"{file}: expected the categories of {train.file}, found others, in one of them only: {few(strange)}. "
            "Give two files of one set."
        )


def _with_arrays(record: Entry) -> Entry:
    """An object of the file with polygons as arrays: 600,000 outlines as Python's numbers would fill the memory."""
    outline = record.get("segmentation")
    if isinstance(outline, list):
        if outline and all(isinstance(number, int | float) for number in outline):
            outline = [outline]  # Some tools write a single polygon without the list around it.
        with suppress(ValueError, TypeError):  # A damaged one is told of when it is painted.
            record["segmentation"] = [np.array(polygon, np.float64) for polygon in outline]
    return record
