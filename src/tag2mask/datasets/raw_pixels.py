"""Pixels that Pillow does not give whole: deep colours, many channels, no-data values, DICOM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tag2mask.datasets.image_files import UnusableImageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Values = NDArray[np.generic]

DEEP_PERCENTILES = (0.1, 99.9)
"""Of an image deeper than 8 bits, what becomes black and what becomes white."""

NO_DATA = (-9999.0, -99999.0, -32768.0, -32767.0)
"""Values below zero that mean "nothing was measured here", also where the file does not say so."""

BEYOND_DATA = 1e30
"""Numbers of this magnitude mean the same: the least and the largest float are common."""

MOST_CHANNELS = 4
"""Red, green, blue and transparency, or infrared; of an image with more, someone has to choose."""


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """An image as it is stored.

    Args:
        values: (H, W, 1) grey or (H, W, 3) RGB, of any type.
        alpha: (H, W) uint8: 255 where the pixel is opaque; None: it is everywhere.
        no_data: a value that means that nothing was measured; None: the file names none.
        inverted: 0 is white.
        orientation: 1 (upright) to 8, as EXIF has it.
        channels: how many the file has.
        pages: how many images of full size the file has.
    """

    values: Values
    alpha: NDArray[np.uint8] | None = None
    no_data: float | None = None
    inverted: bool = False
    orientation: int = 1
    channels: int = 1
    pages: int = 1

    def colours(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB: stretched where the values are no bytes."""
        deep = self.values.dtype != np.uint8
        grey = stretched(self.values, without_data(self)) if deep else np.asarray(self.values, np.uint8)
        if self.inverted:
            grey = np.where(without_data(self), 0, 255 - grey).astype(np.uint8) if deep else 255 - grey
        return np.ascontiguousarray(np.broadcast_to(grey, (*grey.shape[:2], 3)))


def without_data(raw: RawImage) -> NDArray[np.bool_]:
    """(H, W, 1): where nothing was measured, in any channel, or nothing can be seen.

    Args:
        raw: an image.
    """
    values = raw.values
    empty = np.zeros((*values.shape[:2], 1), np.bool_)
    known = [] if raw.no_data is None else [raw.no_data]
    if values.dtype.kind != "u":
        known += NO_DATA
    if values.dtype in (np.float32, np.float64):
        beyond = np.isfinite(values) & (np.abs(values) > BEYOND_DATA)
        empty |= beyond.any(axis=2, keepdims=True)
    for value in known:
        if _fits(value, values.dtype):
            same = np.asarray(value).astype(values.dtype)
            empty |= (values == same).any(axis=2, keepdims=True)
    if raw.alpha is not None:
        empty |= (raw.alpha == 0)[..., None]
    return empty


def _fits(value: float, kind: np.dtype[np.generic]) -> bool:
    """Whether a value can occur among values of a type."""
    if kind.kind == "f":
        return not abs(value) > float(np.finfo(kind.name).max)
    limits = np.iinfo(kind.name)
    return float(value).is_integer() and limits.min <= value <= limits.max


def stretched(values: Values, empty: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Scale values of any depth to 0..255; a constant image becomes black.

    Args:
        values: of any shape, one or several channels, which are scaled alike.
        empty: of a shape that goes with it: where nothing was measured; these become black.

    Returns:
        The same shape.
    """
    deep = values.astype(np.float64)
    if empty is not None and empty.any():
        deep = np.where(empty, np.nan, deep)
    finite = deep[np.isfinite(deep)]
    if finite.size == 0:
        return np.zeros(deep.shape, np.uint8)
    low, high = np.percentile(finite, DEEP_PERCENTILES)
    if low == high:  # Few bright spots on an even ground.
        low, high = finite.min(), finite.max()
    scale = 255.0 / (high - low) if high > low else 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.clip((deep - low) * scale, 0.0, 255.0)
    scaled_bytes: NDArray[np.uint8] = np.nan_to_num(scaled).round().astype(np.uint8)
    return scaled_bytes


def choose_channels(path: str | Path, values: Values, channels: Sequence[int]) -> Values:
    """Some channels of an image, in the order in which they are named.

    Args:
        path: of the image, for the message.
        values: (H, W, N).
        channels: one or three numbers, from 1 on.

    Returns:
        (H, W, 1 or 3).

    Raises:
        UnusableImageError: if the image has fewer channels.
    """
    if max(channels) > values.shape[2]:
        raise UnusableImageError(
            f"{path}: expected at least {max(channels)} channels, found {values.shape[2]}. Choose others with "
            "--channels, as 3,2,1."
        )
    return values[..., [channel - 1 for channel in channels]]
