"""Image files as Pillow opens them, with its errors and warnings in our words."""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

SHRUNK_SIDE = 4000
"""Longer side in pixels that a huge image is advised to be shrunk to; networks look at far smaller copies."""

DICOM_SUFFIX = ".dcm"

LYING = (5, 6, 7, 8)
"""Orientations of images whose stored width is their height."""

_ORIENTATION = 274  # The EXIF and TIFF tag, with the turn that puts each value upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to put an image of each orientation upright; those that are not here are."""

# These are opened by a program outside Pillow, or only recognised and never decoded.
_NO_PHOTOGRAPHS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


def image_suffixes() -> frozenset[str]:
    """The file suffixes, in lower case and with the dot, of the image formats that can be read."""
    formats = Image.registered_extensions()
    return frozenset(
        suffix.lower() for suffix, name in formats.items() if name in Image.OPEN and name not in _NO_PHOTOGRAPHS
    ) | {DICOM_SUFFIX}


class UnusableImageError(ValueError):
    """A whole image that cannot be used as it is; the message says what to do."""


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open an image with Pillow.

    Args:
        path: the file.

    Raises:
        ValueError: in place of whatever Pillow raises while the file is opened or the block reads it.
    """
    _silence_large_images()
    with worded(path), Image.open(path) as image:
        yield image


@contextmanager
def worded(path: str | Path) -> Iterator[None]:
    """Word whatever a reader raises in the block.

    Args:
        path: the file that is read.

    Raises:
        ValueError: that says what is the matter with the file, and what to do.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{path}: expected an image, found no file. Check the name.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        number = re.search(r"\d+", str(error))
        raise UnusableImageError(too_large(path, int(number[0]) if number else 0)) from error
    except UnusableImageError:
        raise
    except UnidentifiedImageError as error:
        size = Path(path).stat().st_size
        found = f"{size} bytes of something else" if size else "an empty file"
        raise ValueError(
            f"{path}: expected an image, found {found}. Save it again as PNG or JPEG, or remove it."
        ) from error
    except Exception as error:  # Readers raise nearly every type on a broken file.
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{path}: expected a whole image, found a broken one ({reason}). Copy it again or remove it."
        ) from error


def too_large(path: str | Path, pixels: int) -> str:
    """Word the error of an image with too many pixels.

    Args:
        path: the file.
        pixels: how many it has.
    """
    limit = f" of at most {2 * Image.MAX_IMAGE_PIXELS:,} pixels" if Image.MAX_IMAGE_PIXELS else ""
    return (
        f"{path}: expected a photograph{limit}, found far too many pixels ({pixels:,}). "
        f"Shrink it, for example to {SHRUNK_SIDE} pixels on its longer side."
    )


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where there is none or it cannot be read.

    Args:
        image: opened, perhaps not loaded yet.
    """
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
        return 1  # Asking for the EXIF of such a file would decode it.
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Broken EXIF beside good pixels: viewers show it unturned, and so do we.
        return 1


def _silence_large_images() -> None:
    """Pillow warns of images that are large and fine; `tag2mask.datasets.pixel_checks` tells of them in our words."""
    kind = Image.DecompressionBombWarning
    # Looked for each time: whoever changes the filters for a while, as pytest does, puts them back without ours.
    if not any(category is kind for _, _, category, _, _ in warnings.filters[:1]):
        warnings.simplefilter("ignore", kind)
