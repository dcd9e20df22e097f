"""Spatial propagation: four three-way linear scans that spread maps along learned weights.

Source: Liu et al., "Learning Affinity via Spatial Propagation Networks", NIPS 2017; as the pairwise network of
iterative affinity learning: Wang et al., IJCV 2020. From left to right, column t takes from the column before it:

    h_t = (1 - sum_k w_k) x_t + sum_k w_k h_{t-1,k},    k over the three nearest pixels of column t - 1,

and the first column keeps x. The same is done in all four directions, and the results are merged. A weight that
would leave the image counts 0, so its share stays with x.

The order of the directions, everywhere: 0 left -> right, 1 right -> left, 2 top -> bottom, 3 bottom -> top.
The order of the three neighbours: above, level, below (directions 0, 1); left, straight, right (2, 3).
All channels of a map share the weights, as a matrix G over pixels requires; the published network has weights of
its own for every hidden channel: each channel is a map of its own then, in the place of images.
"""

from __future__ import annotations

from functools import reduce
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from tag2mask.checks import check_choice, check_shape
from tag2mask.ops.kernels.scan import close_, scan_and_merge

Merge = Literal["mean", "gated", "max"]
"""How the four directions become one: their mean; a convex sum with gates per pixel; the largest (published)."""

_SUM_FLOOR = 1e-6
"""Weights that are all 0 stay so."""

MATRIX_PIXELS = 64 * 64
"""The largest map of which `affinity_matrix` makes a matrix: 64 MiB for each image in float32."""


def propagate(maps: Tensor, weights: Tensor, gates: Tensor | None = None, *, merge: Merge = "gated") -> Tensor:
    """Spread maps in four directions and merge the results (Liu et al., NIPS 2017, eq. 1).

    With weights of `convex_weights` every value is a weighted mean of the map's values, so a map's range is kept, and
    so is the sum over the channels: probabilities stay probabilities (not with ``max``, where the sum may grow).

    Args:
        maps: (B, C, H, W), for example class probabilities.
        weights: (B, 4, 3, H, W): what a pixel takes from its three neighbours, for each direction; stable if
            sum_k |w_k| <= 1 (not checked: `convex_weights` and `signed_weights` see to it).
        gates: (B, 4, H, W): how much each direction counts at a pixel; >= 0 with sum 1 over the directions for a
            weighted mean (not checked: a softmax sees to it).
        merge: ``mean``, ``gated`` or ``max``; only the first two are linear in the maps.

    Returns:
        (B, C, H, W), float64 if an argument is, else float32, also under bfloat16 autocast: a scan adds up
        hundreds of steps. Differentiable; on the CPU, where compiled loops do the work, only once.

    Raises:
        ValueError: for other shapes, another word for `merge`, or gates that are missing or would not be used.

    Example:
        >>> maps = torch.tensor([[[[1.0, 0.0, 0.0]]]])
        >>> weights = torch.zeros(1, 4, 3, 1, 3)
        >>> weights[:, 0, 1] = 0.5  # Left to right, each takes half of its left neighbour; the rest keep x.
        >>> propagate(maps, weights, merge="max")
        tensor([[[[1.0000, 0.5000, 0.2500]]]])
        >>> propagate(maps, weights, merge="mean")
        tensor([[[[1.0000, 0.1250, 0.0625]]]])
    """
    known = check_shape("maps", maps, "B C H W")
    known.pop("C")
    if not (known["H"] and known["W"]):
        raise ValueError(f"maps: expected at least one pixel, got shape {tuple(maps.shape)}.")
    check_shape("weights", weights, "B 4 3 H W", **known)
    _check_merge(gates, merge)
    if gates is not None:
        check_shape("gates", gates, "B 4 H W", **known)
    elif merge == "mean":
        gates = weights.new_full((known["B"], 4, known["H"], known["W"]), 0.25)
    given = [maps, weights] if gates is None else [maps, weights, gates]
    dtype = reduce(torch.promote_types, (part.dtype for part in given), torch.float32)
    maps, weights = maps.to(dtype), weights.to(dtype)
    gates = None if gates is None else gates.to(dtype)
    if maps.device.type == "cpu":
        return scan_and_merge(maps, weights, gates)
    return _scan_and_merge_in_torch(maps, weights, gates)


def convex_weights(raw: Tensor) -> Tensor:
    """Turn any numbers into weights >= 0 with sum_k w_k <= 1: a softmax over the three neighbours and "stay".

    Only the differences of the four logits matter, so that of "stay" is fixed at 0 and a network gives three for
    each direction, as many as for `signed_weights`.

    Args:
        raw: (B, 12, H, W): channel 3 d + k belongs to direction d and neighbour k. At 0 each neighbour gets 1/4.

    Returns:
        (B, 4, 3, H, W), at least float32.

    Raises:
        ValueError: for another shape.

    Example:
        >>> convex_weights(torch.zeros(1, 12, 2, 2))[0, 0, :, 0, 0]
        tensor([0.2500, 0.2500, 0.2500])
    """
    logits = F.pad(_by_direction(raw), (0, 0, 0, 0, 0, 1))
    return logits.softmax(dim=2)[:, :, :3]


def signed_weights(raw: Tensor, *, always: bool = False) -> Tensor:
    """Weights of either sign that keep a scan stable: w / max(1, sum_k |w_k|) (Liu et al., NIPS 2017, theorem 2).

    The scan is stable: a change of one column changes no later one by more. But 1 - sum_k w_k may reach 2, so values
    can leave the range of the maps, by up to twice the largest value for every column that was passed.

    Args:
        raw: (B, 12, H, W): channel 3 d + k belongs to direction d and neighbour k.
        always: divide by the sum also where it is below 1, as the published network does: nothing of x is kept then
            where all three have one sign.

    Returns:
        (B, 4, 3, H, W), at least float32.

    Raises:
        ValueError: for another shape.

    Example:
        >>> signed_weights(torch.full((1, 12, 2, 2), 0.1), always=True)[0, 0, :, 0, 0]
        tensor([0.3333, 0.3333, 0.3333])
        >>> signed_weights(torch.full((1, 12, 2, 2), -0.5))[0, 0, :, 0, 0]
        tensor([-0.3333, -0.3333, -0.3333])
    """
    weights = _by_direction(raw)
    return weights / weights.abs().sum(dim=2, keepdim=True).clamp(min=_SUM_FLOOR if always else 1)


def neighbour_distances(features: Tensor) -> Tensor:
    """How much each pixel differs from the neighbours that a scan takes from: ||f_i - f_j||_1.

    AffinityNet (Ahn & Kwak, CVPR 2018, eq. 4) makes affinities of it, exp(-||f_i - f_j||_1); here it is taken from the
    logits of `convex_weights`, which does the same.

    Args:
        features: (B, D, H, W).

    Returns:
        (B, 4, 3, H, W) >= 0, by direction and neighbour; 0 for neighbours outside of the image.

    Example:
        >>> neighbour_distances(torch.tensor([[[[0.0, 3.0, 3.0]]]]))[0, :2, 1, 0]  # From the left, from the right.
        tensor([[0., 3., 0.],
                [3., 0., 0.]])
    """
    check_shape("features", features, "B D H W")
    right = F.pad(_distance(features[..., :-1], features[..., 1:]), (0, 1))
    below = F.pad(_distance(features[..., :-1, :], features[..., 1:, :]), (0, 0, 0, 1))
    falling = F.pad(_distance(features[..., :-1, :-1], features[..., 1:, 1:]), (0, 1, 0, 1))  # To the right and down.
    rising = F.pad(_distance(features[..., 1:, :-1], features[..., :-1, 1:]), (0, 1, 1, 0))  # To the right and up.
    left, above = _seen_from(right, 0, 1), _seen_from(below, 1, 0)
    above_left, below_left = _seen_from(falling, 1, 1), _seen_from(rising, -1, 1)
    from_left, from_right = (above_left, left, below_left), (rising, right, falling)
    from_top, from_bottom = (above_left, above, rising), (below_left, below, falling)
    return torch.stack([torch.stack(three, 1) for three in (from_left, from_right, from_top, from_bottom)], 1)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().sum(dim=1)


def _seen_from(distances: Tensor, down: int, right: int) -> Tensor:
    """What stands `down` rows above and `right` columns to the left of each pixel; 0 outside."""
    height, width = distances.shape[-2:]
    wide = F.pad(distances, (1, 1, 1, 1))
    return wide[..., 1 - down : 1 - down + height, 1 - right : 1 - right + width]


def inside(weights: Tensor) -> Tensor:
    """Set the weights that leave the image to 0: those of the first column, and those beyond its ends.

    `propagate` does so by itself; this is for looking at the weights and for the energy of the graph.

    Args:
        weights: (B, 4, 3, H, W).

    Returns:
        (B, 4, 3, H, W), a copy.

    Raises:
        ValueError: for another shape.

    Example:
        >>> inside(torch.ones(1, 4, 3, 2, 2))[0, 0]  # Left to right: above, level and below.
        tensor([[[0., 0.],
                 [0., 1.]],
        <BLANKLINE>
                [[0., 1.],
                 [0., 1.]],
        <BLANKLINE>
                [[0., 1.],
                 [0., 0.]]])
    """
    check_shape("weights", weights, "B 4 3 H W")
    closed = weights.clone()
    close_(closed[:, :2].mT)
    close_(closed[:, 2:])
    return closed


def affinity_matrix(weights: Tensor, gates: Tensor | None = None, *, merge: Merge = "gated") -> Tensor:
    """The matrix G of alpha_p = G alpha_u = (I - L) alpha_u (Wang et al., IJCV 2020), for small maps.

    For tests and for teaching: a training needs no more than `propagate`. Rows sum to 1; with `convex_weights` (and
    gates >= 0 that sum to 1) no entry is negative, so every row holds the weights of a mean.

    Args:
        weights: (B, 4, 3, H, W), H * W at most 4096.
        gates: (B, 4, H, W), as for `propagate`.
        merge: ``mean`` or ``gated``.

    Returns:
        (B, H * W, H * W), differentiable: G @ alpha.flatten(-2) of alpha (H, W) is `propagate` of it.

    Raises:
        ValueError: for merge ``max``, which is not linear; for larger maps; see also `propagate`.

    Example:
        >>> weights = torch.full((1, 4, 3, 1, 2), 0.3)
        >>> affinity_matrix(weights, merge="mean")[0]
        tensor([[0.9250, 0.0750],
                [0.0750, 0.9250]])
    """
    known = check_shape("weights", weights, "B 4 3 H W")
    if merge == "max":
        raise ValueError(
            "affinity matrix: expected merge 'mean' or 'gated', got 'max'. The largest of four sums is not linear in "
            "the map, so no matrix does the same."
        )
    pixels = known["H"] * known["W"]
    if pixels > MATRIX_PIXELS:
        raise ValueError(
            f"affinity matrix: expected at most {MATRIX_PIXELS} pixels, got {known['H']} x {known['W']} = {pixels}. "
            "Use propagate, which needs no matrix, or weights of a smaller map."
        )
    ones = torch.eye(pixels, device=weights.device).reshape(pixels, known["H"], known["W"])
    columns = propagate(ones.expand(known["B"], -1, -1, -1), weights, gates, merge=merge)
    return columns.flatten(2).mT


def _check_merge(gates: Tensor | None, merge: Merge) -> None:
    check_choice("merge", merge, get_args(Merge))
    if merge == "gated" and gates is None:
        raise ValueError("gates: expected (B, 4, H, W) for merge 'gated', got None. Pass them, or merge by 'mean'.")
    if merge != "gated" and gates is not None:
        raise ValueError(f"gates: expected None for merge {merge!r}, which would ignore them. Or merge by 'gated'.")


def _by_direction(raw: Tensor) -> Tensor:
    """(B, 12, H, W) -> (B, 4, 3, H, W), at least float32."""
    check_shape("raw", raw, "B 12 H W")
    wide = raw.to(torch.promote_types(raw.dtype, torch.float32))
    return wide.reshape(len(raw), 4, 3, *raw.shape[-2:])


def _scan_and_merge_in_torch(maps: Tensor, weights: Tensor, gates: Tensor | None) -> Tensor:
    """`scan_and_merge` in torch, for devices where the compiled loops do not run: one loop for all directions."""
    height, width = maps.shape[-2:]
    steps = inside(weights).unsqueeze(3)
    every = maps.unsqueeze(1).expand(-1, 4, -1, -1, -1)
    own = (1 - steps.sum(dim=2)) * every
    first, second, third = (_turn(step).unbind(-2) for step in steps.unbind(2))
    line, *others = _turn(own).unbind(-2)
    scanned = [line]
    for number, rest in enumerate(others, 1):
        near = F.pad(scanned[-1], (1, 1))
        line = torch.addcmul(rest, first[number], near[..., :-2])
        line = torch.addcmul(line, second[number], near[..., 1:-1])
        scanned.append(torch.addcmul(line, third[number], near[..., 2:]))
    results = _turn_back(torch.stack(scanned, dim=-2), height, width)
    return results.amax(dim=1) if gates is None else (gates.unsqueeze(2) * results).sum(dim=1)


def _turn(values: Tensor) -> Tensor:
    """(B, 4, ..., H, W) -> (B, 4, ..., S, S), S the longer side: each scan now runs from the first row down.

    What the shorter side lacks is 0 and lies where no scan comes from.
    """
    height, width = values.shape[-2:]
    size = max(height, width)
    right, left, down, up = values.unbind(1)
    turned = (right.mT, left.mT.flip(-2), down, up.flip(-2))
    return torch.stack([F.pad(v, (0, size - v.shape[-1], 0, size - v.shape[-2])) for v in turned], dim=1)


def _turn_back(values: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `_turn`: (B, 4, ..., S, S) -> (B, 4, ..., H, W)."""
    right, left, down, up = values.unbind(1)
    right, left = right[..., :width, :height], left[..., :width, :height]
    down, up = down[..., :height, :width], up[..., :height, :width]
    return torch.stack([right.mT, left.flip(-2).mT, down, up.flip(-2)], dim=1)
