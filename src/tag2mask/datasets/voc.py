"""open_voc: the folders of PASCAL VOC, with tags from the XML annotations or from the authors' file of tags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from tag2mask.datasets.files import FileDataset, MaskFiles, broken_headers, leave_out
from tag2mask.datasets.tag_pickle import read_pickled_tags
from tag2mask.datasets.tag_table import read_names

if TYPE_CHECKING:
    from collections.abc import Iterable

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""The 20 classes in the order of the labels 1..20."""

TRAINAUG = ("trainaug", "train_aug")
"""The two spellings of the list of 10,582 images: VOC's training images and those that SBD has masks of."""

_OWN, _OF_SBD = "SegmentationClass", "SegmentationClassAug"


def open_voc(
    devkit: str | Path,
    split: str = "train",
    *,
    val_split: str | None = None,
    tags_file: str | Path | None = None,
    strict: bool = False,
) -> FileDataset:
    """Open PASCAL VOC: tags from ``Annotations``, masks from ``SegmentationClass`` and ``SegmentationClassAug``.

    Every object of an annotation is a tag, also one marked difficult or truncated: it is in the image,
    and its mask is scored. Images that the list names and the folders do not hold are left out and
    logged, as are training images without tags.

    Args:
        devkit: the folder VOCdevkit, VOC2012 within it (or another year), or the one that holds VOCdevkit.
        split: the training images: ``train`` (1,464), ``trainaug`` (10,582, masks of SBD), or any other list
            ``ImageSets/Segmentation/<split>.txt``; or the path of a list elsewhere, which ends in ``.txt``. A
            line holds the name of an image, or its path, and after it perhaps the path of its mask.
        val_split: held-out images, another such list, as ``val`` (1,449).
        tags_file: tags instead of those in ``Annotations``: the AffinityNet authors' ``cls_labels.npy``. It
            is read without unpickling.
        strict: raise instead of leaving anything out.

    Raises:
        ValueError: if the folders or a list are missing, an annotation is broken or names no VOC class, the
            file of tags is anything else, or an image is in both lists.
    """
    root = _root(Path(devkit))
    train, val = _read_splits(root, split, val_split)
    every = [*train, *val]
    paths = {name: root / "JPEGImages" / f"{name}.jpg" for name in every}
    missing = {name for name in every if not paths[name].is_file()}
    broken = broken_headers(paths, [name for name in every if name not in missing])
    tag_ids = _tags_of_annotations(root, every) if tags_file is None else _tags_of_file(Path(tags_file))
    untagged = [name for name in train if name not in tag_ids]
    left_out = {"images are missing": sorted(missing), "images are broken": sorted(broken)}
    leave_out(root, left_out | {"training images have no tags": untagged}, strict=strict)
    gone = missing | broken
    names = tuple(name for name in train if name in tag_ids and name not in gone)
    val_names = tuple(name for name in val if name not in gone)
    if not names:
        raise ValueError(
            f"{root}: expected images of the list {split} with tags, found none of {len(train)}. "
            "Unpack the whole archive, or give the tags of these images."
        )
    kept = (*names, *val_names)
    masks = _masks(root, split, names) | (_masks(root, val_split, val_names) if val_split is not None else {})
    return FileDataset(
        VOC_CLASSES,
        names,
        val_names,
        {name: paths[name] for name in kept},
        {name: tag_ids[name] for name in kept if name in tag_ids},
        MaskFiles(masks, len(VOC_CLASSES)),
    )


def _read_splits(root: Path, split: str, val_split: str | None) -> tuple[list[str], list[str]]:
    """The names of both lists, which share none."""
    train = _read_split(root, split)
    val = _read_split(root, val_split) if val_split is not None else []
    if twice := len(train) + len(val) - len({*train, *val}):
        raise ValueError(
            f"{root}: expected {split} and {val_split} to share no image, found {twice} in both. Choose other lists."
        )
    return train, val


def voc_splits(devkit: str | Path) -> tuple[str, ...]:
    """The lists of a folder of PASCAL VOC, sorted; none if it is no such folder.

    Args:
        devkit: as for `open_voc`.
    """
    root = _find_root(Path(devkit))
    return () if root is None else tuple(sorted(file.stem for file in _lists(root).glob("*.txt")))


def _find_root(devkit: Path) -> Path | None:
    """The folder that holds JPEGImages: the newest year where there are several."""
    years = [sorted(devkit.glob(pattern)) for pattern in ("VOC[0-9]*", "VOCdevkit/VOC[0-9]*")]
    for folders in ([devkit], *years):
        found = [folder for folder in folders if (folder / "JPEGImages").is_dir()]
        if found:
            return found[-1]
    return None


def _root(devkit: Path) -> Path:
    root = _find_root(devkit)
    if root is None:
        raise ValueError(
            f"{devkit}: expected the folder VOCdevkit or VOC2012 with JPEGImages in it, found none. "
            "Give the folder that the VOC archive unpacks to."
        )
    return root


def _lists(root: Path) -> Path:
    return root / "ImageSets" / "Segmentation"


def _read_split(root: Path, split: str) -> list[str]:
    """Image names of a list; its lines may hold more, as ``name 1`` or the paths of image and mask do."""
    return list(dict.fromkeys(Path(line.split()[0]).stem for line in read_names(_list_file(root, split))))


def _list_file(root: Path, split: str) -> Path:
    """Where a list lies.

    Raises:
        ValueError: if it is not there.
    """
    if split.endswith(".txt"):
        return Path(split)
    folder = _lists(root)
    files = [folder / f"{name}.txt" for name in (split, *(TRAINAUG if split in TRAINAUG else ()))]
    for file in files:
        if file.is_file():
            return file
    present = ", ".join(sorted(file.stem for file in folder.glob("*.txt"))) or "no list"
    remedy = "Choose another split."
    if split in TRAINAUG:
        remedy = "VOC's archive does not hold this list: give the path of one, such as the authors' train_aug.txt."
    raise ValueError(f"{files[0]}: expected a list of images, found {present} in {folder}. {remedy}")


def _masks(root: Path, split: str, names: Iterable[str]) -> dict[str, Path]:
    """The mask file of each image that has one; those of trainaug are SBD's as far as there are any."""
    folders = (_OF_SBD, _OWN) if Path(split).stem in TRAINAUG else (_OWN, _OF_SBD)
    masks = {}
    for name in names:
        files = [root / folder / f"{name}.png" for folder in folders]
        found = [file for file in files if file.is_file()]
        if found:
            masks[name] = found[0]
    return masks


def _tags_of_file(path: Path) -> dict[str, tuple[int, ...]]:
    """The tags of a file of tags, by the names of the images."""
    # A later file of the same authors calls 2007_000027 by the number 2007000027.
    found = read_pickled_tags(path, len(VOC_CLASSES)).items()
    return {image if isinstance(image, str) else f"{image // 10**6}_{image % 10**6:06d}": ids for image, ids in found}


def _tags_of_annotations(root: Path, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    annotations = {name: root / "Annotations" / f"{name}.xml" for name in names}
    return {name: _read_tags(path) for name, path in annotations.items() if path.is_file()}


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
