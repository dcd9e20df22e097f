"""Masks that lie beside their images as ``X_mask.png``, or in ``ground_truth``: white where the one object is."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tag2mask.checks import few
from tag2mask.datasets.images import image_size
from tag2mask.labels import labels_from_class_ids

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tag2mask.datasets.files import Masks

logger = logging.getLogger(__name__)

_WORD = "masks?|segmentation|seg|gt|groundtruth"
_HINT = re.compile("mask|seg|gt|groundtruth", re.IGNORECASE)
_MASK_NAMES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (rf"(?P<image>.+?)[_. -]+\(?({_WORD})\)?([_. -]?\d+)?", rf"({_WORD})[_. -]+(?P<image>.+)")
)
SMEARED = frozenset({".jpg", ".jpeg"})
LOOKED_AT = 5
"""Of the files that are called like masks, as many are looked at: photographs may be called so, too."""
FEW_COLOURS, MOST_OF_IT = 8, 0.9
"""The most frequent colours of a mask, and the least share of its pixels that have them."""


@dataclass(frozen=True, eq=False)
class ObjectMasks:
    """Masks that show one object each: every value but 0 is the object.

    Args:
        paths: the files of each image, one or more, whose objects are put together.
        class_ids: the class of each of these images.
        others: further masks, which come first where an image has both; None for none.
    """

    paths: Mapping[str, Sequence[Path]]
    class_ids: Mapping[str, int]
    others: Masks | None = None

    @property
    def names(self) -> Collection[str]:
        return self.paths.keys() | (set(self.others.names) if self.others is not None else set())

    def read(self, name: str) -> Tensor:
        """(H, W) int64: 0 and the label of the image's class.

        Raises:
            ValueError: if a file is broken, or the files differ in size.
        """
        if self.others is not None and name in self.others.names:
            return self.others.read(name)
        every = [_object(path) for path in self.paths[name]]
        if len({inside.shape for inside in every}) > 1:
            raise ValueError(
                f"{self.paths[name][0]}: expected all masks of {name} to have one size, found "
                f"{sorted({inside.shape for inside in every})} (height, width). Export them again."
            )
        inside = torch.from_numpy(np.logical_or.reduce(every))
        return inside * labels_from_class_ids(torch.tensor(self.class_ids[name]))


def split_masks(files: Iterable[Path]) -> tuple[list[Path], dict[Path, tuple[Path, ...]]]:
    """Tell the images from the masks that lie beside them.

    A file ``X_mask.png`` is a mask where an image X lies in the same folder and the files that are called so look
    like masks; ``X_mask_1``, ``X_segmentation``, ``X_gt``, ``mask_X`` and the like are so, too.

    Args:
        files: all image files.

    Returns:
        The images, and the masks of each image that has any.
    """
    every = list(files)
    likely = [file for file in every if _HINT.search(file.name)]
    if not likely:
        return every, {}
    by_stem: dict[tuple[Path, str], Path] = {(file.parent, file.stem): file for file in reversed(every)}
    masks: dict[Path, list[Path]] = defaultdict(list)
    for file in likely:
        images = [by_stem[key] for stem in images_called(file.stem) if (key := (file.parent, stem)) in by_stem]
        if images:
            masks[images[0]].append(file)
    called_so = [file for several in masks.values() for file in several]
    looked_at = called_so[:: max(1, -(-len(called_so) // LOOKED_AT))]
    if not called_so or 2 * sum(map(_looks_like_mask, looked_at)) <= len(looked_at):
        return every, {}
    gone = set(called_so)
    return [file for file in every if file not in gone], {image: tuple(found) for image, found in masks.items()}


def images_called(stem: str) -> list[str]:
    """What the image of a mask may be called.

    Args:
        stem: the mask's name without the suffix.

    Example:
        >>> images_called("cow_7_mask"), images_called("cow_7")
        (['cow_7'], [])
    """
    return [match["image"] for pattern in _MASK_NAMES if (match := pattern.fullmatch(stem))]


def object_masks(
    paths: Mapping[str, Path],
    masks: Mapping[str, Sequence[Path]],
    tag_ids: Mapping[str, Sequence[int]],
    others: Masks,
) -> Masks:
    """The masks of one object each that can be understood: those of images with one tag, of the image's size.

    Args:
        paths: the images.
        masks: the mask files of some of them.
        tag_ids: their class ids.
        others: masks of labels, which come first.

    Returns:
        Both; `others` itself if there is nothing to add. What is left out is logged.
    """
    found = {name: files for name, files in masks.items() if name in paths and name not in others.names}
    unclear = [name for name in found if len(tag_ids.get(name, ())) != 1 and tag_ids.get(name)]
    usable = {name: files for name, files in found.items() if len(tag_ids.get(name, ())) == 1}
    unfit = [name for name, files in usable.items() if not all(_same_size(paths[name], file) for file in files)]
    for names, why in ((unclear, "their image has several tags"), (unfit, "their size is not the image's")):
        if names:
            logger.warning("masks left out of the scores, as %s: %d (%s)", why, len(names), few(names))
    usable = {name: files for name, files in usable.items() if name not in set(unfit)}
    if not usable:
        return others
    return ObjectMasks(usable, {name: int(tag_ids[name][0]) for name in usable}, others)


def _same_size(image: Path, mask: Path) -> bool:
    try:
        return image_size(image) == image_size(mask)
    except ValueError:
        return False


def _looks_like_mask(file: Path) -> bool:
    """Whether a few values fill the picture."""
    try:
        values = _values(file)
    except ValueError:
        return False
    counts = np.sort(np.unique(values, return_counts=True)[1])[::-1]
    return bool(counts[:FEW_COLOURS].sum() >= MOST_OF_IT * values.size)


def _object(path: Path) -> NDArray[np.bool_]:
    """(H, W): where the object is: all but 0, or the brighter half where JPEG has smeared the values."""
    values = _values(path)
    threshold = float(values.max()) / 2 if path.suffix.lower() in SMEARED else 0.0
    inside: NDArray[np.bool_] = values > threshold
    return inside


def _values(path: Path) -> NDArray[Any]:
    """(H, W): the grey values of a mask, or the numbers of its palette."""
    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L", "P", "I", "F") or image.mode.startswith("I;16")
            return np.array(image if grey else image.convert("L"))
    except Exception as error:  # Pillow raises whatever a format's code meets.
        raise ValueError(f"{path}: expected a mask, found an error ({error}). Export it again.") from error
