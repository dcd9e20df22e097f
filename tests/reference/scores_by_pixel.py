"""Class activation maps, the background and the seeds, pixel by pixel."""

IGNORE = 255


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


def background_by_pixel(cams, alpha):
    """(1 - max_c M_c(x)) ** alpha: nested lists [y][x] from (K, H, W)."""
    _, height, width = cams.shape
    return [
        [(1 - max((float(score) for score in cams[:, y, x]), default=0.0)) ** alpha for x in range(width)]
        for y in range(height)
    ]


def label_by_rule(scores, labels):
    """The label of the first highest score; scores and labels in the same order, the background first."""
    scores = [float(score) for score in scores]
    return labels[scores.index(max(scores))]


def seed_by_rule(low, high, labels):
    """One pixel: background at the high alpha -> sure background; background at the low one -> unsure; else its class.

    Args:
        low: scores of the background and of each class at the low alpha.
        high: likewise at the high alpha.
        labels: 0 and the label of each class.
    """
    if label_by_rule(high, labels) == 0:
        return 0
    if label_by_rule(low, labels) == 0:
        return IGNORE
    return label_by_rule(low, labels)
