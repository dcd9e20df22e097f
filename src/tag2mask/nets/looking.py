"""Networks that look at whole images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tag2mask.nets.fused import fused
from tag2mask.ops.sizes import resize_image
from tag2mask.ops.windows import normalise

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.nets.backbones import Backbone
    from tag2mask.nets.fused import Net
    from tag2mask.runtime import Runtime


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
