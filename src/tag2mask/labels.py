"""What a pixel of a mask holds, and the channels of score maps that stand for it.

Two words that must never be mixed up:

- ``class_id``: 0..C-1, the position of a class in ``class_names``;
- ``label``: what a mask pixel holds: ``BACKGROUND`` (0), 1..C for the classes, or ``IGNORE`` (255: unsure, void).

`labels_from_class_ids` converts, and nothing else does. With more than 254 classes the label 255 is
passed over (class 254 gets 256), so that ``IGNORE`` keeps the value which every tool of the field uses.
"""

from __future__ import annotations

import torch
from torch import Tensor

BACKGROUND = 0
"""The label of pixels that belong to no class."""

IGNORE = 255
"""The label of pixels that are unsure (seeds) or void (ground truth)."""


def labels_from_class_ids(class_ids: Tensor) -> Tensor:
    """Turn class ids 0..C-1 into labels 1..C, passing over `IGNORE`.

    Args:
        class_ids: any shape, int64, >= 0.

    Returns:
        Same shape, int64.

    Example:
        >>> labels_from_class_ids(torch.tensor([0, 1, 253, 254])).tolist()
        [1, 2, 254, 256]
    """
    labels = class_ids.long() + 1
    return labels + (labels >= IGNORE).long()


def channels_from_labels(labels: Tensor, *, ignored: int = -1) -> Tensor:
    """Turn labels into channels of a (1 + C)-channel score map: 0 = background, 1 + class_id.

    This is also the row and column of a label in `Confusion`.

    Args:
        labels: any shape, int64: 0, 1..C, IGNORE.
        ignored: what IGNORE becomes.

    Example:
        >>> channels_from_labels(torch.tensor([0, 1, 255, 256])).tolist()
        [0, 1, -1, 255]
    """
    channels = labels.long() - (labels > IGNORE).long()
    return torch.where(labels == IGNORE, ignored, channels)


def labels_from_channels(channels: Tensor) -> Tensor:
    """Turn channels (0 = background, 1 + class_id) into labels: the inverse of `channels_from_labels`.

    Example:
        >>> labels_from_channels(torch.tensor([0, 1, 255])).tolist()
        [0, 1, 256]
    """
    return channels.long() + (channels >= IGNORE).long()
