"""The colours of labels: PASCAL VOC's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tag2mask.labels import IGNORE

if TYPE_CHECKING:
    Picture = np.ndarray[Any, np.dtype[np.uint8]]
    Labels = np.ndarray[Any, np.dtype[np.integer[Any]]]

STRAY = (255, 255, 255)
"""The colour of labels that should not occur; the VOC colour map does not use it."""


def palette(num_classes: int = IGNORE - 1) -> Picture:
    """(256, 3) uint8: the colour of every label, by the rule of PASCAL VOC.

    The bits of the label go to red, green, blue in turn, the lowest to each colour's highest bit. Labels
    that `num_classes` do not allow are white, so that a stray one shows.

    Example:
        >>> palette()[[0, 1, 2, 15, 255]].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [224, 224, 192]]
    """
    labels = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= ((labels >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    colours[(labels > num_classes) & (labels != IGNORE)] = STRAY
    return colours


def colour_labels(labels: Labels) -> Picture:
    """The colour of every pixel's label. Above 255 the colours of 1..254 come again.

    Args:
        labels: any shape, integers: 0, 1..C, IGNORE.

    Returns:
        The same shape and one dimension of 3 more, uint8 RGB.
    """
    wide = np.asarray(labels, dtype=np.int64)
    coloured: Picture = palette()[np.where(wide > IGNORE, (wide - IGNORE - 1) % (IGNORE - 1) + 1, wide)]
    return coloured
