"""Mask files as labels: grey, indexed or coloured PNG and TIFF."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from tag2mask.checks import some
from tag2mask.datasets.image_files import opened
from tag2mask.labels import IGNORE
from tag2mask.ops.colours import palette

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    Colours = Mapping[tuple[int, int, int], int]

MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff"})
"""Of files that hold labels; formats such as JPEG change the values while they store them."""


def read_mask(path: str | Path, num_classes: int, colours: Colours | None = None) -> Tensor:
    """Read a mask file: labels as an indexed or a grey image of 8 or 16 bits, or colours that stand for labels.

    Colours are those of the table, if there is one. Without it they are labels that stand in all three channels, or
    the colours of PASCAL VOC for labels 0..C and IGNORE. What is transparent is background.

    Args:
        path: the file.
        num_classes: C; the labels are 0, 1..C and IGNORE. From 255 classes on, they pass over 255
            (see `tag2mask.labels`), and the file has 16 bits.
        colours: the label of each colour (red, green, blue); None: there is no table.

    Returns:
        (H, W) int64.

    Raises:
        ValueError: if the file is missing, broken, or holds another label or colour.
    """
    with opened(path) as image:
        mode = image.mode
        if mode in ("LA", "PA") or mode.startswith("RGB"):
            stored = np.array(image.convert("RGBA"))
        elif mode in ("1", "L", "P", "I", "F") or mode.startswith("I;16"):
            stored = np.array(image)
        else:
            stored = None
    if stored is None:
        raise ValueError(
            f"{path}: expected one label per pixel, found pixels of mode {mode}. Export the mask with indexed colours, "
            "or as grey values 0, 1, 2, ..."
        )
    if stored.ndim == 3:
        return torch.from_numpy(_of_colours(path, stored, num_classes, colours))
    if stored.dtype.kind == "f" and not np.array_equal(stored, np.round(stored)):
        raise ValueError(
            f"{path}: expected one label per pixel, found fractions such as {stored[stored != np.round(stored)][0]:g}. "
            "Export the mask as grey values 0, 1, 2, ..."
        )
    # Most masks are told to be good by two numbers, without a comparison of each pixel.
    in_order = stored.size > 0 and stored.min() >= 0 and stored.max() <= _largest(num_classes)
    labels = stored.astype(np.int64)
    if not in_order and (unknown := labels[~_are_labels(labels, num_classes)]).size:
        raise ValueError(
            f"{path}: label {some(np.unique(unknown).tolist())}, but {num_classes} classes allow "
            f"0..{_largest(num_classes)} and {IGNORE}. If the file stores colours, export it with indexed colours; "
            "if a class is missing, add it to the list of classes."
        )
    return torch.from_numpy(labels)


def _of_colours(
    path: str | Path, pixels: NDArray[np.uint8], num_classes: int, colours: Colours | None
) -> NDArray[np.int64]:
    """(H, W): the labels of an (H, W, 4) image of red, green, blue and alpha."""
    seen = pixels[..., 3] > 0
    red, green, blue = (np.where(seen, pixels[..., channel], 0).astype(np.int64) for channel in range(3))
    grey = np.array_equal(red, green) and np.array_equal(red, blue)
    if colours is None and grey and _are_labels(red, num_classes).all():
        return red
    codes = red << 16 | green << 8 | blue
    table = {_code(colour): label for colour, label in (colours or _of_voc(num_classes)).items()}
    found, places = np.unique(codes, return_inverse=True)
    unknown = [f"#{code:06x}" for code in found.tolist() if code not in table and code not in (0, _VOID)]
    if unknown:
        known = "those in classes.txt" if colours else "none in classes.txt"
        raise ValueError(
            f"{path}: expected labels, or colours that stand for classes ({known}), found {some(unknown)}. Give every "
            "class its colour in classes.txt, as in the line: cat #800000. Or export the mask with indexed colours."
        )
    fallback = {0: 0, _VOID: IGNORE}
    labels = np.array([table.get(code, fallback.get(code, 0)) for code in found.tolist()], np.int64)
    return np.asarray(labels[places.reshape(codes.shape)], np.int64)


def _of_voc(num_classes: int) -> dict[tuple[int, int, int], int]:
    """The label of each of VOC's colours; above 254 classes they do not tell labels apart."""
    if num_classes >= IGNORE:
        return {}
    colours = palette(num_classes)
    labels = [*range(num_classes + 1), IGNORE]
    return {(int(red), int(green), int(blue)): label for label in labels for red, green, blue in [colours[label]]}


def _are_labels(values: NDArray[np.int64], num_classes: int) -> NDArray[np.bool_]:
    fits: NDArray[np.bool_] = (values >= 0) & (values <= _largest(num_classes)) | (values == IGNORE)
    return fits


def _largest(num_classes: int) -> int:
    return num_classes if num_classes < IGNORE else num_classes + 1


def _code(colour: tuple[int, int, int]) -> int:
    red, green, blue = colour
    return red << 16 | green << 8 | blue


_VOID = _code((224, 224, 192))  # VOC's colour of pixels that do not count.
