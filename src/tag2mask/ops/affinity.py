"""Pairs of neighbouring pixels: which ones, how alike they are, and what they should be.

Ahn & Kwak, CVPR 2018, sections 3.2 and 3.3. Affinity is symmetric, so only one half of the disc around
each pixel is listed. Nothing of the size (channels x pairs) exists: on the CPU a compiled loop goes from
pair to pair, on other devices the pairs are compared offset by offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tag2mask.checks import check_shape
from tag2mask.labels import IGNORE
from tag2mask.ops.kernels.pairs import pair_affinity_compiled
from tag2mask.records import PairTargets

if TYPE_CHECKING:
    from collections.abc import Sequence

Offset = tuple[int, int]


def half_disc_offsets(radius: int = 5) -> tuple[Offset, ...]:
    """The neighbours (rows down, columns right) with x^2 + y^2 < radius^2, one of each opposite pair.

    Example:
        >>> half_disc_offsets(2)
        ((0, 1), (1, -1), (1, 0), (1, 1))
        >>> len(half_disc_offsets(5))
        34
    """
    if radius < 1:
        raise ValueError(f"radius: expected at least 1, got {radius}.")
    return tuple(
        (down, right)
        for down in range(radius)
        for right in range(-radius + 1, radius)
        if (down > 0 or right > 0) and down * down + right * right < radius * radius
    )


def pair_windows(offset: Offset, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the first and the second pixel of every pair at an offset lie; both windows are equally large.

    Example:
        >>> near, far = pair_windows((1, -2), 4, 6)
        >>> near, far
        ((slice(0, 3, None), slice(2, 6, None)), (slice(1, 4, None), slice(0, 4, None)))
    """
    down, right = offset
    rows, columns = max(0, height - down), max(0, width - abs(right))
    left, right_start = max(0, -right), max(0, right)
    near = (slice(0, rows), slice(left, left + columns))
    far = (slice(down, down + rows), slice(right_start, right_start + columns))
    return near, far


def pair_affinity(features: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """W_ij = exp(-mean_d |f_i - f_j|) for every pair that lies inside the map.

    The paper sums over the channels; the authors' code takes the mean, and so do we.

    Args:
        features: (B, D, h, w).
        offsets: P offsets of `half_disc_offsets`.

    Returns:
        (B, P, h, w) in [0, 1]; 0 where the second pixel lies outside. Differentiable; the backward pass
        computes the differences again instead of keeping them.
    """
    check_shape("features", features, "B D h w")
    if features.device.type == "cpu":
        return pair_affinity_compiled(features, offsets)
    return _pair_affinity_in_torch(features, offsets)


def _pair_affinity_in_torch(features: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """The same on any device, offset by offset."""
    values: Tensor = _PairAffinity.apply(features, tuple(offsets))
    return values


class _PairAffinity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, offsets: tuple[Offset, ...]) -> Tensor:
        batch, _, height, width = features.shape
        wide = _wide(features)
        values = wide.new_zeros((batch, len(offsets), height, width))
        for index, offset in enumerate(offsets):
            near, far = pair_windows(offset, height, width)
            distance = (wide[..., *near] - wide[..., *far]).abs_().mean(dim=1)
            values[:, index, *near] = distance.neg_().exp_()
        ctx.save_for_backward(features, values)
        ctx.offsets = offsets
        return values

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        features, values = ctx.saved_tensors
        _, channels, height, width = features.shape
        wide = _wide(features)
        # d exp(-m) = -exp(-m) dm, and the mean gives every channel one D-th of it.
        slope = grad_outputs[0] * values / -channels
        gradient = torch.zeros_like(wide)
        for index, offset in enumerate(ctx.offsets):
            near, far = pair_windows(offset, height, width)
            step = (wide[..., *near] - wide[..., *far]).sign_()
            step *= slope[:, index, *near].unsqueeze(1)
            gradient[..., *near] += step
            gradient[..., *far] -= step
        return gradient.to(features.dtype), None


def _wide(features: Tensor) -> Tensor:
    """At least float32: sums over channels in bfloat16 would lose the small differences."""
    return features if features.dtype == torch.float64 else features.float()


def pair_targets(labels: Tensor, offsets: Sequence[Offset], *, border_pairs: bool = True) -> PairTargets:
    """Sort the pairs of sure pixels: same background, same object, or different.

    Args:
        labels: (B, h, w) int64: 0, 1..C, IGNORE = unsure.
        offsets: P offsets of `half_disc_offsets`.
        border_pairs: every pair that lies inside takes part; otherwise those of the authors' list, see
            `without_border_pairs`.
    """
    known = check_shape("labels", labels, "B h w")
    batch, height, width = known["B"], known["h"], known["w"]
    shape = (batch, len(offsets), height, width)
    background, objects, different = (labels.new_zeros(shape, dtype=torch.bool) for _ in range(3))
    for index, offset in enumerate(offsets):
        near, far = pair_windows(offset, height, width)
        first, second = labels[:, *near], labels[:, *far]
        sure = (first != IGNORE) & (second != IGNORE)
        same = first == second
        background[:, index, *near] = sure & same & (first == 0)
        objects[:, index, *near] = sure & same & (first != 0)
        different[:, index, *near] = sure & ~same
    if not border_pairs:
        background, objects, different = (
            without_border_pairs(chosen, offsets) for chosen in (background, objects, different)
        )
    return PairTargets(background, objects, different)


def without_border_pairs(values: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """Leave out the pairs whose first pixel has not all its neighbours inside the map, as the authors' pair list does.

    They begin near the left, right or bottom border, less than the radius away from it. The paper leaves out none.
    Without them a few pixels in the lower corners are in no pair at all: in a walk they keep their scores.

    Args:
        values: (..., P, h, w) of pairs: affinities, or whether a pair takes part.
        offsets: P offsets of `half_disc_offsets`.

    Returns:
        The same with 0 or False for the pairs left out.

    Example:
        >>> without_border_pairs(torch.ones(4, 2, 5), half_disc_offsets(2))[1]  # Down and to the left.
        tensor([[0., 1., 1., 1., 0.],
                [0., 0., 0., 0., 0.]])
    """
    known = check_shape("values", values, "... P h w", P=len(offsets))
    down, left, right = (
        max([0, *reaches]) for reaches in ([y for y, _ in offsets], [-x for _, x in offsets], [x for _, x in offsets])
    )
    rows = slice(0, max(0, known["h"] - down))
    columns = slice(left, max(left, known["w"] - right))
    kept = torch.zeros_like(values)
    kept[..., rows, columns] = values[..., rows, columns]
    return kept


def boundary_strength(values: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """How strongly a pixel is cut off from its direct neighbours: 1 - the smallest affinity to them.

    Args:
        values: (P, h, w) of a `PixelAffinity`.
        offsets: its P offsets.

    Returns:
        (h, w) in [0, 1]: the learned boundaries as a picture.
    """
    known = check_shape("values", values, "P h w", P=len(offsets))
    height, width = known["h"], known["w"]
    weakest = values.new_ones((height, width))
    for index, offset in enumerate(offsets):
        if max(abs(offset[0]), abs(offset[1])) > 1:
            continue
        near, far = pair_windows(offset, height, width)
        weakest[near] = torch.minimum(weakest[near], values[index][near])
        weakest[far] = torch.minimum(weakest[far], values[index][near])
    return 1 - weakest
