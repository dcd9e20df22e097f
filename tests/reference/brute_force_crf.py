"""The dense CRF with every pair of pixels written out: O(N^2) time and memory, float64, no lattice."""

import numpy as np


def gaussian_kernel(features):
    """exp(-|f_i - f_j|^2 / 2) of all pairs; features: (N, d) in standard deviations."""
    difference = features[:, None] - features[None]
    return np.exp(-0.5 * (difference**2).sum(-1))


def pixel_features(image, sxy, srgb=None):
    """(N, 2) positions, or (N, 5) positions and colours, over their standard deviations."""
    height, width, _ = image.shape
    rows, columns = np.mgrid[:height, :width]
    features = [columns / sxy, rows / sxy]
    if srgb is not None:
        features += [image[..., c] / srgb for c in range(3)]
    return np.stack([feature.reshape(-1) for feature in features], axis=1)


def softmax(energies):
    exponentials = np.exp(energies - energies.max(axis=0))
    return exponentials / exponentials.sum(axis=0)


def brute_force_crf(image, probabilities, settings, kernel=gaussian_kernel, clip=1e-5):
    """Mean field of Kraehenbuehl & Koltun 2011, equation by equation.

    Args:
        image: (H, W, 3) uint8.
        probabilities: (C, H, W).
        settings: a CrfSettings.
        kernel: features (N, d) -> (N, N); the exact Gaussian unless told.

    Returns:
        (C, H, W) float64.
    """
    weighted_kernels = 0.0
    for sxy, srgb, weight in (
        (settings.gaussian_sxy, None, settings.gaussian_weight),
        (settings.bilateral_sxy, settings.bilateral_srgb, settings.bilateral_weight),
    ):
        matrix = kernel(pixel_features(image, sxy, srgb))
        norm = 1 / np.sqrt(matrix.sum(axis=1))
        weighted_kernels = weighted_kernels + weight * norm[:, None] * matrix * norm[None]
    unary = np.log(np.clip(probabilities.reshape(len(probabilities), -1).astype(float), clip, 1))
    q = softmax(unary)
    for _ in range(settings.iterations):
        q = softmax(unary + q @ weighted_kernels.T)
    return q.reshape(probabilities.shape)


def lattice_kernel(features):
    """What the permutohedral lattice makes of the kernel: slice @ blur @ splat as one (N, N) matrix.

    Written from Adams, Baek, Davis 2010, point by point with dictionaries.
    """
    count, d = features.shape
    corner = [{} for _ in range(count)]
    spread = np.sqrt(2 / 3) * (d + 1)
    basis = np.zeros((d + 1, d))
    for i in range(d):
        basis[: i + 1, i] = 1
        basis[i + 1, i] = -(i + 1)
        basis[:, i] *= spread / np.sqrt((i + 1) * (i + 2))
    ids = {}
    for n, feature in enumerate(features):
        elevated = basis @ feature
        nearest = np.round(elevated / (d + 1)) * (d + 1)
        order = np.argsort(-(elevated - nearest), kind="stable")
        excess = round(nearest.sum() / (d + 1))
        if excess > 0:  # Lower the coordinates that were rounded up the most.
            nearest[order[d + 1 - excess :]] -= d + 1
        elif excess < 0:
            nearest[order[:-excess]] += d + 1
        rest = elevated - nearest
        order = np.argsort(-rest, kind="stable")
        ranked = rest[order] / (d + 1)
        for r in range(d + 1):
            point = nearest + r
            point[order[d + 1 - r :]] -= d + 1
            weight = ranked[d - r] - ranked[d - r + 1] if r else ranked[d] + 1 - ranked[0]
            key = tuple(point.astype(int))
            corner[n][ids.setdefault(key, len(ids))] = weight
    splat = np.zeros((len(ids), count))
    for n, weights in enumerate(corner):
        for point_id, weight in weights.items():
            splat[point_id, n] = weight
    values = splat
    for j in range(d + 1):
        step = np.full(d + 1, -1)
        step[j] = d
        blurred = values.copy()
        for key, point_id in ids.items():
            for side in (tuple(np.array(key) + step), tuple(np.array(key) - step)):
                if side in ids:
                    blurred[point_id] += 0.5 * values[ids[side]]
        values = blurred
    return splat.T @ values / (1 + 2.0**-d)
