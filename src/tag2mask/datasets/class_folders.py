"""Images whose folder says what they show: a folder per class, the same below train/ and val/, and MVTec's layout."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tag2mask.checks import few
from tag2mask.datasets.tag_table import TagRow, is_background
from tag2mask.datasets.walking import files_below, folder_called

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What folders of splits are called, in lower case, and what is done with them; test is left alone."""

GOOD = frozenset({"good", "ok", "normal"})
"""The folder of images without a defect, in lower case, in sets for the inspection of products."""

GROUND_TRUTH = "ground_truth"
BEGIN = 65536
"""Bytes of two files that are compared before the whole files are."""


@dataclass(frozen=True, eq=False)
class ClassFolders:
    """Images in folders, and what these folders mean.

    Args:
        root: the folder that was given.
        top: what the paths of `paths` are below of.
        paths: name -> file.
        known: names that are classes, whatever they are; None if there is no list.
    """

    root: Path
    top: Path
    paths: Mapping[str, Path]
    known: Collection[str] | None = None

    @cached_property
    def above(self) -> tuple[str, ...]:
        """The one folder, if any, that holds all others: archives often unpack to one."""
        first = {call[0] for call in self.calls.values() if len(call) > 1}
        second = {call[1] for call in self.calls.values() if len(call) > 2}
        return tuple(first) if len(first) == 1 and any(self._split(name) for name in second) else ()

    @cached_property
    def calls(self) -> dict[str, tuple[str, ...]]:
        """The path of each image below the top, in parts."""
        above = len(self.top.parts)
        return {name: path.parts[above:] for name, path in self.paths.items()}

    def call(self, name: str) -> str:
        """The path of an image below the top, as text."""
        return "/".join(self.calls[name])

    @cached_property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The folders of each image, the outermost first, without the one above all others."""
        skipped = len(self.above)
        return {name: call[skipped:-1] for name, call in self.calls.items()}

    @cached_property
    def folders(self) -> dict[str, set[str]]:
        """The outermost folders, and the folders in each of them."""
        inner: dict[str, set[str]] = defaultdict(set)
        for parts in self.parts.values():
            if parts:
                inner[parts[0]].update(parts[1:2])
        return dict(inner)

    @cached_property
    def is_inspection(self) -> bool:
        """Whether the folders are MVTec's: only good images in train/, good ones and defects in test/."""
        train, test = (self._inner(split) for split in ("train", "test"))
        return bool(train) and {name.casefold() for name in train} <= GOOD and bool(test - train)

    @cached_property
    def is_split(self) -> bool:
        """Whether all folders are those of splits."""
        return bool(self.folders) and all(map(self._split, self.folders)) and not self.is_inspection

    def rows(self) -> list[TagRow]:
        """What the folders say of each image.

        Raises:
            ValueError: if a folder of a split lies beside folders of classes, or holds none.
        """
        self._check()
        depth = 1 if self.is_split or self.is_inspection else 0
        rows = []
        for name, parts in self.parts.items():
            if len(parts) > depth and not (self.is_split and self.split_of(name) == "test"):
                folder = parts[depth]
                nothing = is_background(folder) or (self.is_inspection and folder.casefold() in GOOD)
                rows.append(TagRow(self.call(name), () if nothing else (folder,), f"folder {folder}"))
        self._check_training()
        self.tell_left_alone()
        self._tell_contradictions(rows)
        return rows

    def names_of(self, split: str) -> list[str] | None:
        """The images of a split, ``train`` or ``val``; None if the folders do not say."""
        if not self.is_split:
            return None
        names = [name for name in self.paths if self.split_of(name) == split]
        return names if split == "train" or names else None

    def split_of(self, name: str) -> str:
        """``train``, ``val`` or ``test``; empty for an image that lies in no folder of a split."""
        return self._split(self.parts[name][0]) if self.parts[name] else ""

    def ground_truth(self) -> dict[str, tuple[Path, ...]]:
        """The mask files in MVTec's ``ground_truth``, of each image that has any."""
        if not self.is_inspection:
            return {}
        top = folder_called(self.top.joinpath(*self.above), GROUND_TRUTH)
        if top is None:
            return {}
        masks: dict[tuple[str, ...], list[Path]] = defaultdict(list)
        for file in files_below(top, {".png", ".bmp", ".tif", ".tiff"}):
            below = file.relative_to(top)
            masks[*below.parts[:-1], below.stem.removesuffix("_mask")].append(file)
            if len(below.parts) > 2:  # Some sets have a folder of masks for each image.
                masks[below.parts[:-1]].append(file)
        wanted = {name: (*parts[1:], self.paths[name].stem) for name, parts in self.parts.items() if parts[1:]}
        test = {name: key for name, key in wanted.items() if self.split_of(name) == "test"}
        return {name: tuple(masks[key]) for name, key in test.items() if key in masks}

    def _split(self, folder: str) -> str:
        """The split that a folder is of; empty if it is of none, or a class."""
        return SPLITS.get(folder.casefold(), "") if folder not in (self.known or ()) else ""

    def _inner(self, split: str) -> set[str]:
        return {name for folder, inner in self.folders.items() if self._split(folder) == split for name in inner}

    def _check(self) -> None:
        splits = sorted(filter(self._split, self.folders))
        others = sorted(set(self.folders) - set(splits))
        if splits and others:
            raise ValueError(
                f"{self.top}: expected a folder per class, or folders of splits with these in them, found both: "
                f"{few(splits)} beside {few(others)}. Put the classes into train/ and val/, or, if "
                f"{splits[0]} is a class, write the classes into classes.txt."
            )
        if splits and not any(self.folders.values()):
            raise ValueError(
                f"{self.top}: expected a folder per class in {few(splits)}, found images right in them. "
                "Sort them into folders of classes, or write tags.csv with the columns image,tags."
            )
        both = {"train", "test"}
        several = sorted(name for name, inner in self.folders.items() if both <= {self._split(one) for one in inner})
        if several and all(len(parts) <= len(both) for parts in self.parts.values()):
            raise ValueError(
                f"{self.top}: expected folders of classes in train/ and test/, found train/ and test/ in those of "
                f"classes: {few(several)}. Turn them round: train/{several[0]}/."
            )
        if several:
            raise ValueError(
                f"{self.root}: expected one set of images, found {len(several)}, each with train/ and test/: "
                f"{few(several)}. Give one of them, such as {self.top / several[0]}."
            )

    def _check_training(self) -> None:
        """Require training images, and of every held-out image a class that training knows."""
        if not self.is_split:
            return
        train, val = self._inner("train"), self._inner("val")
        if not train:
            raise ValueError(
                f"{self.top}: expected a folder train with a folder per class in it, found "
                f"{few(sorted(self.folders))}. Call the folder of the training images train."
            )
        if val - train and self.known is None:
            raise ValueError(
                f"{self.top}: expected in the folder of held-out images the classes of train ({few(sorted(train))}), "
                f"found {few(sorted(val - train))}, too. Call the folders alike."
            )

    def tell_left_alone(self) -> None:
        """Log how many images of test/ take no part."""
        if self.is_split and (count := sum(self.split_of(name) == "test" for name in self.paths)):
            logger.warning(
                "%s: left alone: %d images of the folder of test images. "
                "To learn from them, put them into the folder of training images.",
                self.top, count,
            )  # fmt: skip

    def _tell_contradictions(self, rows: Sequence[TagRow]) -> None:
        several = _contradicting(self.top, rows)
        if several:
            logger.warning(
                "%s: %d images lie in folders of different classes with the same bytes, so their tags contradict each "
                "other: %s. Write tags.csv with all tags of each, or remove the copies.",
                self.top, len(several), few([" = ".join(calls) for calls in several]),
            )  # fmt: skip


def _contradicting(top: Path, rows: Sequence[TagRow]) -> list[tuple[str, ...]]:
    """The images that have equal bytes and different tags, together with each other."""

    def size(row: TagRow) -> int:
        return (top / row.image).stat().st_size

    def begin(row: TagRow) -> bytes:
        with (top / row.image).open("rb") as file:
            return hashlib.blake2b(file.read(BEGIN)).digest()

    def digest(row: TagRow) -> bytes:
        with (top / row.image).open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()

    groups = [list(rows)]
    for sign in (size, begin, digest):  # Whole files are read only where size and begin are equal.
        alike: dict[tuple[int, int | bytes], list[TagRow]] = defaultdict(list)
        for number, group in enumerate(groups):
            for row in group:
                alike[number, sign(row)].append(row)
        groups = [group for group in alike.values() if len({row.tags for row in group}) > 1]
    return [tuple(row.image for row in group) for group in groups]
