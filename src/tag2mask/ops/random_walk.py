"""The random walk that spreads class scores along pixel affinities (Ahn & Kwak, CVPR 2018, section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tag2mask.checks import check_range, check_shape
from tag2mask.ops.affinity import Offset, pair_windows
from tag2mask.ops.compiled import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tag2mask.records import PixelAffinity

# Below this a weight changes nothing, but its powers and products would be denormal numbers, which slow
# a CPU down twentyfold. For the same reason the walk runs on scores + _LIFT: T keeps constants.
_WEIGHT_FLOOR = 1e-20
_LIFT = 1e-12


def random_walk(scores: Tensor, affinity: PixelAffinity, *, beta: float = 8, steps: int = 256) -> Tensor:
    """vec(M*_c) = T^t vec(M_c) with T = D^-1 W^(o beta), for every class and the background.

    The walk is linear, so T is applied t times and never multiplied with itself: memory is that of the
    pairs, (P, h, w), and no n x n matrix exists.

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
    weights, own = transition_weights(affinity, beta)
    advance = _steps_on_cpu if scores.device.type == "cpu" else _steps
    walked = scores.float() + _LIFT
    done = 0
    for wanted in steps:
        walked = advance(walked, weights, own, affinity.offsets, wanted - done)
        done = wanted
        yield wanted, (walked - _LIFT).clamp_(min=0) if wanted else scores.float().clone()


def transition_weights(affinity: PixelAffinity, beta: float) -> tuple[Tensor, Tensor]:
    """The nonzero entries of T = D^-1 W^(o beta).

    Args:
        affinity: P offsets, values (P, h, w).
        beta: sharpening exponent.

    Returns:
        (2, P, h, w): [0, p] what a pixel takes from its neighbour at +offset p, [1, p] from the one at
        -offset p; and (h, w): what it keeps.
    """
    powered = affinity.values.float() ** beta
    powered = torch.where(powered < _WEIGHT_FLOOR, 0, powered)
    height, width = powered.shape[-2:]
    weights = powered.new_zeros((2, *powered.shape))
    for index, offset in enumerate(affinity.offsets):
        near, far = pair_windows(offset, height, width)
        weights[0, index, *near] = powered[index, *near]
        weights[1, index, *far] = powered[index, *near]
    own = 1 / (1 + weights.sum(dim=(0, 1)))
    return weights * own, own


def _steps(scores: Tensor, weights: Tensor, own: Tensor, offsets: Sequence[Offset], count: int) -> Tensor:
    """T applied `count` times, in torch: (C, h, w) -> (C, h, w)."""
    height, width = scores.shape[-2:]
    windows = [pair_windows(offset, height, width) for offset in offsets]
    for _ in range(count):
        moved = scores * own
        for index, (near, far) in enumerate(windows):
            moved[:, *near].addcmul_(weights[0, index, *near], scores[:, *far])
            moved[:, *far].addcmul_(weights[1, index, *far], scores[:, *near])
        scores = moved
    return scores


def _steps_on_cpu(scores: Tensor, weights: Tensor, own: Tensor, offsets: Sequence[Offset], count: int) -> Tensor:
    """The same in one compiled loop; the map stands in a frame of zeros, so no neighbour has to be checked."""
    height, width = scores.shape[-2:]
    reach = max((max(abs(down), abs(right)) for down, right in offsets), default=0)
    framed = F.pad(scores, (reach, reach, reach, reach)).contiguous().numpy()
    every = torch.cat([weights[0], weights[1], own[None]]).contiguous().numpy()
    shifts = np.array([*offsets, *((-down, -right) for down, right in offsets), (0, 0)], dtype=np.int64)
    walked = _apply(framed, every, shifts, reach, count)
    return torch.from_numpy(walked[:, reach : reach + height, reach : reach + width].copy())


@kernel(fastmath=True)
def _apply(scores, weights, shifts, reach, count):  # type: ignore[no-untyped-def]
    """scores (C, h + 2 reach, w + 2 reach); weights (N, h, w); shifts (N, 2): the neighbours, rows first."""
    neighbours, height, width = weights.shape
    other = np.zeros_like(scores)
    scores = scores.copy()
    for _ in range(count):
        for channel in range(scores.shape[0]):
            for row in range(height):
                total = other[channel, row + reach, reach : reach + width]
                total[:] = 0
                for k in range(neighbours):
                    left = reach + shifts[k, 1]
                    near = scores[channel, row + reach + shifts[k, 0], left : left + width]
                    share = weights[k, row]
                    for column in range(width):
                        total[column] += share[column] * near[column]
        scores, other = other, scores
    return scores
