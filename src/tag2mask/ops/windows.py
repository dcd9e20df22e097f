"""Paired resizing, cropping, flipping and jitter of an image and the maps that belong to it (torchvision v2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from tag2mask.checks import check_shape
from tag2mask.ops.hue import turn_hues
from tag2mask.ops.sizes import size_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(..., 3, H, W) uint8 RGB -> float32 with the backbone's mean and deviation taken out."""
    scaled: Tensor = TF.to_dtype(pixels, torch.float32, scale=True)
    normal: Tensor = TF.normalize(scaled, list(mean), list(std))
    return normal


@dataclass(frozen=True)
class Window:
    """A random window: resize by `factor`, cut out `crop` x `crop`, maybe mirror.

    Args:
        factor: resized size over original size.
        top: first row of the window in resized pixels; negative where the window begins above the image.
        left: first column, likewise.
        crop: side of the window in pixels.
        mirrored: left to right.
    """

    factor: float
    top: int
    left: int
    crop: int
    mirrored: bool


def random_window(size: tuple[int, int], long_side: tuple[int, int], crop: int, generator: torch.Generator) -> Window:
    """Draw a window: a random long side, a random place, mirrored half of the time.

    Where the resized image is smaller than the window, the image lies at a random place inside it.

    Args:
        size: (height, width) of the image.
        long_side: smallest and largest long side after resizing, in pixels.
        crop: side of the window.
        generator: drawn from.
    """

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    factor = between(*long_side) / max(size)
    spare = [max(1, round(side * factor)) - crop for side in size]
    top, left = (between(min(0, room), max(0, room)) for room in spare)
    return Window(factor, top, left, crop, bool(torch.rand((), generator=generator) < 0.5))


def cut_window(
    maps: Tensor, window: Window, *, fill: float, nearest: bool = False, size: tuple[int, int] | None = None
) -> Tensor:
    """Cut a window out of an image, or of maps of it in any resolution.

    Args:
        maps: (D, H, W).
        window: which part of the image, and at which size.
        fill: value of what lies outside the image.
        nearest: take the nearest pixel (labels) instead of interpolating.
        size: (height, width) of the image that the window was drawn in; None: the maps have that size.

    Returns:
        (D, crop, crop) of the same type.
    """
    check_shape("maps", maps, "D H W")
    height, width = size_of(maps)
    full = tuple(max(1, round(side * window.factor)) for side in size or (height, width))
    rows = max(0, window.top), min(full[0], window.top + window.crop)
    columns = max(0, window.left), min(full[1], window.left + window.crop)
    # Only the part of the image that the window shows is resized.
    top, bottom = (edge * height / full[0] for edge in rows)
    left, right = (edge * width / full[1] for edge in columns)
    box = math.floor(top), math.ceil(bottom), math.floor(left), math.ceil(right)
    part = maps[:, box[0] : max(box[1], box[0] + 1), box[2] : max(box[3], box[2] + 1)]
    target = [rows[1] - rows[0], columns[1] - columns[0]]
    mode = TF.InterpolationMode.NEAREST_EXACT if nearest else TF.InterpolationMode.BILINEAR
    if list(part.shape[-2:]) != target:
        part = TF.resize(part, target, interpolation=mode, antialias=not nearest)
    before = rows[0] - window.top, columns[0] - window.left
    padding = (
        before[1],
        window.crop - target[1] - before[1],
        before[0],
        window.crop - target[0] - before[0],
    )
    cut = F.pad(part, padding, value=fill) if any(padding) else part
    return cut.flip(-1) if window.mirrored else cut


def jitter(
    pixels: Tensor, strengths: Sequence[float], generator: torch.Generator, *, whole: Tensor | None = None
) -> Tensor:
    """Random brightness, contrast, saturation and hue of a (3, H, W) uint8 image, as torchvision's `ColorJitter`.

    That one draws from the global generator, so that no two threads could make views at the same time.

    Args:
        pixels: the image, or a window of it.
        strengths: of the four, in this order; all 0 changes nothing.
        generator: drawn from.
        whole: (3, H', W') uint8, the image that the window was cut from, in any resolution: contrast is changed
            about its mean grey; None: the pixels are the whole image.
    """
    if not any(strengths):
        return pixels
    order = torch.randperm(4, generator=generator).tolist()
    factors: list[float | None] = []
    for strength, centre in zip(strengths, (1.0, 1.0, 1.0, 0.0), strict=True):
        lowest = max(0.0, centre - strength) if centre else -strength
        drawn = torch.empty(1).uniform_(lowest, centre + strength, generator=generator) if strength else None
        factors.append(None if drawn is None else float(drawn))
    grey = None
    if factors[_CONTRAST] is not None:
        # Each pixel is changed for itself but by contrast: what comes before it is done to the whole image, too.
        seen = pixels if whole is None else _thinned(whole)
        grey = TF.rgb_to_grayscale(_changed(seen, order[: order.index(_CONTRAST)], factors)).float().mean()
    return _changed(pixels, order, factors, grey)


_CONTRAST = 1
_SAMPLE_SIDE = 256
"""Pixels. The mean grey of larger images is taken from every n-th row and column, so that these many or more stay."""


def _thinned(whole: Tensor) -> Tensor:
    step = max(1, max(size_of(whole)) // _SAMPLE_SIDE)
    return whole[:, ::step, ::step]


def _changed(
    pixels: Tensor, order: Sequence[int], factors: Sequence[float | None], grey: Tensor | None = None
) -> Tensor:
    """Brightness (0), contrast (1) about a mean grey, saturation (2) and hue (3), those that have a factor."""
    changes = {0: TF.adjust_brightness, 2: TF.adjust_saturation, 3: turn_hues}
    for index in order:
        factor = factors[index]
        if factor is None:
            continue
        if index != _CONTRAST:
            pixels = changes[index](pixels, factor)
        elif grey is not None:
            # torchvision's own sum; its function takes the mean of what it is given.
            pixels = pixels.mul(factor).add_(grey, alpha=1 - factor).clamp_(0, 255).to(torch.uint8)
    return pixels


def padded_view(
    pixels: Tensor,
    window: Window,
    strengths: Sequence[float],
    mean: Sequence[float],
    std: Sequence[float],
    *,
    generator: torch.Generator,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """A training view: window, jitter, normalisation; what lies outside the image is 0, the mean colour.

    The colours are those of the whole image jittered and then cut, as the authors do it: neither the padding nor the
    part of the image that the window shows has a say in its contrast.

    Args:
        pixels: (3, H, W) uint8.
        window: which part of the image, and at which size.
        strengths: of the jitter.
        mean: of the backbone.
        std: of the backbone.
        generator: drawn from.
        size: (height, width) of the image that the window was drawn in; None: the pixels have that size.

    Returns:
        (3, crop, crop) float32.
    """
    inside = cut_window(pixels.new_ones((1, *size_of(pixels))), window, fill=0, nearest=True, size=size)
    cut = cut_window(pixels, window, fill=0, size=size)
    return normalise(jitter(cut, strengths, generator, whole=pixels), mean, std) * inside
