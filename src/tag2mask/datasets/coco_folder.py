"""open_coco_folder: the folder that the archives of MS COCO unpack to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.datasets.coco import open_coco

if TYPE_CHECKING:
    from tag2mask.datasets.files import FileDataset


def open_coco_folder(
    root: str | Path, split: str = "train2014", *, val_split: str | None = None, strict: bool = False
) -> FileDataset:
    """Open the folder that COCO's archives unpack to.

    Args:
        root: holds ``annotations/instances_<split>.json`` and the images, in ``<split>/``, in ``images/<split>/`` or
            in ``images/``.
        split: the training images: ``train2014`` (82,783), ``train2017`` ...
        val_split: held-out images, as ``val2014`` (40,504).
        strict: raise instead of leaving anything out.

    Raises:
        ValueError: if the images of a split are missing, and as `open_coco`.

    Example:
        >>> open_coco_folder("coco", "train2014", val_split="val2014")  # doctest: +SKIP
    """
    root = Path(root)
    annotations = _file(root, split)
    val_annotations = None if val_split is None else _file(root, val_split)
    val_images = None if val_split is None else _images(root, val_split)
    return open_coco(
        _images(root, split), annotations, val_images=val_images, val_annotations=val_annotations, strict=strict
    )


def coco_splits(root: str | Path) -> tuple[str, ...]:
    """The splits of a folder of COCO that have an instances file, sorted; none if it is no such folder.

    Args:
        root: as for `open_coco_folder`.
    """
    files = Path(root).glob("annotations/instances_*.json")
    return tuple(sorted(file.stem.removeprefix("instances_") for file in files))


def _file(root: Path, split: str) -> Path:
    """The instances file of a split.

    Raises:
        ValueError: if it is not there.
    """
    file = root / "annotations" / f"instances_{split}.json"
    if not file.is_file():
        present = ", ".join(coco_splits(root)) or "none"
        raise ValueError(f"{file}: expected an instances file, found those of {present}. Choose another split.")
    return file


def _images(root: Path, split: str) -> Path:
    """The folder with the images of a split.

    Raises:
        ValueError: if it is not there.
    """
    for folder in (root / split, root / "images" / split, root / "images"):
        if folder.is_dir():
            return folder
    raise ValueError(f"{root / split}: expected a folder with the images, found none. Unpack {split}.zip there.")
