"""Image files as RGB tensors: whatever Pillow opens, deep and many-channelled ones too, or an error that helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor

from tag2mask.datasets.image_files import LYING, TURNS, image_suffixes, opened, orientation_of
from tag2mask.datasets.mask_files import read_mask
from tag2mask.datasets.raw_files import raw_image, raw_size
from tag2mask.datasets.raw_pixels import stretched
from tag2mask.ops.sizes import limit_long_side, resize_image, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tag2mask.datasets.raw_pixels import RawImage

__all__ = ["image_size", "image_suffixes", "read_grey", "read_image", "read_mask", "read_shrunk"]


def read_image(path: str | Path, channels: Sequence[int] = ()) -> Tensor:
    """Decode an image of any mode, upright as its EXIF orientation says.

    Transparent pixels are laid on white, as a viewer shows them. Images deeper than 8 bits (16-bit, 32-bit, float;
    grey or colour) are stretched so that `tag2mask.datasets.raw_pixels.DEEP_PERCENTILES` of their values become black
    and white, in common over their channels: a 12-bit microscope image fills the range, and one hot pixel does not
    darken the rest. Pixels without data do not count, and become black. Of an animation or of a file of several
    pages, the first one is taken.

    Args:
        path: the file.
        channels: numbers of the channels (1, 2, ...) that become red, green and blue, or of the one that becomes grey;
            none: the image's own colours. Where every page of a TIFF is one channel, numbers of pages.

    Returns:
        (3, H, W) uint8, RGB.

    Raises:
        ValueError: if the file is missing, broken, cut off, or too large to be a photograph, has more than four
            channels and none are chosen, or has not the channels that are.
    """
    return read_shrunk(path, 0, channels)[0]


def read_shrunk(path: str | Path, side: int, channels: Sequence[int] = ()) -> tuple[Tensor, tuple[int, int]]:
    """Decode a copy of an image whose longer side is at most `side` pixels; 0: of the image's size.

    Of a JPEG, its decoder leaves out the finest waves, which takes a fraction of the time.

    Args:
        path: the file.
        side: in pixels.
        channels: see `read_image`.

    Returns:
        (3, h, w) uint8, RGB, as `read_image`; and the (height, width) of the image itself.

    Raises:
        ValueError: as `read_image`.
    """
    raw = raw_image(path, channels)
    if raw is not None:
        pixels = torch.from_numpy(np.array(_upright(raw))).permute(2, 0, 1).contiguous()
        return resize_image(pixels, limit_long_side(size_of(pixels), side)), size_of(pixels)
    with opened(path) as image:
        # The header's orientation: `image_size` must see the same one, and it reads no further.
        orientation = orientation_of(image)
        full = image.size
        if side:
            image.draft(None, limit_long_side(full, side))  # Comes out no smaller than asked for.
        drafted = image.size != full
        image.load()
        if image.format == "TIFF":  # Pillow turns these while it loads, and then drops the tag.
            orientation = orientation_of(image)
        upright = _chosen(path, _rgb(image), channels)
        if orientation in TURNS:
            upright = upright.transpose(TURNS[orientation])
        pixels = torch.from_numpy(np.array(upright)).permute(2, 0, 1).contiguous()
    size = size_of(pixels)
    if drafted:
        size = (full[0], full[1]) if orientation in LYING else (full[1], full[0])
    return resize_image(pixels, limit_long_side(size, side)), size


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) in pixels of the upright image, from the header alone.

    Raises:
        ValueError: if the file is missing, or no image.
    """
    if (size := raw_size(path)) is not None:
        return size
    with opened(path) as image:
        width, height = image.size
        orientation = orientation_of(image)
    return (width, height) if orientation in LYING else (height, width)


def read_grey(path: str | Path) -> Tensor:
    """Read a grey PNG of 8 or 16 bits that holds scores; black is 0 and white is 1.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ValueError: if the file is missing, broken, or holds colours or indices.
    """
    with opened(path) as image:
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


def _upright(raw: RawImage) -> Image.Image:
    """An image of raw values as mode RGB, upright."""
    image = Image.fromarray(raw.colours())
    if raw.alpha is not None:
        white = Image.new("RGB", image.size, "white")
        image = Image.composite(image, white, Image.fromarray(raw.alpha))
    return image.transpose(TURNS[raw.orientation]) if raw.orientation in TURNS else image


def _chosen(path: str | Path, image: Image.Image, channels: Sequence[int]) -> Image.Image:
    """The channels of an RGB image that were asked for."""
    if not channels:
        return image
    if max(channels) > 3:
        raise ValueError(
            f"{path}: expected at least {max(channels)} channels, found 3. Leave out --channels, or choose others."
        )
    bands = image.split()
    chosen = [bands[channel - 1] for channel in channels]
    return Image.merge("RGB", chosen if len(chosen) == 3 else chosen * 3)


def _rgb(image: Image.Image) -> Image.Image:
    """Turn a loaded image of any mode into mode RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(stretched(np.asarray(image))).convert("RGB")
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
