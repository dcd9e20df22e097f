"""The random walk that spreads class scores along pixel affinities (Ahn & Kwak, CVPR 2018, section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tag2mask.checks import check_range, check_shape
from tag2mask.ops.chebyshev import PixelRow, combine, power_series

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tag2mask.records import PixelAffinity

# Below this a weight changes nothing, but its powers and products would be denormal numbers, which slow
# a CPU down twentyfold. For the same reason the walk runs on scores + _LIFT: T keeps constants, and numbers
# that differ, differ by 1e-19 at least.
_WEIGHT_FLOOR = 1e-16
_LIFT = 1e-12


def random_walk(scores: Tensor, affinity: PixelAffinity, *, beta: float = 8, steps: int = 256) -> Tensor:
    """vec(M*_c) = T^t vec(M_c) with T = D^-1 W^(o beta), for every class and the background.

    The walk is linear, so T is applied to the scores and never multiplied with itself: memory is that of the
    pairs, (P, h, w), and no n x n matrix exists. T^t is reckoned as a sum of Chebyshev polynomials, in 78 products
    for t = 256 (see `tag2mask.ops.chebyshev`); it is within 1e-5 of the exact power, for scores up to 1.

    Args:
        scores: (C, h, w) float32, >= 0.
        affinity: of the same map; a pixel's affinity with itself is 1.
        beta: sharpening exponent; a larger one keeps scores inside objects.
        steps: t, >= 0.

    Returns:
        (C, h, w) float32; each row of T sums to 1, so values stay within the range of `scores`.

    Raises:
        ValueError: if the shapes differ, a score is negative or no number, or beta or steps is negative.
    """
    for _, walked in random_walks(scores, affinity, beta=beta, steps=(steps,)):
        return walked
    raise AssertionError("random_walks yields once for every number of steps")


def random_walks(
    scores: Tensor, affinity: PixelAffinity, *, beta: float, steps: Sequence[int]
) -> Iterator[tuple[int, Tensor]]:
    """One walk, looked at after each number of steps: yields (t, scores after t steps).

    Args:
        scores: (C, h, w) float32, >= 0.
        affinity: of the same map.
        beta: sharpening exponent.
        steps: ascending numbers of steps, each >= 0; after none the scores are what they were, to the bit.

    Raises:
        ValueError: see `random_walk`.
    """
    known = check_shape("scores", scores, "C h w")
    check_shape("affinity values", affinity.values, "P h w", h=known["h"], w=known["w"])
    check_range("scores", scores, 0.0, torch.finfo(torch.float32).max)
    if not beta >= 0 or min(steps, default=0) < 0 or list(steps) != sorted(steps):
        raise ValueError(f"random walk: expected beta >= 0 and ascending steps >= 0, got {beta} and {list(steps)}.")
    scores = scores.float()
    some = [each for each in steps if each > 0]
    walked = iter(_walked(scores, affinity, beta, some) if some else ())
    lowest, highest = scores.amin(dim=(1, 2), keepdim=True), scores.amax(dim=(1, 2), keepdim=True)
    for wanted in steps:
        # T keeps the range, its polynomial nearly.
        yield wanted, next(walked).clamp_(lowest, highest) if wanted else scores.clone()


def transition_weights(affinity: PixelAffinity, beta: float, on: PixelRow) -> tuple[Tensor, Tensor]:
    """T = D^-1 W^(o beta) by its parts: T_ij = w_ij / (1 + r_i), T_ii = 1 / (1 + r_i).

    Args:
        affinity: P offsets, values (P, h, w).
        beta: sharpening exponent.
        on: where the pixels lie.

    Returns:
        (P, n) the weight w of each pair, 0 where the second pixel lies outside; and (n,) r, what the weights of all
        neighbours of a pixel, those before it too, sum to.
    """
    weights = on.lay_out(_pair_weights(affinity, beta))
    near = weights.sum(dim=0)
    for pairs, shift in zip(weights, on.shifts, strict=True):
        near += pairs.roll(shift)
    return weights, near


def _pair_weights(affinity: PixelAffinity, beta: float) -> Tensor:
    """W^(o beta) of the pairs that lie inside, (P, h, w); what is too small to change anything is 0."""
    powered = affinity.values.float() ** beta
    offsets = torch.tensor(affinity.offsets, dtype=torch.int64, device=powered.device).view(-1, 2)
    inside = torch.ones_like(powered, dtype=torch.bool)
    for axis in (0, 1):
        length = powered.shape[1 + axis]
        place = offsets[:, axis, None] + torch.arange(length, device=powered.device)
        inside &= ((place >= 0) & (place < length)).unsqueeze(2 - axis)
    return torch.where(inside & (powered >= _WEIGHT_FLOOR), powered, 0)


def _walked(scores: Tensor, affinity: PixelAffinity, beta: float, steps: Sequence[int]) -> Tensor:
    """T^t of the scores for each t > 0: (len(steps), C, h, w).

    No pixel takes more than the share `most` from its neighbours. So T = (1 - most) I + most Z, where the entries of
    Z are not negative and its rows sum to 1, as those of T: its eigenvalues lie in [-1, 1].
    """
    height, width = scores.shape[-2:]
    row = PixelRow(height, width, affinity.offsets)
    weights, near = transition_weights(affinity, beta, row)
    share = near / (1 + near)
    most = float(share.max())
    taken = (1 / most if most > 0 else 0) / (1 + near)
    series = [power_series(count, 1 - most) for count in steps]
    walked = combine(row.lay_out(scores + _LIFT), weights, taken, series, row)
    return row.maps(walked) - _LIFT
