"""The inner loops of the dense CRF: slice, softmax and splat in one pass over the pixels; blur.

What is filtered is not Q but its difference to the first label, Q_c - Q_0: the filters are linear and the
softmax wants no more than differences of energies, so one label is free, and equal labels stay equal.
All arrays are flat, labels innermost, padded to whole vectors.
"""

# Numba kernels: typed by their arguments, which come by position.
# mypy: disallow-untyped-defs = false
# ruff: noqa: PLR0912, PLR0917

from __future__ import annotations

from typing import Any

import numpy as np

from tag2mask.ops.kernels.compiled import kernel
from tag2mask.ops.kernels.vectors import (
    add,
    divide,
    fill,
    fill_like,
    fma,
    largest,
    load,
    maximum,
    minimum,
    multiply,
    power_of_two,
    store,
    subtract,
    total,
    where_above,
)

BLOCK = 64
"""Pixels that are worked on together, so that what they share stays in the nearest cache."""

LOWEST = np.float32(-46.0)
"""exp of anything below is 0 (1e-20 matters to no sum): denormal numbers would double the time."""

UNUSED = np.float32(-1e30)
"""The log-probability of the labels that only fill up a vector."""

ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)
LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
ROUNDER = np.float32(3 << 22)
POLYNOMIAL = tuple(
    np.float32(x) for x in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
)
P5, P4, P3, P2, P1, P0 = POLYNOMIAL


@kernel
def exponential(x):
    """exp(x) of a vector, to the last bit or two; 0 below LOWEST."""
    lowest = fill_like(LOWEST, x)
    safe = maximum(x, lowest)
    rounder = fill_like(ROUNDER, x)
    n = subtract(fma(safe, fill_like(LOG2_E, x), rounder), rounder)
    rest = fma(n, fill_like(-LN2_HIGH, x), safe)
    rest = fma(n, fill_like(-LN2_LOW, x), rest)
    y = fma(fill_like(P5, x), rest, fill_like(P4, x))
    y = fma(y, rest, fill_like(P3, x))
    y = fma(y, rest, fill_like(P2, x))
    y = fma(y, rest, fill_like(P1, x))
    y = fma(y, rest, fill_like(P0, x))
    y = fma(y, multiply(rest, rest), add(rest, fill_like(ONE, x)))
    return where_above(x, lowest, multiply(y, power_of_two(n)))


def make_kernels(lanes: int) -> tuple[Any, Any]:
    """The kernels ``step`` and ``blur`` for vectors of so many lanes.

    Of what stands outside them they hold on to numbers only: a kernel that holds another one is not found again among
    those that are kept on disk, and every process would compile it anew.
    """

    @kernel
    def step(unary, channels, start, stop, off_a, wt_a, val_a, off_b, wt_b, val_b, out_a, out_b, result):
        """One mean-field step of the pixels start..stop.

        unary (N * channels) are log-probabilities relative to the first label. Reads the messages from
        val_a and val_b (M * channels); adds Q_c - Q_0 to out_a and out_b; in the last step, when result
        (labels, N) is not empty, writes Q to it instead.
        """
        last = result.shape[1] > 0
        q = np.empty(BLOCK * channels, np.float32)
        for first in range(start, stop, BLOCK):
            end = min(first + BLOCK, stop)
            for i in range(first, end):
                at = (i - first) * channels
                highest = fill(ZERO, lanes)
                for c in range(0, channels, lanes):
                    e = load(unary, i * channels + c, lanes)
                    for r in range(6):
                        e = fma(fill(wt_a[i, r], lanes), load(val_a, off_a[i, r] * channels + c, lanes), e)
                    for r in range(3):
                        e = fma(fill(wt_b[i, r], lanes), load(val_b, off_b[i, r] * channels + c, lanes), e)
                    highest = maximum(highest, e)
                    store(q, at + c, e)
                top = fill(max(largest(highest), ZERO), lanes)
                reference = exponential(subtract(fill(ZERO, lanes), top))
                sums = fill(ZERO, lanes)
                for c in range(0, channels, lanes):
                    e = exponential(subtract(load(q, at + c, lanes), top))
                    sums = add(sums, e)
                    store(q, at + c, e)
                first_label = largest(reference)
                factor = ONE / (total(sums) + first_label)
                if last:
                    for c in range(0, channels, lanes):
                        store(q, at + c, multiply(load(q, at + c, lanes), fill(factor, lanes)))
                    result[0, i] = first_label * factor
                    continue
                for c in range(0, channels, lanes):
                    e = multiply(subtract(load(q, at + c, lanes), reference), fill(factor, lanes))
                    for r in range(6):
                        to = off_a[i, r] * channels + c
                        store(out_a, to, fma(fill(wt_a[i, r], lanes), e, load(out_a, to, lanes)))
                    for r in range(3):
                        to = off_b[i, r] * channels + c
                        store(out_b, to, fma(fill(wt_b[i, r], lanes), e, load(out_b, to, lanes)))
            if last:
                for c in range(1, result.shape[0]):
                    for i in range(first, end):
                        result[c, i] = q[(i - first) * channels + c - 1]

    @kernel
    def blur(values, channels, neighbours, start, stop, blurred):
        """One direction of the blur, for the points start..stop; values, blurred: ((M + 1) * channels)."""
        half = fill(HALF, lanes)
        for i in range(start, stop):
            left, right = neighbours[i, 0] * channels, neighbours[i, 1] * channels
            for c in range(0, channels, lanes):
                sides = add(load(values, left + c, lanes), load(values, right + c, lanes))
                here = i * channels + c
                store(blurred, here, fma(half, sides, load(values, here, lanes)))

    return step, blur


@kernel
def step_two(unary, channels, start, stop, off_a, wt_a, val_a, off_b, wt_b, val_b, out_a, out_b, result):
    """`step` for two labels: one number per pixel, so the vectors run over pixels."""
    last = result.shape[1] > 0
    energy, q0, q1 = np.zeros(BLOCK, np.float32), np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for first in range(start, stop, BLOCK):
        end = min(first + BLOCK, stop)
        for i in range(first, end):
            e = unary[i]
            for r in range(6):
                e += wt_a[i, r] * val_a[off_a[i, r]]
            for r in range(3):
                e += wt_b[i, r] * val_b[off_b[i, r]]
            energy[i - first] = e
        for k in range(0, BLOCK, 8):
            zero, e = fill(ZERO, 8), load(energy, k, 8)
            mine, other = exponential(minimum(e, zero)), exponential(minimum(subtract(zero, e), zero))
            both = add(mine, other)
            store(q1, k, divide(mine, both))
            store(q0, k, divide(other, both))
        if last:
            for i in range(first, end):
                result[0, i], result[1, i] = q0[i - first], q1[i - first]
            continue
        for i in range(first, end):
            e = q1[i - first] - q0[i - first]
            for r in range(6):
                out_a[off_a[i, r]] += wt_a[i, r] * e
            for r in range(3):
                out_b[off_b[i, r]] += wt_b[i, r] * e


@kernel
def blur_two(values, channels, neighbours, start, stop, blurred):
    """`blur` for two labels."""
    for i in range(start, stop):
        sides = values[neighbours[i, 0]] + values[neighbours[i, 1]]
        blurred[i] = values[i] + HALF * sides


STEP_FEW, BLUR_FEW = make_kernels(4)
STEP_MANY, BLUR_MANY = make_kernels(8)


@kernel
def add_up(values, other, start, stop):
    """values[start:stop] += other[start:stop]; other becomes 0 there."""
    for i in range(start, stop):
        values[i] += other[i]
        other[i] = ZERO


@kernel
def differences(logits, channels, unary):
    """Write logits (labels, pixels) minus those of label 0 to the front of unary (pixels * channels)."""
    labels, pixels = logits.shape
    for first in range(0, pixels, BLOCK):
        end = min(first + BLOCK, pixels)
        for c in range(channels):
            for i in range(first, end):
                unary[i * channels + c] = logits[c + 1, i] - logits[0, i] if c + 1 < labels else UNUSED


@kernel
def splat_ones(offsets, weights, start, stop, splatted):
    """Add the weights of the pixels start..stop to splatted (M + 1,)."""
    for i in range(start, stop):
        for r in range(offsets.shape[1]):
            splatted[offsets[i, r]] += weights[i, r]


@kernel
def fold(offsets, weights, values, gain, weight, start, stop):
    """Divide the weights of the pixels start..stop by the root of the sliced values (M + 1,)."""
    for i in range(start, stop):
        norm = np.float32(1e-20)
        for r in range(offsets.shape[1]):
            norm += weights[i, r] * gain * values[offsets[i, r]]
        factor = np.sqrt(gain * weight / norm)
        for r in range(offsets.shape[1]):
            weights[i, r] *= factor
