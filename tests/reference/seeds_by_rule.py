"""Seeds, pixel by pixel and cell by cell (Ahn & Kwak, CVPR 2018, section 3.2; the order of steps: the authors' code).

Background at the high alpha: sure background. Background at the low alpha: unsure. The rest: its class. For training
the scores are averaged over cells first, and the rule is asked then; a cell that reaches out of the image is unsure.
"""

IGNORE = 255


def label_by_rule(scores, labels):
    """The label of the first highest score; scores and labels in the same order, the background first."""
    scores = [float(score) for score in scores]
    return labels[scores.index(max(scores))]


def seed_by_rule(low, high, labels):
    """The seed of one pixel or cell.

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


def seeds_by_pixel(low, high, labels):
    """Nested lists [y][x] from (1 + K, H, W) both."""
    _, height, width = low.shape
    return [[seed_by_rule(low[:, y, x], high[:, y, x], labels) for x in range(width)] for y in range(height)]


def labels_by_pixel(scores, labels):
    """Nested lists [y][x] from (1 + K, H, W)."""
    _, height, width = scores.shape
    return [[label_by_rule(scores[:, y, x], labels) for x in range(width)] for y in range(height)]


def seeds_of_cells(low, high, labels, *, top, left, cells, stride, mirrored):
    """A window of cells, average-pooled, *then* argmax: nested lists [y][x], cells x cells.

    Args:
        low: (1 + K, H, W) at the image's size.
        high: likewise.
        labels: 0 and the label of each class.
        top: the window's first row in the image; negative if it begins above.
        left: likewise its first column.
        cells: along a side of the window.
        stride: pixels along a side of a cell.
        mirrored: the window, left to right.
    """
    _, height, width = low.shape
    found = []
    for row in range(cells):
        found.append([])
        for column in range(cells):
            corner = top + row * stride, left + (cells - 1 - column if mirrored else column) * stride
            pixels = [(corner[0] + i, corner[1] + j) for i in range(stride) for j in range(stride)]
            if all(0 <= y < height and 0 <= x < width for y, x in pixels):
                means = [sum(maps[:, y, x] for y, x in pixels) / len(pixels) for maps in (low, high)]
                found[-1].append(seed_by_rule(*means, labels))
            else:
                found[-1].append(IGNORE)
    return found
