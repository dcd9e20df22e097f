"""Views of images: random ones that networks train on, and whole images as networks want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from tag2mask.checks import check_number
from tag2mask.nets.fused import fused
from tag2mask.ops.windows import normalise, padded_view, random_window, resize_image

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.learning.fit import Runtime
    from tag2mask.nets.backbones import Backbone
    from tag2mask.nets.fused import Net
    from tag2mask.ops.windows import Window
    from tag2mask.records import TaggedImage


class ViewSettings(Protocol):
    """The settings of a stage that trains on random views."""

    @property
    def long_side(self) -> tuple[int, int]: ...

    @property
    def crop(self) -> int: ...

    @property
    def jitter(self) -> tuple[float, float, float, float]: ...


def random_view(
    image: TaggedImage, epoch: int, settings: ViewSettings, backbone: Backbone, runtime: Runtime, *purpose: str
) -> tuple[Window, Tensor]:
    """A random window of an image, and the (3, crop, crop) float32 pixels that it shows.

    Args:
        image: to cut from.
        epoch: another one gives another view.
        settings: long side, crop and jitter.
        backbone: whose mean and deviation are taken out.
        runtime: gives the seed.
        purpose: words for what trains on the view; another one's views are independent.
    """
    generator = runtime.generator(*purpose, "view", epoch, image.name)
    window = random_window(image.size, settings.long_side, settings.crop, generator)
    mean, std = backbone.mean, backbone.std
    return window, padded_view(image.pixels, window, settings.jitter, mean, std, generator=generator, size=image.size)


def whole_view(
    pixels: Tensor, size: tuple[int, int], backbone: Backbone, runtime: Runtime, *, mirrored: bool = False
) -> Tensor:
    """A whole image as a network wants it: (1, 3, h, w) float32 on the device; (2, 3, h, w) with its mirror image.

    Args:
        pixels: (3, H, W) uint8.
        size: (h, w).
        backbone: whose mean and deviation are taken out.
        runtime: where.
        mirrored: add the mirror image.
    """
    view = normalise(resize_image(pixels, size), backbone.mean, backbone.std)
    views = torch.stack([view, view.flip(-1)]) if mirrored else view[None]
    return views.to(runtime.device, memory_format=torch.channels_last)


def fused_on(net: Net, runtime: Runtime) -> Net:
    """A copy of a trained network that looks at images faster, where networks run; for ``runtime.inference``.

    Args:
        net: trained.
        runtime: where, and in which precision.
    """
    return fused(net.to(runtime.device), runtime.dtype)


def check_views(settings: ViewSettings) -> None:
    """Require that random views can be cut as the settings say.

    Raises:
        ValueError: if a number is out of range.
    """
    name = type(settings).__name__
    check_number(f"{name}.long_side, the smallest", settings.long_side[0], 1)
    check_number(f"{name}.long_side, the largest", settings.long_side[1], settings.long_side[0])
    check_number(f"{name}.crop", settings.crop, 1)
    check_jitter(name, settings.jitter)


def check_jitter(name: str, jitter: tuple[float, ...]) -> None:
    """Require amounts of 0 or more, and of hue at most half a turn."""
    for amount in jitter:
        check_number(f"{name}.jitter", amount, 0)
    if jitter[-1] > 0.5:
        raise ValueError(f"{name}.jitter: expected a hue of at most 0.5, half a turn, got {jitter[-1]!r}.")


def crop_side(image_side: int) -> int:
    """The side of a quick training view: three quarters of the long side, a multiple of 16, at least 64."""
    return max(64, round(image_side * 0.75 / 16) * 16)
