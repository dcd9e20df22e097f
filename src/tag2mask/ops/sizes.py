"""Sizes of images and of maps, and how to bring them to others."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

if TYPE_CHECKING:
    from tag2mask.records import TaggedImage


def size_of(maps: Tensor) -> tuple[int, int]:
    """(height, width) of (..., H, W)."""
    return int(maps.shape[-2]), int(maps.shape[-1])


def resize_image(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8 -> (3, height, width) uint8, antialiased bilinear."""
    if size_of(pixels) == size:
        return pixels
    resized: Tensor = TF.resize(pixels, list(size), antialias=True)
    return resized


def fit_long_side(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """The size with the same aspect whose longer side is `long_side`; no side below 1 pixel.

    Example:
        >>> fit_long_side((200, 400), 100)
        (50, 100)
    """
    factor = long_side / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def limit_long_side(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size itself, or shrunk to `longest` if its longer side is above; 0 means no limit.

    Example:
        >>> limit_long_side((200, 400), 500), limit_long_side((200, 400), 200), limit_long_side((9, 9), 0)
        ((200, 400), (100, 200), (9, 9))
    """
    return fit_long_side(size, longest) if 0 < longest < max(size) else size


def shrink(image: TaggedImage, side: int) -> TaggedImage:
    """A copy of an image whose longer side is at most `side` pixels; 0 means no limit."""
    return replace(
        image, pixels=resize_image(image.pixels, limit_long_side(image.image_size, side)), full_size=image.image_size
    )


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """(h, w) -> (H, W) labels, nearest."""
    if tuple(labels.shape) == size:
        return labels
    return F.interpolate(labels[None, None].float(), size, mode="nearest-exact")[0, 0].long()


class CellSettings(Protocol):
    """At which resolution AffinityNet works."""

    @property
    def cells(self) -> int: ...

    @property
    def output_stride(self) -> int: ...


def working_size(size: tuple[int, int], settings: CellSettings) -> tuple[int, int]:
    """The size in pixels at which AffinityNet sees an image.

    Args:
        size: (height, width) of the image.
        settings: with its cells and stride.
    """
    return fit_long_side(size, settings.cells * settings.output_stride) if settings.cells else size


def grid_size(size: tuple[int, int], settings: CellSettings) -> tuple[int, int]:
    """The size in cells of an image's affinity map."""
    height, width = working_size(size, settings)
    return math.ceil(height / settings.output_stride), math.ceil(width / settings.output_stride)
