"""What the networks are trained to make small. Each loss returns named terms; `fit` adds them up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from tag2mask.checks import check_shape
from tag2mask.records import channels_from_labels

if TYPE_CHECKING:
    from tag2mask.records import PairTargets

_LOG_FLOOR = 1e-5


def tag_loss(logits: Tensor, tags: Tensor) -> Tensor:
    """Multi-label soft-margin loss: the mean over classes and images of each tag's binary cross-entropy.

    Args:
        logits: (B, C).
        tags: (B, C) bool.
    """
    known = check_shape("logits", logits, "B C")
    check_shape("tags", tags, "B C", **known)
    return F.multilabel_soft_margin_loss(logits.float(), tags.float())


def pair_loss(affinity: Tensor, targets: PairTargets) -> dict[str, Tensor]:
    """L = L_bg+ / 4 + L_fg+ / 4 + L- / 2, each the mean over its own set of pairs (Ahn & Kwak, 2018, eq. 4-7).

    A set without pairs contributes 0.

    Args:
        affinity: (B, P, h, w) in [0, 1] of `tag2mask.ops.affinity.pair_affinity`.
        targets: of the same shape.

    Returns:
        The three weighted terms, named ``same_background``, ``same_object`` and ``different``.
    """
    check_shape("targets", targets.different, "B P h w", **check_shape("affinity", affinity, "B P h w"))
    agree = -torch.log(affinity + _LOG_FLOOR)
    differ = -torch.log(1 + _LOG_FLOOR - affinity)
    return {
        "same_background": _mean_over(agree, targets.same_background) / 4,
        "same_object": _mean_over(agree, targets.same_object) / 4,
        "different": _mean_over(differ, targets.different) / 2,
    }


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy over the pixels whose label is not IGNORE; 0 if there are none.

    Args:
        logits: (B, 1 + C, H, W); channel 0 is the background.
        labels: (B, H, W) int64: 0, 1..C, IGNORE.
    """
    known = check_shape("logits", logits, "B channels H W")
    check_shape("labels", labels, "B H W", B=known["B"], H=known["H"], W=known["W"])
    channels = channels_from_labels(labels)
    total = F.cross_entropy(logits.float(), channels, ignore_index=-1, reduction="sum")
    return total / (channels >= 0).sum().clamp(min=1)


def _mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
