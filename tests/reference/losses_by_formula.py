"""The losses as the papers write them, number by number in Python floats."""

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


def label_loss_by_formula(logits, channels):
    """Mean over the known pixels of -log softmax of the right channel; (B, 1 + C, H, W) and (B, H, W), -1 unknown."""
    terms = []
    batch, height, width = channels.shape
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                right = int(channels[b, y, x])
                if right >= 0:
                    energies = [math.exp(float(value)) for value in logits[b, :, y, x]]
                    terms.append(-math.log(energies[right] / sum(energies)))
    return sum(terms) / len(terms) if terms else 0.0
