"""The random walk as the paper writes it (Ahn & Kwak, CVPR 2018, section 3.4), in float64.

T = D^-1 W^(o beta), D the row sums; vec(M*_c) = T^t vec(M_c): the n x n matrix T, multiplied with itself.
"""

import numpy as np


def dense_transition(offsets, values, beta):
    """T = D^-1 W^(o beta), (n, n): W from the pairs, ones on its diagonal.

    Args:
        offsets: P pairs (rows down, columns right).
        values: (P, h, w) affinities.
        beta: sharpening exponent, > 0.
    """
    _, height, width = values.shape
    weights = np.eye(height * width)
    for p, (down, right) in enumerate(offsets):
        for y in range(height):
            for x in range(width):
                if 0 <= y + down < height and 0 <= x + right < width:
                    i, j = y * width + x, (y + down) * width + x + right
                    weights[i, j] = weights[j, i] = values[p, y, x]
    powered = weights**beta
    return powered / powered.sum(axis=1, keepdims=True)


def dense_walk(scores, offsets, values, beta, steps):
    """vec(M*_c) = T^t vec(M_c), (C, h, w) float64."""
    transition = np.linalg.matrix_power(dense_transition(offsets, np.asarray(values, float), beta), steps)
    flat = np.asarray(scores, float).reshape(len(scores), -1)
    return (flat @ transition.T).reshape(scores.shape)
