"""Where a run's images are: found by their layout, and noted in ``run.json``, so that a later command finds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tag2mask.datasets.class_problems import problems_of_tags
from tag2mask.datasets.coco_folder import coco_splits, open_coco_folder
from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.pixel_checks import pixel_problems
from tag2mask.datasets.problem import Problem
from tag2mask.datasets.problems import find_problems
from tag2mask.datasets.raw_files import require_channels
from tag2mask.datasets.tag_source import has_own_table
from tag2mask.datasets.voc import open_voc
from tag2mask.datasets.voc_folder import voc_splits
from tag2mask.datasets.walking import entered
from tag2mask.sources import Source, TagReading, read_channels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.datasets.files import FileDataset

NO_SPLIT = "none"
"""As held-out images: nothing is held out."""

LOOKED_AT = 5
"""So many images are looked at for their number of channels."""

_AS_USUAL = TagReading()


def find_source(
    path: str | Path,
    *,
    split: str | None = None,
    val_split: str | None = None,
    tags_file: str | Path | None = None,
    val_fraction: float = 0.0,
    seed: int = 0,
    reading: TagReading = _AS_USUAL,
    channels: str = "",
) -> Source:
    """Recognise what lies in a folder, and say how to open it.

    A folder with a table called tags is one for `open_folder`; one with ``JPEGImages`` is PASCAL VOC; one with
    ``annotations/instances_*.json``, Roboflow's ``_annotations.coco.json`` or a single file of COCO's form is COCO;
    any other is one for `open_folder`, which knows class folders, MVTec's layout, and labelImg, LabelMe and YOLO.

    Args:
        path: the folder.
        split: of VOC or COCO, the training images; without it ``trainaug`` if there is such a list, else ``train``;
            of COCO the only one that is called train.
        val_split: of VOC or COCO, the held-out images; without it ``val``, if there is one; ``none`` for none.
        tags_file: of VOC, the authors' file of tags; without it the annotations say what is in an image.
        val_fraction: of any other folder, see `open_folder`.
        seed: likewise.
        reading: likewise.
        channels: which channels of the images become red, green and blue, as ``3,2,1``; empty: their own colours.

    Returns:
        What `open_source` takes; paths are absolute.

    Raises:
        ValueError: if an option does not go with the folder, or a split has to be chosen.
    """
    path = Path(path)
    kind, splits = _layout(path)
    if kind == "folder" and (inner := entered(path)) != path:
        path, (kind, splits) = inner, _layout(inner)
    check_options(path, kind, split=split, val_split=val_split, tags_file=tags_file, val_fraction=val_fraction)
    if kind != "folder" and reading != _AS_USUAL:
        raise ValueError(
            f"{path}: expected a table of tags for the options of its columns and words, found PASCAL VOC or COCO. "
            "Leave them out."
        )
    place = str(Path(path).resolve())
    if kind == "folder":
        return Source(kind, place, val_fraction, seed, reading=reading, channels=read_channels(channels))
    train = split or _training_split(path, kind, splits)
    held_out = _held_out_split(train, val_split, splits)
    tags = None if tags_file is None else str(Path(tags_file).resolve())
    chosen = read_channels(channels)
    return Source(kind, place, split=_absolute(train), val_split=held_out, tags_file=tags, channels=chosen)


def open_source(source: Source, *, strict: bool = False) -> FileDataset:
    """Open what a run notes as its source.

    Args:
        source: of `find_source`.
        strict: an image that has to be left out is an error.

    Raises:
        ValueError: if the folder holds no such data set, or images with more than four channels of which none are
            chosen.
    """
    data = _open(source, strict=strict)
    require_channels([data.paths[name] for name in data.names[:LOOKED_AT]], source.channels)
    return replace(data, channels=source.channels, source=source)


def _open(source: Source, *, strict: bool) -> FileDataset:
    path, split = Path(source.path), source.split or ""
    if source.kind == "voc":
        return open_voc(path, split, val_split=source.val_split, tags_file=source.tags_file, strict=strict)
    if source.kind == "coco":
        return open_coco_folder(path, split, val_split=source.val_split, strict=strict)
    if source.kind == "folder":
        return open_folder(
            entered(path), val_fraction=source.val_fraction, seed=source.seed, strict=strict, reading=source.reading
        )
    raise ValueError(
        f"{path}: expected a folder, voc or coco as the kind of source, found {source.kind!r}. Update tag2mask."
    )


def check_source(
    source: Source, on_progress: Callable[[int, int], None] | None = None, *, masks: bool = True
) -> Sequence[Problem]:
    """List everything that is wrong with a source; decodes every image and mask.

    Args:
        source: of `find_source`.
        on_progress: called after each image with the count so far and the count in all.
        masks: read the masks, too; `tag2mask.datasets.first_look` has read them already.

    Returns:
        The problems, none for a good one. Never raises: what cannot be read is a problem, too.
    """
    if source.kind == "folder":
        return find_problems(source.path, on_progress, source.reading, masks=masks, channels=source.channels)
    problems = []
    try:
        data = open_source(source, strict=True)
    except ValueError as error:
        problems.append(_problem("unusable data set", source.path, error))
        try:
            data = open_source(source)
        except ValueError:
            return problems
        problems[0] = _problem("incomplete data set", source.path, error)
    problems += problems_of_tags(data) + _unreadable(data, on_progress, masks=masks)
    return problems + pixel_problems(data.paths, source.channels)


def _layout(path: Path) -> tuple[str, tuple[str, ...]]:
    """The kind of a folder, and its splits."""
    if not has_own_table(path):
        if splits := voc_splits(path):
            return "voc", splits
        if splits := coco_splits(path):
            return "coco", splits
    return "folder", ()


def check_options(path: str | Path, kind: str, **options: Any) -> None:
    """Require that what was asked for goes with the kind of folder."""
    fitting = {"folder": ("val_fraction",), "voc": ("split", "val_split", "tags_file"), "coco": ("split", "val_split")}
    stray = [name for name, value in options.items() if value and name not in fitting[kind]]
    if stray:
        words = {"folder": "a folder of images and tags", "voc": "PASCAL VOC", "coco": "COCO"}[kind]
        known = ", ".join(fitting[kind])
        raise ValueError(f"{path}: expected of {words} no option but {known}, got {', '.join(stray)}. Leave it out.")


def _training_split(path: str | Path, kind: str, splits: Sequence[str]) -> str:
    """The split to train on where none is named."""
    wanted = (
        ("trainaug", "train_aug", "train") if kind == "voc" else [s for s in splits if s.casefold().startswith("train")]
    )
    found = [name for name in wanted if name in splits] or list(splits)
    if kind == "coco" and len(found) > 1:
        raise ValueError(f"{path}: expected one training split, found {', '.join(found)}. Choose one with --split.")
    return found[0]


def _held_out_split(train: str, wanted: str | None, splits: Sequence[str]) -> str | None:
    """The split to hold out: the one asked for, or the one that goes with the training images."""
    if wanted is not None:
        return None if wanted == NO_SPLIT else _absolute(wanted)
    year = train.removeprefix("train") if train in splits and train.startswith("train") else ""
    fitting = [name for name in (f"val{year}", "val", "valid", "validation") if name in splits]
    # VOC's list trainval has the images of val in it.
    return fitting[0] if fitting and Path(train).stem not in ("trainval", *fitting) else None


def _absolute(split: str) -> str:
    """The name of a list, or the whole path of one that lies elsewhere."""
    return str(Path(split).resolve()) if split.endswith(".txt") else split


def _unreadable(data: TagDataset, on_progress: Callable[[int, int], None] | None, *, masks: bool) -> list[Problem]:
    """The images and masks that cannot be decoded."""
    problems = []
    names = (*data.names, *data.val_names)
    readers = (("broken image", data.__getitem__), ("unusable mask", data.mask))
    for done, name in enumerate(names, start=1):
        for kind, read in readers if masks else readers[:1]:
            try:
                read(name)
            except ValueError as error:
                problems.append(_problem(kind, name, error))
        if on_progress is not None:
            on_progress(done, len(names))
    return problems


def _problem(kind: str, subject: str, error: ValueError) -> Problem:
    """A message "place: what. Remedy." as a row of a table."""
    what, _, remedy = str(error).removeprefix(f"{subject}: ").partition(". ")
    return Problem(kind, subject, what, remedy or "Correct it, or copy it again.")
