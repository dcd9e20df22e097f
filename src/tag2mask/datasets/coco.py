"""open_coco: images and an instances file of MS COCO, with tags and masks from its annotations."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pycocotools import mask as run_lengths
from torch import Tensor

from tag2mask.datasets.files import FileDataset, broken_headers, leave_out, names_of_files
from tag2mask.labels import IGNORE, labels_from_class_ids

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

REMEDY = "Give an instances file in the COCO format, such as instances_train2017.json."
SHORTEST_POLYGON = 6  # Numbers: three corners.


@dataclass(frozen=True, slots=True)
class CocoRegion:
    """One annotation of an image.

    Args:
        label: the object's label, or IGNORE for a crowd.
        outline: polygons as arrays x, y, x, y ..., or run lengths as COCO stores them; None if it has only a box.
        box: left, top, width, height in pixels; zeros if it has none.
    """

    label: int
    outline: Any
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class CocoMasks:
    """Masks painted from COCO's annotations.

    Where objects overlap the smaller one lies on top. Crowds are IGNORE, as are boxes without an outline.

    Args:
        regions: the annotations of each image that has a mask; none for pure background.
        sizes: (height, width) of each of these images.
    """

    regions: Mapping[str, Sequence[CocoRegion]]
    sizes: Mapping[str, tuple[int, int]]

    @property
    def names(self) -> Collection[str]:
        return self.regions.keys()

    def read(self, name: str) -> Tensor:
        """(H, W) int64 labels.

        Raises:
            ValueError: if an outline is damaged.
        """
        size = self.sizes[name]
        try:
            painted = [(region.label, _inside(region, size)) for region in self.regions[name]]
        except Exception as error:  # pycocotools raises whatever its C code meets.
            raise ValueError(
                f"{name}: expected polygons or run lengths, found a damaged outline ({error}). {REMEDY}"
            ) from error
        labels = np.zeros(size, np.int64)
        for label, inside in sorted(painted, key=lambda pair: -int(pair[1].sum())):
            labels[inside] = label
        return torch.from_numpy(labels)


def open_coco(
    images: str | Path,
    annotations: str | Path,
    *,
    val_images: str | Path | None = None,
    val_annotations: str | Path | None = None,
    strict: bool = False,
) -> FileDataset:
    """Open MS COCO: tags and masks from an instances file, classes in the order of the category ids.

    Every annotation of an image is a tag, crowds too: they are in the image, though not in its mask. An
    image without annotations takes part as pure background. COCO's own files give the 80 classes in the
    usual order: person, bicycle, car ... toothbrush. Images that the file lists and the folder does not hold,
    or that are broken, are left out and logged.

    Args:
        images: the folder with the image files.
        annotations: the instances file (JSON).
        val_images: the folder of the held-out images; without it, `images`.
        val_annotations: the instances file of the held-out images, with the same categories.
        strict: raise instead of leaving anything out.

    Raises:
        ValueError: if a file is missing or no instances file, no image is there, or the two files have
            other categories or share an image.
    """
    folders = [Path(images)]
    files = [Path(annotations)]
    if val_annotations is not None:
        folders.append(Path(val_images if val_images is not None else images))
        files.append(Path(val_annotations))
    elif val_images is not None:
        raise ValueError(f"{val_images}: expected val_annotations with val_images, found none. Give both.")
    splits = [_read_split(folder, file, strict=strict) for folder, file in zip(folders, files, strict=True)]
    train, val = splits[0], splits[1] if val_annotations is not None else None
    if val is not None and val.class_names != train.class_names:
        raise ValueError(
            f"{val_annotations}: expected the categories of {annotations}, found others. Give two files of one set."
        )
    if not train.paths:
        raise ValueError(
            f"{images}: expected the images that {annotations} lists, found none. Give the folder that holds them."
        )
    return _merge(train, val, Path(annotations))


@dataclass(frozen=True, eq=False)
class _Split:
    """One instances file, joined with its images; without regions if the file has no outlines."""

    class_names: tuple[str, ...]
    paths: Mapping[str, Path]
    tag_ids: Mapping[str, tuple[int, ...]]
    regions: Mapping[str, Sequence[CocoRegion]]
    sizes: Mapping[str, tuple[int, int]]


def _merge(train: _Split, val: _Split | None, annotations: Path) -> FileDataset:
    if val is None:
        masks = CocoMasks(train.regions, train.sizes)
        return FileDataset(train.class_names, tuple(train.paths), (), train.paths, train.tag_ids, masks)
    both = [name for name in val.paths if name in train.paths]
    if both:
        raise ValueError(
            f"{annotations}: expected no image of the held-out file, found {len(both)} "
            f"({', '.join(both[:5])}). Remove them from one of the files."
        )
    return FileDataset(
        train.class_names,
        tuple(train.paths),
        tuple(val.paths),
        {**train.paths, **val.paths},
        {**train.tag_ids, **val.tag_ids},
        CocoMasks({**train.regions, **val.regions}, {**train.sizes, **val.sizes}),
    )


def _read_split(folder: Path, file: Path, *, strict: bool) -> _Split:
    """Read an instances file and find its images."""
    content = _read_json(file)
    try:
        split = _parse(content, folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{file}: expected categories, images and annotations, found a damaged entry ({error!r}). {REMEDY}"
        ) from error
    _check_class_names(file, split.class_names)
    outlined = any(region.outline is not None for several in split.regions.values() for region in several)
    kept = _present(folder, split.paths, strict=strict)
    return _Split(
        split.class_names,
        kept,
        {name: split.tag_ids[name] for name in kept},
        {name: split.regions[name] for name in kept if outlined},
        {name: split.sizes[name] for name in kept},
    )


def _parse(content: Mapping[str, Any], folder: Path) -> _Split:
    """Join images, categories and annotations; raises as Python does where the content is damaged."""
    categories = {int(category["id"]): str(category["name"]) for category in content["categories"]}
    ordered = sorted(categories)
    class_ids = {category: class_id for class_id, category in enumerate(ordered)}
    labels = dict(zip(ordered, labels_from_class_ids(torch.arange(len(ordered))).tolist(), strict=True))
    by_image: dict[int, list[Mapping[str, Any]]] = {record["id"]: [] for record in content["images"]}
    for annotation in content["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    records = {_below(record["file_name"]): record for record in content["images"]}
    if len(records) < len(content["images"]):
        raise ValueError("two images have one file_name")
    named = {name: (file, records[file]) for name, file in names_of_files(records).items()}
    found = {name: by_image[record["id"]] for name, (_, record) in named.items()}
    return _Split(
        tuple(categories[category] for category in ordered),
        {name: folder / file for name, (file, _) in named.items()},
        {name: tuple(sorted({class_ids[a["category_id"]] for a in several})) for name, several in found.items()},
        {name: [_region(a, labels[a["category_id"]]) for a in several] for name, several in found.items()},
        {name: (int(record["height"]), int(record["width"])) for name, (_, record) in named.items()},
    )


def _below(file_name: str) -> str:
    """The path below the folder of images: names of masks are made of it, so it must not lead out."""
    path = PurePosixPath(file_name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"file_name {file_name!r} leads out of the folder of images")
    return str(path)


def _present(folder: Path, paths: Mapping[str, Path], *, strict: bool) -> dict[str, Path]:
    """The images that are there and have a readable header."""
    missing = [name for name, path in paths.items() if not path.is_file()]
    there = {name: path for name, path in paths.items() if path.is_file()}
    broken = broken_headers(there, there)
    leave_out(folder, {"images are missing": missing, "images are broken": sorted(broken)}, strict=strict)
    return {name: path for name, path in there.items() if name not in broken}


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), object_hook=_with_arrays)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file}: expected a JSON file, found: {error}. {REMEDY}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected a JSON object, found {type(content).__name__}. {REMEDY}")
    return content


def _with_arrays(record: dict[str, Any]) -> dict[str, Any]:
    """An object of the file with polygons as arrays: 600,000 outlines as Python's numbers would fill the memory."""
    outline = record.get("segmentation")
    if isinstance(outline, list):
        with suppress(ValueError, TypeError):  # A damaged one is told of when it is painted.
            record["segmentation"] = [np.array(polygon, np.float64) for polygon in outline]
    return record


def _check_class_names(file: Path, class_names: Sequence[str]) -> None:
    twice = sorted({name for name in class_names if class_names.count(name) > 1})
    if twice or not class_names:
        found = f"{', '.join(twice)} twice" if twice else "none"
        raise ValueError(f"{file}: expected categories with different names, found {found}. Rename them.")


def _region(annotation: Mapping[str, Any], label: int) -> CocoRegion:
    outline, box = annotation.get("segmentation"), annotation.get("bbox")
    if isinstance(outline, list):
        outline = [polygon for polygon in outline if len(polygon) >= SHORTEST_POLYGON]
    unsure = annotation.get("iscrowd") or not outline
    left, top, width, height = map(float, box) if box else (0.0, 0.0, 0.0, 0.0)
    return CocoRegion(IGNORE if unsure else label, outline or None, (left, top, width, height))


def _inside(region: CocoRegion, size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(H, W): the pixels of a region; those of its box if it has no outline."""
    height, width = size
    inside = np.zeros(size, np.bool_)
    if region.outline is None:
        left, top, wide, high = region.box
        inside[max(0, int(top)) : round(top + high), max(0, int(left)) : round(left + wide)] = True
        return inside
    outline = region.outline
    if isinstance(outline, list):
        code = run_lengths.merge(run_lengths.frPyObjects(outline, height, width))
    elif isinstance(outline["counts"], list):
        code = run_lengths.frPyObjects(outline, height, width)
    else:
        code = outline
    decoded = np.asarray(run_lengths.decode(code), dtype=np.bool_)
    if decoded.shape != size:
        raise ValueError(f"run lengths of size {decoded.shape} in an image of size {size}")
    return decoded
