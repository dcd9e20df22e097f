"""The energy as double sums over pixels (Wang et al., IJCV 2020): L = D - W, so (L a)_i = sum_j w_ij (a_i - a_j)."""


def energy_by_pairs(values, weights):
    """J = a^T L a = 1/2 sum_ij w_ij (a_i - a_j)^2 of one map: N numbers and an N x N symmetric table."""
    pixels = range(len(values))
    return sum(weights[i][j] * (values[i] - values[j]) ** 2 for i in pixels for j in pixels) / 2


def mined_energy_by_pairs(mined, values, weights):
    """Y^T L a = sum_i y_i sum_j w_ij (a_i - a_j) of one map.

    Args:
        mined: N times 0 or 1, or None where nothing is mined: there Y is a.
        values: a, N numbers.
        weights: an N x N table.
    """
    pixels = range(len(values))
    known = [value if y is None else y for y, value in zip(mined, values, strict=True)]
    return sum(known[i] * weights[i][j] * (values[i] - values[j]) for i in pixels for j in pixels)
