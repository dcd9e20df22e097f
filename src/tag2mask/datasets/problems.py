"""find_problems: everything that is wrong with a folder of images and tags, at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tag2mask.datasets.class_problems import class_problems
from tag2mask.datasets.folder import unknown_tag
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
from tag2mask.datasets.image_files import UnusableImageError
from tag2mask.datasets.images import image_size, read_image, read_mask
from tag2mask.datasets.pixel_checks import pixel_problems
from tag2mask.datasets.problem import Problem, Severity
from tag2mask.labels import IGNORE
from tag2mask.sources import TagReading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

_AS_USUAL = TagReading()

Result = TypeVar("Result")


def find_problems(
    path: str | Path,
    on_progress: Callable[[int, int], None] | None = None,
    reading: TagReading = _AS_USUAL,
    *,
    masks: bool = True,
    channels: Sequence[int] = (),
) -> list[Problem]:
    """List everything that is wrong with a folder of images and tags; decodes every image and mask.

    Looks for: missing and broken images, rows that name no image, images without a row, duplicate
    rows, unknown tags, class names that differ only by case, rare classes, classes on every image,
    masks that are broken, of the wrong size, with unknown labels or without an image, and lists of
    images that contradict each other.

    Args:
        path: the folder, as for `tag2mask.datasets.folder.open_folder`.
        on_progress: called after each image with the count so far and the count in all.
        reading: how a table of tags is read.
        masks: read every mask; otherwise only their names are looked at.
        channels: numbers of the channels of the images that are used; none: their own colours.

    Returns:
        The problems, none for a good folder. Never raises: what cannot be read is a problem, too.
    """
    notes = _Notes()
    root = Path(path)
    images = notes.attempt("unusable folder", root, partial(list_images, root))
    if images is None:
        return notes.problems
    known = notes.attempt("unusable classes.txt", root / "classes.txt", partial(list_classes, root))
    rows = notes.attempt("unusable tags", root, partial(list_rows, images, known, reading))
    resting = _check_lists(notes, images)
    class_names: Sequence[str] | None = known
    if rows is not None:
        matched = match_rows(images, rows)
        class_names = known if known is not None else matched.tags()
        _check_rows(notes, matched, class_names, resting)
        _check_classes(notes, matched, class_names, resting)
    tagged = {name for name, of_name in matched.rows.items() if of_name[0].tags} if rows is not None else set()
    _check_images(notes, images, on_progress, channels)
    files = _check_mask_names(notes, images)
    if masks:
        _check_masks(notes, images, files, len(class_names) if class_names else None, tagged)
    return notes.problems


@dataclass(frozen=True, slots=True)
class _Notes:
    """The problems found so far."""

    problems: list[Problem] = field(default_factory=list)

    def add(self, kind: str, subject: object, message: str, remedy: str, severity: Severity = "error") -> None:
        self.problems.append(Problem(kind, str(subject), message, remedy, severity))

    def attempt(self, kind: str, subject: object, read: Callable[[], Result]) -> Result | None:
        """What `read` returns, or None and a note of why it cannot."""
        try:
            return read()
        except (ValueError, OSError) as error:
            # Messages are "place: what. Remedy."; the table has a column for each.
            what, _, remedy = str(error).removeprefix(f"{subject}: ").partition(". ")
            kind = "unusable image" if isinstance(error, UnusableImageError) else kind
            self.add(kind, subject, what, remedy or "Correct the file, or remove it.")
            return None


def _check_lists(notes: _Notes, images: FolderImages) -> frozenset[str]:
    """Check train.txt and val.txt; returns the images that take no part in training."""
    listed: dict[str, list[str]] = {"train": list(images.paths)}
    for split in ("train", "val"):
        file = f"{split}.txt"
        found = notes.attempt("unusable list", images.root / file, partial(list_split, images, split))
        if found is None:
            continue
        listed[split] = found[0]
        for line in found[1]:
            notes.add(
                "missing image",
                line,
                f"{file} lists it, but {images.calls.why_not(line)}",
                f"Add the image, or remove the line from {file}.",
            )
    held = frozenset(listed.get("val", ()))
    if (images.root / "train.txt").exists():
        for name in listed["train"]:
            if name in held:
                remedy = "Remove it from one of them."
                notes.add("image in both lists", name, "train.txt and val.txt list it", remedy)
    return held | (frozenset(images.paths) - frozenset(listed["train"]))


def _check_rows(notes: _Notes, matched: MatchedRows, class_names: Collection[str], resting: Collection[str]) -> None:
    for row, reason in zip(matched.stray, matched.reasons, strict=True):
        notes.add(
            "missing image",
            row.image or "(empty)",
            f"{row.place}: {reason}",
            "Add the image, correct its name, or remove the row.",
        )
    for name in matched.untagged:
        if name not in resting:
            notes.add(
                "image without tags",
                name,
                "no row names it, so it takes no part",
                "Add a row; leave its tags empty for pure background.",
                "warning",
            )
    contradictions = matched.contradictions()
    for name, rows in matched.rows.items():
        if len(rows) > 1:
            differ = name in contradictions
            notes.add(
                "duplicate row",
                name,
                f"{', '.join(row.place for row in rows)}: {'different' if differ else 'the same'} tags",
                "Put all its tags into one row." if differ else "Remove one.",
                "error" if differ else "warning",
            )
    _check_tags(notes, matched, class_names)


def _check_tags(notes: _Notes, matched: MatchedRows, class_names: Collection[str]) -> None:
    known = set(class_names)
    unknown: dict[str, list[str]] = {}
    for rows in matched.rows.values():
        for row in rows:
            for tag in row.tags:
                if tag not in known:
                    unknown.setdefault(tag, []).append(row.place)
    for tag, places in unknown.items():
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        what, _, remedy = unknown_tag(places[0] + more, tag, class_names).partition(" Correct")
        notes.add("unknown tag", tag, what, f"Correct{remedy}")


def _check_classes(notes: _Notes, matched: MatchedRows, class_names: Sequence[str], resting: Collection[str]) -> None:
    training = [rows[0].tags for name, rows in matched.rows.items() if name not in resting]
    if not training:
        notes.add("nothing to train on", "tags", "no image outside val.txt has a row of tags", "Add rows.")
    notes.problems.extend(class_problems(class_names, training))


def _check_images(
    notes: _Notes, images: FolderImages, on_progress: Callable[[int, int], None] | None, channels: Sequence[int]
) -> None:
    for done, path in enumerate(images.paths.values(), start=1):
        notes.attempt("broken image", path, partial(read_image, path, channels))
        if on_progress is not None:
            on_progress(done, len(images.paths))
    notes.problems.extend(pixel_problems(images.paths, channels))


def _check_mask_names(notes: _Notes, images: FolderImages) -> Mapping[str, Path]:
    """The mask file of each image that has one; those of no image are told."""
    found = notes.attempt("unusable masks", images.root / "masks", partial(list_masks, images))
    masks, stray = found or ({}, [])
    for file in stray:
        notes.add(
            "mask without image", file, "no image, or more than one, has its name",
            "Name it like its image, with the suffix .png, or remove it.", "warning",
        )  # fmt: skip
    return masks


def _check_masks(
    notes: _Notes, images: FolderImages, masks: Mapping[str, Path], num_classes: int | None, tagged: Collection[str]
) -> None:
    """Check every mask; without a number of classes, its labels are left alone."""
    broken = {problem.subject for problem in notes.problems if problem.kind in ("broken image", "unusable image")}
    for name, file in masks.items():
        most = num_classes if num_classes is not None else 2**31
        labels = notes.attempt("unusable mask", file, partial(read_mask, file, most))
        if labels is None or str(images.paths[name]) in broken:
            continue
        size, expected = tuple(labels.shape), image_size(images.paths[name])
        if size != expected:
            notes.add(
                "mask of wrong size", file, f"expected {expected} (height, width) as its image, found {size}",
                "Export the mask at the size of its image.",
            )  # fmt: skip
        shown = set(np.unique(labels.numpy()).tolist())
        if name in tagged and IGNORE in shown and not shown - {0, IGNORE}:
            notes.add(
                "mask without objects", file, f"the image has tags, its mask only labels 0 and {IGNORE}",
                "If it is a black and white mask, write the class's label instead of white.", "warning",
            )  # fmt: skip
