"""open_coco: images and an instances file of MS COCO, with tags and masks from its annotations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pycocotools import mask as run_lengths
from torch import Tensor

from tag2mask.datasets.coco_entries import REMEDY, calls_of_images, category_of, read_entries, size_in
from tag2mask.datasets.files import FileDataset, broken_headers, leave_out, names_of_files
from tag2mask.datasets.images import image_size
from tag2mask.labels import IGNORE, labels_from_class_ids

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tag2mask.datasets.coco_entries import CocoEntries

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
    image without annotations takes part as pure background. Ids may be numbers or words. Folders in front of a
    file_name that are not on this disc are dropped; sizes that the file does not say are read from the images.
    Categories called background, and those that others are kinds of and no annotation has, are no classes.
    COCO's own files give the 80 classes in the usual order: person, bicycle, car ... toothbrush. Images that the
    file lists and the folder does not hold, or that are broken, are left out and logged.

    Args:
        images: the folder with the image files.
        annotations: the instances file (JSON).
        val_images: the folder of the held-out images; without it, `images`.
        val_annotations: the instances file of the held-out images, with the same categories.
        strict: raise instead of leaving anything out.

    Raises:
        ValueError: if a file is missing or no instances file, an entry is damaged, no image is there, no annotation
            either, or the two files have other categories or share an image.
    """
    folders = [Path(images)]
    files = [Path(annotations)]
    if val_annotations is not None:
        folders.append(Path(val_images if val_images is not None else images))
        files.append(Path(val_annotations))
    elif val_images is not None:
        raise ValueError(f"{val_images}: expected val_annotations with val_images, found none. Give both.")
    asked = [CocoFile(file, (folder,)) for folder, file in zip(folders, files, strict=True)]
    return open_coco_files(asked[0], asked[1] if val_annotations is not None else None, strict=strict)


@dataclass(frozen=True, slots=True)
class CocoFile:
    """An instances file, and where its images may lie.

    Args:
        file: JSON.
        folders: that hold the images perhaps; the one with the most of them is taken, the first of equals.
    """

    file: Path
    folders: tuple[Path, ...]


def open_coco_files(train: CocoFile, val: CocoFile | None = None, *, strict: bool = False) -> FileDataset:
    """As `open_coco`, with a choice of folders of images.

    Args:
        train: of the training images.
        val: of the held-out images; None for none.
        strict: raise instead of leaving anything out.

    Raises:
        ValueError: as `open_coco`.
    """
    entries = read_entries(train.file)
    if not any(entries.annotations.values()):
        raise ValueError(
            f"{train.file}: expected annotations, found none of any class, so no image has a tag. "
            "Give the file that holds them."
        )
    split = _read_split(train, entries, strict=strict)
    if not split.paths:
        first = next(iter(entries.images.values()))["file_name"] if entries.images else "none"
        raise ValueError(
            f"{split.folder}: expected the images that {train.file} lists (the first is {first}), found none. "
            "Give the folder that holds them."
        )
    told = f"COCO, {train.file.name}"
    if val is None:
        return replace(_dataset(split, None), tags_from=told)
    held_out = _read_split(val, read_entries(val.file, entries), strict=strict)
    return replace(_dataset(split, held_out), tags_from=f"{told}, held out {val.file.name} of {val.file.parent.name}/")


@dataclass(frozen=True, eq=False)
class _Split:
    """One instances file, joined with its images; without regions if the file has no outlines."""

    folder: Path
    class_names: tuple[str, ...]
    paths: Mapping[str, Path]
    tag_ids: Mapping[str, tuple[int, ...]]
    regions: Mapping[str, Sequence[CocoRegion]]
    sizes: Mapping[str, tuple[int, int]]


def _dataset(train: _Split, val: _Split | None) -> FileDataset:
    if val is None:
        masks = CocoMasks(train.regions, train.sizes)
        return FileDataset(train.class_names, tuple(train.paths), (), train.paths, train.tag_ids, masks)
    files = {file.resolve() for file in train.paths.values()}
    both = [name for name, file in val.paths.items() if file.resolve() in files]
    if both:
        raise ValueError(
            f"{val.folder}: expected no image of the training file in the held-out one, found {len(both)} "
            f"({', '.join(both[:5])}). Remove them from one of the files."
        )
    if any(name in train.paths for name in val.paths):
        val = _called_after_folder(val)
    return FileDataset(
        train.class_names,
        tuple(train.paths),
        tuple(val.paths),
        {**train.paths, **val.paths},
        {**train.tag_ids, **val.tag_ids},
        CocoMasks({**train.regions, **val.regions}, {**train.sizes, **val.sizes}),
    )


def _called_after_folder(split: _Split) -> _Split:
    """The same images with the folder in their names: in two folders files may be called alike."""
    above = split.folder.name
    return _Split(
        split.folder,
        split.class_names,
        {f"{above}/{name}": path for name, path in split.paths.items()},
        {f"{above}/{name}": ids for name, ids in split.tag_ids.items()},
        {f"{above}/{name}": regions for name, regions in split.regions.items()},
        {f"{above}/{name}": size for name, size in split.sizes.items()},
    )


def _read_split(asked: CocoFile, entries: CocoEntries, *, strict: bool) -> _Split:
    """Join an instances file with its images."""
    where = [(folder, *calls_of_images(entries, folder)) for folder in asked.folders]
    folder, calls, _ = max(where, key=lambda found: found[2])
    images = {call: image for image, call in calls.items()}
    named = {name: (folder / call, images[call]) for name, call in names_of_files(images).items()}
    kept = _present(folder, {name: path for name, (path, _) in named.items()}, entries, strict=strict)
    found = {name: entries.annotations[named[name][1]] for name in kept}
    labels = labels_from_class_ids(torch.arange(len(entries.class_names))).tolist()
    ids = entries.class_ids
    regions = {
        name: [_region(entries.file, a, labels[ids[category_of(a)]]) for a in several]
        for name, several in found.items()
    }
    outlined = any(region.outline is not None for several in regions.values() for region in several)
    sizes = {name: size_in(entries.images[named[name][1]]) or image_size(path) for name, path in kept.items()}
    return _Split(
        folder,
        entries.class_names,
        kept,
        {name: tuple(sorted({ids[category_of(a)] for a in several})) for name, several in found.items()},
        regions if outlined else {},
        sizes,
    )


def _present(folder: Path, paths: Mapping[str, Path], entries: CocoEntries, *, strict: bool) -> dict[str, Path]:
    """The images that are there and have a readable header."""
    missing = [name for name, path in paths.items() if not path.is_file()]
    there = {name: path for name, path in paths.items() if path.is_file()}
    broken = broken_headers(there, there)
    orphans = {"annotations name no image of the list": entries.orphans}
    left_out = {"images are missing": missing, "images are broken": sorted(broken)} | orphans
    leave_out(folder, left_out, strict=strict)
    return {name: path for name, path in there.items() if name not in broken}


def _region(file: Path, annotation: Mapping[str, Any], label: int) -> CocoRegion:
    outline, box = annotation.get("segmentation"), annotation.get("bbox")
    try:
        if isinstance(outline, list):
            outline = [polygon for polygon in outline if len(polygon) >= SHORTEST_POLYGON]
        left, top, width, height = map(float, box) if box else (0.0, 0.0, 0.0, 0.0)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{file}, annotation {annotation.get('id', '?')}: expected as bbox left, top, width, height, and as "
            f"segmentation polygons or run lengths, found other things ({error}). Export the file again."
        ) from error
    unsure = annotation.get("iscrowd") or not outline
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
