"""Which pixels become seeds, against the rule written out for one pixel."""

import pytest
import torch
from hypothesis import strategies as st

from reference.equality import EXACT, SEEDS, SIZES, equality
from reference.seeds_by_rule import labels_by_pixel, seeds_by_pixel
from tag2mask.labels import IGNORE, labels_from_class_ids
from tag2mask.ops.cam import with_background
from tag2mask.ops.seeds import labels_of_scores, scores_of_seeds, seed_labels

OBJECT, GROUND = [0.1, 0.9], [0.9, 0.1]


def column(*pixels):
    """Scores (1 + K, 1, n) of n pixels."""
    return torch.tensor(pixels).T[:, None, :]


def test_the_four_cases():
    low = column(OBJECT, GROUND, GROUND, OBJECT)
    high = column(OBJECT, OBJECT, GROUND, GROUND)
    # Sure object; unsure; sure background; and the background has the last word.
    assert seed_labels(low, high, torch.tensor([6])).tolist() == [[7, IGNORE, 0, 0]]


def coarse_scores(seed, classes, size):
    """Scores at two alphas, with ties; class ids, and the labels of the channels."""
    generator = torch.Generator().manual_seed(seed)
    low, high = (torch.randint(4, (1 + classes, *size), generator=generator) / 4 for _ in range(2))
    return low, high, torch.tensor([2, 5, 299][:classes], dtype=torch.int64), [0, 3, 6, 301][: classes + 1]


@equality(labels_of_scores, labels_by_pixel, tolerance=EXACT, seed=SEEDS, classes=st.integers(0, 3), size=SIZES)
def test_labels_equal_the_rule(seed, classes, size):
    low, _, class_ids, labels = coarse_scores(seed, classes, size)
    return labels_of_scores(low, class_ids), labels_by_pixel(low, labels)


@equality(
    seed_labels,
    seeds_by_pixel,
    tolerance=EXACT,
    edges=[{"seed": 0, "classes": 0, "size": (1, 1)}],
    seed=SEEDS,
    classes=st.integers(0, 3),
    size=SIZES,
)
def test_seeds_equal_the_rule(seed, classes, size):
    low, high, class_ids, labels = coarse_scores(seed, classes, size)
    return seed_labels(low, high, class_ids), seeds_by_pixel(low, high, labels)


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


@pytest.mark.parametrize("class_ids", [[0], [1, 4], [3, 254, 299]])
def test_scores_of_seeds_give_the_seeds_again(class_ids):
    ids = torch.tensor(class_ids)
    choices = torch.cat([torch.tensor([0, IGNORE]), labels_from_class_ids(ids)])
    seeds = choices[torch.randint(len(choices), (8, 9), generator=torch.Generator().manual_seed(0))]
    low, high = scores_of_seeds(seeds, ids)
    assert seed_labels(low, high, ids).equal(seeds)
    for scores in (low, high):
        assert scores.sum(dim=0).unique().tolist() == [1], "so that cells are told from what lies outside"


def test_scores_of_seeds_of_an_image_without_tags_and_of_other_classes():
    low, high = scores_of_seeds(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert low.tolist() == high.tolist() == [[[1, 1, 1], [1, 1, 1]]]
    with pytest.raises(ValueError, match=r"seeds: expected labels \[0, 3\] or 255, got 2"):
        scores_of_seeds(torch.tensor([[2, 3]]), torch.tensor([2]))
    with pytest.raises(ValueError, match="got 255"):
        scores_of_seeds(torch.tensor([[255]]), torch.zeros(0, dtype=torch.int64))


def test_a_cell_that_is_half_background_and_half_unsure_is_unsure_or_background_never_an_object():
    ids = torch.tensor([1, 2])
    low, high = (one.mean(dim=-1, keepdim=True) for one in scores_of_seeds(torch.tensor([[0, IGNORE]]), ids))
    assert seed_labels(low, high, ids).item() in {0, IGNORE}
