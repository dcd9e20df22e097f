"""The sparse walk against the dense matrix of the paper, and the laws that T = D^-1 W^(o beta) keeps."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch.testing import assert_close

from reference.dense_walk import dense_transition, dense_walk
from reference.equality import LONG, SEEDS, SINGLE, SIZES, equality
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity, pair_windows
from tag2mask.ops.chebyshev import PixelRow, combine
from tag2mask.ops.random_walk import _LIFT, random_walk, random_walks, transition_weights
from tag2mask.records import PixelAffinity

WALKS = {
    "seed": SEEDS,
    "size": SIZES,
    "radius": st.integers(1, 5),
    "contrast": st.sampled_from([0, 1, 10]),
    "beta": st.sampled_from([0.5, 1, 4, 8]),
}


def affinity_of(features, radius=5):
    offsets = half_disc_offsets(radius)
    return PixelAffinity(offsets, pair_affinity(features[None], offsets)[0], stride=8)


def example(seed=0, classes=3, height=6, width=7, radius=3, *, contrast=1):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(classes, height, width, generator=generator)
    return scores, affinity_of(contrast * torch.randn(4, height, width, generator=generator), radius)


def transition_of(affinity, beta):
    """Of every pixel: the weights of its pairs, (P, h, w), and what those of all its neighbours sum to, (h, w)."""
    lattice = PixelRow(*affinity.values.shape[-2:], affinity.offsets)
    weights, near = transition_weights(affinity, beta, lattice)
    return lattice.maps(weights), lattice.maps(near)


def test_one_step_of_two_pixels_by_eye():
    # W = [[1, .5], [.5, 1]], beta 1: each keeps 2/3 and takes 1/3 from the other.
    affinity = PixelAffinity(((0, 1),), torch.tensor([[[0.5, 0.0]]]), stride=8)
    walked = random_walk(torch.tensor([[[0.9, 0.0]]]), affinity, beta=1, steps=1)
    assert_close(walked, torch.tensor([[[0.6, 0.3]]]))
    # beta 2: the weight falls to a quarter, the shares to 4/5 and 1/5.
    walked = random_walk(torch.tensor([[[1.0, 0.0]]]), affinity, beta=2, steps=1)
    assert_close(walked, torch.tensor([[[0.8, 0.2]]]))


@equality(
    random_walk,
    dense_walk,
    tolerance=LONG,
    edges=[
        {"seed": 5, "classes": 2, "size": size, "radius": 5, "contrast": 1, "beta": 8, "steps": 256}
        for size in ((1, 9), (9, 1), (1, 1), (20, 24))
    ],
    classes=st.integers(1, 3),
    **WALKS,
    steps=st.sampled_from([0, 1, 2, 7, 64, 256]),
)
def test_walk_equals_the_power_of_the_dense_matrix(seed, classes, size, beta, steps, **pairs):
    scores, affinity = example(seed, classes, *size, **pairs)
    walked = random_walk(scores, affinity, beta=beta, steps=steps)
    return walked, dense_walk(scores.numpy(), affinity.offsets, affinity.values.numpy(), beta, steps)


@equality(transition_weights, dense_transition, tolerance=SINGLE, **WALKS)
def test_transition_equals_the_dense_matrix(seed, size, beta, **pairs):
    _, affinity = example(seed, 1, *size, **pairs)
    weights, near = transition_of(affinity, beta)
    pixels = torch.arange(near.numel()).view(size)
    matrix = torch.eye(near.numel())
    for weight, offset in zip(weights, affinity.offsets, strict=True):
        first, second = (pixels[window] for window in pair_windows(offset, *size))
        matrix[first, second] = matrix[second, first] = weight[pair_windows(offset, *size)[0]]
    return matrix / (1 + near.reshape(-1, 1)), dense_transition(
        affinity.offsets, affinity.values.double().numpy(), beta
    )


def test_pairs_that_leave_the_map_and_tiny_weights_are_none():
    ones = PixelAffinity(half_disc_offsets(2), torch.ones(4, 2, 3), stride=8)
    weights, near = transition_of(ones, beta=8)
    # How many neighbours: a corner has 3, a pixel between two corners 5.
    assert near.tolist() == [[3, 5, 3], [3, 5, 3]]
    assert weights[0].tolist() == [[1, 1, 0], [1, 1, 0]]
    faint = PixelAffinity(((0, 1),), torch.tensor([[[1e-3, 1e-1, 0.0]]]), stride=8)
    assert_close(transition_of(faint, beta=8)[0], torch.tensor([[[0.0, 1e-8, 0.0]]]))


@pytest.mark.parametrize("value", [0.7, 1.0, 0.0])
def test_a_constant_map_is_kept(value):
    _, affinity = example(2)
    scores = torch.full((2, 6, 7), value)
    assert random_walk(scores, affinity, beta=8, steps=256).equal(scores)


@pytest.mark.parametrize("steps", [1, 2, 20, 256])
def test_values_stay_within_the_range_of_their_map(steps):
    scores, affinity = example(18, contrast=0.3)
    scores = torch.stack([(scores[0] > 0.5).float(), 0.25 + 0.5 * scores[1]])
    walked = random_walk(scores, affinity, beta=8, steps=steps)
    for before, after in zip(scores, walked, strict=True):
        assert before.min() <= after.min()
        assert after.max() <= before.max()


def test_background_and_classes_that_sum_to_one_still_do():
    scores, affinity = example(3)
    shares = scores / scores.sum(dim=0)
    assert_close(random_walk(shares, affinity, beta=8, steps=100).sum(dim=0), torch.ones(6, 7), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["nothing passes", "almost nothing passes", "all alike", "two colours", "cut in two"])
def test_extreme_affinities_walk_like_the_dense_matrix(name):
    scores, affinity = example(19, height=5, width=11)
    values, parity = affinity.values.clone(), torch.arange(5)[:, None] + torch.arange(11)
    if name == "nothing passes":
        values[:] = 0
    elif name == "almost nothing passes":
        values *= 0.02
    elif name == "all alike":
        values[:] = 1
    elif name == "two colours":  # Each pixel is alike to those of the other colour only: eigenvalues close to -1.
        values = torch.stack([torch.full((5, 11), float((y + x) % 2)) for y, x in affinity.offsets])
    else:
        values = affinity_of(100.0 * (parity > 7)[None], radius=3).values
    affinity = PixelAffinity(affinity.offsets, values, stride=8)
    for steps, walked in random_walks(scores, affinity, beta=4, steps=(1, 5, 64, 255, 256, 1000)):
        expected = dense_walk(scores.numpy(), affinity.offsets, values.numpy(), 4, steps)
        assert_close(walked.double(), torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_the_walk_is_linear():
    first, affinity = example(4)
    second, _ = example(5)
    together = random_walk(first + 2 * second, affinity, beta=4, steps=20)
    apart = random_walk(first, affinity, beta=4, steps=20) + 2 * random_walk(second, affinity, beta=4, steps=20)
    assert_close(together, apart, rtol=1e-5, atol=1e-6)


def test_no_step_is_the_identity_and_a_copy():
    scores, affinity = example(6)
    walked = random_walk(scores, affinity, beta=8, steps=0)
    assert walked.equal(scores)
    walked += 1
    assert not walked.equal(scores)


def test_a_pixel_without_neighbours_keeps_what_it_has():
    scores, affinity = example(16, radius=1)
    assert affinity.offsets == ()
    for steps in (0, 1, 9):
        assert_close(random_walk(scores, affinity, steps=steps), scores, rtol=0, atol=1e-6)


def test_the_result_is_float32():
    scores, affinity = example(17)
    for steps in (0, 3):
        assert random_walk(scores.double(), affinity, steps=steps).dtype == torch.float32


def test_steps_add_up():
    scores, affinity = example(7)
    halfway = random_walk(scores, affinity, beta=8, steps=12)
    further = random_walk(halfway, affinity, beta=8, steps=20)
    assert_close(further, random_walk(scores, affinity, beta=8, steps=32), rtol=0, atol=1e-6)


def test_one_walk_looked_at_on_its_way_equals_several_walks():
    scores, affinity = example(8)
    seen = dict(random_walks(scores, affinity, beta=8, steps=(0, 3, 3, 10)))
    assert list(seen) == [0, 3, 10]
    for steps, walked in seen.items():
        assert_close(walked, random_walk(scores, affinity, beta=8, steps=steps), rtol=0, atol=1e-6)


def test_mirror_image_in_mirror_image_out():
    generator = torch.Generator().manual_seed(9)
    scores = torch.rand(2, 6, 7, generator=generator)
    features = torch.randn(4, 6, 7, generator=generator)
    plain = random_walk(scores, affinity_of(features), beta=8, steps=30)
    mirrored = random_walk(scores.flip(-1), affinity_of(features.flip(-1)), beta=8, steps=30)
    assert_close(mirrored.flip(-1), plain, rtol=0, atol=1e-6)
    upside_down = random_walk(scores.flip(-2), affinity_of(features.flip(-2)), beta=8, steps=30)
    assert_close(upside_down.flip(-2), plain, rtol=0, atol=1e-6)


def test_classes_walk_alone_or_together_alike():
    for classes in range(1, 10):
        scores, affinity = example(10, classes=classes)
        together = random_walk(scores, affinity, beta=8, steps=30)
        alone = torch.cat([random_walk(one[None], affinity, beta=8, steps=30) for one in scores])
        assert_close(together, alone, rtol=0, atol=1e-7)
    assert random_walk(scores[:0], affinity, beta=8, steps=3).shape == (0, 6, 7)


def test_arguments_are_left_alone():
    scores, affinity = example(11)
    before = scores.clone(), affinity.values.clone()
    random_walk(scores, affinity, beta=8, steps=5)
    assert scores.equal(before[0])
    assert affinity.values.equal(before[1])


def test_a_wall_keeps_scores_in():
    features = torch.zeros(1, 5, 8)
    features[..., 4:] = 100.0  # exp(-100) ** 8: nothing passes.
    scores = torch.zeros(1, 5, 8)
    scores[0, 2, 1] = 1.0
    walked = random_walk(scores, affinity_of(features), beta=8, steps=500)
    assert float(walked[..., 4:].max()) < 1e-12
    # Within the wall everybody ends up alike, weighted by how many neighbours a pixel has.
    degrees = 1 + transition_of(affinity_of(features), 8)[1]
    inside = degrees[:, :4] * float(degrees[2, 1]) / float(degrees[:, :4].sum()) / degrees[:, :4]
    assert_close(walked[0, :, :4], inside, rtol=1e-4, atol=0)


def test_no_denormal_number_slows_the_walk():
    # A slope so steep that weights and what comes through them have all magnitudes.
    features = torch.linspace(0, 30, 40).expand(1, 12, 40) * torch.tensor([1.0, 0.3]).repeat(6)[:, None]
    affinity, scores = affinity_of(features), torch.zeros(1, 12, 40)
    scores[0, 5, 3] = 1
    lattice = PixelRow(12, 40, affinity.offsets)
    weights, near = transition_weights(affinity, 8, lattice)
    values, taken = lattice.lay_out(scores + _LIFT), 1 / (1 + near)
    smallest = torch.finfo(torch.float32).tiny
    for k in range(1, 80, 6):
        moved = combine(values, weights, taken, [np.eye(80)[k]], lattice)[0, 0]
        for pairs, shift in zip(weights, lattice.shifts, strict=True):
            product = lattice.maps(pairs * (moved.roll(-shift) - moved)).abs()
            assert ((product == 0) | (product >= smallest)).all()


def test_a_larger_beta_keeps_more():
    scores, affinity = example(12)
    near = [float(transition_of(affinity, beta)[1].mean()) for beta in (1, 4, 8, 16)]
    assert near == sorted(near, reverse=True)
    spread = [float(random_walk(scores, affinity, beta=beta, steps=20).std()) for beta in (1, 4, 16)]
    assert spread == sorted(spread)


def test_wrong_arguments_are_named():
    scores, affinity = example(13)
    with pytest.raises(ValueError, match="affinity values: expected shape"):
        random_walk(scores[..., :-1], affinity, steps=2)
    with pytest.raises(ValueError, match="affinity values: expected shape"):
        random_walk(scores[..., :-1], affinity, steps=0)
    for steps in (0, 2):
        with pytest.raises(ValueError, match="beta >= 0"):
            random_walk(scores, affinity, beta=-1, steps=steps)
        for wrong in (-0.1, float("nan"), float("inf")):
            bad = scores.clone()
            bad[0, 1, 2] = wrong
            with pytest.raises(ValueError, match="scores: expected values in"):
                random_walk(bad, affinity, steps=steps)
    with pytest.raises(ValueError, match="steps >= 0"):
        random_walk(scores, affinity, steps=-2)
    with pytest.raises(ValueError, match="ascending"):
        list(random_walks(scores, affinity, beta=8, steps=(4, 2)))


def test_an_affinity_that_is_no_number_is_an_error():
    values = torch.full((1, 2, 2), float("nan"))
    with pytest.raises(ValueError, match="affinity values: expected values in"):
        PixelAffinity(((0, 1),), values, stride=8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_equals_cpu():
    scores, affinity = example(14)
    there = PixelAffinity(affinity.offsets, affinity.values.cuda(), affinity.stride)
    assert_close(
        random_walk(scores.cuda(), there, steps=64).cpu(), random_walk(scores, affinity, steps=64), rtol=0, atol=1e-5
    )
