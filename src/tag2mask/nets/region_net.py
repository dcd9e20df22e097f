"""The region classifier of IAL (Wang et al., IJCV 2020), in the style of Fast R-CNN (Girshick, ICCV 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tag2mask.checks import check_number
from tag2mask.nets.roles import roles_beside
from tag2mask.ops.superpixels import mask_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tag2mask.nets.backbones import Backbone
    from tag2mask.nets.roles import Role


FINE_STRIDE = 4
"""Image pixels per cell of the finest level that is pooled, at least."""


class RegionNet(nn.Module):
    """Shared features, averaged over each region's exact pixels, then two fully connected layers and a classifier.

    The last level says what is around a region, but a superpixel is hardly larger than one of its cells, so that
    neighbours on both sides of an object's border would get nearly the same features; the finest level at stride 4 or
    coarser, which tells their colours and textures apart, is pooled too and put beside it. A backbone that ends there
    sees hardly more than the region itself: then a piece of meadow is judged like any other one, also where the samples
    call it cow.

    Args:
        backbone: gives the feature maps.
        num_classes: C, at least 1; the logits have 1 + C channels, channel 0 is the background.
        hidden: width of the two fully connected layers (IAL: not published; Fast R-CNN: 4096, on 7 x 7 cells of VGG).
        dropout: after each of them, while training (Fast R-CNN: 0.5).
    """

    def __init__(self, backbone: Backbone, num_classes: int, hidden: int = 256, dropout: float = 0.5) -> None:
        super().__init__()
        check_number("num_classes", num_classes, 1)
        check_number("hidden", hidden, 1)
        self.backbone = backbone
        fine = next(index for index, stride in enumerate(backbone.strides) if stride >= FINE_STRIDE)
        self.levels = sorted({fine, len(backbone.strides) - 1})
        self.head = nn.Sequential(
            nn.Linear(sum(backbone.channels[level] for level in self.levels), hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1 + num_classes),
        )

    def parameter_roles(self) -> Iterator[tuple[nn.Parameter, Role]]:
        """What is beside the backbone is new."""
        return roles_beside(self, self.backbone)

    def forward(self, pixels: Tensor, ids: Tensor, count: int) -> Tensor:
        """(B, 3, H, W) normalised, and the regions of the batch -> (R, 1 + C) logits.

        Args:
            pixels: the images.
            ids: (B, H', W') int64 of `tag2mask.ops.superpixels.join_regions`; of the same views as the pixels, at the
                same or any other resolution.
            count: R, over the whole batch.

        Returns:
            In the order of the joined ids. A region that does not occur in `ids` has logits of no meaning: give it
            the label IGNORE (`tag2mask.ops.superpixels.region_sizes` tells which).
        """
        levels = self.backbone(pixels)
        pooled = torch.cat([mask_pool(levels[level], ids, count) for level in self.levels], dim=1)
        logits: Tensor = self.head(pooled)
        return logits.float()
