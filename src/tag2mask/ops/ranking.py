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
        hits = tags[scores[:, class_id].argsort(descending=True, stable=True), class_id].double()
        if hits.any():
            precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
            found.append(float((precision * hits).sum() / hits.sum()))
    return sum(found) / len(found) if found else float("nan")
