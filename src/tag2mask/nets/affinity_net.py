"""AffinityNet: features whose distances say whether two pixels belong together (Ahn & Kwak, CVPR 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.nets.backbones import Backbone, freeze_batch_norm
from tag2mask.nets.resnet38 import ResNet38
from tag2mask.nets.roles import Role, roles_beside
from tag2mask.nets.vgg16 import SIDE_GROUPS, Vgg16Dilated

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE_CHANNELS = (64, 128, 256)
"""Channels of the side convolutions on the last three levels (authors' code for ResNet-38)."""

SMALLEST_VARIANCE = 1e-10
"""Added to the variance by the group norms of networks that are not the authors'. With the usual 1e-5, maps that are a
hundredth as large as they mostly are (a LCNet's, say) would stay small, and all pairs be alike."""


class AffinityNet(nn.Module):
    """1x1 side convolutions on the last three feature levels, concatenated, then 1x1 again; ELU after each.

    As the authors' sides of a VGG-16, those of all networks have group norm in front of the ELU: who knows how large
    the features of a network are, and exp(-distance) is 0 or 1 for all pairs where they are large or small. Only the
    authors' ResNet-38 has none. The context of a VGG-16 is widened (authors' code).

    Args:
        backbone: its output stride is this net's stride; build it with `output_stride=8` for the published one.

    Attributes:
        stride: image pixels per cell of the features.
        channels: 448.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.stride = backbone.output_stride
        self.channels = sum(SIDE_CHANNELS)
        if len(backbone.channels) < len(SIDE_CHANNELS):
            raise ValueError(
                f"AffinityNet: expected a backbone with at least 3 feature levels, {backbone.name!r} has "
                f"{len(backbone.channels)}. Take another backbone, for example a ResNet."
            )
        taps = backbone.channels[-len(SIDE_CHANNELS) :]
        self.sides = nn.ModuleList(
            nn.Conv2d(tap, side, 1, bias=False) for tap, side in zip(taps, SIDE_CHANNELS, strict=True)
        )
        if isinstance(backbone.net, ResNet38):
            self.side_norms = nn.ModuleList(nn.Identity() for _ in SIDE_CHANNELS)
        else:
            # The authors' VGG-16 keeps the 1e-5 of torch.
            eps = 1e-5 if isinstance(backbone.net, Vgg16Dilated) else SMALLEST_VARIANCE
            sizes = zip(SIDE_GROUPS, SIDE_CHANNELS, strict=True)
            self.side_norms = nn.ModuleList(nn.GroupNorm(groups, side, eps=eps) for groups, side in sizes)
        if isinstance(backbone.net, Vgg16Dilated):
            backbone.net.widen_context()
        self.merge = nn.Conv2d(self.channels, self.channels, 1, bias=False)
        for conv in self.sides:
            nn.init.kaiming_normal_(conv.weight)  # type: ignore[arg-type]
        nn.init.xavier_uniform_(self.merge.weight, gain=4)

    def parameter_roles(self) -> Iterator[tuple[nn.Parameter, Role]]:
        """The group norms learn like the backbone's layers, and their weights decay (authors' code)."""
        norms = {id(parameter) for parameter in self.side_norms.parameters()}
        scales = {id(norm.weight) for norm in self.side_norms if isinstance(norm, nn.GroupNorm)}
        for parameter, role in roles_beside(self, self.backbone):
            is_norm = id(parameter) in norms
            yield parameter, Role(role.new and not is_norm, role.bias and id(parameter) not in scales)

    def train(self, mode: bool = True) -> AffinityNet:
        """Training mode for all but the batch norms, which keep their statistics (authors' code)."""
        super().train(mode)
        freeze_batch_norm(self)
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, 448, ceil(H / stride), ceil(W / stride)) features."""
        levels = self.backbone(pixels)[-len(SIDE_CHANNELS) :]
        size = levels[-1].shape[-2:]
        sides = []
        for level, conv, norm in zip(levels, self.sides, self.side_norms, strict=True):
            side = F.elu(norm(conv(level)))
            if side.shape[-2:] != size:
                side = F.interpolate(side, size, mode="bilinear", align_corners=False)
            sides.append(side)
        return F.elu(self.merge(torch.cat(sides, dim=1)))
