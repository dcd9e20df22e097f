"""What a timm network itself pools: its last maps, after the last convolution, norm and activation."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.norm import LayerNorm2d
from timm.models import FeatureInfo
from torch import Tensor, nn

from tag2mask.nets.pretrained import find_pretrained
from tag2mask.nets.timm_nets import MISFITS, StrideError, create_timm, is_of_patches, outline

_PROBE = 3
"""Cells along the side of an image that a network is tried with."""


class PooledFeatures(nn.Module):
    """A whole network without its classifier: one level, ``forward_features`` as (B, D, h, w).

    A norm that the network has between pooling and classifier (ConvNeXt, MaxViT) is done for each cell instead; for a
    network that pools and then classifies, its own classifier's logits are the means of maps made of these.

    Args:
        model: a timm network without its classifier.

    Attributes:
        feature_info: channels and stride of the level.
        pretrained_cfg: ``mean`` and ``std`` of the pixels that it wants.

    Raises:
        ValueError: if its last features are no maps.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.pretrained_cfg: Any = model.pretrained_cfg
        blocks: Any = getattr(model, "feature_info", [])
        channels: int = model.num_features  # type: ignore[assignment]
        if not blocks:
            raise ValueError("timm does not tell the stride of its features")
        self.feature_info = FeatureInfo([{**blocks[-1], "num_chs": channels}], (0,))
        self.channels_last = self._is_channels_last(channels)

    def _is_channels_last(self, channels: int) -> bool:
        """Whether the features are (B, h, w, D)."""
        was_training = self.model.training
        side = _PROBE * int(self.feature_info.reduction()[-1])
        like = next(self.model.parameters())
        with torch.no_grad():
            found = self.model.eval().forward_features(like.new_zeros(1, 3, side, side))  # type: ignore[operator]
        self.model.train(was_training)
        if not isinstance(found, Tensor) or found.ndim != 4 or channels not in {found.shape[1], found.shape[-1]}:
            raise ValueError(f"its last features are no maps of {channels} channels")
        return bool(found.shape[1] != channels)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised -> one (B, D, h, w)."""
        maps: Tensor = self.model.forward_features(pixels)  # type: ignore[operator]
        if self.channels_last:
            maps = maps.permute(0, 3, 1, 2)
        norm = getattr(getattr(self.model, "head", None), "norm", None)
        if isinstance(norm, nn.LayerNorm):
            # Of the channels of each cell; not every layer norm takes maps.
            maps = norm(maps) if _takes_maps(norm) else norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return [maps]


def _takes_maps(norm: nn.LayerNorm) -> bool:
    """Whether a layer norm is one of (B, D, h, w)."""
    return isinstance(norm, LayerNorm2d)


def create_pooled(name: str, output_stride: int, *, pretrained: bool) -> nn.Module | None:
    """A timm network that gives what it pools, with timm's ``feature_info``; None where it pools no maps.

    Args:
        name: that timm knows.
        output_stride: of the maps; blocks are dilated to have it.
        pretrained: with timm's published weights.

    Raises:
        ValueError: if it has not this stride, or its weights could not be had.
    """
    if is_of_patches(name):
        return None
    given = {"pretrained": True, "pretrained_cfg_overlay": find_pretrained(name)} if pretrained else {}
    try:
        model = create_timm(name, {"num_classes": 0, "output_stride": output_stride}, given)
    except MISFITS:
        try:
            model = create_timm(name, {"num_classes": 0, **outline(name)[1]}, given)
        except MISFITS:
            return None
    try:
        net = PooledFeatures(model)
    except MISFITS:
        return None
    except ValueError:
        return None
    found = int(net.feature_info.reduction()[-1])
    if found != output_stride:
        raise StrideError.of(name, output_stride, found)
    return net
