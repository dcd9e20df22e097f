"""The scores in files of another method, checked: numbers in [0, 1], no objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tag2mask.datasets.images import read_grey
from tag2mask.disk import read_arrays

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_ROUNDING = 1e-3
"""How far outside of 0..1 a score may be that was rounded, to float16 for example."""


def map_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an npz, by name.

    Args:
        path: of the file.

    Raises:
        ValueError: if it is broken, or one of them holds Python objects, which are never opened.
    """
    arrays = {}
    try:
        with read_arrays(path) as stored:
            for name in stored:
                arrays[name] = stored[name]
    except ValueError as error:  # What numpy raises for objects.
        raise ValueError(
            f"{path}: expected arrays of numbers, found Python objects (a pickle), which are never opened ({error}). "
            "Save one float array for each class, see docs/maps.md."
        ) from error
    except Exception as error:  # Broken archives raise nearly every type.
        raise ValueError(f"{path}: expected an npz, found a broken file ({error}). Make it again.") from error
    return arrays


def checked_scores(where: str, array: np.ndarray[Any, Any]) -> Tensor:
    """(h, w) float32 in [0, 1].

    Args:
        where: it is from, for the message.
        array: of numbers.

    Raises:
        ValueError: if it has another shape or type, or a number is not within 0..1.
    """
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where}: expected an array of floats, found {array.dtype}. Save numbers in 0..1.")
    if array.ndim != 2 or array.size == 0:
        remedy = "Save one array for each class, under the class's name." if array.ndim > 2 else "Save it again."
        raise ValueError(f"{where}: expected an array (h, w), found {array.shape}. {remedy}")
    scores = torch.from_numpy(array.astype(np.float32))
    if not bool(scores.isfinite().all()):
        raise ValueError(
            f"{where}: expected numbers in 0..1, found NaN or infinity. Look for a division by 0 where maps were "
            "divided by their maximum."
        )
    low, high = float(scores.min()), float(scores.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        remedy = "Cut off what is below 0, and divide by the maximum."
        if low >= 0:
            remedy = "Divide by 255." if 2 < high <= 255 else "Divide by the maximum."
        raise ValueError(f"{where}: expected scores in 0..1, found {low:g} to {high:g}. {remedy}")
    return scores.clamp(0, 1)


def map_picture(path: Path) -> Tensor:
    """(h, w) float32 in [0, 1] of a grey PNG.

    Args:
        path: of the file.

    Raises:
        ValueError: if it is broken, holds colours, or labels instead of scores.
    """
    scores = read_grey(path)
    if 0 < float(scores.max()) < 1.5 / 255 and len(torch.unique(scores)) <= 2:
        raise ValueError(
            f"{path}: expected scores from 0 (black) to 1 (white), found 0 and 1 of 255. Multiply by 255; index PNGs "
            "go to masks/."
        )
    return scores
