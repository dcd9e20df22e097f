"""Superpixel maths pixel by pixel in plain Python: means, majorities and mask pooling."""

IGNORE = 255


def members(ids, region):
    """The places of a region's pixels in an id map of any shape: [(i, j, ...), ...]."""
    return [tuple(place) for place in (ids == region).nonzero().tolist()]


def mean_by_loops(values, ids, count):
    """Mean of a map of the ids' shape over each region: [R]; 0 for a region that does not occur."""
    found = [[float(values[place]) for place in members(ids, region)] for region in range(count)]
    return [sum(numbers) / len(numbers) if numbers else 0.0 for numbers in found]


def majority_by_loops(labels, ids, count):
    """The most frequent label of each region, the lowest of equal ones, and its share: [(label, share), ...]."""
    found = []
    for region in range(count):
        every = [int(labels[place]) for place in members(ids, region)]
        sure = [label for label in every if label != IGNORE]
        best = min(sure, key=lambda label: (-sure.count(label), label), default=IGNORE)
        found.append((best, sure.count(best) / len(every)))
    return found


def repeat_cells(features, height, width):
    """Each cell of (B, D, h, w) repeated over the pixels whose centre lies in it: (B, D, height, width)."""
    rows = [int((y + 0.5) * features.shape[-2] / height + 1e-9) for y in range(height)]
    columns = [int((x + 0.5) * features.shape[-1] / width + 1e-9) for x in range(width)]
    return features[:, :, rows][:, :, :, columns]


def pool_by_loops(features, ids, count):
    """Mean of the repeated cells over each region of a batch: nested lists [R][D] from (B, D, h, w) and (B, H, W)."""
    whole = repeat_cells(features, *ids.shape[-2:]).transpose(0, 1)
    by_channel = [mean_by_loops(channel, ids, count) for channel in whole]
    return [list(row) for row in zip(*by_channel, strict=True)]
