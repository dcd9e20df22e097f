"""Scores against examples counted by hand and against slow, literal versions."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.testing import assert_close

from tag2mask.evaluation import (
    Confusion,
    ScoreRow,
    ScoreTable,
    ThresholdSweep,
    decided_share,
    mask_agreement,
)
from tag2mask.records import IGNORE, labels_from_channels, labels_from_class_ids

TRUTH = torch.tensor([[0, 0, 1], [1, 2, IGNORE]])
PREDICTED = torch.tensor([[0, 1, 1], [0, 2, 2]])


def random_labels(num_classes, size, generator):
    channels = torch.randint(0, num_classes + 1, size, generator=generator)
    void = torch.rand(size, generator=generator) < 0.1
    return labels_from_channels(channels).masked_fill(void, IGNORE)


def literal_voc_mean_iou(truths, predictions, num_classes):
    """One intersection and one union per class over the whole set; absent classes are left out."""
    ious = []
    for label in [0, *labels_from_class_ids(torch.arange(num_classes)).tolist()]:
        intersection = union = 0
        for truth, predicted in zip(truths, predictions, strict=True):
            for one, other in zip(truth.flatten().tolist(), predicted.flatten().tolist(), strict=True):
                if one != IGNORE:
                    intersection += one == label and other == label
                    union += label in (one, other)
        if union:
            ious.append(intersection / union)
    return sum(ious) / len(ious)


def test_counts_by_hand():
    confusion = Confusion.of(TRUTH, PREDICTED, num_classes=2)
    assert confusion.counts.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert_close(confusion.iou(), torch.tensor([1 / 3, 1 / 3, 1.0], dtype=torch.float64))
    assert_close(confusion.precision(), torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64))
    assert_close(confusion.recall(), torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64))
    assert confusion.mean_iou() == pytest.approx(5 / 9)
    assert confusion.pixel_accuracy() == pytest.approx(3 / 5)


@pytest.mark.parametrize("num_classes", [1, 3, 300])
def test_mean_iou_is_that_of_voc(num_classes):
    generator = torch.Generator().manual_seed(num_classes)
    truths = [random_labels(num_classes, (7, 9), generator) for _ in range(3)]
    predictions = [random_labels(num_classes, (7, 9), generator).masked_fill_(t == 0, 0) for t in truths]
    predictions = [p.masked_fill(p == IGNORE, 1) for p in predictions]
    total = Confusion.empty(num_classes)
    for truth, predicted in zip(truths, predictions, strict=True):
        total += Confusion.of(truth, predicted, num_classes)
    assert total.mean_iou() == pytest.approx(literal_voc_mean_iou(truths, predictions, num_classes))


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


def slow_sweep(images, thresholds, num_classes):
    """One argmax per image and threshold."""
    matrices = []
    for threshold in thresholds:
        total = Confusion.empty(num_classes)
        for truth, scores, class_ids in images:
            constant = torch.full((1, *truth.shape), float(threshold))
            labels = torch.cat([torch.zeros(1).long(), labels_from_class_ids(class_ids)])
            predicted = labels[torch.cat([constant, scores]).argmax(dim=0)]
            total += Confusion.of(truth, predicted, num_classes)
        matrices.append(total)
    return matrices


@pytest.mark.parametrize("num_classes", [1, 5, 300])
def test_sweep_equals_an_argmax_per_threshold(num_classes):
    generator = torch.Generator().manual_seed(0)
    images = []
    for count in (1, 3, 0, 2):
        class_ids = torch.randperm(num_classes, generator=generator)[:count].sort().values
        # Coarse scores: many lie exactly on a threshold and many are equal.
        scores = torch.randint(0, 11, (len(class_ids), 6, 8), generator=generator) / 10
        images.append((random_labels(num_classes, (6, 8), generator), scores, class_ids))
    sweep = ThresholdSweep(num_classes, torch.linspace(0, 1, 11))
    for image in images:
        sweep.add(*image)
    expected = slow_sweep(images, sweep.thresholds, num_classes)
    for position, matrix in enumerate(expected):
        assert torch.equal(sweep.confusion(position).counts, matrix.counts)
    means = [matrix.mean_iou() for matrix in expected]
    threshold, best = sweep.best()
    assert threshold == pytest.approx(means.index(max(means)) / 10)
    assert best.mean_iou() == pytest.approx(max(means))


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


def make_table(num_classes):
    names = tuple(f"class {i}" for i in range(num_classes))
    truth, predicted = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    confusion = Confusion.of(truth, predicted, num_classes)
    rows = (
        ScoreRow("cam", "CAM", confusion, note="constant background 0.24"),
        ScoreRow("seeds", "seeds", confusion, coverage=0.5),
    )
    return ScoreTable(names, rows)


def test_table_as_dict_is_json_without_nan():
    stages = json.loads(json.dumps(make_table(2).as_dict(), allow_nan=False))["stages"]
    assert stages["cam"]["iou"] == {"background": 0.5, "class 0": 0.66667, "class 1": None}
    assert stages["cam"]["mean_iou"] == 0.58333
    assert stages["cam"]["precision"] == 0.83333
    assert stages["cam"]["recall"] == 0.75
    assert (stages["cam"]["coverage"], stages["seeds"]["coverage"]) == (None, 0.5)
    assert stages["cam"]["note"] == "constant background 0.24"


def test_a_class_called_background_does_not_replace_the_background():
    confusion = Confusion.of(torch.tensor([0, 1]), torch.tensor([0, 0]), 1)
    stages = ScoreTable(("background",), (ScoreRow("cam", "CAM", confusion),)).as_dict()["stages"]
    assert stages["cam"]["iou"] == {"background": 0.5}


@pytest.mark.parametrize("num_classes", [1, 12, 13])
def test_plain_table_names_every_class(num_classes):
    text = make_table(num_classes).table()
    assert all(f"class {i}" in text for i in range(num_classes))
    assert "constant background 0.24" in text
    assert "58.3" in text
    assert ("IoU per class" in text) == (num_classes > 12)
    lines = [line for line in text.splitlines() if line.startswith(("CAM", "seeds"))]
    assert len(lines) == 2


def test_table_of_other_classes_is_an_error():
    with pytest.raises(ValueError, match="C = 2"):
        ScoreTable(("cat",), (ScoreRow("cam", "CAM", Confusion.empty(2)),))
