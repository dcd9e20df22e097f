"""Networks that look at whole images."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import nn

from tag2mask.ops.sizes import resize_image
from tag2mask.ops.windows import normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from tag2mask.runtime import Runtime


Net = TypeVar("Net", bound=nn.Module)


class Normalised(Protocol):
    """Whatever says how the pixels that it sees are normalised, each channel from 0 to 1."""

    @property
    def mean(self) -> Sequence[float]: ...

    @property
    def std(self) -> Sequence[float]: ...


@dataclass(frozen=True)
class Normalisation:
    """How pixels are normalised, apart from the network that wants it so.

    Args:
        mean: of red, green and blue, 0 to 1.
        std: of them.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def whole_view(
    pixels: Tensor, size: tuple[int, int], net: Normalised, runtime: Runtime, *, mirrored: bool = False
) -> Tensor:
    """A whole image as a network wants it: (1, 3, h, w) float32 on the device; (2, 3, h, w) with its mirror image.

    Args:
        pixels: (3, H, W) uint8.
        size: (h, w).
        net: whose mean and deviation are taken out.
        runtime: device, precision and seed.
        mirrored: add the mirror image.
    """
    view = normalise(resize_image(pixels, size), net.mean, net.std)
    views = torch.stack([view, view.flip(-1)]) if mirrored else view[None]
    return views.to(runtime.device, memory_format=torch.channels_last)


def looking_copy(net: Net, runtime: Runtime) -> Net:
    """A copy of a trained network's modules with the network's own weights, in evaluation mode for good.

    Several threads may ask it in ``runtime.inference``, and the network itself stays as it is.

    Args:
        net: trained.
        runtime: where it looks.
    """
    net = net.to(runtime.device)
    weights: dict[int, Any] = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    return copy.deepcopy(net, weights).eval()
