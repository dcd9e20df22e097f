"""The segmenter: any network that says what each pixel is, of this package or another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import nn

from tag2mask.nets.looking import Normalised, looking_copy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from tag2mask.runtime import Runtime


class Segmenter(Normalised, Protocol):
    """Any segmentation network, of this package or another: a module that is trained and asked as it is.

    It is called with (B, 3, H, W) float32 pixels, normalised with its `mean` and `std`, and gives (B, 1 + C, H, W)
    logits, channel 0 the background.
    """

    def __call__(self, pixels: Tensor, /) -> Tensor: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> object: ...


def module_of(net: Segmenter) -> nn.Module:
    """The segmenter as the module that it has to be.

    Args:
        net: a segmenter.

    Raises:
        TypeError: if it is no module, or does not say its mean and deviation.
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"segmenter: expected a torch.nn.Module, got {type(net).__name__}.")
    for name, values in (("mean", net.mean), ("std", net.std)):
        if len(values) != 3:
            raise ValueError(f"segmenter.{name}: expected three numbers, one of each colour, got {values!r}.")
    return net


def looking_segmenter(net: Segmenter, runtime: Runtime) -> Segmenter:
    """A copy that only looks, see `tag2mask.nets.looking.looking_copy`.

    Args:
        net: trained.
        runtime: where it looks.
    """
    made: Any = looking_copy(module_of(net), runtime)
    return cast("Segmenter", made)


@dataclass(frozen=True)
class GivenSegmenter:
    """Stands beside the settings of a segmenter that was given instead of built: another one is another stage.

    Args:
        segmenter: what it is called, and a digest of its weights' names and shapes.
    """

    segmenter: str

    @classmethod
    def of(cls, net: Segmenter) -> GivenSegmenter:
        """Recognise a segmenter.

        Args:
            net: any.
        """
        shapes = json.dumps({name: list(value.shape) for name, value in net.state_dict().items()})
        digest = hashlib.blake2b(shapes.encode(), digest_size=6).hexdigest()
        return cls(f"{type(net).__qualname__} {digest}")


def check_segmenter(net: Segmenter, num_classes: int) -> None:
    """Require logits of background and classes for every pixel, before a training.

    Args:
        net: a segmenter.
        num_classes: C.

    Raises:
        TypeError: if it is no module.
        ValueError: if a small image gives logits of another shape.
    """
    module = module_of(net)
    parameter = next(module.parameters())
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    with torch.no_grad():
        found = tuple(net(torch.zeros(1, 3, 64, 96, device=parameter.device)).shape)
    for part, training in modes:
        part.training = training
    if found != (1, 1 + num_classes, 64, 96):
        raise ValueError(
            f"segmenter: expected logits of shape (1, {1 + num_classes}, 64, 96) for an image of 64 x 96 pixels and "
            f"{num_classes} classes beside the background, got {found}."
        )
