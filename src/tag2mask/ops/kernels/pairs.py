"""The compiled side of `tag2mask.ops.affinity.pair_affinity`: pairs one by one, all channels of a pair in one loop.

The channels of a pixel lie side by side in memory, as the networks lay them out (channels last). So the innermost loops
run along channels, several at a time, and no pair is looked at that leaves the map. Every pixel is reckoned on its
own, from what is given alone: forward its pairs with the later pixels, backward those with the earlier ones too. So
nothing depends on how the rows are shared out among threads. Sizes: h rows of w pixels of D channels, P offsets.
"""

# Numba kernels: typed by their arguments, which come by position.
# mypy: disallow-untyped-defs = false
# ruff: noqa: PLR0917

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tag2mask.ops.kernels.compiled import for_each, kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ROWS = 4
"""Rows in a task: few enough that one image keeps several threads busy, enough that starting a task costs nothing."""
_WORTH_A_THREAD = 1 << 22
"""With fewer differences, pairs times channels, the work is done before a second thread has started."""


def pair_affinity_compiled(features: Tensor, offsets: Sequence[tuple[int, int]]) -> Tensor:
    """`tag2mask.ops.affinity.pair_affinity` on the CPU: W_ij = exp(-mean_d |f_i - f_j|) (Ahn & Kwak, CVPR 2018).

    Extra memory: the result. A copy of the features besides, while the call runs, unless they are float32 or float64
    in channels-last layout.

    Args:
        features: (B, D, h, w) floating point; sums are taken in float32, those of float64 features in float64.
        offsets: P offsets (rows down, columns right), no two of them opposite.

    Returns:
        (B, P, h, w) in [0, 1], float32 or float64; 0 where the second pixel lies outside. Differentiable once; the
        gradient of the features comes in channels-last layout.
    """
    values: Tensor = _CompiledPairAffinity.apply(features, tuple(offsets))
    return values


class _CompiledPairAffinity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, offsets: tuple[tuple[int, int], ...]) -> Tensor:
        pixels = _pixels(features)
        values = pixels.new_zeros((len(pixels), len(offsets), *pixels.shape[1:3]))
        shifts, given, found = _shifts(offsets), pixels.numpy(), values.numpy()
        _for_each_block(lambda image, row: _compare(image, row, row + _ROWS, given, shifts, found), pixels, offsets)
        ctx.save_for_backward(features, values)
        ctx.offsets = offsets
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        features, values = ctx.saved_tensors
        pixels = _pixels(features)
        # d exp(-m) = -exp(-m) dm, and the mean gives every channel one D-th of it.
        slopes = (grad_outputs[0] * values).div_(-pixels.shape[-1]).contiguous().numpy()
        gradient = torch.empty_like(pixels)
        shifts, given, wanted = _shifts(ctx.offsets), pixels.numpy(), gradient.numpy()
        _for_each_block(
            lambda image, row: _compare_back(image, row, row + _ROWS, given, shifts, slopes, wanted),
            pixels,
            ctx.offsets,
        )
        return gradient.permute(0, 3, 1, 2).to(features.dtype), None


def _pixels(features: Tensor) -> Tensor:
    """(B, D, h, w) as (B, h, w, D), contiguous, at least float32; no copy if that is how they lie in memory."""
    wide = features.detach() if features.dtype == torch.float64 else features.detach().float()
    return wide.permute(0, 2, 3, 1).contiguous()


def _shifts(offsets: Sequence[tuple[int, int]]) -> Any:
    """(P, 2) int64, also if there are none."""
    return np.array(offsets, dtype=np.int64).reshape(-1, 2)


def _for_each_block(task: Callable[[int, int], None], pixels: Tensor, offsets: Sequence[tuple[int, int]]) -> None:
    """Call task(image, first row), several at a time."""
    places = list(product(range(len(pixels)), range(0, pixels.shape[1], _ROWS)))
    for_each(task, places, alone=pixels.numel() * len(offsets) < _WORTH_A_THREAD)


@kernel
def _compare(image, first_row, end_row, all_pixels, shifts, all_values):
    """exp(-mean_d |f_i - f_j|) of the pairs whose first pixel lies in some rows of one image; others stay as they are.

    all_pixels (B, h, w, D); shifts (P, 2); all_values (B, P, h, w).
    """
    pixels, values = all_pixels[image], all_values[image]
    height, width, channels = pixels.shape
    for row in range(first_row, min(end_row, height)):
        for column in range(width):
            for p in range(len(shifts)):
                y, x = row + shifts[p, 0], column + shifts[p, 1]
                if 0 <= y < height and 0 <= x < width:
                    values[p, row, column] = math.exp(-_distance(pixels[row, column], pixels[y, x]) / channels)


@kernel(fastmath=True)
def _distance(first, second):
    """sum_d |first_d - second_d|."""
    total = first.dtype.type(0)
    for channel in range(len(first)):
        total += abs(first[channel] - second[channel])
    return total


@kernel
def _compare_back(image, first_row, end_row, all_pixels, shifts, all_slopes, all_gradients):
    """The gradient of some rows of one image: the sum over all pairs of a pixel of slope times sign(f_i - f_j).

    all_pixels (B, h, w, D); shifts (P, 2); all_slopes (B, P, h, w): the gradient of the distance, times 1 / D;
    all_gradients (B, h, w, D): is written.
    """
    pixels, slopes, gradients = all_pixels[image], all_slopes[image], all_gradients[image]
    height, width, channels = pixels.shape
    none = pixels.dtype.type(0)
    # Room for all neighbours, up to the next multiple of 4.
    places = np.empty((2 * len(shifts) + 3, 2), np.int64)
    weights = np.empty(2 * len(shifts) + 3, pixels.dtype)
    for row in range(first_row, min(end_row, height)):
        for column in range(width):
            count = _neighbours(row, column, shifts, slopes, places, weights)
            own, gradient = pixels[row, column], gradients[row, column]
            gradient[:] = 0
            # Four neighbours at once: the gradient is fetched and stored once for all of them.
            for k in range(0, count, 4):
                first, second = pixels[places[k, 0], places[k, 1]], pixels[places[k + 1, 0], places[k + 1, 1]]
                third, fourth = pixels[places[k + 2, 0], places[k + 2, 1]], pixels[places[k + 3, 0], places[k + 3, 1]]
                a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
                for channel in range(channels):
                    value = own[channel]
                    one = a if value > first[channel] else (-a if value < first[channel] else none)
                    two = b if value > second[channel] else (-b if value < second[channel] else none)
                    three = c if value > third[channel] else (-c if value < third[channel] else none)
                    four = d if value > fourth[channel] else (-d if value < fourth[channel] else none)
                    gradient[channel] += (one + two) + (three + four)


@kernel
def _neighbours(row, column, shifts, slopes, places, weights):
    """List the pixels that pairs with a slope join to this one; gives their number, rounded up to a multiple of 4."""
    _, height, width = slopes.shape
    count = 0
    for p in range(len(shifts)):
        for way in (1, -1):
            y, x = row + way * shifts[p, 0], column + way * shifts[p, 1]
            if not (0 <= y < height and 0 <= x < width):
                continue
            slope = slopes[p, row, column] if way > 0 else slopes[p, y, x]
            # Many pairs have none: those with an unsure pixel take no part in the loss.
            if slope != 0:
                places[count, 0], places[count, 1], weights[count] = y, x, slope
                count += 1
    while count % 4:  # A pixel does not differ from itself.
        places[count, 0], places[count, 1], weights[count] = row, column, 0
        count += 1
    return count
