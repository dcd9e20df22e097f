"""Spatial propagation as the paper writes it (Liu et al., NIPS 2017): pixel by pixel, in float64.

h_t = (1 - sum_k w_k) x_t + sum_k w_k h_{t-1,k}, k over the three nearest pixels of the column or row before; a weight
that would leave the image counts 0.
"""

import numpy as np

# Where the pixel before lies, and in which direction the three neighbours stand beside it: (rows, columns).
BEFORE = ((0, -1), (0, 1), (-1, 0), (1, 0))
BESIDE = ((1, 0), (1, 0), (0, 1), (0, 1))


def scan(x, weights, direction):
    """h of one direction, (H, W), of x (H, W) and weights (3, H, W)."""
    height, width = x.shape
    (before_y, before_x), (beside_y, beside_x) = BEFORE[direction], BESIDE[direction]
    h = np.zeros((height, width))
    pixels = [(i, j) for i in range(height) for j in range(width)]
    # Column by column or row by row, beginning where the scan comes from.
    for i, j in sorted(pixels, key=lambda pixel: -pixel[0] * before_y - pixel[1] * before_x):
        taken = shares = 0.0
        for k in (-1, 0, 1):
            near_i, near_j = i + before_y + k * beside_y, j + before_x + k * beside_x
            if 0 <= near_i < height and 0 <= near_j < width:
                taken += weights[k + 1, i, j] * h[near_i, near_j]
                shares += weights[k + 1, i, j]
        h[i, j] = (1 - shares) * x[i, j] + taken
    return h


def propagate_by_loops(maps, weights, gates=None, *, merge):
    """(B, C, H, W) of maps (B, C, H, W), weights (B, 4, 3, H, W) and gates (B, 4, H, W)."""
    maps, weights = np.asarray(maps, float), np.asarray(weights, float)
    result = np.zeros(maps.shape)
    for b in range(maps.shape[0]):
        for c in range(maps.shape[1]):
            scanned = [scan(maps[b, c], weights[b, d], d) for d in range(4)]
            if merge == "mean":
                result[b, c] = sum(scanned) / 4
            elif merge == "gated":
                result[b, c] = sum(np.asarray(gates[b, d], float) * scanned[d] for d in range(4))
            else:
                result[b, c] = np.maximum.reduce(scanned)
    return result
