"""FileDataset: images that lie in files, with their tags and masks; what every source returns."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

import torch

from tag2mask.datasets.image_files import UnusableImageError
from tag2mask.datasets.images import image_size, read_image, read_shrunk
from tag2mask.datasets.mask_files import read_mask
from tag2mask.labels import BACKGROUND, IGNORE
from tag2mask.records import TaggedImage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from tag2mask.sources import Source

logger = logging.getLogger(__name__)


class Masks(Protocol):
    """Ground-truth masks by image name, read when asked for."""

    @property
    def names(self) -> Collection[str]:
        """The images that have a mask."""
        ...

    def read(self, name: str) -> Tensor:
        """(H, W) int64 labels 0, 1..C, IGNORE of one of `names`."""
        ...


@dataclass(frozen=True, eq=False)
class MaskFiles:
    """Masks that lie in files of labels or colours.

    With one class, masks that hold nothing but 0 and 255 are black and white ones: white is the class then.

    Args:
        paths: the mask file of each image that has one.
        num_classes: C.
        colours: the label of each colour (red, green, blue); None: there is no table of colours.
    """

    paths: Mapping[str, Path]
    num_classes: int
    colours: Mapping[tuple[int, int, int], int] | None = None

    @property
    def names(self) -> Collection[str]:
        return self.paths.keys()

    def read(self, name: str) -> Tensor:
        labels = self._stored(name)
        return labels.masked_fill(labels == IGNORE, 1) if self.white_is_object else labels

    @cached_property
    def white_is_object(self) -> bool:
        """Whether the masks are black and white; reads them until one shows otherwise, the first time."""
        if self.num_classes != 1 or self.colours is not None:
            return False
        white = 0
        for name in self.paths:
            try:
                labels = self._stored(name)
            except ValueError:  # Told of where the mask is needed.
                continue
            if bool(((labels != BACKGROUND) & (labels != IGNORE)).any()):
                return False
            white += bool((labels == IGNORE).any())
        if white:
            folder = next(iter(self.paths.values())).parent
            logger.warning("%s: all masks hold only 0 and 255, so white is read as the one class. "
                           "If white means unsure, write its label 1 into at least one mask.", folder)  # fmt: skip
        return bool(white)

    def _stored(self, name: str) -> Tensor:
        return read_mask(self.paths[name], self.num_classes, self.colours)


class MaskSizeError(ValueError):
    """A mask of another size than its image."""


@dataclass(frozen=True, eq=False)
class FileDataset:
    """Image files with tags: a `TagDataset` that decodes an image or a mask only when asked for it.

    Args:
        class_names: C names; the position is the class id.
        names: training images.
        val_names: held-out images.
        paths: the image file of every one of them.
        tag_ids: their class ids; an image that is not in it has no tags.
        masks: ground truth, for scoring only.
        source: where they are, and how they were opened; None: not known.
        channels: numbers of the channels that become red, green and blue, see
            `tag2mask.datasets.images.read_image`; none: the images' own colours.
        tags_from: what told the tags, in words; empty: not known.
    """

    class_names: tuple[str, ...]
    names: tuple[str, ...]
    val_names: tuple[str, ...]
    paths: Mapping[str, Path]
    tag_ids: Mapping[str, tuple[int, ...]]
    masks: Masks
    source: Source | None = None
    channels: tuple[int, ...] = ()
    tags_from: str = ""

    def __getitem__(self, name: str) -> TaggedImage:
        """Decode one image.

        Raises:
            KeyError: if no image has this name.
            ValueError: if the file is broken.
        """
        return TaggedImage(name, read_image(self._path(name), self.channels), self.tags(name))

    def shrunk(self, name: str, side: int) -> TaggedImage:
        """Decode a copy whose longer side is at most `side` pixels.

        Raises:
            KeyError: if no image has this name.
            ValueError: if the file is broken.
        """
        pixels, size = read_shrunk(self._path(name), side, self.channels)
        return TaggedImage(name, pixels, self.tags(name), size)

    def tags(self, name: str) -> Tensor:
        """(C,) bool, without decoding the image.

        Raises:
            KeyError: if no image has this name.
        """
        self._path(name)
        tags = torch.zeros(len(self.class_names), dtype=torch.bool)
        tags[list(self.tag_ids.get(name, ()))] = True
        return tags

    def mask(self, name: str) -> Tensor | None:
        """(H, W) int64 labels, as large as the image; None if there is no mask.

        Raises:
            KeyError: if no image has this name.
            ValueError: if the mask is broken, holds an unknown label, or has another size.
        """
        path = self._path(name)
        if name not in self.masks.names:
            return None
        labels = self.masks.read(name)
        found, expected = (int(labels.shape[0]), int(labels.shape[1])), image_size(path)
        if found != expected:
            raise MaskSizeError(
                f"mask of {name}: expected the image's size {expected} (height, width), found {found}. "
                f"Export the mask at the size of {path}."
            )
        return labels

    def has_masks(self) -> bool:
        """Whether any image has a ground-truth mask, without decoding one."""
        return any(name in self.masks.names for name in self.names + self.val_names)

    def digest(self) -> str:
        """Hex digest of class names, names, splits, tags and image bytes; read once, then remembered."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        lists = (self.class_names, self.names, self.val_names)
        state = hashlib.blake2b(json.dumps(lists).encode(), digest_size=16)
        for name in self.names + self.val_names:
            state.update(json.dumps(sorted(self.tag_ids.get(name, ()))).encode())
            with self._path(name).open("rb") as file:
                state.update(hashlib.file_digest(file, "blake2b").digest())
        return state.hexdigest()

    def _path(self, name: str) -> Path:
        if name not in self.paths:
            raise KeyError(f"no image is named {name!r}; names are paths below the images, without suffix")
        return self.paths[name]


def names_of_files(files: Iterable[str]) -> dict[str, str]:
    """Name image files: the path without the suffix, or with it where two would be called alike.

    Args:
        files: relative paths with forward slashes, each once.

    Returns:
        name -> file, sorted by name.

    Example:
        >>> names_of_files(["b.jpg", "b.png", "in/a.jpg"])
        {'b.jpg': 'b.jpg', 'b.png': 'b.png', 'in/a': 'in/a.jpg'}
    """
    every = list(files)
    stems = {file: str(PurePosixPath(file).with_suffix("")) for file in every}
    # A stem is taken if another file has it, or is called like it ("a.jpg" beside "a.jpg.png").
    taken = Counter([*every, *(stem for file, stem in stems.items() if stem != file)])
    named = {file if taken[stem] > 1 else stem: file for file, stem in stems.items()}
    return dict(sorted(named.items()))


def leave_out(root: Path, left_out: Mapping[str, Sequence[str]], *, strict: bool) -> None:
    """Log what a source leaves out.

    Args:
        root: where it lies.
        left_out: what is the matter -> the images or rows.
        strict: raise instead.

    Raises:
        ValueError: if strict and anything is left out.
    """
    matters = {matter: tuple(subjects) for matter, subjects in left_out.items() if subjects}
    lines = {
        matter: f"{len(subjects)} {matter}: {', '.join(subjects[:5])}{', ...' if len(subjects) > 5 else ''}"
        for matter, subjects in matters.items()
    }
    if lines and strict:
        raise ValueError(
            f"{root}: expected every image and every row to fit, found {'; '.join(lines.values())}. "
            "Correct them, or open without strict."
        )
    for matter, line in lines.items():
        # The names go with the message: `tag2mask.datasets.told` makes findings of it.
        logger.warning("%s: left out: %s", root, line, extra={"left_out": (matter, matters[matter])})


def broken_headers(paths: Mapping[str, Path], names: Iterable[str]) -> frozenset[str]:
    """The images whose header cannot be read; a broken end only shows when they are decoded.

    Why whole ones cannot be used, as those with far too many pixels, is logged.

    Raises:
        UnusableImageError: if none of them can be used.
    """
    broken, unusable = set(), []
    every = tuple(names)
    for name in every:
        try:
            image_size(paths[name])
        except ValueError as error:
            logger.debug("%s", error)
            broken.add(name)
            if isinstance(error, UnusableImageError):
                unusable.append(str(error))
    if unusable:
        more = f" ({len(unusable) - 1} more images likewise)" if len(unusable) > 1 else ""
        if len(unusable) == len(every):
            raise UnusableImageError(f"{unusable[0]}{more}")
        logger.warning("%s%s", unusable[0], more)
    return frozenset(broken)
