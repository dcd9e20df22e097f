"""What lies in a folder of PASCAL VOC, or of a tool that writes its layout: lists, images, and the classes."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.checks import few
from tag2mask.datasets.image_files import image_suffixes
from tag2mask.datasets.tag_table import is_background, read_classes, read_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""The 20 classes in the order of the labels 1..20."""

TRAINAUG = ("trainaug", "train_aug")
"""The two spellings of the list of 10,582 images: VOC's training images and those that SBD has masks of."""

ALL = "all"
"""In place of a list: every image of JPEGImages."""

_OF_ONE_CLASS = re.compile(r".+_(train|val|trainval|test)")
_NO_CLASS = "__ignore__"


def voc_splits(devkit: str | Path) -> tuple[str, ...]:
    """The lists of a folder of PASCAL VOC, sorted; `ALL` if it has none; nothing if it is no such folder.

    Args:
        devkit: as for `tag2mask.datasets.voc.open_voc`.
    """
    root = _find_root(Path(devkit))
    return () if root is None else tuple(_lists(root)) or (ALL,)


def root_of(devkit: Path) -> Path:
    """The folder that holds JPEGImages.

    Raises:
        ValueError: if there is none.
    """
    root = _find_root(devkit)
    if root is None:
        raise ValueError(
            f"{devkit}: expected the folder VOCdevkit or VOC2012 with JPEGImages in it, found none. "
            "Give the folder that the VOC archive unpacks to."
        )
    return root


def image_files(root: Path) -> dict[str, Path]:
    """The images of JPEGImages by their names; of two with one name, the JPEG.

    Args:
        root: of `root_of`.
    """
    suffixes = image_suffixes()
    files = [file for file in sorted((root / "JPEGImages").iterdir()) if file.suffix.lower() in suffixes]
    jpegs = [file for file in files if file.suffix == ".jpg"]
    return {file.stem: file for file in [*files, *jpegs] if not file.name.startswith(".") and file.is_file()}


def annotation_of(root: Path, name: str) -> Path:
    """Where the annotation of an image lies, if there is one."""
    return root / "Annotations" / f"{name}.xml"


def names_of_split(root: Path, split: str, files: Mapping[str, Path]) -> list[str]:
    """The images of a list, each once; they need not be there.

    Args:
        root: of `root_of`.
        split: its name, its path, or `ALL`.
        files: of `image_files`.

    Raises:
        ValueError: if there is no such list, or `ALL` is asked for and nothing is annotated.
    """
    if split == ALL and ALL not in _lists(root):
        if not any(annotation_of(root, name).is_file() for name in files):
            raise ValueError(
                f"{root}: expected lists of images in ImageSets/Segmentation (or ImageSets/Main), or an annotation of "
                f"each image in Annotations, found neither beside {len(files)} images of JPEGImages. Add one of them, "
                "or write tags.csv with the columns image,tags."
            )
        return sorted(files)
    lines = read_names(_list_file(root, split))
    return list(dict.fromkeys(_called(line, files) for line in lines))


def classes_of(root: Path, shown: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The classes: VOC's, if the annotations name no others; those of a list; or those that the annotations name.

    Args:
        root: of `root_of`.
        shown: image -> the names of its objects.

    Raises:
        ValueError: if there is a list of classes, and an annotation names another one.
    """
    first = {name: image for image, names in reversed(list(shown.items())) for name in names}
    names = {name for name in first if not is_background(name)}
    listed = _listed_classes(root)
    if listed is not None:
        file, classes = listed
        if unknown := sorted(names - set(classes)):
            raise ValueError(
                f"{annotation_of(root, first[unknown[0]])}: expected the classes of {file}, found {unknown[0]!r}. "
                "Correct the name, or add it to the list."
            )
        return classes
    if names <= set(VOC_CLASSES):
        return VOC_CLASSES
    own = sorted(names - set(VOC_CLASSES))
    logger.warning(
        "%s: %s: none of the 20 VOC classes, so the classes are the %d that the annotations name, sorted. "
        "For another order, write classes.txt.",
        root, few(own), len(names),
    )  # fmt: skip
    return tuple(sorted(names))


def _find_root(devkit: Path) -> Path | None:
    """The folder that holds JPEGImages: the newest year where there are several."""
    patterns = ("VOC[0-9]*", "VOCdevkit/VOC[0-9]*", "VOC[0-9]*/VOC[0-9]*")
    for folders in ([devkit], *(sorted(devkit.glob(pattern)) for pattern in patterns)):
        found = [folder for folder in folders if (folder / "JPEGImages").is_dir()]
        if found:
            return found[-1]
    return None


def _lists(root: Path) -> dict[str, Path]:
    """The lists by their names, those for segmentation first; Main has some of one class each, which are none."""
    for below in ("Segmentation", "Main", "."):
        files = sorted((root / "ImageSets" / below).glob("*.txt"))
        if below == "Main":
            files = [file for file in files if not _OF_ONE_CLASS.fullmatch(file.stem)]
        if files:
            return {file.stem: file for file in files}
    return {}


def _called(line: str, files: Mapping[str, Path]) -> str:
    """The name of the image that a line means; it may hold more, as ``name 1`` or the paths of image and mask do."""
    suffixes = image_suffixes()
    for word in (line, line.split(maxsplit=1)[0]):
        path = Path(word.replace("\\", "/"))
        name = path.stem if path.suffix.lower() in suffixes else path.name
        if name in files:
            break
    return name


def _list_file(root: Path, split: str) -> Path:
    """Where a list lies.

    Raises:
        ValueError: if it is not there.
    """
    if split.endswith(".txt"):
        return Path(split)
    lists = _lists(root)
    for name in (split, *(TRAINAUG if split in TRAINAUG else ())):
        if name in lists:
            return lists[name]
    folder = next(iter(lists.values())).parent if lists else root / "ImageSets" / "Segmentation"
    present = ", ".join(lists) or "no list"
    remedy = "Choose another split."
    if split in TRAINAUG:
        remedy = "VOC's archive does not hold this list: give the path of one, such as the authors' train_aug.txt."
    raise ValueError(f"{folder / split}.txt: expected a list of images, found {present} in {folder}. {remedy}")


def _listed_classes(root: Path) -> tuple[Path, tuple[str, ...]] | None:
    """The list of classes in the folder or the one above it."""
    for folder in (root, root.parent) if root.name.startswith("VOC") else (root,):
        if (file := folder / "classes.txt").is_file():
            return file, read_classes(file)
        if (file := folder / "class_names.txt").is_file():  # labelme's, which begins with what is no class.
            return file, tuple(name for name in read_names(file) if name != _NO_CLASS and not is_background(name))
    return None
