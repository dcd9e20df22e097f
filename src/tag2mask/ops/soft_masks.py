"""Probabilities among an image's tags, averaged over cells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from tag2mask.ops.mining import allowed_labels
from tag2mask.records import SoftMask

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.records import TaggedImage


def with_tags(probabilities: Tensor, tags: Tensor) -> Tensor:
    """Keep the background and the classes among an image's tags; what is left sums to 1 again.

    Args:
        probabilities: (1 + C, h, w).
        tags: (C,) bool.

    Example:
        >>> with_tags(torch.tensor([0.2, 0.5, 0.3]).view(3, 1, 1), torch.tensor([False, True])).flatten().tolist()
        [0.4000000059604645, 0.0, 0.6000000238418579]
    """
    kept = probabilities * allowed_labels(tags).view(-1, 1, 1)
    total = kept.sum(dim=0, keepdim=True)
    # Where nothing at all is left of the probability, the pixel is background.
    kept[0] += total[0] <= 0
    return kept / kept.sum(dim=0, keepdim=True)


def soft_mask(image: TaggedImage, probabilities: Tensor, stride: int) -> SoftMask:
    """Probabilities of an image's tags, averaged over cells.

    Args:
        image: with its tags.
        probabilities: (1 + C, h, w).
        stride: pixels of `probabilities` per cell; 1 keeps them as they are.
    """
    cells = math.ceil(probabilities.shape[-2] / stride), math.ceil(probabilities.shape[-1] / stride)
    pooled = F.interpolate(with_tags(probabilities, image.tags)[None], cells, mode="area")[0]
    channels = torch.cat([image.class_ids.new_zeros(1), image.class_ids + 1])
    return SoftMask(image.name, image.class_ids, pooled[channels].clamp(0, 1), image.image_size)
