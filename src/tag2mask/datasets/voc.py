"""open_voc: the folders of PASCAL VOC, with tags from the XML annotations or from the authors' file of tags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.datasets.files import FileDataset, MaskFiles, broken_headers, leave_out
from tag2mask.datasets.tag_pickle import read_pickled_tags
from tag2mask.datasets.voc_folder import (
    TRAINAUG,
    VOC_CLASSES,
    annotation_of,
    classes_of,
    image_files,
    names_of_split,
    root_of,
)
from tag2mask.datasets.xml_tags import names_in_xml
from tag2mask.sources import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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

    Where all annotations keep to the 20 classes, these are the classes, in VOC's order. Otherwise they are those of
    ``classes.txt`` (or labelme's ``class_names.txt``) in the folder; without it, the names in the annotations, sorted.

    Args:
        devkit: the folder VOCdevkit, VOC2012 within it (or another year), or the one that holds VOCdevkit.
        split: the training images: ``train`` (1,464), ``trainaug`` (10,582, masks of SBD), or any other list
            ``ImageSets/Segmentation/<split>.txt`` (or ``ImageSets/Main/<split>.txt``, where the former has none); or
            the path of a list elsewhere, which ends in ``.txt``. A line holds the name of an image, or its path, and
            after it perhaps the path of its mask. ``all``: every image of ``JPEGImages``.
        val_split: held-out images, another such list, as ``val`` (1,449).
        tags_file: tags instead of those in ``Annotations``: the AffinityNet authors' ``cls_labels.npy``. It
            is read without unpickling.
        strict: raise instead of leaving anything out.

    Raises:
        ValueError: if the folders or a list are missing, an annotation is broken or names no class of the list, the
            file of tags is anything else, or an image is in both lists.
    """
    root = root_of(Path(devkit))
    files = image_files(root)
    train, val = _read_splits(root, split, val_split, files)
    every = [*train, *val]
    missing = {name for name in every if name not in files}
    broken = broken_headers(files, [name for name in every if name not in missing])
    class_names, tag_ids = _tags_of_annotations(root, every) if tags_file is None else _tags_of_file(Path(tags_file))
    untagged = [name for name in train if name not in tag_ids]
    left_out = {"images are missing": sorted(missing), "images are broken": sorted(broken)}
    leave_out(root, left_out | {"training images have no tags": untagged}, strict=strict)
    gone = missing | broken
    names = tuple(name for name in train if name in tag_ids and name not in gone)
    val_names = tuple(name for name in val if name not in gone)
    if not names:
        raise ValueError(
            f"{root}: expected images of the list {split} with tags, found none of {len(train)}: {len(missing)} are "
            f"not in JPEGImages with any suffix of an image, {len(untagged)} have no tags in Annotations. "
            "Unpack the whole archive, or give the tags of these images."
        )
    kept = (*names, *val_names)
    masks = _masks(root, split, names) | (_masks(root, val_split, val_names) if val_split is not None else {})
    return FileDataset(
        class_names,
        names,
        val_names,
        {name: files[name] for name in kept},
        {name: tag_ids[name] for name in kept if name in tag_ids},
        MaskFiles(masks, len(class_names)),
        tags_from=f"{'Annotations' if tags_file is None else Path(tags_file).name} of PASCAL VOC, list {split}"
        + f", held out {val_split}" * bool(val_split),
        source=_source(devkit, split, val_split, tags_file),
    )


def _source(devkit: str | Path, split: str, val_split: str | None, tags_file: str | Path | None) -> Source:
    """What a run notes: places are absolute."""

    def place(of_list: str) -> str:
        return str(Path(of_list).resolve()) if of_list.endswith(".txt") else of_list

    held_out = None if val_split is None else place(val_split)
    tags = None if tags_file is None else str(Path(tags_file).resolve())
    return Source("voc", str(Path(devkit).resolve()), split=place(split), val_split=held_out, tags_file=tags)


def _read_splits(
    root: Path, split: str, val_split: str | None, files: Mapping[str, Path]
) -> tuple[list[str], list[str]]:
    """The names of both lists, which share none."""
    train = names_of_split(root, split, files)
    val = names_of_split(root, val_split, files) if val_split is not None else []
    if twice := len(train) + len(val) - len({*train, *val}):
        raise ValueError(
            f"{root}: expected {split} and {val_split} to share no image, found {twice} in both. Choose other lists."
        )
    return train, val


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


def _tags_of_file(path: Path) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """VOC's classes, and the tags of a file of tags by the names of the images."""
    # A later file of the same authors calls 2007_000027 by the number 2007000027.
    found = read_pickled_tags(path, len(VOC_CLASSES)).items()
    return VOC_CLASSES, {
        image if isinstance(image, str) else f"{image // 10**6}_{image % 10**6:06d}": ids for image, ids in found
    }


def _tags_of_annotations(root: Path, names: Sequence[str]) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """The classes, and the tags of every image with an annotation."""
    annotations = {name: annotation_of(root, name) for name in names}
    shown = {name: names_in_xml(path) for name, path in annotations.items() if path.is_file()}
    class_names = classes_of(root, shown)
    ids = {name: class_id for class_id, name in enumerate(class_names)}
    return class_names, {
        name: tuple(sorted(ids[one] for one in objects if one in ids)) for name, objects in shown.items()
    }
