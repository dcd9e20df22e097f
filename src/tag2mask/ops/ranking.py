"""How well a multi-label classifier ranks images."""

from __future__ import annotations

import torch
from torch import Tensor

from tag2mask.checks import check_shape


def mean_average_precision(scores: Tensor, tags: Tensor) -> float:
    """Average precision per class, then the mean over classes.

    Args:
        scores: (N, C) logits or probabilities of N images.
        tags: (N, C) bool.

    Returns:
        In [0, 1]; NaN if no class occurs.

    Example:
        >>> scores, tags = torch.tensor([[0.9], [0.8], [0.1]]), torch.tensor([[True], [False], [True]])
        >>> round(mean_average_precision(scores, tags), 4)
        0.8333
    """
    check_shape("tags", tags, "N C", **check_shape("scores", scores, "N C"))
    found = []
    for class_id in range(scores.shape[1]):
        hits = tags[scores[:, class_id].argsort(descending=True, stable=True), class_id]
        if hits.any():
            found.append(float(average_precision(hits)))
    return sum(found) / len(found) if found else float("nan")


def average_precision(hits: Tensor) -> Tensor:
    """Average precision of ranked lists: the mean, over the hits, of the share of hits down to each of them.

    Args:
        hits: (..., N) bool, in the order of falling scores, at least one of each list true.

    Returns:
        (...) float64 in (0, 1].

    Example:
        >>> average_precision(torch.tensor([[True, False, True], [False, False, True]]))
        tensor([0.8333, 0.3333], dtype=torch.float64)
    """
    found = hits.double()
    precision = found.cumsum(-1) / torch.arange(1, hits.shape[-1] + 1, device=hits.device)
    return (precision * found).sum(-1) / found.sum(-1)
