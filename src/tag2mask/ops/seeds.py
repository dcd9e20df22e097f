"""Seeds: pixels that are sure enough to learn affinities from (Ahn & Kwak, CVPR 2018, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from tag2mask.checks import check_shape
from tag2mask.labels import BACKGROUND, IGNORE, labels_from_class_ids


def labels_of_scores(scores: Tensor, class_ids: Tensor) -> Tensor:
    """The label with the highest score of every pixel.

    Args:
        scores: (1 + K, H, W); channel 0 is the background.
        class_ids: (K,) int64; only these classes can appear.

    Returns:
        (H, W) int64 labels.

    Example:
        >>> labels_of_scores(torch.tensor([[[0.2, 0.9]], [[0.8, 0.1]]]), torch.tensor([6]))
        tensor([[7, 0]])
    """
    check_shape("scores", scores, "channels H W", channels=len(class_ids) + 1)
    labels = torch.cat([class_ids.new_full((1,), BACKGROUND), labels_from_class_ids(class_ids)])
    # Over the first dimension torch's argmax takes ten times as long.
    return labels.to(scores.device)[scores.max(dim=0).indices]


def seed_labels(low: Tensor, high: Tensor, class_ids: Tensor) -> Tensor:
    """Background at the low alpha is unsure, background at the high alpha is sure, the rest is its class.

    A low alpha leaves much background, so what is an object even there is surely one; a high alpha leaves
    little, so what is background even there is surely background, and this rule comes last.

    Args:
        low: (1 + K, H, W) scores at the low alpha; channel 0 is the background.
        high: (1 + K, H, W) scores at the high alpha.
        class_ids: (K,) int64.

    Returns:
        (H, W) int64: 0, 1..C, IGNORE. All background if K = 0.
    """
    seeds = labels_of_scores(low, class_ids)
    seeds = torch.where(seeds == BACKGROUND, IGNORE, seeds)
    return torch.where(labels_of_scores(high, class_ids) == BACKGROUND, BACKGROUND, seeds)


def scores_of_seeds(seeds: Tensor, class_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Scores at the low and the high alpha that `seed_labels` makes these seeds of.

    Args:
        seeds: (H, W) int64: 0, labels of these classes, IGNORE.
        class_ids: (K,) int64, ascending; with K = 0 every pixel has to be background.

    Returns:
        low and high, each (1 + K, H, W) float32 of zeros and ones; channel 0 is the background. A pixel that is unsure
        is background at the low alpha, and the first class at the high one.

    Raises:
        ValueError: if a seed is of another class.

    Example:
        >>> low, high = scores_of_seeds(torch.tensor([[0, 3, 255]]), torch.tensor([2]))
        >>> seed_labels(low, high, torch.tensor([2])).tolist()
        [[0, 3, 255]]
    """
    check_shape("seeds", seeds, "H W")
    labels = torch.cat([class_ids.new_full((1,), BACKGROUND), labels_from_class_ids(class_ids)])
    sure = (seeds[None] == labels.to(seeds.device)[:, None, None]).float()
    unsure = seeds == IGNORE
    known = sure.sum(dim=0).bool() | (unsure if len(class_ids) else torch.zeros_like(unsure))
    if not bool(known.all()):
        found = ", ".join(map(str, torch.unique(seeds[~known])[:5].tolist()))
        raise ValueError(f"seeds: expected labels {labels.tolist()} or {IGNORE}, got {found}.")
    low, high = sure.clone(), sure.clone()
    low[0] += unsure
    if len(class_ids):
        high[1] += unsure
    return low, high
