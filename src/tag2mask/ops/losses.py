"""What the networks are trained to make small. Each loss returns named terms; `fit` adds them up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from tag2mask.checks import check_shape
from tag2mask.labels import BACKGROUND, IGNORE, channels_from_labels
from tag2mask.ops.superpixels import region_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tag2mask.records import PairTargets

_LOG_FLOOR = 1e-5


def tag_loss(logits: Tensor, tags: Tensor, weights: Tensor | None = None) -> Tensor:
    """Multi-label soft-margin loss: the mean over classes and images of each tag's binary cross-entropy.

    Args:
        logits: (B, C).
        tags: (B, C) bool.
        weights: (C,) what a class that is there counts, of `tag_weights`; None: 1, as published.
    """
    known = check_shape("logits", logits, "B C")
    check_shape("tags", tags, "B C", **known)
    if weights is None:
        return F.multilabel_soft_margin_loss(logits.float(), tags.float())
    return F.binary_cross_entropy_with_logits(logits.float(), tags.float(), pos_weight=weights)


def tag_weights(tags: Tensor, balance: float) -> Tensor:
    """What a class that is there counts against one that is not: (absent images / present images)^balance, at least 1.

    A classifier that saw a class in two images of a hundred would call it absent everywhere, with empty maps.

    Args:
        tags: (N, C) bool, of all images.
        balance: 0 counts all alike, 1 gives presence and absence of each class the same weight in all.

    Returns:
        (C,) float32.

    Example:
        >>> tag_weights(torch.tensor([[True], [False], [False], [False], [False]]), 0.5).tolist()
        [2.0]
    """
    check_shape("tags", tags, "N C")
    present = tags.sum(dim=0).float()
    return (((len(tags) - present) / present.clamp(min=1)) ** balance).clamp(min=1)


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
    # 1 - W first: it is exact near W = 1, where 1.00001 - W is not.
    differ = -torch.log((1 - affinity) + _LOG_FLOOR)
    return {
        "same_background": _mean_over(agree, targets.same_background) / 4,
        "same_object": _mean_over(agree, targets.same_object) / 4,
        "different": _mean_over(differ, targets.different) / 2,
    }


def label_loss(logits: Tensor, labels: Tensor, object_weight: float = 1.0) -> Tensor:
    """Softmax cross-entropy over the pixels whose label is not IGNORE; 0 if there are none.

    Args:
        logits: (B, 1 + C, H, W); channel 0 is the background.
        labels: (B, H, W) int64: 0, 1..C, IGNORE.
        object_weight: of a pixel of any class; one of the background has weight 1.
    """
    known = check_shape("logits", logits, "B channels H W")
    check_shape("labels", labels, "B H W", B=known["B"], H=known["H"], W=known["W"])
    channels = channels_from_labels(labels)
    losses = F.cross_entropy(logits.float(), channels, ignore_index=-1, reduction="none")
    return _mean_over(losses, _label_weights(channels, object_weight))


def soft_label_loss(logits: Tensor, targets: Tensor, object_weight: float = 1.0) -> Tensor:
    """Softmax cross-entropy against probabilities instead of labels, over the pixels that have any; 0 without one.

    Args:
        logits: (B, 1 + C, H, W); channel 0 is the background.
        targets: (B, 1 + C, H, W) probabilities; all 0 where nothing is known.
        object_weight: of the probability of any class; that of the background has weight 1.

    Example:
        >>> targets = torch.tensor([[[[0.5, 0.0]], [[0.5, 0.0]]]])  # Two pixels; of the second one nothing is known.
        >>> round(soft_label_loss(torch.zeros(1, 2, 1, 2), targets).item(), 3)  # log 2
        0.693
    """
    check_shape("targets", targets, "B channels H W", **check_shape("logits", logits, "B channels H W"))
    weights = torch.cat([targets[:, :1], object_weight * targets[:, 1:]], dim=1)
    return _mean_over(-F.log_softmax(logits.float(), dim=1), weights)


def confident_region_loss(probabilities: Tensor, labels: Tensor, object_weight: float = 1.0) -> Tensor:
    """L_a: mean of -log p of their label over the pixels of confident regions (Wang et al., IJCV 2020).

    The paper's L_a = -Y^T log alpha_p is a sum; a mean does not depend on how much was mined. 0 if nothing was.

    Args:
        probabilities: (B, 1 + C, h, w) in [0, 1], refined; channel 0 is the background.
        labels: (B, h, w) int64 of the mined regions: 0, 1..C; IGNORE everywhere else.
        object_weight: of a pixel of any class; one of the background has weight 1.

    Example:
        >>> probabilities = torch.tensor([[[[0.5, 0.9]], [[0.5, 0.1]]]])  # Two pixels; background, class 1.
        >>> round(confident_region_loss(probabilities, torch.tensor([[[1, 255]]])).item(), 3)  # log 2
        0.693
    """
    known = check_shape("probabilities", probabilities, "B channels h w")
    check_shape("labels", labels, "B h w", B=known["B"], h=known["h"], w=known["w"])
    channels = channels_from_labels(labels)
    chosen = probabilities.gather(1, channels.clamp(min=0).unsqueeze(1)).squeeze(1)
    return _mean_over(-torch.log(chosen + _LOG_FLOOR), _label_weights(channels, object_weight))


def object_weight(label_maps: Iterable[Tensor], balance: float) -> float:
    """The weight of an object's pixel that balances objects and background: (background / objects) ** balance.

    Nine of ten pixels are background. Counted alike, and with labels that are often wrong, a network that calls
    doubtful pixels background is right most of the time; but mean IoU asks for every class alike.

    Args:
        label_maps: int64 of any shape: 0, 1..C, IGNORE.
        balance: 0: every pixel counts the same, and the maps are not read; 1: all objects together count as much as
            all of the background.

    Returns:
        At least 0; 1 if there are no pixels of objects, or none of the background.

    Example:
        >>> object_weight([torch.tensor([0, 0, 0, 0, 1, 255])], balance=0.5)
        2.0
    """
    if balance == 0:
        return 1.0
    background = objects = 0
    for labels in label_maps:
        inside = int((labels != IGNORE).sum())
        empty = int((labels == BACKGROUND).sum())
        background, objects = background + empty, objects + inside - empty
    return float((background / objects) ** balance) if background and objects else 1.0


def region_smoothness_loss(weights: Tensor, ids: Tensor, count: int) -> Tensor:
    """L_s = ||G - G_s||^2, G_s being the affinities averaged in each superpixel (Wang et al., IJCV 2020).

    Taken as a mean over pixels and weights. Gradients flow through the averages too; they add nothing, since the
    differences of a region add up to 0.

    Args:
        weights: (B, K, h, w): the K affinities of each pixel, for example of a propagation's neighbours.
        ids: (B, h, w) int64 of `tag2mask.ops.superpixels.join_regions`; -1, in no region: left out.
        count: number of regions in the batch, at least 1.

    Example:
        >>> region_smoothness_loss(torch.tensor([[[[0.0, 1.0, 5.0]]]]), torch.tensor([[[0, 0, 1]]]), 2).item()
        0.1666666716337204
    """
    known = check_shape("weights", weights, "B K h w")
    check_shape("ids", ids, "B h w", B=known["B"], h=known["h"], w=known["w"])
    by_weight = weights.transpose(0, 1)  # (K, B, h, w)
    means = region_mean(by_weight, ids, count)  # (K, R)
    places = ids.clamp(min=0).flatten().expand(len(means), -1)
    differences = by_weight - means.gather(1, places).view_as(by_weight)
    return _mean_over(differences.square(), (ids >= 0).expand_as(differences))


def _label_weights(channels: Tensor, object_weight: float) -> Tensor:
    """(...) float32 of channels (...): 0 without a label, 1 for the background, `object_weight` for objects."""
    return (channels == BACKGROUND).float() + object_weight * (channels > BACKGROUND).float()


def _mean_over(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean; 0 if all weights are."""
    return (values * weights).sum() / weights.sum().clamp(min=_LOG_FLOOR)
