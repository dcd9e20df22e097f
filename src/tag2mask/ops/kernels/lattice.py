"""The permutohedral lattice: Gaussian filtering of many-dimensional points in linear time.

Source: Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice",
Eurographics 2010. A filter is three linear steps. *Splat*: each pixel's feature lies in a simplex of
d + 1 lattice points and gives them its value by barycentric weights. *Blur*: [1/2 1 1/2] along each of
the d + 1 lattice directions. *Slice*: each pixel collects from its d + 1 points by the same weights.

Numba kernels that release the interpreter lock. Each works on one range of pixels or of lattice points,
so a caller may run the ranges on several threads; no kernel writes outside its range.
"""

# Numba kernels: typed by their arguments, which come by position.
# mypy: disallow-untyped-defs = false
# ruff: noqa: PLR0917

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tag2mask.ops.kernels.compiled import kernel

Run = Callable[[Callable[[int], None]], None]
"""Calls a task once for every range of pixels or points: 0, 1 .. PARTS - 1, in any order or at a time."""

BLOCK = 64
"""Pixels that are located together, so that the compiler vectorises over them."""

PARTS = 2
"""Ranges that pixels are cut into. Fixed, so that the sums, to the last bit, do not depend on the threads."""

ROUNDER = np.float32(3 << 22)
"""Added to and taken from a float32, this rounds it to the nearest whole number."""


def part(length: int, index: int) -> tuple[int, int]:
    """Where range ``index`` of `PARTS` starts and stops."""
    return length * index // PARTS, length * (index + 1) // PARTS


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Where the pixels of one image lie in the lattice; N pixels, d dimensions, M lattice points.

    Args:
        offsets: (N, d + 1) int32, the lattice points around each pixel.
        weights: (N, d + 1) float32, how much of the pixel each one gets.
        neighbours: (d + 1, M, 2) int32, both neighbours of each point along each direction, M if there
            is none.
    """

    offsets: np.ndarray
    weights: np.ndarray
    neighbours: np.ndarray

    @property
    def count(self) -> int:
        """M, the number of lattice points."""
        return int(self.neighbours.shape[1])


@kernel
def features_of_block(image, start, stop, deviations, features):
    """Write (x, y[, r, g, b]) / deviations of the pixels start..stop into features (d, BLOCK)."""
    width = image.shape[1]
    for lane in range(stop - start):
        row, column = divmod(start + lane, width)
        features[0, lane] = np.float32(column) / deviations[0]
        features[1, lane] = np.float32(row) / deviations[1]
        for c in range(features.shape[0] - 2):
            features[2 + c, lane] = np.float32(image[row, column, c]) / deviations[2 + c]


@kernel
def locate_block(features, scale, strides, elevated, nearest, rank, total, base):
    """Find the simplex of BLOCK features (pages 5 to 10 of the paper), in float32.

    Afterwards, all (d + 1, BLOCK) float32: ``elevated`` the feature in the lattice's plane, relative to
    ``nearest``, the simplex's point of remainder 0; ``rank`` the place of each coordinate in descending
    order. ``base`` (BLOCK,) int64: the packed key of ``nearest``.
    """
    d, lanes = features.shape
    zero, one, size = np.float32(0), np.float32(1), np.float32(d + 1)
    inverse = one / size
    total[:] = zero
    for j in range(d, 0, -1):
        factor, weight = scale[j - 1], np.float32(j)
        for k in range(lanes):
            part = features[j - 1, k] * factor
            elevated[j, k] = total[k] - weight * part
            total[k] += part
    elevated[0] = total
    total[:] = zero
    for i in range(d + 1):
        for k in range(lanes):
            rounded = (inverse * elevated[i, k] + ROUNDER) - ROUNDER
            nearest[i, k] = rounded * size
            total[k] += rounded
    rank[:] = zero
    for i in range(d):
        for j in range(i + 1, d + 1):
            for k in range(lanes):
                lower = elevated[i, k] - nearest[i, k] < elevated[j, k] - nearest[j, k]
                rank[i, k] += one if lower else zero
                rank[j, k] += zero if lower else one
    base[:] = 0
    for i in range(d + 1):
        stride = strides[i]
        for k in range(lanes):
            # Bring a point that rounding moved off the plane back to it.
            moved = rank[i, k] + total[k]
            turn = (size if moved < zero else zero) - (size if moved >= size else zero)
            rank[i, k] = moved + turn
            nearest[i, k] += turn
            elevated[i, k] = (elevated[i, k] - nearest[i, k]) * inverse
            base[k] += np.int64(nearest[i, k]) * stride


@kernel
def slot_of(keys, ids, key):
    """The hash table's slot that holds the key, or the free one where it belongs (open addressing)."""
    mask = np.uint64(len(keys) - 1)
    slot = ((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while ids[slot] >= 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@kernel
def hash_table(points, slots):
    """A hash table (keys, ids) that finds the id of a point by its key."""
    keys, ids = np.empty(slots, np.int64), np.full(slots, np.int32(-1), np.int32)
    for i in range(len(points)):
        slot = slot_of(keys, ids, points[i])
        keys[slot], ids[slot] = points[i], i
    return keys, ids


@kernel
def locate(image, start, stop, deviations, scale, strides, offsets, weights):
    """Lattice points and barycentric weights of the pixels start..stop.

    Args:
        image: (H, W, 3) uint8.
        deviations, scale: (d,) float32; strides: (d + 1,) int64, the last one 0.
        offsets, weights: (N, d + 1) int32 and float32; rows start..stop are written.

    Returns:
        Keys of the points by id (ids count up from 0 in this range), and the hash table (keys, ids).
    """
    d = len(deviations)
    features = np.zeros((d, BLOCK), np.float32)
    elevated = np.empty((d + 1, BLOCK), np.float32)
    nearest = np.empty((d + 1, BLOCK), np.float32)
    rank = np.empty((d + 1, BLOCK), np.float32)
    total = np.empty(BLOCK, np.float32)
    base = np.empty(BLOCK, np.int64)
    sorted_part = np.empty(d + 1, np.float32)
    turn = np.empty(d + 1, np.int64)
    points = np.empty((stop - start) * (d + 1), np.int64)
    keys, ids = hash_table(points[:0], 1 << 14)
    count = 0
    stride_sum = strides.sum()
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        features_of_block(image, first, last, deviations, features)
        locate_block(features, scale, strides, elevated, nearest, rank, total, base)
        if 2 * (count + BLOCK * (d + 1)) > len(ids):
            keys, ids = hash_table(points[:count], 4 * len(ids))
        for lane in range(last - first):
            for i in range(d + 1):
                place = int(rank[i, lane])
                sorted_part[place] = elevated[i, lane]
                turn[place] = stride_sum - strides[i] * (d + 1)
            key = base[lane]
            for r in range(d + 1):
                slot = slot_of(keys, ids, key)
                if ids[slot] < 0:
                    keys[slot], ids[slot], points[count] = key, count, key
                    count += 1
                offsets[first + lane, r] = ids[slot]
                key += turn[d - r]
                # Of the paper's barycentric coordinates the first one closes the ring.
                before = np.float32(1) - sorted_part[0] if r == 0 else -sorted_part[d - r + 1]
                weights[first + lane, r] = sorted_part[d - r] + before
    return points[:count].copy(), keys, ids


@kernel
def merge(points, keys, ids, new_points):
    """Add the points of a later range to those of the earlier ones.

    Returns:
        All points, their hash table, and (len(new_points),) int32: the new ids of the later range.
    """
    every = np.concatenate((points, new_points))
    new_ids = np.empty(len(new_points), np.int32)
    count = len(points)
    if 2 * len(every) > len(ids):
        keys, ids = hash_table(points, 4 * len(ids))
    for i in range(len(new_points)):
        slot = slot_of(keys, ids, new_points[i])
        if ids[slot] < 0:
            keys[slot], ids[slot], every[count] = new_points[i], count, new_points[i]
            count += 1
        new_ids[i] = ids[slot]
    return every[:count], keys, ids, new_ids


@kernel
def rename(offsets, start, stop, new_ids):
    """Replace the ids in offsets[start:stop] by new_ids[id]."""
    for i in range(start, stop):
        for r in range(offsets.shape[1]):
            offsets[i, r] = new_ids[offsets[i, r]]


@kernel
def link(points, keys, ids, strides, start, stop, neighbours):
    """Find both neighbours of the points start..stop along every direction."""
    d = len(strides) - 1
    for i in range(start, stop):
        for j in range(d + 1):
            step = strides[j] * (d + 1) - strides.sum()
            for side in range(2):
                found = ids[slot_of(keys, ids, points[i] + (1 - 2 * side) * step)]
                neighbours[j, i, side] = found if found >= 0 else len(points)


def key_strides(scale: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """What each coordinate of a lattice point counts in its packed 64-bit key.

    Args:
        scale: (d,) the scale of the lattice's axes.
        extent: (d,) the largest value of each feature; the smallest one is 0.

    Returns:
        (d + 1,) int64. The last one is 0: the coordinates of a point add up to 0.

    Raises:
        ValueError: if the lattice is too fine for 64 bits.
    """
    d = len(scale)
    parts = scale.astype(float) * extent
    low = np.concatenate(([0.0], -np.arange(1, d) * parts[:-1]))
    high = np.array([parts[i:].sum() for i in range(d)])
    widths = [int(width) for width in np.ceil(high - low) + 8 * (d + 1)]
    strides = [1]
    for width in widths:
        strides.append(strides[-1] * width)
    if strides[-1] >= 2**62:
        raise ValueError(
            f"dense CRF: the deviations are too small for this image (features up to {extent.max():.0f} "
            "standard deviations). Use larger ones, or a smaller image."
        )
    return np.array([*strides[:-1], 0], np.int64)


def build_lattice(run: Run, image: np.ndarray, deviations: list[float]) -> Lattice:
    """The lattice of an image's (x, y) or (x, y, r, g, b) over their deviations."""
    d, (height, width, _), count = len(deviations), image.shape, image.shape[0] * image.shape[1]
    # The blurs of the lattice have this deviation together; page 6 of the paper.
    spread = np.float32(np.sqrt(2.0 / 3.0) * (d + 1))
    scale = (1.0 / np.sqrt(np.arange(1, d + 1) * np.arange(2, d + 2.0)) * spread).astype(np.float32)
    sigma = np.array(deviations, np.float32)
    strides = key_strides(scale, np.array([width - 1, height - 1, 255, 255, 255][:d]) / sigma)
    offsets = np.empty((count, d + 1), np.int32)
    weights = np.empty((count, d + 1), np.float32)
    found: list[Any] = [None] * PARTS

    def find(index: int) -> None:
        found[index] = locate(image, *part(count, index), sigma, scale, strides, offsets, weights)

    run(find)
    points, keys, ids = found[0]
    for index in range(1, PARTS):
        points, keys, ids, new_ids = merge(points, keys, ids, found[index][0])
        rename(offsets, *part(count, index), new_ids)
    neighbours = np.empty((d + 1, len(points), 2), np.int32)
    run(lambda i: link(points, keys, ids, strides, *part(len(points), i), neighbours))
    return Lattice(offsets, weights, neighbours)
