"""Feature maps of any timm network at a declared output stride."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class Backbone(nn.Module):
    """A timm network without its head.

    Args:
        name: any timm model name that offers feature maps, for example ``resnet18``.
        output_stride: image pixels per cell of the last map: 8, 16 or 32; later blocks are dilated to keep it.
        pretrained: start from timm's published weights (asks the internet once, then its cache).
        without_last: how many of the deepest levels to leave out, with the blocks that only they use.
        until_stride: leave out all levels behind the first one of this stride or coarser; 0 keeps them.

    Raises:
        ValueError: if timm does not know the name, cannot give maps at this stride, or cannot get the weights.

    Example:
        >>> backbone = Backbone("resnet18", output_stride=8)
        >>> [tuple(level.shape[-2:]) for level in backbone(torch.zeros(1, 3, 64, 96))][-1]
        (8, 12)
    """

    def __init__(
        self, name: str, output_stride: int = 16, pretrained: bool = False, without_last: int = 0, until_stride: int = 0
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            near = ", ".join(timm.list_models(f"*{name[:6]}*")[:8]) or "timm.list_models() names all"
            raise ValueError(f"backbone {name!r}: timm has no model of this name. Near: {near}.")
        self.name = name
        self.net = net = _create(name, output_stride, pretrained, without_last, until_stride)
        self.channels: tuple[int, ...] = tuple(_info(net).channels())
        self.strides: tuple[int, ...] = tuple(_info(net).reduction())
        self.output_stride = self.strides[-1]
        config: Any = net.pretrained_cfg
        self.mean: Sequence[float] = tuple(config.get("mean", (0.485, 0.456, 0.406)))
        self.std: Sequence[float] = tuple(config.get("std", (0.229, 0.224, 0.225)))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps from fine to coarse.

        Args:
            pixels: (B, 3, H, W) normalised with `mean` and `std`.

        Returns:
            One (B, channels[i], ceil(H / strides[i]), ceil(W / strides[i])) for each level.
        """
        levels: list[Tensor] = self.net(pixels)
        return levels


def _create(name: str, output_stride: int, pretrained: bool, without_last: int, until_stride: int) -> nn.Module:
    wanted: dict[str, Any] = {"features_only": True, "output_stride": output_stride}
    try:
        if without_last or until_stride:
            strides = _info(timm.create_model(name, **wanted)).reduction()
            deep = [level for level, stride in enumerate(strides) if until_stride and stride >= until_stride]
            kept = min([len(strides) - without_last, *(level + 1 for level in deep[:1])])
            wanted["out_indices"] = tuple(range(kept))
        net: nn.Module = timm.create_model(name, pretrained=pretrained, **wanted)
    except (TypeError, AssertionError, NotImplementedError, AttributeError) as error:
        raise ValueError(
            f"backbone {name!r}: no feature maps at output stride {output_stride} ({error}). "
            "Take 32, 16 or 8 where the network allows it, or another backbone."
        ) from error
    except Exception as error:
        if not pretrained:
            raise
        raise ValueError(
            f"backbone {name!r}: the pretrained weights could not be had ({type(error).__name__}: {error}). "
            "On a machine without internet either train from scratch (pretrained=False) or load the weights once "
            "on a connected machine and copy timm's cache folder (HF_HOME) here."
        ) from error
    found = int(_info(net).reduction()[-1])
    if found != output_stride and not until_stride:
        raise ValueError(
            f"backbone {name!r}: asked for output stride {output_stride}, its last map has {found}. "
            f"Set the stride to {found} or take a backbone that can be dilated (any ResNet)."
        )
    return net


def _info(net: nn.Module) -> Any:
    """timm's table of a net's feature levels; timm has no types."""
    return net.feature_info


def freeze_batch_norm(module: nn.Module) -> None:
    """Put every batch norm below a module in evaluation mode: running statistics neither used up nor changed."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()


def frozen_parameters(backbone: Backbone, levels: int) -> list[nn.Parameter]:
    """The parameters that only the first feature levels use; for freezing the early layers.

    Args:
        backbone: the network.
        levels: how many of its levels to freeze; 0 freezes nothing.
    """
    chosen: list[nn.Parameter] = []
    if levels <= 0:
        return chosen
    wanted = _info(backbone.net).info[levels - 1]["module"]
    for name, child in backbone.net.named_children():
        chosen += list(child.parameters())
        if name == str(wanted).replace(".", "_"):
            break
    return chosen


def to_channels_last(module: nn.Module) -> nn.Module:
    """Lay the weights out for the fastest convolutions of CPUs and GPUs."""
    return module.to(memory_format=torch.channels_last)
