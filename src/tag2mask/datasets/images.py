"""Image files as RGB tensors, and mask files as labels: whatever Pillow opens, or an error that helps."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

from tag2mask.labels import IGNORE
from tag2mask.ops.sizes import limit_long_side, resize_image, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

DEEP_PERCENTILES = (0.1, 99.9)
"""Of an image deeper than 8 bits, what becomes black and what becomes white."""

_ORIENTATION = 274  # The EXIF and TIFF tag, with the turn that puts each value upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
# These are opened by a program outside Pillow, or only recognised and never decoded.
_NO_PHOTOGRAPHS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}


def image_suffixes() -> frozenset[str]:
    """The file suffixes, in lower case and with the dot, of the image formats that Pillow reads."""
    formats = Image.registered_extensions()
    return frozenset(
        suffix.lower() for suffix, name in formats.items() if name in Image.OPEN and name not in _NO_PHOTOGRAPHS
    )


def read_image(path: str | Path) -> Tensor:
    """Decode an image of any mode, upright as its EXIF orientation says.

    Transparent pixels are laid on white, as a viewer shows them. Grey images deeper than 8 bits
    (16-bit, 32-bit, float) are stretched so that `DEEP_PERCENTILES` of their values become black and
    white: a 12-bit microscope image fills the range, and one hot pixel does not darken the rest. Of
    an animation, the first frame is taken.

    Returns:
        (3, H, W) uint8, RGB.

    Raises:
        ValueError: if the file is missing, broken, cut off, or too large to be a photograph.
    """
    return read_shrunk(path, 0)[0]


def read_shrunk(path: str | Path, side: int) -> tuple[Tensor, tuple[int, int]]:
    """Decode a copy of an image whose longer side is at most `side` pixels; 0: of the image's size.

    Of a JPEG, its decoder leaves out the finest waves, which takes a fraction of the time.

    Returns:
        (3, h, w) uint8, RGB, as `read_image`; and the (height, width) of the image itself.

    Raises:
        ValueError: as `read_image`.
    """
    with _opened(path) as image:
        # The header's orientation: `image_size` must see the same one, and it reads no further.
        orientation = _orientation(image)
        full = image.size
        if side:
            image.draft(None, limit_long_side(full, side))  # Comes out no smaller than asked for.
        drafted = image.size != full
        image.load()
        if image.format == "TIFF":  # Pillow turns these while it loads, and then drops the tag.
            orientation = _orientation(image)
        upright = _rgb(image)
        if orientation in _TURNS:
            upright = upright.transpose(_TURNS[orientation])
        pixels = torch.from_numpy(np.array(upright)).permute(2, 0, 1).contiguous()
    size = size_of(pixels)
    if drafted:
        size = (full[0], full[1]) if orientation in _LYING else (full[1], full[0])
    return resize_image(pixels, limit_long_side(size, side)), size


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) in pixels of the upright image, from the header alone.

    Raises:
        ValueError: if the file is missing, or no image.
    """
    with _opened(path) as image:
        width, height = image.size
        orientation = _orientation(image)
        if image.format == "TIFF":  # Pillow's versions differ in whether `size` is already turned.
            tags = image.getexif()
            width, height = int(tags.get(_TIFF_WIDTH, width)), int(tags.get(_TIFF_HEIGHT, height))
    return (width, height) if orientation in _LYING else (height, width)


def read_mask(path: str | Path, num_classes: int) -> Tensor:
    """Read a mask file that holds labels: an indexed or a grey PNG of 8 or 16 bits.

    Args:
        path: the file.
        num_classes: C; the labels are 0, 1..C and IGNORE. From 255 classes on, they pass over 255
            (see `tag2mask.labels`), and the file has 16 bits.

    Returns:
        (H, W) int64.

    Raises:
        ValueError: if the file is missing, broken, holds colours, or holds another label.
    """
    with _opened(path) as image:
        mode = image.mode
        holds_labels = mode in ("1", "L", "P", "I") or mode.startswith("I;16")
        stored = np.array(image if holds_labels else 0)
    if not holds_labels:
        raise ValueError(
            f"{path}: expected one label per pixel, found colours (mode {mode}). "
            "Export the mask with indexed colours, or as grey values 0, 1, 2, ..."
        )
    labels = stored.astype(np.int64)
    largest = num_classes if num_classes < IGNORE else num_classes + 1
    unknown = labels[((labels < 0) | (labels > largest)) & (labels != IGNORE)]
    if unknown.size:
        few = ", ".join(map(str, np.unique(unknown)[:5]))
        raise ValueError(
            f"{path}: label {few}, but {num_classes} classes allow 0..{largest} and {IGNORE}. "
            "If the file stores colours, export it with indexed colours; "
            "if a class is missing, add it to the list of classes."
        )
    return torch.from_numpy(labels)


def read_grey(path: str | Path) -> Tensor:
    """Read a grey PNG of 8 or 16 bits that holds scores; black is 0 and white is 1.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ValueError: if the file is missing, broken, or holds colours or indices.
    """
    with _opened(path) as image:
        mode = image.mode
        deep = mode == "I" or mode.startswith("I;16")
        stored = np.array(image if deep or mode in ("1", "L") else 0)
    if not stored.ndim:
        what = "indexed colours" if mode == "P" else "colours"
        raise ValueError(
            f"{path}: expected grey values of 8 or 16 bits, found {what} (mode {mode}). Save the scores of one "
            "class as a grey PNG, 0 black and 1 white."
        )
    whole = 2**16 - 1 if deep else 1 if mode == "1" else 255
    return torch.from_numpy((stored.astype(np.float32) / whole).clip(0, 1))


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """Open an image and word whatever Pillow raises while it is read."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise ValueError(f"{path}: expected an image, found no file. Check the name.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"{path}: expected a photograph, found far too many pixels ({error}). Make it smaller, or, "
            "if you trust the file, raise PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except UnidentifiedImageError as error:
        size = Path(path).stat().st_size
        found = f"{size} bytes of something else" if size else "an empty file"
        raise ValueError(
            f"{path}: expected an image, found {found}. Save it again as PNG or JPEG, or remove it."
        ) from error
    except Exception as error:  # Pillow's readers raise nearly every type on a broken file.
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{path}: expected a whole image, found a broken one ({reason}). Copy it again or remove it."
        ) from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where there is none or it cannot be read."""
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
        return 1  # Asking for the EXIF of such a file would decode it.
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Broken EXIF beside good pixels: viewers show it unturned, and so do we.
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """Turn a loaded image of any mode into mode RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_stretched(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        turned = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        assert turned is not None  # None only where it works in place.
        return turned
    if image.mode in ("La", "RGBa"):  # Colours already multiplied with alpha.
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        white = Image.new("RGBA", transparent.size, "white")
        return Image.alpha_composite(white, transparent).convert("RGB")
    return image.convert("RGB")


def _stretched(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale grey values of any depth to 0..255; a constant image becomes black."""
    grey = values.astype(np.float64)
    finite = grey[np.isfinite(grey)]
    if finite.size == 0:
        return np.zeros(grey.shape, np.uint8)
    low, high = np.percentile(finite, DEEP_PERCENTILES)
    if low == high:  # Few bright spots on an even ground.
        low, high = finite.min(), finite.max()
    scale = 255.0 / (high - low) if high > low else 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.clip((grey - low) * scale, 0.0, 255.0)
    grey_bytes: NDArray[np.uint8] = np.nan_to_num(scaled).round().astype(np.uint8)
    return grey_bytes
