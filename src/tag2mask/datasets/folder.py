"""open_folder: a folder of photographs and their tags."""

from __future__ import annotations

import difflib
import hashlib
import logging
from typing import TYPE_CHECKING

from tag2mask.datasets.class_colours import read_colours
from tag2mask.datasets.files import FileDataset, MaskFiles, broken_headers, leave_out
from tag2mask.datasets.folder_listing import (
    FolderImages,
    MatchedRows,
    list_classes,
    list_images,
    list_masks,
    list_rows,
    list_split,
    match_rows,
)
from tag2mask.datasets.masks_beside import object_masks
from tag2mask.sources import Source, TagReading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from tag2mask.datasets.files import Masks

logger = logging.getLogger(__name__)

_AS_USUAL = TagReading()


def open_folder(
    path: str | Path,
    *,
    val_fraction: float = 0.0,
    seed: int = 0,
    strict: bool = False,
    reading: TagReading = _AS_USUAL,
    channels: tuple[int, ...] = (),
) -> FileDataset:
    """Open a folder of photographs with image-level tags.

    The folder holds ``images/`` (photographs at any depth below it) and one of: ``tags.csv`` with the
    columns ``image,tags``; ``tags.json`` with ``{"image": ["tag", ...]}``; or one sub-folder per class
    (images in the sub-folder ``background`` have no tags). An empty tag cell means pure background.
    It may hold ``classes.txt`` (the classes in order; without it they are sorted by name), ``masks/``
    (labels or colours as PNG or TIFF, for scoring only), and ``train.txt`` and ``val.txt`` (lists of images).
    With train.txt alone nothing is held out; with val.txt alone the rest is for training.

    Images without a row, rows without an image, and files that are no images are left out and logged.
    An image with two rows keeps its tags if both say the same, and is an error otherwise.

    Args:
        path: the folder.
        val_fraction: share of the tagged images to hold out, in [0, 1), where there is neither
            train.txt nor val.txt. A hash of the name decides, so that new images hardly move others.
        seed: another seed holds out other images.
        strict: raise instead of leaving anything out.
        reading: which columns of a table count, and which of its words mean no tag.
        channels: numbers of the channels that become red, green and blue, or of the one that becomes grey; none: the
            images' own colours.

    Raises:
        ValueError: if the folder, its images or its tags are missing, a tag is not in classes.txt,
            or two rows or two lists contradict each other.
    """
    _check_fraction(val_fraction)
    images = list_images(path)
    known = list_classes(images.root)
    matched = match_rows(images, list_rows(images, known, reading))
    class_names = matched.tags() if known is None else known
    tag_ids = _tag_ids(images, matched, class_names)
    train, val, unknown_lines = _split(images, tag_ids, val_fraction, seed)
    broken = broken_headers(images.paths, [*train, *val])
    left_out = {
        "images have no tags": [name for name in train if name not in tag_ids],
        "rows name no image": _stray(images, matched),
        "lines of train.txt and val.txt name no image": unknown_lines,
        "images are broken": sorted(broken),
    }
    leave_out(images.root, left_out, strict=strict)
    names = tuple(name for name in train if name in tag_ids and name not in broken)
    _check_names(images, names)
    val_names = tuple(name for name in val if name not in broken)
    kept = [*names, *val_names]
    return FileDataset(
        class_names,
        names,
        val_names,
        {name: images.paths[name] for name in kept},
        {name: tag_ids[name] for name in kept if name in tag_ids},
        _masks(images, kept, tag_ids, len(class_names)),
        Source("folder", str(images.root.resolve()), val_fraction, seed, reading=reading, channels=channels),
        channels,
        matched.told_by,
    )


def held_out(names: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
    """Choose a share of the names: those with the smallest hashes.

    Args:
        names: each once.
        fraction: in [0, 1). If above 0, at least one of two or more names is chosen, and one is left.
        seed: another seed chooses others.

    Example:
        >>> len(held_out(["a", "b", "c", "d"], 0.25, seed=0))
        1
    """

    def draw(name: str) -> bytes:
        return hashlib.blake2b(f"{seed}:{name}".encode(errors="surrogateescape"), digest_size=8).digest()

    ordered = sorted(names, key=draw)
    count = min(max(round(fraction * len(ordered)), 1 if fraction > 0 else 0), max(len(ordered) - 1, 0))
    return frozenset(ordered[:count])


def unknown_tag(place: str, tag: str, class_names: Collection[str]) -> str:
    """Word the error of a tag that is no class."""
    near = difflib.get_close_matches(tag, class_names, n=1) or [
        name for name in class_names if name.casefold() == tag.casefold()
    ]
    hint = f" Is it {near[0]!r}?" if near else " Write numbers of classes as a list: [0, 2]." * tag.isdecimal()
    few = ", ".join(list(class_names)[:5]) + (", ..." if len(class_names) > 5 else "")
    return (
        f"{place}: expected a class of classes.txt ({few}), found {tag!r}.{hint} "
        "Correct the tag, or add it to classes.txt."
    )


def _check_fraction(val_fraction: float) -> None:
    if not 0.0 <= val_fraction < 1.0:
        raise ValueError(f"val_fraction: expected a share in [0, 1), got {val_fraction:g}.")


def _check_names(images: FolderImages, names: Collection[str]) -> None:
    if not names:
        raise ValueError(
            f"{images.root}: expected at least one whole image with a row of tags to train on, found none "
            f"among {len(images.paths)} images. Run `tag2mask check {images.root}`."
        )


def _stray(images: FolderImages, matched: MatchedRows) -> list[str]:
    return [f"{row.image} ({row.place}: {images.calls.why_not(row.image)})" for row in matched.stray]


def _masks(images: FolderImages, kept: Iterable[str], tag_ids: Mapping[str, Sequence[int]], num_classes: int) -> Masks:
    """The true masks of some images: those of labels, and of others those that show one object."""
    paths = {name: images.paths[name] for name in kept}
    masks, _ = list_masks(images)
    labelled = {name: masks[name] for name in paths if name in masks}
    colours = read_colours(images.root / "classes.txt")
    return object_masks(paths, images.object_masks, tag_ids, MaskFiles(labelled, num_classes, colours))


def _tag_ids(images: FolderImages, matched: MatchedRows, class_names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The class ids of every image with a row, sorted by name."""
    if not class_names:
        raise ValueError(
            f"{images.root}: expected at least one class, found no tag on any of {len(images.paths)} images. "
            "Fill the column tags, or list the classes in classes.txt."
        )
    for name, rows in matched.contradictions().items():
        said = " but ".join(f"{' '.join(row.tags) or 'nothing'} ({row.place})" for row in rows)
        raise ValueError(f"{images.root}: expected one row for {name}, found {said}. Put all its tags into one row.")
    ids = {name: class_id for class_id, name in enumerate(class_names)}
    tag_ids = {}
    for name in sorted(matched.rows):
        row = matched.rows[name][0]
        for tag in row.tags:
            if tag not in ids:
                raise ValueError(unknown_tag(f"{images.root}, {row.place}", tag, class_names))
        tag_ids[name] = tuple(sorted(ids[tag] for tag in row.tags))
    return tag_ids


def _split(
    images: FolderImages, tagged: Collection[str], val_fraction: float, seed: int
) -> tuple[list[str], list[str], list[str]]:
    """Training images (some perhaps without tags), held-out images, and listed lines without an image."""
    listed_train, listed_val = list_split(images, "train"), list_split(images, "val")
    if listed_val is None and not (images.root / "train.txt").exists():
        # Folders may say which images are left alone, and nothing of held-out ones.
        every = listed_train[0] if listed_train is not None else list(images.paths)
        chosen = held_out([name for name in every if name in tagged], val_fraction, seed)
        return [n for n in every if n not in chosen], [n for n in every if n in chosen], []
    val, no_val = listed_val or ([], [])
    held = set(val)
    train, no_train = listed_train or ([name for name in images.paths if name not in held], [])
    both = [name for name in train if name in held]
    if both:
        raise ValueError(
            f"{images.root}: expected each image in train.txt or in val.txt, found {len(both)} in both "
            f"({', '.join(both[:5])}). Remove them from one."
        )
    return train, val, [*no_train, *no_val]
