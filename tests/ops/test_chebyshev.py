"""Powers as sums of Chebyshev polynomials: of a number against the power itself, of a matrix compiled against torch."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from numpy.polynomial.chebyshev import chebval
from torch.testing import assert_close

from reference.equality import EXACT, SEEDS, SINGLE, equality
from tag2mask.ops.affinity import half_disc_offsets
from tag2mask.ops.chebyshev import TOLERANCE, PixelRow, _combine_compiled, _combine_in_torch, combine, power_series


@equality(
    power_series,
    "the power",
    tolerance=2 * TOLERANCE,
    power=st.sampled_from([0, 1, 2, 3, 7, 16, 64, 256, 5000]),
    stay=st.floats(0, 1),
    z=st.floats(-1, 1),
)
def test_the_sum_equals_the_power(power, stay, z):
    return chebval(z, power_series(power, stay)), (stay + (1 - stay) * z) ** power


@pytest.mark.parametrize("stay", [0.0, 0.02, 0.5, 1.0])
def test_shares_are_chances(stay):
    for power in (0, 1, 5, 256, 3000):
        shares = power_series(power, stay)
        assert shares.min() >= 0
        assert shares.sum() == pytest.approx(1, abs=1e-12)
        assert len(shares) <= power + 1


def test_few_steps_by_eye():
    assert power_series(0).tolist() == [1]
    assert power_series(1, 0.25) == pytest.approx([0.25, 0.75])
    # (1/2 + z/2)^2 = 1/4 + z/2 + z^2/4, and z^2 = (1 + T_2)/2.
    assert power_series(2, 0.5) == pytest.approx([0.375, 0.5, 0.125])


def test_four_times_the_power_takes_twice_the_products():
    products = [len(power_series(power)) - 1 for power in (64, 256, 1024)]
    assert products == [38, 78, 156]
    # So does a matrix that keeps half of everything.
    assert len(power_series(512, 0.5)) - 1 == pytest.approx(78, abs=2)


def test_a_smaller_tolerance_takes_more_products():
    z = np.linspace(-1, 1, 201)
    for tolerance in (1e-2, 1e-4, 1e-8):
        gap = np.abs(chebval(z, power_series(256, 0.1, tolerance)) - (0.1 + 0.9 * z) ** 256).max()
        assert tolerance / 1000 < gap <= 2 * tolerance


@equality(
    PixelRow,
    "the map",
    tolerance=EXACT,
    seed=SEEDS,
    height=st.integers(1, 6),
    width=st.integers(1, 40),
    radius=st.integers(1, 5),
)
def test_neighbours_lie_where_the_lattice_says(seed, height, width, radius):
    lattice = PixelRow(height, width, half_disc_offsets(radius))
    maps = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed))
    rows = lattice.lay_out(maps)
    found = [lattice.maps(rows), *(lattice.maps(rows.roll(-shift, dims=1)) for shift in lattice.shifts)]
    framed = torch.nn.functional.pad(maps, (4, 4, 4, 4))
    windows = [
        framed[:, 4 + y : 4 + y + height, 4 + x : 4 + x + width] for y, x in [(0, 0), *half_disc_offsets(radius)]
    ]
    return torch.stack(found), torch.stack(windows)


def problem(seed, channels, height, width, radius):
    generator = torch.Generator().manual_seed(seed)
    lattice = PixelRow(height, width, half_disc_offsets(radius))
    values, weights, taken = (
        lattice.lay_out(torch.rand(count, height, width, generator=generator))
        for count in (channels, len(lattice.offsets), 1)
    )
    inside = lattice.lay_out(torch.ones(1, height, width))[0]
    for p, shift in enumerate(lattice.shifts):  # No pair leaves the map.
        weights[p] *= inside.roll(-shift)
    return values, weights, taken[0] / (2 * len(lattice.offsets) + 1), lattice


@equality(
    _combine_compiled,
    _combine_in_torch,
    tolerance=SINGLE,
    edges=[{"seed": 0, "channels": 21, "height": 9, "width": 33, "radius": 5}],
    seed=SEEDS,
    channels=st.integers(0, 9),
    height=st.integers(1, 9),
    width=st.integers(1, 40),
    radius=st.integers(1, 5),
)
def test_what_a_gpu_runs_equals_the_compiled_loops(seed, channels, **sizes):
    values, weights, taken, lattice = problem(seed, channels, **sizes)
    shares = torch.rand(8, 2, generator=torch.Generator().manual_seed(seed))
    shares /= shares.sum(dim=0)
    return tuple(way(values, weights, taken, shares, lattice) for way in (_combine_compiled, _combine_in_torch))


def test_several_series_share_their_products():
    values, weights, taken, lattice = problem(1, 3, 5, 6, 3)
    series = [power_series(64, 0.1), power_series(3, 0.1), power_series(0)]
    together = combine(values, weights, taken, series, lattice)
    alone = torch.cat([combine(values, weights, taken, [each], lattice) for each in series])
    assert_close(together, alone, rtol=0, atol=0)
    assert together[2].equal(values)


def test_arguments_are_left_alone():
    values, weights, taken, lattice = problem(2, 4, 5, 6, 3)
    before = [part.clone() for part in (values, weights, taken)]
    combine(values, weights, taken, [power_series(9)], lattice)
    assert all(part.equal(copy) for part, copy in zip((values, weights, taken), before, strict=True))
