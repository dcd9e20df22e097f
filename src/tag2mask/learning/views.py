"""Views of images: random ones that networks train on, and whole images as networks want them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tag2mask.ops.windows import padded_view, random_window

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.nets.looking import Normalised
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
    image: TaggedImage, epoch: int, settings: ViewSettings, net: Normalised, runtime: Runtime, *purpose: str
) -> tuple[Window, Tensor]:
    """A random window of an image, and the (3, crop, crop) float32 pixels that it shows.

    Args:
        image: to cut from.
        epoch: another one gives another view.
        settings: long side, crop and jitter.
        net: whose mean and deviation are taken out.
        runtime: gives the seed.
        purpose: words for what trains on the view; another one's views are independent.
    """
    generator = runtime.generator(*purpose, "view", epoch, image.name)
    window = random_window(image.image_size, settings.long_side, settings.crop, generator)
    mean, std = net.mean, net.std
    return window, padded_view(
        image.pixels, window, settings.jitter, mean, std, generator=generator, size=image.image_size
    )
