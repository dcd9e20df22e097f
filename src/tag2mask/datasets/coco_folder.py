"""open_coco_folder: the folder that the archives of MS COCO unpack to, and what other tools make of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.checks import few
from tag2mask.datasets.coco import CocoFile, open_coco_files
from tag2mask.datasets.coco_entries import read_coco_json
from tag2mask.datasets.walking import NO_PHOTOGRAPHS, folder_called

if TYPE_CHECKING:
    from tag2mask.datasets.files import FileDataset

logger = logging.getLogger(__name__)

ROBOFLOW = "_annotations.coco.json"
MOST_FILES = 20
"""A folder with more JSON files has one for each image, none of COCO."""
SNIFFED = 65536
"""Bytes at both ends of a file that tell whether it may be one of COCO's."""


def open_coco_folder(
    root: str | Path, split: str = "train2014", *, val_split: str | None = None, strict: bool = False
) -> FileDataset:
    """Open the folder that COCO's archives unpack to.

    Args:
        root: holds ``annotations/instances_<split>.json`` and the images, in ``<split>/``, in ``images/<split>/`` or
            in ``images/``; or, of Roboflow, ``<split>/_annotations.coco.json`` with the images beside it; or a
            single JSON file of COCO's form, whose stem is the split.
        split: the training images: ``train2014`` (82,783), ``train2017`` ...
        val_split: held-out images, as ``val2014`` (40,504).
        strict: raise instead of leaving anything out.

    Raises:
        ValueError: if the images of a split are missing, and as `open_coco`.

    Example:
        >>> open_coco_folder("coco", "train2014", val_split="val2014")  # doctest: +SKIP
    """
    root = Path(root)
    train = _asked(root, split)
    if train.file.name != ROBOFLOW and not train.file.name.startswith("instances_"):
        logger.warning("%s: read as the only file of COCO's form.", train.file)
    return open_coco_files(train, None if val_split is None else _asked(root, val_split), strict=strict)


def coco_splits(root: str | Path) -> tuple[str, ...]:
    """The splits of a folder of COCO that have an instances file, sorted; none if it is no such folder.

    Args:
        root: as for `open_coco_folder`.

    Raises:
        ValueError: if there are files of COCO's form of which none is called as it should be.
    """
    return tuple(sorted(_files(Path(root))))


def _files(root: Path) -> dict[str, Path]:
    """The instances file of each split."""
    if not root.is_dir():
        return {}
    annotations = folder_called(root, "annotations")
    if annotations is not None and (instances := sorted(annotations.glob("instances_*.json"))):
        return {file.stem.removeprefix("instances_"): file for file in instances}
    if roboflow := sorted(root.glob(f"*/{ROBOFLOW}")):
        return {file.parent.name: file for file in roboflow}
    here = [folder for folder in (root, annotations, *_inner(root)) if folder is not None]
    kinds = {file: _kind(file) for folder in here for file in _json_files(folder)}
    instances = [file for file, kind in kinds.items() if kind == "instances"]
    if len(instances) == 1:
        return {instances[0].stem: instances[0]}
    if others := [file for file, kind in kinds.items() if kind == "instances" or (kind and file.parent == annotations)]:
        found = [file.relative_to(root).as_posix() for file in others]
        raise ValueError(
            f"{root}: expected annotations/instances_NAME.json with boxes or outlines of objects, such as "
            f"instances_train.json, found {few(found)}. Rename the file of the training images, or write tags.csv."
        )
    return {}


def _inner(root: Path) -> list[Path]:
    """The folders in which a file of annotations may lie beside the images."""
    inner = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [path for path in inner if path.name.casefold() not in NO_PHOTOGRAPHS]


def _json_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.json"))
    return files if len(files) <= MOST_FILES else []


def _kind(file: Path) -> str:
    """``instances``, ``other`` for another file of COCO's family, such as captions; empty for any other."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        ends = opened.read(SNIFFED)
        opened.seek(max(0, size - SNIFFED))
        ends += opened.read()
    if not any(word in ends for word in (b'"images"', b'"annotations"', b'"categories"')):
        return ""
    try:
        content = read_coco_json(file)
    except ValueError:
        return ""
    lists = [name for name in ("images", "annotations", "categories") if isinstance(content.get(name), list)]
    return {3: "instances", 2: "other"}.get(len(lists), "")


def _asked(root: Path, split: str) -> CocoFile:
    """The instances file of a split, and where its images may lie.

    Raises:
        ValueError: if it is not there, or no folder that could hold the images.
    """
    files = _files(root)
    if split not in files:
        present = ", ".join(sorted(files)) or "none"
        file = root / "annotations" / f"instances_{split}.json"
        raise ValueError(f"{file}: expected an instances file, found those of {present}. Choose another split.")
    file = files[split]
    images = folder_called(root, "images")
    likely = [root / split, *((images / split, images) if images is not None else ())]
    folders = [folder for folder in likely if folder.is_dir()]
    if file.parent not in (folder_called(root, "annotations"), root):
        folders.insert(0, file.parent)
    if file.name != ROBOFLOW and not file.name.startswith("instances_"):
        folders += [file.parent, *_inner(root)]
    if not folders:
        raise ValueError(f"{root / split}: expected a folder with the images, found none. Unpack {split}.zip there.")
    return CocoFile(file, tuple(dict.fromkeys([*folders, root])))
