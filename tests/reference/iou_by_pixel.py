"""Scores of masks as PASCAL VOC has them: one confusion matrix over the whole set, counted pixel by pixel.

IoU_c = true positives / (true positives + false positives + false negatives); void pixels of the truth (255) are not
counted; classes that neither truth nor prediction has are left out of the mean.
"""

import math

IGNORE = 255


def counts_by_pixel(truths, predictions, labels, *, decided_only=False):
    """How often each true label was given each label: nested lists [truth][given], in the order of labels."""
    counts = [[0] * len(labels) for _ in labels]
    for truth, predicted in zip(truths, predictions, strict=True):
        for one, other in zip(truth.flatten().tolist(), predicted.flatten().tolist(), strict=True):
            if one == IGNORE or (decided_only and other == IGNORE):
                continue
            counts[labels.index(one)][labels.index(other)] += 1
    return counts


def scores_by_count(counts):
    """IoU, precision and recall of each label, NaN where there is nothing to divide by; their mean, and accuracy."""
    found = {"iou": [], "precision": [], "recall": []}
    for c, row in enumerate(counts):
        true_positives, true, given = row[c], sum(row), sum(other[c] for other in counts)
        found["iou"].append(_over(true_positives, true + given - true_positives))
        found["precision"].append(_over(true_positives, given))
        found["recall"].append(_over(true_positives, true))
    there = [iou for iou in found["iou"] if not math.isnan(iou)]
    right = sum(row[c] for c, row in enumerate(counts))
    return {
        **found,
        "mean_iou": _over(sum(there), len(there)),
        "pixel_accuracy": _over(right, sum(map(sum, counts))),
    }


def _over(part, whole):
    return part / whole if whole else math.nan


def label_above(scores, class_labels, constant):
    """One pixel: the label of the first highest score if that is above a constant background, else 0."""
    best = max(scores, default=constant)
    return class_labels[scores.index(best)] if best > constant else 0
