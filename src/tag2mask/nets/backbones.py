"""Feature maps of any timm network, or of the papers' own, at a declared output stride."""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.nets.depthwise import learn_depthwise_in_float32
from tag2mask.nets.paper_backbones import PAPER_BACKBONES
from tag2mask.nets.pooled import create_pooled
from tag2mask.nets.pretrained import find_pretrained
from tag2mask.nets.timm_nets import Keep, StrideError, create_features, info_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WHOLE_CELLS = 32
"""Sides of images are tried as they are, as multiples of the last stride, and of this one, which suits most nets."""


class Backbone(nn.Module):
    """A network without its head.

    Images whose sides are no multiples of what the network can cut into whole cells (a ViT's patch, a ConvNeXt's last
    stride) are padded with the mean colour at the right and the bottom; ResNets take every size as it is.

    Args:
        name: any timm model name that offers feature maps, for example ``resnet18``, ``convnext_tiny`` or
            ``vit_small_patch16_224``; or one of the papers' networks (`PAPER_BACKBONES`).
        output_stride: image pixels per cell of the last map: 8, 16 or 32; later blocks are dilated to keep it. A
            network that can not be dilated has the stride of its own only: a ViT its patch.
        pretrained: start from timm's published weights (asks the internet once, then its cache).
        keep: how many of the first levels to keep, told from their strides; the blocks that only the others use are
            left out. `without_last` and `until_stride` make one; None keeps all.
        pooled: the last level is what the network itself pools, after its last convolution, norm and activation
            (EfficientNet's ``conv_head``), for a classifier; where there is such a level it is the only one.

    Attributes:
        channels: of each level.
        strides: of each level.
        output_stride: of the last level.

    Raises:
        ValueError: if there is no network of this name, it cannot give maps at this stride or of images of any size,
            or its weights cannot be had.

    Example:
        >>> backbone = Backbone("resnet18", output_stride=8)
        >>> [tuple(level.shape[-2:]) for level in backbone(torch.zeros(1, 3, 64, 96))][-1]
        (8, 12)
    """

    def __init__(
        self,
        name: str,
        output_stride: int = 16,
        pretrained: bool = False,
        keep: Keep | None = None,
        *,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.net = net = _create(name, output_stride, pretrained, None if pooled else keep, pooled=pooled)
        learn_depthwise_in_float32(net)
        self.strides: tuple[int, ...] = tuple(info_of(net).reduction())
        self.output_stride = self.strides[-1]
        self.multiple, self.channels = self._try_out()
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
        return self._levels(pixels, self.multiple)

    def _levels(self, pixels: Tensor, multiple: int) -> list[Tensor]:
        """The maps of images that are padded to a multiple, less the cells that see nothing but padding."""
        height, width = pixels.shape[-2:]
        if height % multiple or width % multiple:
            pixels = F.pad(pixels, (0, -width % multiple, 0, -height % multiple))
        levels: list[Tensor] = self.net(pixels)
        if getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            levels = [level.permute(0, 3, 1, 2) for level in levels]
        if multiple == 1:
            return levels
        cells = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in self.strides]
        return [level[..., :rows, :columns] for level, (rows, columns) in zip(levels, cells, strict=True)]

    @torch.no_grad()
    def _try_out(self) -> tuple[int, tuple[int, ...]]:
        """What the sides of images have to be multiples of, and the channels of the levels: seen on a small image."""
        was_training = self.net.training
        self.net.eval()
        height, width = (count * max(self.strides) + 1 for count in (2, 3))
        pixels = torch.zeros(1, 3, height, width)
        cells = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in self.strides]
        why: Exception | None = None
        for multiple in (1, *sorted({self.output_stride, _WHOLE_CELLS})):
            try:
                levels = self._levels(pixels, multiple)
            except (RuntimeError, AssertionError, ValueError, IndexError) as error:
                why = error
                continue
            if [tuple(level.shape[-2:]) for level in levels] == cells:
                self.net.train(was_training)
                return multiple, tuple(int(level.shape[1]) for level in levels)
        raise ValueError(
            f"backbone {self.name!r}: expected feature maps of images of any size, whose cells lie side by side; it "
            f"gives none ({_told(why)}). Take another backbone: a ResNet, a ConvNeXt, a ViT."
        )


def _told(why: Exception | None) -> str:
    """What a network said against an image, if it said anything."""
    if why is None:
        return "its maps are smaller than image size / stride"
    return " ".join(str(why).split()) or type(why).__name__


def without_last(count: int) -> Keep:
    """Leave out the deepest levels.

    Args:
        count: how many.

    Example:
        >>> without_last(1)([2, 4, 8, 16, 32])
        4
    """

    def keep(strides: Sequence[int]) -> int:
        if count >= len(strides):
            raise ValueError(
                f"without_last: expected fewer than the backbone's {len(strides)} levels, got {count}. Leave out less."
            )
        return len(strides) - count

    return keep


def until_stride(stride: int) -> Keep:
    """Leave out all levels behind the first one of this stride or coarser.

    Args:
        stride: image pixels per cell.

    Example:
        >>> until_stride(4)([2, 4, 8, 16, 32])
        2
    """

    def keep(strides: Sequence[int]) -> int:
        return next((level + 1 for level, found in enumerate(strides) if found >= stride), len(strides))

    return keep


def level_strides(name: str, output_stride: int) -> tuple[int, ...]:
    """The strides of a backbone's levels: with the output stride that is wanted, or the ones that it has.

    Args:
        name: as for `Backbone`.
        output_stride: that is wanted.

    Raises:
        ValueError: if there is no backbone of this name, or it gives no feature maps.

    Example:
        >>> level_strides("resnet18", 8), level_strides("vit_tiny_patch16_224", 8)
        ((2, 4, 8, 8, 8), (16, 16, 16, 16))
    """
    # On the meta device a network has neither memory nor random numbers.
    with torch.device("meta"):
        try:
            return Backbone(name, output_stride).strides
        except StrideError as error:
            return Backbone(name, error.found).strides


def check_pretrained(name: str) -> None:
    """Require that a backbone's published weights are in the cache, or can be asked for.

    Args:
        name: of a backbone.

    Raises:
        ValueError: if not; the message says which file to get.
    """
    if name in PAPER_BACKBONES:
        raise ValueError(
            f"backbone {name!r}: expected a file with its ImageNet weights, which are nowhere to be asked for, got "
            "none. Name the file of the authors: --weights FILE (in Python: weights='FILE')."
        )
    find_pretrained(name)


def _create(name: str, output_stride: int, pretrained: bool, keep: Keep | None, *, pooled: bool) -> nn.Module:
    """A network that gives feature maps, whole or its first levels, or what it pools."""
    if name not in PAPER_BACKBONES:
        if not timm.is_model(name):
            near = [*get_close_matches(name, PAPER_BACKBONES), *timm.list_models(f"*{name[:6]}*")[:8]]
            told = ", ".join(near) or "timm.list_models() names all"
            raise ValueError(f"backbone {name!r}: timm has no model of this name. Near: {told}.")
        net = create_pooled(name, output_stride, pretrained=pretrained) if pooled else None
        return net or create_features(name, output_stride, pretrained=pretrained, keep=keep)
    if pretrained:
        check_pretrained(name)
    build: Callable[..., nn.Module] = PAPER_BACKBONES[name]
    if keep is None:
        return build(output_stride=output_stride)
    with torch.device("meta"):
        strides = info_of(build(output_stride=output_stride)).reduction()
    return build(output_stride=output_stride, levels=keep(strides))


def freeze_batch_norm(module: nn.Module) -> None:
    """Put every batch norm below a module in evaluation mode: running statistics neither used up nor changed."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm):
            part.eval()


def frozen_parameters(backbone: Backbone, levels: int) -> list[nn.Parameter]:
    """The parameters that the first feature levels depend on; for freezing the early layers.

    Args:
        backbone: the network.
        levels: how many of its levels to freeze; 0 freezes nothing.
    """
    if levels <= 0:
        return []
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    side = 2 * max(backbone.strides)
    was_training = backbone.training
    backbone.eval()
    with torch.enable_grad():
        maps = backbone(parameters[0].new_zeros(1, 3, side, side))[:levels]
        slopes = torch.autograd.grad([level.sum() for level in maps], parameters, allow_unused=True)
    backbone.train(was_training)
    return [parameter for parameter, slope in zip(parameters, slopes, strict=True) if slope is not None]


def to_channels_last(module: nn.Module) -> nn.Module:
    """Lay the weights out for the fastest convolutions of CPUs and GPUs."""
    return module.to(memory_format=torch.channels_last)
