"""The compiled side of `tag2mask.ops.chebyshev`: all classes and all sums in one pass over the weights of the pairs.

Pixels lie in one long row (`tag2mask.ops.chebyshev.PixelRow`), so a neighbour is a fixed number of places away. The
innermost loop works on a tile: LANES pixels in two or four channels. A weight is loaded once for all channels of a
tile, and every pair is stored once: pixel i finds the weight of its neighbour at -shift as that of pixel i - shift.
"""

# Numba kernels: typed by their arguments, which come by position; code generators get whatever numba hands them.
# mypy: disallow-untyped-defs = false, disallow-untyped-calls = false
# ruff: noqa: PLR0917

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types

from tag2mask.ops.kernels.compiled import kernel
from tag2mask.ops.kernels.vectors import FLOAT, INT, Vector, add, fill, fma, intrinsic, load, multiply, subtract

LANES = 16
"""Pixels in a tile: four channels fill the registers of any machine, and no more."""
_BLOCK = 128
"""Pixels whose weights stay in the cache next to the core, while one channel after the other uses them."""
_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)


def _joined(builder, parts):
    """One vector of equally long ones, a power of two of them."""
    while len(parts) > 1:
        mask = ir.Constant(ir.VectorType(INT, 2 * parts[0].type.count), list(range(2 * parts[0].type.count)))
        parts = [builder.shuffle_vector(*pair, mask) for pair in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _addresses(context, builder, array_type, arguments, rows, kind):
    """Where the rows of a tile lie: array[index + row * pitch :] of each row."""
    array, index, pitch = arguments[:3]
    start = builder.gep(context.make_array(array_type)(context, builder, array).data, [index])
    steps = [builder.mul(pitch, ir.Constant(pitch.type, row)) for row in range(rows)]
    return [builder.bitcast(builder.gep(start, [step]), kind.as_pointer()) for step in steps]


@intrinsic(prefer_literal=True)
def load_tile(_, array, index, pitch, rows, lanes):
    """`load` of several rows, pitch apart, as one vector."""
    count, width = rows.literal_value, lanes.literal_value

    def code(context, builder, signature, arguments):
        kind = ir.VectorType(FLOAT, width)
        places = _addresses(context, builder, signature.args[0], arguments, count, kind)
        return _joined(builder, [builder.load(place, align=4) for place in places])

    return Vector(count * width)(array, types.intp, types.intp, rows, lanes), code


@intrinsic(prefer_literal=True)
def store_tile(_, array, index, pitch, rows, tile):
    """`store` of several rows, pitch apart."""
    count, width = rows.literal_value, tile.lanes // rows.literal_value

    def code(context, builder, signature, arguments):
        whole, kind = arguments[4], ir.VectorType(FLOAT, width)
        places = _addresses(context, builder, signature.args[0], arguments, count, kind)
        for row, place in enumerate(places):
            mask = ir.Constant(ir.VectorType(INT, width), list(range(row * width, (row + 1) * width)))
            builder.store(builder.shuffle_vector(whole, whole, mask), place, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, rows, tile), code


@intrinsic(prefer_literal=True)
def in_rows(_, vector, rows):
    """A tile with the same vector in each row."""
    count = rows.literal_value

    def code(_context, builder, _signature, arguments):
        return _joined(builder, [arguments[0]] * count)

    return Vector(count * vector.lanes)(vector, rows), code


def _make_advance(rows: int) -> Any:
    """The step for so many channels at a time."""
    tile = rows * LANES

    @kernel(fastmath=True)
    def advance(channel, first, stop, gain, shares, values, following, drift, sums, weights, taken, shifts):
        """drift += gain (Z - I) values, following = values + drift, sums_s += shares_s following: some pixels."""
        size = len(taken)
        for start in range(first, stop, LANES):
            at = channel * size + start
            own, pull = load_tile(values, at, size, rows, LANES), fill(_ZERO, tile)
            for p in range(len(shifts)):
                shift, here = shifts[p], p * size + start
                ahead, behind = load(weights, here, LANES), load(weights, here - shift, LANES)
                pull = fma(in_rows(ahead, rows), subtract(load_tile(values, at + shift, size, rows, LANES), own), pull)
                pull = fma(in_rows(behind, rows), subtract(load_tile(values, at - shift, size, rows, LANES), own), pull)
            share = multiply(fill(gain, LANES), load(taken, start, LANES))
            speed = fma(in_rows(share, rows), pull, load_tile(drift, at, size, rows, LANES))
            moved = add(own, speed)
            store_tile(drift, at, size, rows, speed)
            store_tile(following, at, size, rows, moved)
            for s in range(len(shares)):
                total = load_tile(sums[s], at, size, rows, LANES)
                store_tile(sums[s], at, size, rows, fma(fill(shares[s], tile), moved, total))

    return advance


_advance_four, _advance_two = _make_advance(4), _make_advance(2)


@kernel(fastmath=True)
def sum_up(values, sums, weights, taken, shifts, shares, first, stop):
    """sums_s += c_1s T_1(Z) v + c_2s T_2(Z) v + ...; see `tag2mask.ops.chebyshev.combine`.

    values (C * n), C even: v, is used up; sums (S, C * n); weights (P * n); taken (n,); shifts (P,); shares (K + 1, S):
    c. The pixels first..stop are the map with what lies between its rows.
    """
    channels = len(values) // len(taken)
    following, drift = np.zeros_like(values), np.zeros_like(values)
    for k in range(1, len(shares)):
        gain = _ONE if k == 1 else _TWO
        for start in range(first, stop, _BLOCK):
            end = min(start + _BLOCK, stop)
            for c in range(0, channels - 3, 4):
                _advance_four(c, start, end, gain, shares[k], values, following, drift, sums, weights, taken, shifts)
            if channels % 4:
                c = channels - 2
                _advance_two(c, start, end, gain, shares[k], values, following, drift, sums, weights, taken, shifts)
        values, following = following, values
