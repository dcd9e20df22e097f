"""A DeepLab-style segmentation network on timm features (Chen et al., ECCV 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.nets.roles import roles_beside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tag2mask.nets.backbones import Backbone
    from tag2mask.nets.roles import Role


class DeepLab(nn.Module):
    """Atrous spatial pyramid pooling on the last level, joined with a fine level, then a 3x3 classifier.

    Args:
        backbone: at output stride 16 or 8.
        num_classes: C; the logits have 1 + C channels, channel 0 is the background.
        width: channels of the pyramid and of the decoder (DeepLab: 256; enough for small nets: 128).
        rates: dilations of the pyramid's 3x3 convolutions, in cells of the last level (DeepLab at stride 16:
            6, 12, 18 for crops of 512 pixels; smaller images need smaller ones).
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, width: int = 256, rates: Sequence[int] = (6, 12, 18)
    ) -> None:
        super().__init__()
        self.backbone = backbone
        deep = backbone.channels[-1]
        # The finest level at stride 4 or coarser: enough for edges, and cheap.
        self.fine_level = next(index for index, stride in enumerate(backbone.strides) if stride >= 4)
        fine = backbone.channels[self.fine_level]
        self.pyramid = nn.ModuleList([_conv(deep, width, 1), *(_conv(deep, width, 3, rate) for rate in rates)])
        self.context = nn.Sequential(nn.Conv2d(deep, width, 1), nn.ReLU())
        self.project = _conv(width * (len(rates) + 2), width, 1)
        self.fine = _conv(fine, 48, 1)
        self.decode = _conv(width + 48, width, 3)
        self.classify = nn.Conv2d(width, 1 + num_classes, 1)

    @property
    def mean(self) -> Sequence[float]:
        """Of the pixels that it wants, each channel from 0 to 1."""
        return self.backbone.mean

    @property
    def std(self) -> Sequence[float]:
        """Of the pixels that it wants."""
        return self.backbone.std

    def parameter_roles(self) -> Iterator[tuple[nn.Parameter, Role]]:
        """What is beside the backbone is new."""
        return roles_beside(self, self.backbone)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, 1 + C, H, W) logits."""
        levels = self.backbone(pixels)
        deep, fine = levels[-1], levels[self.fine_level]
        context = self.context(deep.mean(dim=(-2, -1), keepdim=True)).expand(-1, -1, *deep.shape[-2:])
        pooled = self.project(torch.cat([*(branch(deep) for branch in self.pyramid), context], dim=1))
        pooled = F.interpolate(pooled, fine.shape[-2:], mode="bilinear", align_corners=False)
        logits = self.classify(self.decode(torch.cat([pooled, self.fine(fine)], dim=1)))
        return F.interpolate(logits.float(), pixels.shape[-2:], mode="bilinear", align_corners=False)


def _conv(inputs: int, outputs: int, size: int, rate: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=rate * (size // 2), dilation=rate, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
