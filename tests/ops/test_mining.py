"""Mining keeps what two opinions agree on, drops what they disagree on, and leaves the rest unknown."""

import itertools

import pytest
import torch
from hypothesis import strategies as st
from torch.testing import assert_close

from reference.equality import EXACT, SEEDS, SIZES, equality
from reference.mining_by_rule import mined_by_rule, samples_by_rule
from tag2mask.labels import IGNORE, labels_from_channels
from tag2mask.ops.mining import (
    MinedRegions,
    allowed_labels,
    confident_regions,
    mask_logits,
    region_labels_to_pixels,
    region_samples,
)
from tag2mask.records import Regions


def random_regions(seed, height=6, width=7, most=5):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(most, (height, width), generator=generator).unique(return_inverse=True)[1]
    return Regions(ids, int(ids.max()) + 1)


def random_opinions(seed, count=12, channels=4):
    """Samples and probabilities, some of which agree."""
    generator = torch.Generator().manual_seed(seed)
    samples = torch.tensor([*range(channels), IGNORE])[torch.randint(channels + 1, (count,), generator=generator)]
    return samples, (3 * torch.randn(count, channels, generator=generator)).softmax(dim=1)


def test_samples_by_eye():
    regions = Regions(torch.arange(4).repeat_interleave(5).view(4, 5), 4)
    labels = torch.tensor(
        [
            [2, 2, 2, 2, 0],  # 4 of 5 are exactly the share.
            [2, 2, 2, 0, 0],
            [2, 2, 2, IGNORE, IGNORE],  # Unsure pixels count towards the size.
            [0, 0, 0, 0, IGNORE],
        ]
    )
    assert region_samples(labels, regions, num_labels=3).tolist() == [2, IGNORE, IGNORE, 0]
    assert region_samples(labels, regions, num_labels=3, share=0.6).tolist() == [2, 2, 2, 0]
    assert region_samples(labels, regions, num_labels=3, share=1).tolist() == [IGNORE] * 4


@pytest.mark.parametrize("size", [5, 10, 15, 35, 70, 105, 1000])
def test_the_share_is_exact_at_every_size(size):
    regions = Regions(torch.zeros(1, size, dtype=torch.int64), 1)
    for held, expected in ((size * 4 // 5, 1), (size * 4 // 5 - 1, IGNORE)):
        labels = (torch.arange(size) < held).long()[None]
        assert region_samples(labels, regions, num_labels=2, share=0.8).tolist() == [expected]


@equality(
    region_samples,
    samples_by_rule,
    tolerance=EXACT,
    edges=[
        {"seed": 0, "size": (1, 5), "most": 1, "labels": (0, 1, 1, 1, 1), "share": "0.8"},
        {"seed": 0, "size": (4, 5), "most": 3, "labels": (IGNORE,), "share": "0.8"},
    ],
    seed=SEEDS,
    size=SIZES,
    most=st.integers(1, 9),
    labels=st.sampled_from([(0,), (0, 1, 1, 1, 1), (1, 1, 1, 2, IGNORE), (0, 1, 2, IGNORE), (IGNORE,)]),
    share=st.sampled_from(["0.3", "0.5", "0.8", "1"]),
)
def test_samples_equal_the_rule(seed, size, most, labels, share):
    regions = random_regions(seed, *size, most=most)
    # Each label as often as it is listed, as far as the pixels go; so 4 of 5 occur often.
    places = torch.randperm(regions.ids.numel(), generator=torch.Generator().manual_seed(seed)).view(size)
    drawn = torch.tensor(labels)[places % len(labels)]
    expected = samples_by_rule(drawn, regions.ids, regions.count, share)
    return region_samples(drawn, regions, num_labels=3, share=float(share)), expected


def test_one_region_and_a_region_for_each_pixel():
    labels = torch.tensor([[0, 1, 2], [IGNORE, 1, 1]])
    whole, single = Regions(torch.zeros_like(labels), 1), Regions(torch.arange(6).view(2, 3), 6)
    assert region_samples(labels, whole, num_labels=3).tolist() == [IGNORE]
    assert region_samples(labels, single, num_labels=3).tolist() == labels.flatten().tolist()
    assert region_labels_to_pixels(region_samples(labels, single, num_labels=3), single).equal(labels)


def test_samples_follow_the_numbers_of_the_regions():
    regions, labels = random_regions(3), random_regions(4, most=2).ids
    order = torch.randperm(regions.count, generator=torch.Generator().manual_seed(0))
    renamed = Regions(order[regions.ids], regions.count)
    found = region_samples(labels, renamed, num_labels=2, share=0.6)
    assert found[order].equal(region_samples(labels, regions, num_labels=2, share=0.6))


@pytest.mark.parametrize("share", [0, -0.5, 1.1, float("nan")])
def test_an_impossible_share_is_named(share):
    with pytest.raises(ValueError, match="share: expected a number above 0 and at most 1, got"):
        region_samples(torch.zeros(1, 1, dtype=torch.int64), Regions(torch.zeros(1, 1, dtype=torch.int64), 1), 2, share)


def test_mining_by_eye():
    samples = torch.tensor([1, 1, 1, 0, IGNORE, 2])
    probabilities = torch.tensor(
        [
            [0.1, 0.9, 0.0],  # Agrees, and is sure.
            [0.4, 0.6, 0.0],  # Agrees, but is not sure.
            [0.9, 0.1, 0.0],  # Another class.
            [0.8, 0.1, 0.1],  # Agrees with background, exactly at the threshold.
            [0.0, 1.0, 0.0],  # Sure, but no sample.
            [0.5, 0.0, 0.5],  # The first of equal ones is predicted: another class.
        ]
    )
    mined = confident_regions(samples, probabilities, threshold=0.8)
    assert mined.labels.tolist() == [1, IGNORE, IGNORE, 0, IGNORE, IGNORE]
    assert mined.kept.tolist() == [True, False, False, True, False, False]
    assert mined.dropped.tolist() == [False, False, True, False, False, True]
    assert mined.unknown.tolist() == [False, True, False, False, True, False]


@equality(
    confident_regions,
    mined_by_rule,
    tolerance=EXACT,
    edges=[{"seed": 0, "count": 1, "channels": 1, "threshold": 1.0}],
    seed=SEEDS,
    count=st.integers(0, 12),
    channels=st.integers(1, 5),
    threshold=st.sampled_from([0.0, 0.5, 0.75, 0.875, 1.0]),
)
def test_mining_equals_the_rule_region_by_region(seed, count, channels, threshold):
    samples, probabilities = random_opinions(seed, count, channels)
    # Eighths: ties, and scores that are exactly the threshold.
    probabilities = (8 * probabilities).round() / 8
    mined = confident_regions(samples, probabilities, threshold)
    expected = mined_by_rule(samples, probabilities, threshold)
    found = tuple(getattr(mined, group) for group in ("labels", "kept", "dropped", "unknown"))
    groups = tuple([one == group for _, one in expected] for group in ("kept", "dropped", "unknown"))
    return found, ([label for label, _ in expected], *groups)


def test_a_higher_threshold_keeps_fewer_and_drops_the_same():
    samples, probabilities = random_opinions(5, count=200)
    mined = [confident_regions(samples, probabilities, threshold) for threshold in (0.0, 0.5, 0.9, 1.0)]
    for low, high in itertools.pairwise(mined):
        assert bool((low.kept | ~high.kept).all())
        assert low.dropped.equal(high.dropped)
    agree = samples == probabilities.argmax(dim=1)
    assert mined[0].kept.equal(agree)


def test_two_images_at_once_are_two_images():
    samples, probabilities = random_opinions(6)
    both = confident_regions(samples, probabilities, 0.6)
    parts = [confident_regions(samples[part], probabilities[part], 0.6) for part in (slice(5), slice(5, None))]
    assert both.labels.equal(torch.cat([part.labels for part in parts]))
    assert both.dropped.equal(torch.cat([part.dropped for part in parts]))


def test_no_regions_and_no_classes():
    nothing = confident_regions(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3), 0.5)
    assert nothing.labels.shape == (0,)
    background = confident_regions(torch.tensor([0, IGNORE]), torch.ones(2, 1), 0.5)
    assert background.kept.tolist() == [True, False]


def test_300_classes_pass_over_255():
    channel = 299
    label = int(labels_from_channels(torch.tensor(channel)))
    probabilities = torch.eye(301)[channel][None]
    assert label == 300
    assert confident_regions(torch.tensor([label]), probabilities, 0.9).labels.tolist() == [label]


def test_wrong_opinions_are_named():
    samples, probabilities = random_opinions(7)
    for given_samples, scores, threshold, message in (
        (samples[1:], probabilities, 0.5, "probabilities: expected shape"),
        (samples.float(), probabilities, 0.5, r"samples: expected torch\.int64"),
        (samples, 2 * probabilities, 0.5, "probabilities: expected values in"),
        (samples, probabilities * float("nan"), 0.5, "NaN"),
        (samples, probabilities[:, :0], 0.5, "probabilities: channels: expected 1 or more, got 0"),
        (samples, probabilities[:, :2], 0.5, r"samples other than 255: expected values in \[0, 1\]"),
        (samples, probabilities, 1.5, "threshold: expected a number from 0 to 1, got 1.5"),
        (samples, probabilities, float("nan"), "threshold: expected a number from 0 to 1, got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            confident_regions(given_samples, scores, threshold)


def test_mined_regions_refuse_what_is_in_no_group_or_in_two():
    yes, no = torch.tensor([True]), torch.tensor([False])
    for groups in ((no, no, no), (yes, yes, no)):
        with pytest.raises(ValueError, match="either kept, dropped or unknown, got 1 that"):
            MinedRegions(torch.tensor([1]), *groups)
    with pytest.raises(ValueError, match="expected a label for kept regions and 255 for all others"):
        MinedRegions(torch.tensor([IGNORE]), yes, no, no)
    with pytest.raises(ValueError, match="expected a label for kept regions and 255 for all others"):
        MinedRegions(torch.tensor([1]), no, no, yes)
    with pytest.raises(ValueError, match=r"kept: expected torch\.bool"):
        MinedRegions(torch.tensor([1]), yes.long(), no, no)
    with pytest.raises(ValueError, match="dropped: expected shape"):
        MinedRegions(torch.tensor([1]), yes, no[:0], no)


def test_pixels_get_the_label_of_their_region():
    regions = Regions(torch.tensor([[0, 0, 1], [2, 1, 1]]), 3)
    assert region_labels_to_pixels(torch.tensor([4, 0, IGNORE]), regions).tolist() == [[4, 4, 0], [IGNORE, 0, 0]]
    with pytest.raises(ValueError, match="labels: expected shape"):
        region_labels_to_pixels(torch.tensor([4, 0]), regions)


def test_tags_allow_their_classes_and_the_background():
    assert allowed_labels(torch.tensor([[True, False], [False, False]])).tolist() == [
        [True, True, False],
        [True, False, False],
    ]
    assert allowed_labels(torch.zeros(0, dtype=torch.bool)).tolist() == [True]
    with pytest.raises(ValueError, match=r"tags: expected torch\.bool"):
        allowed_labels(torch.tensor([1.0]))


def test_an_image_without_tags_is_background():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    probabilities = mask_logits(logits, allowed_labels(torch.zeros(2, dtype=torch.bool))).softmax(dim=1)
    assert probabilities.tolist() == [[1.0, 0.0, 0.0]] * 4


def test_masked_logits_of_pixels_and_of_an_image_each():
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    allowed = allowed_labels(torch.tensor([[True, False], [False, True]]))
    both = mask_logits(logits, allowed).softmax(dim=1)
    alone = [mask_logits(logits[i : i + 1], allowed[i]).softmax(dim=1) for i in range(2)]
    assert_close(both, torch.cat(alone))
    assert_close(both.sum(dim=1), torch.ones(2, 4, 5))
    assert bool((both[0, 2] == 0).all())
    assert bool((both[1, 1] == 0).all())
    assert mask_logits(logits, torch.ones(3, dtype=torch.bool)).equal(logits)


def test_masked_logits_get_no_gradient_and_the_others_a_finite_one():
    logits = torch.zeros(1, 3).requires_grad_()
    mask_logits(logits, torch.tensor([True, False, True])).log_softmax(dim=1)[0, 0].backward()
    assert logits.grad.tolist() == [[0.5, 0.0, -0.5]]


def test_what_does_not_fit_the_logits_is_named():
    for logits, allowed, message in (
        (torch.zeros(3), torch.ones(3, dtype=torch.bool), "logits: expected shape"),
        (torch.zeros(2, 3), torch.ones(2, dtype=torch.bool), "allowed: expected shape"),
        (torch.zeros(2, 3), torch.ones(1, 3, dtype=torch.bool), "allowed: expected shape"),
        (torch.zeros(2, 3), torch.ones(3), r"allowed: expected torch\.bool"),
    ):
        with pytest.raises(ValueError, match=message):
            mask_logits(logits, allowed)


def test_arguments_are_left_alone():
    samples, probabilities = random_opinions(8)
    regions, labels = random_regions(9), random_regions(10, most=2).ids
    before = [value.clone() for value in (samples, probabilities, regions.ids, labels)]
    confident_regions(samples, probabilities, 0.5)
    region_samples(labels, regions, num_labels=2)
    mask_logits(probabilities, torch.tensor([True, False, True, False]))
    assert all(now.equal(then) for now, then in zip((samples, probabilities, regions.ids, labels), before, strict=True))
