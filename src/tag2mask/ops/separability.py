"""How well a mask splits an image's colours: the quality of a mask without any ground truth.

Not published. An object has colours of its own. A mask that stops at a part of the object leaves the object's
colours on both sides of its border; a mask that leaks takes the background's colours in. Either way the colours
tell less about the mask. Chance is taken out, so that empty and full masks get 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.color import rgb2lab

from tag2mask.checks import check_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 6
"""Quantiles per Lab channel; 6 x 6 x 6 bins are about as many as a small image can fill."""


def colour_bins(image: NDArray[np.uint8], levels: int = LEVELS) -> NDArray[np.int64]:
    """Sort the pixels into bins of like colour, by the quantiles of each Lab channel of this image.

    Args:
        image: (H, W, 3) uint8, RGB.
        levels: quantiles per channel.

    Returns:
        (H, W) int64 in 0..levels**3 - 1.
    """
    check_shape("image", image, "H W 3")
    lab = rgb2lab(image)
    bins = np.zeros(image.shape[:2], dtype=np.int64)
    for channel in range(3):
        values = lab[..., channel]
        edges = np.quantile(values, np.linspace(0, 1, levels + 1)[1:-1])
        bins = bins * levels + np.digitize(values, edges)
    return bins


def colour_separability(mask: NDArray[np.bool_], bins: NDArray[np.int64]) -> float:
    """Matthews correlation of a mask with what the colours alone say of each pixel.

    The colours say object where the mask's share of a pixel's bin is above the mask's share of the image.

    Args:
        mask: (H, W) bool, True on objects.
        bins: (H, W) of `colour_bins`.

    Returns:
        In [0, 1]; 0 for an empty mask, a full one, and an image of one colour; 1 if every bin lies wholly inside
        or wholly outside.

    Example:
        >>> bins = np.array([[0, 0, 1, 1]])
        >>> colour_separability(np.array([[True, True, False, False]]), bins)
        1.0
        >>> colour_separability(np.array([[True, False, True, False]]), bins)
        0.0
    """
    known = check_shape("mask", mask, "H W")
    check_shape("bins", bins, "H W", **known)
    count = int(bins.max()) + 1 if bins.size else 0
    inside = np.bincount(bins[mask], minlength=count).astype(np.float64)
    outside = np.bincount(bins[~mask], minlength=count).astype(np.float64)
    total = inside.sum() + outside.sum()
    says_object = inside * total > (inside + outside) * inside.sum()
    true_object, false_object = inside[says_object].sum(), outside[says_object].sum()
    missed, true_rest = inside[~says_object].sum(), outside[~says_object].sum()
    norm = (true_object + false_object) * (true_object + missed) * (true_rest + false_object) * (true_rest + missed)
    if norm <= 0:
        return 0.0
    return float((true_object * true_rest - false_object * missed) / np.sqrt(norm))
