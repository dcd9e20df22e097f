"""The multi-label classifier whose weights make class activation maps (Ahn & Kwak, CVPR 2018, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from tag2mask.nets.paper_backbones import PaperBackbone
from tag2mask.nets.roles import roles_beside
from tag2mask.nets.vgg16 import Vgg16Dilated
from tag2mask.ops.cam import class_activation_maps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tag2mask.nets.backbones import Backbone
    from tag2mask.nets.roles import Role


class CamClassifier(nn.Module):
    """Features -> global average pooling -> dropout -> one linear layer without bias.

    Args:
        backbone: gives the feature maps; the last one is used.
        num_classes: C, at least 1.
        dropout: between pooling and the linear layer, while training (authors' code: 0.5, of whole channels in front
            of the pooling, which is the same).
    """

    def __init__(self, backbone: Backbone, num_classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes: expected at least 1, got {num_classes}.")
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.channels[-1], num_classes, bias=False)
        if isinstance(backbone.net, PaperBackbone):
            nn.init.xavier_uniform_(self.head.weight)

    def parameter_roles(self) -> Iterator[tuple[nn.Parameter, Role]]:
        """What is beside the backbone is new."""
        return roles_beside(self, self.backbone)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, C) logits."""
        pooled = self.backbone(pixels)[-1].mean(dim=(-2, -1))
        logits: Tensor = self.head(self.dropout(pooled))
        return logits

    def cams(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, C, h, w) class activation maps after ReLU, at the backbone's stride."""
        maps = class_activation_maps(self.backbone(pixels)[-1], self.head.weight)
        # The authors' code takes the root of a VGG-16's maps, and of no other's.
        return maps.sqrt() if isinstance(self.backbone.net, Vgg16Dilated) else maps
