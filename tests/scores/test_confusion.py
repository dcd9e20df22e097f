"""Scores against examples counted by hand and against slow, literal versions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import strategies as st
from torch.testing import assert_close

from reference.equality import DOUBLE, EXACT, SEEDS, SIZES, equality
from reference.iou_by_pixel import counts_by_pixel, label_above, scores_by_count
from tag2mask.labels import IGNORE, labels_from_channels, labels_from_class_ids
from tag2mask.scores.confusion import Confusion, ThresholdSweep, decided_share, mask_agreement

TRUTH = torch.tensor([[0, 0, 1], [1, 2, IGNORE]])
PREDICTED = torch.tensor([[0, 1, 1], [0, 2, 2]])


# 255 means void, so of 300 classes the last 46 have labels from 256 on.
SETS = {
    "seed": SEEDS,
    "num_classes": st.sampled_from([0, 1, 3, 20, 300]),
    "images": st.integers(0, 3),
    "size": SIZES,
    "void": st.sampled_from([0.0, 0.2, 1.0]),
}


def labels_of(num_classes):
    return [0, *labels_from_class_ids(torch.arange(num_classes)).tolist()]


def random_labels(num_classes, size, generator, void=0.1):
    channels = torch.randint(0, num_classes + 1, size, generator=generator)
    unknown = torch.rand(size, generator=generator) < void
    return labels_from_channels(channels).masked_fill(unknown, IGNORE)


def random_masks(seed, num_classes, images, size, void):
    """Truths and predictions, of which half of the pixels are right."""
    generator = torch.Generator().manual_seed(seed)
    truths = [random_labels(num_classes, size, generator, void) for _ in range(images)]
    guesses = [random_labels(num_classes, size, generator, 0) for _ in range(images)]
    right = [(torch.rand(size, generator=generator) < 0.5) & (truth != IGNORE) for truth in truths]
    return truths, [torch.where(*three) for three in zip(right, truths, guesses, strict=True)]


def test_counts_by_hand():
    confusion = Confusion.of(TRUTH, PREDICTED, num_classes=2)
    assert confusion.counts.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert_close(confusion.iou(), torch.tensor([1 / 3, 1 / 3, 1.0], dtype=torch.float64))
    assert_close(confusion.precision(), torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64))
    assert_close(confusion.recall(), torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64))
    assert confusion.mean_iou() == pytest.approx(5 / 9)
    assert confusion.pixel_accuracy() == pytest.approx(3 / 5)


def added_up(truths, predictions, num_classes, **options):
    total = Confusion.empty(num_classes)
    for truth, predicted in zip(truths, predictions, strict=True):
        total += Confusion.of(truth, predicted, num_classes, **options)
    return total


@equality(Confusion.of, counts_by_pixel, tolerance=EXACT, **SETS, unsure=st.sampled_from([0.0, 0.5, 1.0]))
def test_counts_equal_those_pixel_by_pixel(num_classes, unsure, **drawn):
    truths, predictions = random_masks(num_classes=num_classes, **drawn)
    generator = torch.Generator().manual_seed(drawn["seed"])
    for predicted in predictions:
        predicted[torch.rand(predicted.shape, generator=generator) < unsure] = IGNORE
    total = added_up(truths, predictions, num_classes, decided_only=True)
    return total.counts, counts_by_pixel(truths, predictions, labels_of(num_classes), decided_only=True)


@equality(
    Confusion.mean_iou,
    scores_by_count,
    part="IoU, precision, recall",
    tolerance=DOUBLE,
    edges=[
        {"seed": 0, "num_classes": 3, "images": 1, "size": (1, 1), "void": 1.0},
        {"seed": 0, "num_classes": 20, "images": 1, "size": (1, 7), "void": 0.0},
    ],
    **SETS,
)
def test_scores_are_those_of_voc(num_classes, **drawn):
    truths, predictions = random_masks(num_classes=num_classes, **drawn)
    total = added_up(truths, predictions, num_classes)
    expected = scores_by_count(counts_by_pixel(truths, predictions, labels_of(num_classes)))
    return {name: getattr(total, name)() for name in expected}, expected


def test_classes_that_do_not_occur_are_nan_and_do_not_count():
    confusion = Confusion.of(torch.tensor([0, 1]), torch.tensor([0, 1]), num_classes=3)
    assert confusion.iou().isnan().tolist() == [False, False, True, True]
    assert confusion.mean_iou() == 1.0
    assert math.isnan(Confusion.empty(3).mean_iou())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_integers_and_layout_give_the_same_counts(dtype):
    expected = Confusion.of(TRUTH, PREDICTED, 2).counts
    turned = Confusion.of(TRUTH.to(dtype).T, PREDICTED.to(dtype).T, 2).counts
    assert torch.equal(turned, expected)


def test_unsure_pixels_are_refused_or_left_out():
    seeds = torch.tensor([[0, IGNORE, 1], [IGNORE, IGNORE, IGNORE]])
    with pytest.raises(ValueError, match="decided_only"):
        Confusion.of(TRUTH, seeds, 2)
    decided = Confusion.of(TRUTH, seeds, 2, decided_only=True)
    assert decided.counts.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert decided_share([seeds, torch.zeros(2, 3)]) == pytest.approx(8 / 12)
    assert math.isnan(decided_share([]))


@pytest.mark.parametrize("bad", [3, 254, 256, 999, -1])
@pytest.mark.parametrize("which", ["truth", "predicted"])
def test_labels_that_no_class_has_are_named(bad, which):
    labels = {"truth": TRUTH.clone(), "predicted": PREDICTED.clone()}
    labels[which][1, 0] = bad
    with pytest.raises(ValueError, match=rf"{which}: found the labels {bad}, but 2 classes allow 0..2"):
        Confusion.of(labels["truth"], labels["predicted"], 2)


def test_wrong_shapes_and_types_are_errors():
    with pytest.raises(ValueError, match="shape of truth"):
        Confusion.of(TRUTH, PREDICTED.T, 2)
    with pytest.raises(ValueError, match="int64"):
        Confusion.of(TRUTH, PREDICTED.float(), 2)
    with pytest.raises(ValueError, match="C = 3"):
        Confusion.empty(2) + Confusion.empty(3)
    assert Confusion.of(torch.zeros(0, 4).long(), torch.zeros(0, 4).long(), 2).counts.sum() == 0


def test_agreement_is_one_for_equal_masks_and_passes_over_unsure_pixels():
    assert mask_agreement([TRUTH, PREDICTED], [TRUTH, PREDICTED], 2) == 1.0
    assert mask_agreement([TRUTH], [PREDICTED], 2) == pytest.approx(5 / 9)
    with pytest.raises(ValueError, match="shorter"):
        mask_agreement([TRUTH], [], 2)


def random_scores(num_classes, images, size, generator):
    """Coarse scores of up to 3 classes: many lie exactly on a threshold and many are equal; and their class ids."""
    found = []
    for _ in range(images):
        count = int(torch.randint(4, (), generator=generator))
        class_ids = torch.randperm(num_classes, generator=generator)[:count].sort().values
        found.append((torch.randint(0, 6, (len(class_ids), *size), generator=generator) / 5, class_ids))
    return found


def masks_above(scores, class_ids, constant):
    """Each pixel on its own: its best class if that is above a constant, else the background."""
    labels = labels_from_class_ids(class_ids).tolist()
    pixels = [label_above(pixel.tolist(), labels, constant) for pixel in scores.flatten(1).T]
    return torch.tensor(pixels).view(scores.shape[1:])


@equality(
    ThresholdSweep.confusion,
    counts_by_pixel,
    part="at every constant",
    tolerance=EXACT,
    edges=[{"seed": 0, "num_classes": 0, "images": 1, "size": (1, 1), "void": 1.0}],
    **{**SETS, "num_classes": st.sampled_from([0, 1, 3, 20])},
)
def test_sweep_equals_an_argmax_per_threshold(seed, num_classes, images, size, void):
    generator = torch.Generator().manual_seed(seed)
    truths = [random_labels(num_classes, size, generator, void) for _ in range(images)]
    scored = random_scores(num_classes, images, size, generator)
    sweep = ThresholdSweep(num_classes, torch.linspace(0, 1, 6))
    for truth, (scores, class_ids) in zip(truths, scored, strict=True):
        sweep.add(truth, scores, class_ids)
    expected = []
    for constant in sweep.thresholds.tolist():
        masks = [masks_above(scores, class_ids, constant) for scores, class_ids in scored]
        expected.append(counts_by_pixel(truths, masks, labels_of(num_classes)))
    return [sweep.confusion(position).counts.tolist() for position in range(6)], expected


def test_the_best_constant_is_the_lowest_of_the_highest_mean_iou():
    sweep = ThresholdSweep(1, torch.linspace(0, 1, 11))
    # From 0.2 on the background is right, up to 0.7 the object is.
    sweep.add(torch.tensor([[0, 0, 1]]), torch.tensor([[[0.15, 0.1, 0.75]]]), torch.tensor([0]))
    means = [sweep.confusion(position).mean_iou() for position in range(11)]
    threshold, best = sweep.best()
    assert threshold == pytest.approx(0.2)
    assert means.index(1.0) == 2
    assert best.mean_iou() == 1.0


def test_sweep_refuses_what_it_cannot_count():
    with pytest.raises(ValueError, match="ascending"):
        ThresholdSweep(2, torch.tensor([0.5, 0.5]))
    sweep = ThresholdSweep(2)
    with pytest.raises(ValueError, match="K = 1"):
        sweep.add(TRUTH, torch.zeros(2, 2, 3), torch.tensor([0]))
    with pytest.raises(ValueError, match="H = 2"):
        sweep.add(TRUTH, torch.zeros(1, 3, 2), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"expected 0\.\.1"):
        sweep.add(TRUTH, torch.zeros(1, 2, 3), torch.tensor([2]))
    with pytest.raises(ValueError, match="found the labels 7"):
        sweep.add(TRUTH.clone().fill_(7), torch.zeros(1, 2, 3), torch.tensor([0]))
