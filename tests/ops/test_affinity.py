"""Pairs: which ones there are, how alike they are, what they should be; against a double loop over pixels."""

import math

import pytest
import torch
from hypothesis import strategies as st
from torch.testing import assert_close

from reference.equality import EXACT, SEEDS, SINGLE, SIZES, equality
from reference.pairs_by_loops import (
    affinity_by_loops,
    affinity_gradient_by_loops,
    all_pairs,
    by_pair,
    targets_by_loops,
)
from tag2mask.labels import IGNORE
from tag2mask.ops.affinity import boundary_strength, half_disc_offsets, pair_affinity, pair_targets, pair_windows

RADII = st.integers(1, 5)
FEATURES = {"seed": SEEDS, "channels": st.integers(1, 5), "size": SIZES, "radius": RADII, "ties": st.booleans()}
THIN_AND_WIDE = ((1, 12), (12, 1), (11, 12))  # A map of 9 cells and more has pixels with all their neighbours.


def random(seed, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_the_published_radius_has_34_half_offsets():
    assert len(half_disc_offsets(5)) == 34
    assert len(half_disc_offsets()) == 34


def test_radius_1_reaches_nobody():
    assert half_disc_offsets(1) == ()


def test_radius_below_1_is_an_error():
    with pytest.raises(ValueError, match="radius: expected at least 1, got 0"):
        half_disc_offsets(0)


@pytest.mark.parametrize("radius", range(1, 9))
def test_offsets_and_their_opposites_make_the_whole_disc(radius):
    offsets = half_disc_offsets(radius)
    both = {*offsets, *((-down, -right) for down, right in offsets)}
    assert len(both) == 2 * len(offsets)
    reach = range(-radius, radius + 1)
    assert both == {(y, x) for y in reach for x in reach if 0 < math.hypot(y, x) < radius}


@equality(
    pair_windows,
    all_pairs,
    tolerance=EXACT,
    edges=[{"size": size, "radius": 5} for size in THIN_AND_WIDE],
    size=SIZES,
    radius=RADII,
)
def test_windows_list_every_pair_inside_once(size, radius):
    height, width = size
    pixels = torch.arange(height * width).reshape(height, width)
    found = []
    for offset in half_disc_offsets(radius):
        near, far = pair_windows(offset, height, width)
        found += list(zip(pixels[near].flatten().tolist(), pixels[far].flatten().tolist(), strict=True))
    expected = [(y * width + x, v * width + u) for (y, x), (v, u) in all_pairs(height, width, radius)]
    # A list, since a pair that is there twice counts twice.
    return sorted(found), sorted(expected)


@pytest.mark.parametrize("size", [(20, 24), (1, 24), (20, 1), (2, 2), (3, 50)])
def test_no_pixel_is_left_without_a_pair(size):
    # The authors' list leaves 10 of the 480 pixels of a 20 x 24 map without any neighbour.
    targets = pair_targets(torch.zeros(1, *size, dtype=torch.int64), half_disc_offsets(5))
    count = torch.zeros(size, dtype=torch.int64)
    for index, offset in enumerate(half_disc_offsets(5)):
        near, far = pair_windows(offset, *size)
        count[near] += targets.same_background[0, index][near]
        count[far] += targets.same_background[0, index][near]
    assert int((count == 0).sum()) == 0
    assert int(count.sum()) == 2 * len(all_pairs(*size, 5))


def test_affinity_of_three_pixels_by_eye():
    features = torch.tensor([[[[0.0, 1.0, 1.0]], [[0.0, 0.0, 2.0]]]])  # Two channels of a 1 x 3 map.
    values = pair_affinity(features, ((0, 1), (0, 2)))
    expected = [[math.exp(-0.5), math.exp(-1.0), 0.0], [math.exp(-1.5), 0.0, 0.0]]
    assert_close(values[0, :, 0], torch.tensor(expected))


def features_of(seed, channels, size, ties):
    """One map (D, h, w); with ties, of whole numbers."""
    features = random(seed, channels, *size)
    return features.round() if ties else features


@equality(
    pair_affinity,
    affinity_by_loops,
    tolerance=SINGLE,
    edges=[{"seed": 0, "channels": 3, "size": size, "radius": 5, "ties": False} for size in THIN_AND_WIDE],
    **FEATURES,
)
def test_affinity_equals_the_double_loop(seed, channels, size, radius, ties):
    features, offsets = features_of(seed, channels, size, ties), half_disc_offsets(radius)
    values = pair_affinity(features[None], offsets)[0]
    inside = by_pair(values, offsets)
    assert int((values != 0).sum()) == len(inside), "0 where the second pixel lies outside"
    return inside, affinity_by_loops(features, radius)


@equality(
    pair_affinity,
    affinity_gradient_by_loops,
    part="gradient",
    tolerance=SINGLE,
    edges=[{"seed": 0, "channels": 3, "size": size, "radius": 5, "ties": False} for size in THIN_AND_WIDE],
    **FEATURES,
)
def test_gradient_equals_the_double_loop(seed, channels, size, radius, ties):
    features, offsets = features_of(seed, channels, size, ties), half_disc_offsets(radius)
    slopes = random(seed + 1, len(offsets), *size)
    leaf = features[None].requires_grad_()
    (gradient,) = torch.autograd.grad(pair_affinity(leaf, offsets), leaf, slopes[None])
    return gradient[0], affinity_gradient_by_loops(features, radius, by_pair(slopes, offsets))


@equality(
    pair_targets,
    targets_by_loops,
    tolerance=EXACT,
    edges=[
        {"seed": 0, "size": (4, 5), "radius": 5, "labels": (IGNORE,)},
        *({"seed": 0, "size": size, "radius": 5, "labels": (0, 1, 2, IGNORE)} for size in THIN_AND_WIDE),
    ],
    seed=SEEDS,
    size=SIZES,
    radius=RADII,
    labels=st.sampled_from([(0,), (3,), (0, 1, 2), (0, 1, 2, IGNORE), (0, 300, IGNORE, IGNORE), (IGNORE,)]),
)
def test_targets_equal_the_double_loop(seed, size, radius, labels):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.tensor(labels)[torch.randint(len(labels), size, generator=generator)]
    offsets = half_disc_offsets(radius)
    targets = pair_targets(drawn[None], offsets)
    expected = targets_by_loops(drawn, radius)
    found = {}
    for kind in ("same_background", "same_object", "different"):
        chosen = getattr(targets, kind)
        assert chosen.dtype == torch.bool
        found[kind] = {pair for pair, there in by_pair(chosen[0], offsets).items() if there}
        assert int(chosen.sum()) == len(found[kind]), "no pair leaves the map"
    return found, {kind: {pair for pair, name in expected.items() if name == kind} for kind in found}


def test_targets_by_eye():
    labels = torch.tensor([[[0, 0, 3, 3, IGNORE, 3]]])
    targets = pair_targets(labels, ((0, 1),))
    assert targets.same_background[0, 0, 0].tolist() == [True, False, False, False, False, False]
    assert targets.different[0, 0, 0].tolist() == [False, True, False, False, False, False]
    assert targets.same_object[0, 0, 0].tolist() == [False, False, True, False, False, False]


def test_gradient_is_that_of_finite_differences():
    features = random(0, 2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: pair_affinity(f, half_disc_offsets(3)), features)


def test_gradient_of_equal_pixels_is_zero():
    features = torch.zeros(1, 2, 3, 3, requires_grad=True)
    pair_affinity(features, half_disc_offsets(3)).sum().backward()
    assert_close(features.grad, torch.zeros(1, 2, 3, 3))


def test_bfloat16_features_are_compared_in_float32_and_get_a_bfloat16_gradient():
    features = random(1, 1, 3, 4, 4).bfloat16()
    offsets = half_disc_offsets(3)
    values = pair_affinity(features, offsets)
    assert values.dtype == torch.float32
    assert_close(values, pair_affinity(features.float(), offsets))
    features.requires_grad_()
    pair_affinity(features, offsets).sum().backward()
    assert features.grad.dtype == torch.bfloat16


def test_affinity_leaves_its_argument_alone():
    features = random(2, 2, 3, 5, 6)
    before = features.clone()
    pair_affinity(features, half_disc_offsets(4))
    assert_close(features, before, rtol=0, atol=0)


def test_a_batch_of_two_is_two_batches_of_one():
    features, offsets = random(3, 2, 3, 5, 6), half_disc_offsets(4)
    both = pair_affinity(features, offsets)
    assert_close(both, torch.cat([pair_affinity(one[None], offsets) for one in features]), rtol=0, atol=0)
    labels = torch.randint(3, (2, 5, 6), generator=torch.Generator().manual_seed(0))
    together = pair_targets(labels, offsets).different
    assert together.equal(torch.cat([pair_targets(one[None], offsets).different for one in labels]))


def test_mirrored_features_have_the_mirrored_pairs():
    features, offsets = random(4, 1, 3, 5, 6), half_disc_offsets(4)
    plain = by_pair(pair_affinity(features, offsets)[0], offsets)
    mirrored = by_pair(pair_affinity(features.flip(-1), offsets)[0], offsets)
    for ((y, x), (v, u)), value in plain.items():
        ends = sorted([(y, 5 - x), (v, 5 - u)])
        assert mirrored[ends[0], ends[1]] == pytest.approx(value, abs=1e-7)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"features: expected shape \(B, D, h, w\)"):
        pair_affinity(torch.zeros(3, 4, 5), ((0, 1),))
    with pytest.raises(ValueError, match=r"labels: expected shape \(B, h, w\)"):
        pair_targets(torch.zeros(4, 5, dtype=torch.int64), ((0, 1),))
    with pytest.raises(ValueError, match="values: expected shape"):
        boundary_strength(torch.zeros(2, 4, 5), ((0, 1),))


def test_boundaries_stand_on_both_sides_of_a_step():
    features = torch.zeros(1, 1, 4, 6)
    features[..., 3:] = 2.0
    offsets = half_disc_offsets(5)
    boundaries = boundary_strength(pair_affinity(features, offsets)[0], offsets)
    expected = torch.zeros(4, 6)
    expected[:, 2:4] = 1 - math.exp(-2)
    assert_close(boundaries, expected)


def test_a_lone_pixel_has_no_boundary():
    values = pair_affinity(torch.ones(1, 2, 1, 1), half_disc_offsets(3))[0]
    assert boundary_strength(values, half_disc_offsets(3)).tolist() == [[0.0]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_equals_cpu():
    features, offsets = random(5, 2, 8, 9, 7), half_disc_offsets(5)
    assert_close(pair_affinity(features.cuda(), offsets).cpu(), pair_affinity(features, offsets), rtol=0, atol=1e-6)
