"""open_voc: the folders of PASCAL VOC, with tags from the XML annotations."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from tag2mask.data.files import FileDataset, MaskFiles
from tag2mask.data.folder import broken_headers, leave_out
from tag2mask.data.tag_table import read_names

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""The 20 classes in the order of the labels 1..20."""


def open_voc(
    devkit: str | Path, split: str = "train", *, val_split: str | None = None, strict: bool = False
) -> FileDataset:
    """Open PASCAL VOC: tags from ``Annotations``, masks from ``SegmentationClass``.

    Every object of an annotation is a tag, also one marked difficult or truncated: it is in the image,
    and its mask is scored. Images that the list names and the folders do not hold are left out and
    logged, as are training images without an annotation.

    Args:
        devkit: the folder VOCdevkit, VOC2012 within it (or another year), or the one that holds VOCdevkit.
        split: the training images, a list ``ImageSets/Segmentation/<split>.txt``.
        val_split: held-out images, another such list.
        strict: raise instead of leaving anything out.

    Raises:
        ValueError: if the folders or a list are missing, an annotation is broken or names no VOC class,
            or an image is in both lists.
    """
    root = _find_root(Path(devkit))
    train = _read_split(root, split)
    val = _read_split(root, val_split) if val_split is not None else []
    every = [*train, *val]
    if len(set(every)) < len(every):
        raise ValueError(
            f"{root}: expected {split} and {val_split} to share no image, found "
            f"{len(every) - len(set(every))} in both. Choose other lists."
        )
    paths = {name: root / "JPEGImages" / f"{name}.jpg" for name in every}
    missing = {name for name in every if not paths[name].is_file()}
    broken = broken_headers(paths, [name for name in every if name not in missing])
    annotations = {name: root / "Annotations" / f"{name}.xml" for name in every}
    tag_ids = {name: _read_tags(path) for name, path in annotations.items() if path.is_file()}
    untagged = [name for name in train if name not in tag_ids]
    left_out = {"images are missing": sorted(missing), "images are broken": sorted(broken)}
    leave_out(root, left_out | {"training images have no annotation": untagged}, strict=strict)
    gone = missing | broken
    names = tuple(name for name in train if name in tag_ids and name not in gone)
    val_names = tuple(name for name in val if name not in gone)
    if not names:
        raise ValueError(
            f"{root}: expected images of the list {split} with annotations, found none of {len(train)}. "
            "Unpack the whole archive."
        )
    kept = (*names, *val_names)
    masks = {name: root / "SegmentationClass" / f"{name}.png" for name in kept}
    masks = {name: path for name, path in masks.items() if path.is_file()}
    return FileDataset(
        VOC_CLASSES,
        names,
        val_names,
        {name: paths[name] for name in kept},
        {name: tag_ids[name] for name in kept if name in tag_ids},
        MaskFiles(masks, len(VOC_CLASSES)),
    )


def _find_root(devkit: Path) -> Path:
    """The folder that holds JPEGImages: the newest year where there are several."""
    years = [sorted(devkit.glob(pattern)) for pattern in ("VOC[0-9]*", "VOCdevkit/VOC[0-9]*")]
    for folders in ([devkit], *years):
        found = [folder for folder in folders if (folder / "JPEGImages").is_dir()]
        if found:
            return found[-1]
    raise ValueError(
        f"{devkit}: expected the folder VOCdevkit or VOC2012 with JPEGImages in it, found none. "
        "Give the folder that the VOC archive unpacks to."
    )


def _read_split(root: Path, split: str) -> list[str]:
    """Image names of a list; its lines may hold more, as ``name 1`` or the paths of image and mask do."""
    folder = root / "ImageSets" / "Segmentation"
    path = folder / f"{split}.txt"
    if not path.is_file():
        present = ", ".join(sorted(file.stem for file in folder.glob("*.txt"))) or "no list"
        raise ValueError(f"{path}: expected a list of images, found {present} in {folder}. Choose another split.")
    return list(dict.fromkeys(Path(line.split()[0]).stem for line in read_names(path)))


def _read_tags(path: Path) -> tuple[int, ...]:
    """Class ids of the objects in an annotation; parts of objects (head, hand) are none."""
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except (ElementTree.ParseError, OSError) as error:
        raise ValueError(f"{path}: expected an XML annotation, found an error ({error}). Copy it again.") from error
    names = {(thing.findtext("name") or "").strip() for thing in objects}
    unknown = sorted(names - set(VOC_CLASSES))
    if unknown:
        raise ValueError(
            f"{path}: expected the 20 VOC classes, found {', '.join(unknown)!r}. "
            "For other classes, write tags.csv and use open_folder."
        )
    return tuple(sorted(VOC_CLASSES.index(name) for name in names))
