"""What a timm network itself pools: its last maps, after the last convolution, norm and activation."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.norm import LayerNorm2d
from timm.models import FeatureInfo
from torch import Tensor, nn

from tag2mask.nets.pretrained import find_pretrained
from tag2mask.nets.timm_nets import MISFITS, create_timm, is_of_patches, norm_of_cells, outline

_PROBE = 3
"""Cells along the side of an image that a network is tried with."""


_INTERMEDIATES = "forward_intermediates"
"""timm's method of networks that can give tokens as maps."""


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
        norm = getattr(getattr(model, "head", None), "norm", None)
        # Behind a hidden layer of the head (InceptionNeXt) it is one of other channels, and of no map.
        fits = isinstance(norm, nn.LayerNorm) and tuple(norm.normalized_shape) == (channels,)
        self.has_late_norm = fits
        self.is_of_tokens = self.is_channels_last = False
        self._find_layout(channels)

    @torch.no_grad()
    def _find_layout(self, channels: int) -> None:
        """Whether the features are (B, D, h, w), (B, h, w, D) or (B, h w, D): seen on a small image."""
        was_training = self.model.training
        side = _PROBE * int(self.feature_info.reduction()[-1])
        pixels = next(self.model.parameters()).new_zeros(1, 3, side, side)
        found = self.model.eval().forward_features(pixels)  # type: ignore[operator]
        self.is_of_tokens = isinstance(found, Tensor) and found.ndim == 3 and hasattr(self.model, _INTERMEDIATES)
        if self.is_of_tokens:
            found = self._maps(pixels)
        self.model.train(was_training)
        if not isinstance(found, Tensor) or found.ndim != 4 or channels not in {found.shape[1], found.shape[-1]}:
            raise ValueError(f"its last features are no maps of {channels} channels")
        self.is_channels_last = bool(found.shape[1] != channels)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised -> one (B, D, h, w)."""
        maps = self._maps(pixels)
        if self.is_channels_last:
            maps = maps.permute(0, 3, 1, 2)
        if self.has_late_norm:
            norm: nn.Module = self.model.head.norm  # type: ignore[assignment]
            # Of the channels of each cell; not every layer norm takes maps.
            maps = norm(maps) if isinstance(norm, LayerNorm2d) else norm_of_cells(norm, maps)
        return [maps]

    def _maps(self, pixels: Tensor) -> Tensor:
        """The last features; tokens, which do not tell how many stand in a row, as timm's maps of them."""
        if not self.is_of_tokens:
            maps: Tensor = self.model.forward_features(pixels)  # type: ignore[operator]
            return maps
        wanted = {"indices": 1, "norm": True, "output_fmt": "NCHW", "intermediates_only": True}
        levels: list[Tensor] = getattr(self.model, _INTERMEDIATES)(pixels, **wanted)
        return levels[-1]


def create_pooled(name: str, output_stride: int, *, pretrained: bool) -> nn.Module | None:
    """A timm network that gives what it pools, with timm's ``feature_info``.

    Args:
        name: that timm knows.
        output_stride: of the maps; blocks are dilated to have it.
        pretrained: with timm's published weights.

    Returns:
        None where it pools no maps, or not at this stride: its last feature level serves then. A MobileNetV3 can not be
        dilated as a whole but can as feature maps, and the last of them is what it pools.

    Raises:
        ValueError: if its weights could not be had.
    """
    if is_of_patches(name):
        return None
    net = _tried(name, output_stride)
    if net is None or not pretrained:
        return net
    # Only what is kept is worth weights.
    wanted = {"num_classes": 0, **_dilation(name, output_stride)}
    given = {"pretrained": True, "pretrained_cfg_overlay": find_pretrained(name)}
    return PooledFeatures(create_timm(name, wanted, given))


def _dilation(name: str, output_stride: int) -> dict[str, Any]:
    """How timm is told the stride of a whole network; of one that can not be told, how to take images of any size."""
    wanted: dict[str, Any] = {"output_stride": output_stride}
    try:
        with torch.device("meta"):
            create_timm(name, {"num_classes": 0, **wanted}, {})
    except MISFITS:
        return outline(name)[1]
    return wanted


def _tried(name: str, output_stride: int) -> PooledFeatures | None:
    """The network with random weights; None if it does not give maps at this stride."""
    try:
        net = PooledFeatures(create_timm(name, {"num_classes": 0, **_dilation(name, output_stride)}, {}))
    except (*MISFITS, ValueError):
        return None
    return net if int(net.feature_info.reduction()[-1]) == output_stride else None
