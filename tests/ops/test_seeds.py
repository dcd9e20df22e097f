"""Which pixels become seeds, against the rule written out for one pixel."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.scores_by_pixel import label_by_rule, seed_by_rule
from tag2mask.ops.cam import with_background
from tag2mask.ops.seeds import labels_of_scores, seed_labels
from tag2mask.records import IGNORE

OBJECT, GROUND = [0.1, 0.9], [0.9, 0.1]


def column(*pixels):
    """Scores (1 + K, 1, n) of n pixels."""
    return torch.tensor(pixels).T[:, None, :]


def test_the_four_cases():
    low = column(OBJECT, GROUND, GROUND, OBJECT)
    high = column(OBJECT, OBJECT, GROUND, GROUND)
    # Sure object; unsure; sure background; and the background has the last word.
    assert seed_labels(low, high, torch.tensor([6])).tolist() == [[7, IGNORE, 0, 0]]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3), st.integers(1, 4), st.integers(1, 4))
def test_seeds_equal_the_rule(seed, classes, height, width):
    generator = torch.Generator().manual_seed(seed)
    # Coarse scores, so that ties occur.
    low, high = (torch.randint(4, (1 + classes, height, width), generator=generator) / 4 for _ in range(2))
    class_ids = torch.tensor([2, 5, 19][:classes], dtype=torch.int64)
    labels = [0, 3, 6, 20][: classes + 1]
    found = seed_labels(low, high, class_ids)
    best = labels_of_scores(low, class_ids)
    for y in range(height):
        for x in range(width):
            assert int(found[y, x]) == seed_by_rule(low[:, y, x], high[:, y, x], labels)
            assert int(best[y, x]) == label_by_rule(low[:, y, x], labels)


def test_an_image_without_classes_is_sure_background():
    blank = with_background(torch.zeros(0, 3, 4), alpha=4)
    seeds = seed_labels(blank, blank, torch.zeros(0, dtype=torch.int64))
    assert seeds.dtype == torch.int64
    assert seeds.tolist() == [[0] * 4] * 3


def test_one_class_over_a_ramp_of_scores():
    cams = torch.linspace(0, 1, 11)[None, None]
    low, high = with_background(cams, 2), with_background(cams, 16)
    # An object beats (1 - s) ** 2 from 0.4 on, and (1 - s) ** 16 from 0.2 on.
    assert seed_labels(low, high, torch.tensor([0]))[0].tolist() == [0, 0, IGNORE, IGNORE, 1, 1, 1, 1, 1, 1, 1]


def test_only_the_given_classes_can_appear():
    generator = torch.Generator().manual_seed(0)
    low, high = torch.rand(2, 3, 20, 20, generator=generator)
    assert set(seed_labels(low, high, torch.tensor([1, 7])).unique().tolist()) <= {0, 2, 8, IGNORE}


@pytest.mark.parametrize(("class_id", "label"), [(253, 254), (254, 256), (299, 301), (999, 1001)])
def test_many_classes_pass_over_the_label_that_means_unsure(class_id, label):
    scores = column(OBJECT, GROUND)
    assert labels_of_scores(scores, torch.tensor([class_id])).tolist() == [[label, 0]]
    assert seed_labels(scores, scores, torch.tensor([class_id])).tolist() == [[label, 0]]


def test_mirror_image_in_mirror_image_out_and_arguments_unchanged():
    generator = torch.Generator().manual_seed(1)
    low, high = torch.rand(2, 3, 5, 6, generator=generator)
    before = low.clone(), high.clone()
    class_ids = torch.tensor([0, 3])
    assert seed_labels(low.flip(-1), high.flip(-1), class_ids).equal(seed_labels(low, high, class_ids).flip(-1))
    assert low.equal(before[0])
    assert high.equal(before[1])


def test_wrong_channels_are_named():
    with pytest.raises(ValueError, match="scores: expected shape"):
        labels_of_scores(torch.zeros(2, 3, 4), torch.tensor([0, 1]))
