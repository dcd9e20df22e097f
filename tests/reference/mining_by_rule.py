"""Mining confident regions, region by region (Wang et al., IJCV 2020, steps 2 and 4)."""

from fractions import Fraction

IGNORE = 255


def samples_by_rule(labels, ids, count, share):
    """The label that at least a share of a region's pixels have, else IGNORE: [R].

    Args:
        labels: (H, W); unsure pixels belong to the region, but to no label.
        ids: (H, W), the region of each pixel.
        count: R.
        share: as a decimal, "0.8": whole numbers are compared, so that 4 of 5 pixels are enough.
    """
    found = []
    for region in range(count):
        inside = [int(labels[tuple(place)]) for place in (ids == region).nonzero().tolist()]
        held = {label: inside.count(label) for label in sorted(set(inside) - {IGNORE})}
        best = max(held, key=held.get, default=IGNORE)  # The first, and so the lowest, of equal ones.
        found.append(best if best in held and held[best] >= Fraction(share) * len(inside) else IGNORE)
    return found


def mined_by_rule(samples, probabilities, threshold):
    """What becomes of each region: [(label or IGNORE, "kept", "dropped" or "unknown"), ...].

    Args:
        samples: R labels, IGNORE for a region that is no sample.
        probabilities: (R, 1 + C) of the region classifier; C below 255, so that channels are labels.
        threshold: from which probability on it is sure.
    """
    found = []
    for sample, scores in zip(samples.tolist(), probabilities.tolist(), strict=True):
        predicted = scores.index(max(scores))
        if sample == IGNORE:
            found.append((IGNORE, "unknown"))
        elif predicted != sample:
            found.append((IGNORE, "dropped"))
        elif max(scores) >= threshold:
            found.append((sample, "kept"))
        else:
            found.append((IGNORE, "unknown"))
    return found
