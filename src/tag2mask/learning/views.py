"""Views of images: random ones that networks train on, and whole images as networks want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tag2mask.checks import check_number
from tag2mask.ops.windows import padded_view, random_window

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.nets.backbones import Backbone
    from tag2mask.ops.windows import Window
    from tag2mask.records import TaggedImage
    from tag2mask.runtime import Runtime


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
