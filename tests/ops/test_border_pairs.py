"""Pairs near the border, which the authors' list leaves out: against that list, written out as loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from reference.border_pairs_by_loops import inner_pairs
from reference.pairs_by_loops import by_pair, targets_by_loops
from tag2mask.labels import IGNORE
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity, pair_targets, without_border_pairs
from tag2mask.ops.random_walk import random_walk
from tag2mask.records import PixelAffinity

SIDES = st.integers(1, 14)
KINDS = ("same_background", "same_object", "different")


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(2, 5))
def test_the_authors_list(height, width, radius):
    offsets = half_disc_offsets(radius)
    kept = without_border_pairs(torch.ones(len(offsets), height, width), offsets)
    found = [pair for pair, value in by_pair(kept, offsets).items() if value]
    assert sorted(found) == sorted(inner_pairs(height, width, radius))
    assert kept.sum() == len(found), "no pair leaves the map"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), SIDES, SIDES, st.integers(2, 5))
def test_targets_of_the_authors_list(seed, height, width, radius):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 1, 2, IGNORE])[torch.randint(4, (height, width), generator=generator)]
    offsets = half_disc_offsets(radius)
    targets = pair_targets(labels[None], offsets, border_pairs=False)
    inner = set(inner_pairs(height, width, radius))
    expected = {pair: kind for pair, kind in targets_by_loops(labels, radius).items() if pair in inner}
    for kind in KINDS:
        chosen = getattr(targets, kind)
        assert chosen.dtype == torch.bool
        pairs = {pair for pair, there in by_pair(chosen[0], offsets).items() if there}
        assert pairs == {pair for pair, name in expected.items() if name == kind}


def test_by_eye():
    kept = without_border_pairs(torch.ones(4, 3, 5), half_disc_offsets(2))
    expected = [[0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
    assert all(plane.tolist() == expected for plane in kept)


def test_ten_pixels_of_a_small_map_are_left_without_a_neighbour():
    pairs = inner_pairs(20, 24, 5)
    joined = {pixel for pair in pairs for pixel in pair}
    alone = [(y, x) for y in range(20) for x in range(24) if (y, x) not in joined]
    assert len(alone) == 10
    offsets = half_disc_offsets(5)
    values = without_border_pairs(torch.ones(len(offsets), 20, 24), offsets)
    scores = torch.zeros(1, 20, 24)
    scores[:, :, :12] = torch.rand(1, 20, 12, generator=torch.Generator().manual_seed(0))
    walked = random_walk(scores, PixelAffinity(offsets, values, 8), beta=8, steps=256)
    assert_close(torch.stack([walked[0, y, x] for y, x in alone]), torch.stack([scores[0, y, x] for y, x in alone]))


def test_other_pairs_keep_their_values_and_gradients():
    features = torch.randn(1, 3, 7, 11, generator=torch.Generator().manual_seed(0), requires_grad=True)
    offsets = half_disc_offsets(3)
    values = pair_affinity(features, offsets)
    kept = without_border_pairs(values, offsets)
    assert_close(kept[..., :5, 2:9], values[..., :5, 2:9], rtol=0, atol=0)
    kept.sum().backward()
    from_kept = features.grad.clone()
    features.grad = None
    pair_affinity(features, offsets)[..., :5, 2:9].sum().backward()
    assert_close(from_kept, features.grad, rtol=0, atol=0)


def test_arguments_stay_as_they_are():
    offsets = half_disc_offsets(4)
    values = torch.rand(2, len(offsets), 9, 9)
    before = values.clone()
    kept = without_border_pairs(values, offsets)
    assert_close(values, before, rtol=0, atol=0)
    assert_close(kept, torch.stack([without_border_pairs(one, offsets) for one in values]), rtol=0, atol=0)


def test_maps_that_are_too_small_for_any_pair():
    for size in ((4, 30), (30, 8), (1, 1), (0, 5)):
        assert not without_border_pairs(torch.ones(34, *size), half_disc_offsets(5)).any()
    assert without_border_pairs(torch.ones(0, 3, 3), half_disc_offsets(1)).shape == (0, 3, 3)
    assert without_border_pairs(torch.ones(1, 2, 3), [(0, 1)]).tolist() == [[[1, 1, 0], [1, 1, 0]]]


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"values: expected shape \(..., P, h, w\), P = 34, got \(3, 4, 5\)"):
        without_border_pairs(torch.ones(3, 4, 5), half_disc_offsets(5))
