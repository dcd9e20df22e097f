"""Class activation maps and the background, pixel by pixel (Ahn & Kwak, CVPR 2018, section 3.1).

M_c(x) = w_c . f(x), cut off at zero; summed over scaled and mirrored views; divided by max_x M_c(x), plus 1e-5 as in
the authors' code; M_bg(x) = (1 - max_c M_c(x)) ** alpha.
"""

import numpy as np

from reference.resize_by_pixel import resize_by_pixel

FLOOR = 1e-5


def cams_by_pixel(features, weights):
    """max(0, sum_d w_cd f_d(x)) of one image: nested lists [c][y][x] from (D, h, w) and (C, D)."""
    channels, height, width = features.shape
    return [
        [
            [max(0.0, sum(float(row[d]) * float(features[d, y, x]) for d in range(channels))) for x in range(width)]
            for y in range(height)
        ]
        for row in weights
    ]


def merge_by_pixel(views, mirrored, size):
    """The sum of views (K, h_i, w_i) at one size, mirrored ones turned back: (K, height, width) float64."""
    merged = np.zeros((len(views[0]), *size))
    for view, flip in zip(views, mirrored, strict=True):
        columns = range(view.shape[2])
        upright = np.stack([view[:, :, view.shape[2] - 1 - x if flip else x] for x in columns], axis=2)
        merged += resize_by_pixel(upright, *size)
    return merged


def normalise_by_pixel(maps):
    """M_c(x) / (max_x M_c(x) + 1e-5): nested lists [c][y][x] from (K, h, w)."""
    found = []
    for rows in np.asarray(maps, float).tolist():
        largest = max(value for row in rows for value in row)
        found.append([[value / (largest + FLOOR) for value in row] for row in rows])
    return found


def background_by_pixel(cams, alpha):
    """(1 - max_c M_c(x)) ** alpha: nested lists [y][x] from (K, H, W)."""
    _, height, width = cams.shape
    return [
        [(1 - max((float(score) for score in cams[:, y, x]), default=0.0)) ** alpha for x in range(width)]
        for y in range(height)
    ]


def shares_by_pixel(scores):
    """Scores over their sum, (1 + K, H, W) float64; 0 where all are 0."""
    scores = np.asarray(scores, float)
    shares = np.zeros(scores.shape)
    for y in range(scores.shape[1]):
        for x in range(scores.shape[2]):
            total = sum(scores[:, y, x])
            shares[:, y, x] = scores[:, y, x] / total if total else 0
    return shares
