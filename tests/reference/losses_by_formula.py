"""The losses as the papers write them, number by number in Python floats.

Tags: multi-label soft margin. Pairs: Ahn & Kwak, CVPR 2018, equations 4 to 7, 1e-5 inside the logarithms. Labels:
softmax cross-entropy. Confident regions L_a and region smoothness L_s: Wang et al., IJCV 2020, as means.
"""

import math

FLOOR = 1e-5


def tag_loss_by_formula(logits, tags):
    """-1/(B C) sum_bc  y log s + (1 - y) log(1 - s), with s the sigmoid of the logit; (B, C) both."""
    terms = []
    for row, truths in zip(logits, tags, strict=True):
        for logit, truth in zip(row, truths, strict=True):
            probability = 1 / (1 + math.exp(-float(logit)))
            terms.append(-math.log(probability if truth else 1 - probability))
    return sum(terms) / len(terms)


def pair_loss_by_formula(affinities, kinds):
    """L_bg+ / 4 + L_fg+ / 4 + L- / 2, each the mean over its own set; an empty set counts 0.

    Args:
        affinities: W of each pair.
        kinds: "same_background", "same_object", "different" or None (unsure) of each pair.
    """
    terms = {"same_background": [], "same_object": [], "different": []}
    for affinity, kind in zip(affinities, kinds, strict=True):
        if kind is not None:
            terms[kind].append(-math.log((1 - affinity if kind == "different" else affinity) + FLOOR))
    means = {kind: sum(found) / len(found) if found else 0.0 for kind, found in terms.items()}
    return {
        "same_background": means["same_background"] / 4,
        "same_object": means["same_object"] / 4,
        "different": means["different"] / 2,
    }


def pair_loss_slopes_by_formula(affinities, kinds):
    """dL/dW of each pair: -1 / (W + 1e-5) or 1 / (1 - W + 1e-5), over the size of its set, times 1/4, 1/4, 1/2."""
    slopes = []
    for affinity, kind in zip(affinities, kinds, strict=True):
        if kind is None:
            slopes.append(0.0)
        elif kind == "different":
            slopes.append(1 / (1 - affinity + FLOOR) / kinds.count(kind) / 2)
        else:
            slopes.append(-1 / (affinity + FLOOR) / kinds.count(kind) / 4)
    return slopes


def label_loss_by_formula(logits, channels, object_weight=1.0):
    """Weighted mean over the known pixels of -log softmax of the right channel; 0 if none is known.

    Args:
        logits: (B, 1 + C, H, W).
        channels: (B, H, W), -1 unknown.
        object_weight: of a pixel of any class; one of the background has weight 1.
    """
    terms = []
    for b, y, x in (channels >= 0).nonzero().tolist():
        right = int(channels[b, y, x])
        terms.append((object_weight if right else 1.0, -math.log(softmax(logits[b, :, y, x])[right])))
    return weighted_mean(terms)


def soft_label_loss_by_formula(logits, targets, object_weight=1.0):
    """The same with probabilities for labels: each -log softmax has the target, times the weight; (B, 1 + C, H, W)."""
    terms = []
    batch, channels, height, width = targets.shape
    for b, y, x in ((b, y, x) for b in range(batch) for y in range(height) for x in range(width)):
        probabilities = softmax(logits[b, :, y, x])
        for c in range(channels):
            weight = float(targets[b, c, y, x]) * (object_weight if c else 1.0)
            terms.append((weight, -math.log(probabilities[c])))
    return weighted_mean(terms)


def confident_loss_by_formula(probabilities, channels, object_weight=1.0):
    """L_a: weighted mean of -log(p + 1e-5) over the mined pixels; (B, 1 + C, h, w) and (B, h, w), -1 not mined."""
    terms = []
    for b, y, x in (channels >= 0).nonzero().tolist():
        right = int(channels[b, y, x])
        loss = -math.log(float(probabilities[b, right, y, x]) + FLOOR)
        terms.append((object_weight if right else 1.0, loss))
    return weighted_mean(terms)


def smoothness_loss_by_formula(weights, ids):
    """L_s: mean of (w - mean of w over its region)^2 over the K weights and the pixels of regions.

    Args:
        weights: (B, K, h, w).
        ids: (B, h, w); -1: in no region.
    """
    terms = []
    for k in range(weights.shape[1]):
        by_region = {}
        for b, y, x in (ids >= 0).nonzero().tolist():
            by_region.setdefault(int(ids[b, y, x]), []).append(float(weights[b, k, y, x]))
        for inside in by_region.values():
            mean = sum(inside) / len(inside)
            terms += [(1.0, (weight - mean) ** 2) for weight in inside]
    return weighted_mean(terms)


def softmax(logits):
    exponentials = [math.exp(float(value)) for value in logits]
    return [value / sum(exponentials) for value in exponentials]


def weighted_mean(terms):
    """Of [(weight, value), ...]; 0 without weight."""
    total = sum(weight for weight, _ in terms)
    return sum(weight * value for weight, value in terms) / total if total else 0.0
