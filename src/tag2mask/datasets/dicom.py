"""DICOM images of scanners and microscopes, if pydicom is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tag2mask.datasets.image_files import UnusableImageError
from tag2mask.datasets.raw_pixels import RawImage, choose_channels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_INVERTED = "MONOCHROME1"


def read_dicom(path: str | Path, channels: Sequence[int] = ()) -> RawImage:
    """Read the first frame of a DICOM file, in the units that its slope and intercept give.

    Args:
        path: the file.
        channels: which channels to take; none: its own colours.

    Raises:
        UnusableImageError: if pydicom is not installed, or the channels are not there.
        Exception: whatever pydicom raises of a broken file.
    """
    content = _content(path, pixels=True)
    from pydicom.pixels.processing import apply_rescale  # noqa: PLC0415
    from pydicom.pixels.utils import pixel_array  # noqa: PLC0415

    stored = np.asarray(pixel_array(content, index=0))
    padding = content.get("PixelPaddingValue")
    values = np.asarray(apply_rescale(stored, content)) if stored.ndim == 2 else stored
    empty = None
    if padding is not None and stored.ndim == 2:
        values = np.where(stored == int(padding), np.nan, values.astype(np.float64))
        empty = float("nan")
    values = values.reshape(*values.shape[:2], -1)
    count = values.shape[2]
    if channels:
        values = choose_channels(path, values, channels)
    return RawImage(
        values,
        no_data=empty,
        inverted=content.get("PhotometricInterpretation") == _INVERTED,
        channels=count,
        pages=int(content.get("NumberOfFrames") or 1),
    )


def dicom_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a DICOM file, from its header.

    Args:
        path: the file.

    Raises:
        UnusableImageError: if pydicom is not installed.
        Exception: whatever pydicom raises of a broken file.
    """
    content = _content(path, pixels=False)
    return int(content.Rows), int(content.Columns)


def _content(path: str | Path, *, pixels: bool) -> Any:
    try:
        from pydicom import dcmread  # noqa: PLC0415
    except ImportError as error:
        raise UnusableImageError(
            f"{path}: expected an image, found DICOM, which needs pydicom. "
            'Install it with: pip install "tag2mask[formats]"'
        ) from error
    return dcmread(path, stop_before_pixels=not pixels)
