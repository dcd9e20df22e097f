"""The energy against the double sum over pairs of an explicit graph."""

import pytest
import torch
from hypothesis import strategies as st
from torch.testing import assert_close

from reference.energy_by_pairs import energy_by_pairs, mined_energy_by_pairs
from reference.equality import DOUBLE, SEEDS, equality
from tag2mask.labels import IGNORE
from tag2mask.ops.energy import smoothness_energy

MAPS = {
    "seed": SEEDS,
    "batch": st.integers(1, 2),
    "channels": st.integers(1, 4),
    "height": st.integers(1, 4),
    "width": st.integers(1, 4),
}
ONE_PIXEL = {"seed": 0, "batch": 1, "channels": 1, "height": 1, "width": 1}


def graph(seed, count):
    """A symmetric W with a zero diagonal, (N, N), and G = I - D + W."""
    weights = torch.rand(count, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / count
    weights = torch.triu(weights, diagonal=1)
    weights = weights + weights.T
    return weights, torch.eye(count, dtype=torch.float64) - weights.sum(dim=1).diag() + weights


def random_map(seed, batch=2, channels=3, height=2, width=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64).softmax(dim=1)


def apply(operator, maps):
    return (maps.flatten(2) @ operator.T).view_as(maps)


@equality(smoothness_energy, energy_by_pairs, tolerance=DOUBLE, edges=[ONE_PIXEL], **MAPS)
def test_the_energy_is_the_double_sum_over_pairs(seed, **shape):
    alpha = random_map(seed + 1, **shape)
    weights, operator = graph(seed, alpha[0, 0].numel())
    total = sum(energy_by_pairs(one, weights.tolist()) for one in alpha.flatten(2).flatten(0, 1).tolist())
    return smoothness_energy(alpha, apply(operator, alpha)), total / alpha.numel()


@equality(
    smoothness_energy,
    mined_energy_by_pairs,
    part="mined",
    tolerance=DOUBLE,
    edges=[{**ONE_PIXEL, "unsure": 1.0}],
    **MAPS,
    unsure=st.sampled_from([0.0, 0.4, 1.0]),
)
def test_the_mined_energy_is_y_l_alpha(seed, unsure, **shape):
    alpha = random_map(seed + 1, **shape)
    weights, operator = graph(seed, alpha[0, 0].numel())
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(alpha.shape[1], alpha[:, 0].shape, generator=generator)
    target = target.masked_fill(torch.rand(target.shape, generator=generator) < unsure, IGNORE)
    total = 0.0
    for image, labels in zip(alpha.flatten(2).tolist(), target.flatten(1).tolist(), strict=True):
        for channel, values in enumerate(image):
            mined = [None if label == IGNORE else float(label == channel) for label in labels]
            total += mined_energy_by_pairs(mined, values, weights.tolist())
    return smoothness_energy(alpha, apply(operator, alpha), target), total / alpha.numel()


def test_one_step_of_propagation_lowers_the_energy():
    _, operator = graph(1, 6)
    alpha = random_map(2)
    once = apply(operator, alpha)
    assert smoothness_energy(once, apply(operator, once)) < smoothness_energy(alpha, once)


def test_a_constant_map_and_a_network_that_changes_nothing_have_none():
    _, operator = graph(3, 6)
    flat = torch.full((1, 3, 2, 3), 1 / 3, dtype=torch.float64)
    assert float(smoothness_energy(flat, apply(operator, flat))) == pytest.approx(0, abs=1e-12)
    alpha = random_map(4)
    assert float(smoothness_energy(alpha, alpha)) == 0


def test_without_a_mined_pixel_both_energies_are_one():
    _, operator = graph(5, 6)
    alpha = random_map(6)
    refined = apply(operator, alpha)
    nothing = torch.full((2, 2, 3), IGNORE)
    assert_close(smoothness_energy(alpha, refined, nothing), smoothness_energy(alpha, refined))


def test_mining_what_the_neighbours_say_lowers_the_energy_and_mining_against_them_raises_it():
    _, operator = graph(7, 6)
    alpha = torch.tensor([0.9, 0.9, 0.4, 0.9, 0.9, 0.9], dtype=torch.float64).view(1, 1, 2, 3)
    alpha = torch.cat([alpha, 1 - alpha], dim=1)
    refined = apply(operator, alpha)
    odd = torch.full((1, 2, 3), IGNORE)
    odd[0, 0, 2] = 0
    with_them = smoothness_energy(alpha, refined, odd)
    odd[0, 0, 2] = 1
    assert with_them < smoothness_energy(alpha, refined) < smoothness_energy(alpha, refined, odd)


def test_the_energy_of_a_batch_is_the_mean_over_its_images():
    _, operator = graph(8, 6)
    alpha = random_map(9)
    refined = apply(operator, alpha)
    alone = [smoothness_energy(alpha[i : i + 1], refined[i : i + 1]) for i in range(2)]
    assert_close(smoothness_energy(alpha, refined), (alone[0] + alone[1]) / 2)


def test_the_gradient_is_right():
    _, operator = graph(10, 6)
    alpha = random_map(11, batch=1).requires_grad_()
    target = torch.tensor([[[0, 1, IGNORE], [2, IGNORE, 0]]])
    assert torch.autograd.gradcheck(lambda alpha: smoothness_energy(alpha, apply(operator, alpha)), alpha)
    assert torch.autograd.gradcheck(lambda alpha: smoothness_energy(alpha, apply(operator, alpha), target), alpha)


def test_arguments_are_left_alone():
    alpha, refined = random_map(12), random_map(13)
    target = torch.zeros(2, 2, 3, dtype=torch.int64)
    before = alpha.clone(), refined.clone(), target.clone()
    smoothness_energy(alpha, refined, target)
    assert all(now.equal(then) for now, then in zip((alpha, refined, target), before, strict=True))


def test_wrong_maps_are_named():
    alpha, target = random_map(14), torch.zeros(2, 2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="refined: expected shape"):
        smoothness_energy(alpha, alpha[:, :2])
    with pytest.raises(ValueError, match="target: expected shape"):
        smoothness_energy(alpha, alpha, target[:1])
    with pytest.raises(ValueError, match=r"target other than 255: expected values in \[0, 2\], got \[3, 3\]"):
        smoothness_energy(alpha, alpha, target + 3)
