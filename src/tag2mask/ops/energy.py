"""The energy that IAL's rounds bring down: how much neighbouring pixels that belong together disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from tag2mask.checks import check_range, check_shape
from tag2mask.labels import IGNORE, channels_from_labels

if TYPE_CHECKING:
    from torch import Tensor


def smoothness_energy(probabilities: Tensor, refined: Tensor, target: Tensor | None = None) -> Tensor:
    """alpha^T L alpha per pixel and class, or Y^T L alpha with mined labels Y (Wang et al., IJCV 2020).

    W are the weights between pixels, D their sums, L = D - W, and G = I - L is what the pairwise network does to a map.
    So L alpha = alpha - G alpha is had by propagating once, and no N x N matrix exists. For a symmetric W the energy
    is J = 1/2 sum_ij w_ij (alpha_i - alpha_j)^2 >= 0; a propagation network need not be symmetric, and then it can be
    below 0.

    Y is one-hot on mined pixels and alpha on all others. So the two energies are sums over the same pixels, they differ
    on mined pixels only, and the law Y^T L alpha <= alpha^T L alpha can be read off: learning from what was mined
    shall not raise the energy.

    Args:
        probabilities: alpha, (B, 1 + C, H, W): of the segmenter.
        refined: G alpha, likewise: the same map after the (linear) pairwise network.
        target: (B, H, W) int64 labels of mined pixels: 0, 1..C, IGNORE on all others; None: the energy of alpha itself.

    Returns:
        A number: the sum over pixels and classes divided by B (1 + C) H W. Differentiable.

    Raises:
        ValueError: for shapes that do not fit, or a label that no class has.

    Example:
        Two pixels tied by a weight of 0.25: G = [[0.75, 0.25], [0.25, 0.75]], J = 2 classes x 0.25 x 1, over 4 numbers.

        >>> alpha = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
        >>> smoothed = torch.tensor([[[[0.75, 0.25]], [[0.25, 0.75]]]])
        >>> smoothness_energy(alpha, smoothed).item()
        0.125
        >>> smoothness_energy(alpha, smoothed, torch.tensor([[[0, 0]]])).item()  # Mined: both are background.
        0.0
    """
    known = check_shape("probabilities", probabilities, "B channels H W")
    check_shape("refined", refined, "B channels H W", **known)
    slope = probabilities - refined  # L alpha
    if target is None:
        return (probabilities * slope).mean()
    check_shape("target", target, "B H W", B=known["B"], H=known["H"], W=known["W"])
    channels = channels_from_labels(target, ignored=0)
    check_range(f"target other than {IGNORE}", channels, 0, known["channels"] - 1)
    one_hot = F.one_hot(channels, known["channels"]).movedim(-1, 1).to(probabilities.dtype)
    mined = (target != IGNORE).unsqueeze(1)
    return (torch.where(mined, one_hot, probabilities) * slope).mean()
