"""Pairs of pixels one by one: a double loop over all pixels of a map (Ahn & Kwak, CVPR 2018, sections 3.2 and 3.3).

All pairs closer than gamma; W_ij = exp(-|f_i - f_j|_1 / D), the authors' mean over channels. A pair is the same
background, the same object or different if both pixels are sure, and nothing if either is unsure.
"""

import math

IGNORE = 255


def all_pairs(height, width, radius):
    """Every two different pixels closer than the radius, each pair once: [((y, x), (v, u)), ...]."""
    pixels = [(y, x) for y in range(height) for x in range(width)]
    return [
        (first, second)
        for place, first in enumerate(pixels)
        for second in pixels[place + 1 :]
        if math.dist(first, second) < radius
    ]


def affinity_by_loops(features, radius):
    """W_ij = exp(-mean_d |f_i - f_j|) of one map (D, h, w): {pair: value}."""
    channels, height, width = features.shape
    found = {}
    for (y, x), (v, u) in all_pairs(height, width, radius):
        distance = sum(abs(float(features[d, y, x]) - float(features[d, v, u])) for d in range(channels))
        found[(y, x), (v, u)] = math.exp(-distance / channels)
    return found


def affinity_gradient_by_loops(features, radius, slopes):
    """dL/df of one map, nested lists [d][y][x], from dL/dW of each pair: dW_ij/df_i = -W_ij sign(f_i - f_j) / D."""
    channels, height, width = features.shape
    gradient = [[[0.0] * width for _ in range(height)] for _ in range(channels)]
    for ((y, x), (v, u)), value in affinity_by_loops(features, radius).items():
        for d in range(channels):
            one, other = float(features[d, y, x]), float(features[d, v, u])
            slope = slopes[(y, x), (v, u)] * -value * ((one > other) - (one < other)) / channels
            gradient[d][y][x] += slope
            gradient[d][v][u] -= slope
    return gradient


def targets_by_loops(labels, radius):
    """What each pair of sure pixels of one label map (h, w) should be: {pair: name of the set}."""
    height, width = labels.shape
    found = {}
    for first, second in all_pairs(height, width, radius):
        one, other = int(labels[first]), int(labels[second])
        if IGNORE in (one, other):
            continue
        if one != other:
            found[first, second] = "different"
        else:
            found[first, second] = "same_background" if one == 0 else "same_object"
    return found


def by_pair(values, offsets):
    """The entries of a (P, h, w) map whose second pixel lies inside, as {pair: value}."""
    _, height, width = values.shape
    return {
        ((y, x), (y + down, x + right)): values[p, y, x].item()
        for p, (down, right) in enumerate(offsets)
        for y in range(height)
        for x in range(width)
        if y + down < height and 0 <= x + right < width
    }
