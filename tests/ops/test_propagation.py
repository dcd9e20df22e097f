"""The four scans against the double loop of the paper, their gradients, and the laws that a mean of means keeps."""

import itertools

import pytest
import torch
from hypothesis import strategies as st
from torch.testing import assert_close

from reference.equality import SEEDS, SINGLE, equality
from reference.propagation_by_loops import propagate_by_loops
from tag2mask.ops.kernels.scan import scan_and_merge
from tag2mask.ops.propagation import (
    _scan_and_merge_in_torch,
    affinity_matrix,
    convex_weights,
    inside,
    neighbour_distances,
    propagate,
    signed_weights,
)

MERGES = ("mean", "gated", "max")
SIZES = [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (3, 4), (5, 3), (3, 11)]


def example(seed=0, batch=2, channels=3, size=(5, 7), *, dtype=torch.float32, signed=False):
    """Probabilities, weights and gates."""
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": dtype}
    maps = torch.randn(batch, channels, *size, **draw).softmax(dim=1)
    raw = 2 * torch.randn(batch, 12, *size, **draw)
    gates = torch.randn(batch, 4, *size, **draw).softmax(dim=1)
    return maps, (signed_weights if signed else convex_weights)(raw), gates


def gates_for(merge, gates):
    return gates if merge == "gated" else None


def only(direction, gates):
    """Gates that listen to one direction."""
    alone = torch.zeros_like(gates)
    alone[:, direction] = 1
    return alone


@pytest.mark.parametrize("direction", range(4))
def test_half_of_the_pixel_before_by_eye(direction):
    # Each takes half of the pixel before it in a straight line: 1, 1/2, 1/4, and nothing flows to the sides.
    maps = torch.zeros(1, 1, 3, 3)
    start = [(1, 0), (1, 2), (0, 1), (2, 1)][direction]
    maps[0, 0, start[0], start[1]] = 1
    weights = torch.zeros(1, 4, 3, 3, 3)
    weights[:, direction, 1] = 0.5
    spread = propagate(maps, weights, only(direction, torch.zeros(1, 4, 3, 3)))[0, 0]
    expected = torch.zeros(3, 3)
    expected[1, :] = torch.tensor([1.0, 0.5, 0.25])
    assert_close(spread, [expected, expected.flip(1), expected.T, expected.T.flip(0)][direction])


@pytest.mark.parametrize("direction", range(4))
@pytest.mark.parametrize("k", range(3))
def test_neighbours_by_eye(direction, k):
    # Neighbour k alone, with weight 1: the whole map moves one pixel along and 1 - k to the side.
    maps = torch.zeros(1, 1, 5, 5)
    maps[0, 0, 2, 2] = 1
    weights = torch.zeros(1, 4, 3, 5, 5)
    y, x = [(2 + 1 - k, 3), (2 + 1 - k, 1), (3, 2 + 1 - k), (1, 2 + 1 - k)][direction]
    weights[0, direction, k, y, x] = 1
    spread = propagate(maps, weights, only(direction, torch.zeros(1, 4, 5, 5)))[0, 0]
    assert spread.nonzero().tolist() == sorted([[2, 2], [y, x]])


@equality(
    propagate,
    propagate_by_loops,
    tolerance=SINGLE,
    seed=SEEDS,
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    merge=st.sampled_from(MERGES),
    signed=st.booleans(),
)
def test_propagation_equals_the_double_loop(merge, **drawn):
    maps, weights, gates = example(**drawn)
    gates = gates_for(merge, gates)
    return propagate(maps, weights, gates, merge=merge), propagate_by_loops(maps, weights, gates, merge=merge)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_gradients_are_those_of_differences(size, merge, signed):
    maps, weights, gates = example(1, 2, 2, size, dtype=torch.float64, signed=signed)
    arguments = [part.requires_grad_() for part in (maps, weights)]
    if merge == "gated":
        arguments.append(gates.requires_grad_())
    assert torch.autograd.gradcheck(lambda *given: propagate(*given, merge=merge), arguments)


def test_a_second_derivative_is_refused_and_not_wrong():
    maps, weights, gates = example(1)
    loss = propagate(maps, weights.requires_grad_(), gates).square().sum()
    (slope,) = torch.autograd.grad(loss, weights, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize("wanted", range(3))
def test_gradients_do_not_depend_on_which_are_wanted(wanted):
    every = [part.requires_grad_() for part in example(2)]
    propagate(*every).square().sum().backward()
    one = [part.detach() for part in every]
    one[wanted].requires_grad_()
    propagate(*one).square().sum().backward()
    assert_close(one[wanted].grad, every[wanted].grad, rtol=0, atol=0)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loop_that_a_gpu_takes_equals_the_compiled_one(size, merge, dtype):
    maps, weights, gates = example(3, size=size, dtype=dtype)
    results, slopes = [], []
    for way in (scan_and_merge, _scan_and_merge_in_torch):
        given = [part.clone().requires_grad_() for part in (maps, weights, gates)]
        results.append(way(given[0], given[1], gates_full(merge, given[2])))
        # Squared twice, so that no two pixels weigh alike.
        results[-1].square().square().sum().backward()
        slopes.append([part.grad for part in given])
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    assert_close(results[0], results[1], **tolerance)
    for compiled, in_torch in zip(*slopes, strict=True):
        assert_close(compiled, in_torch, **tolerance)


def gates_full(merge, gates):
    """What the two ways take: the mean is four equal gates, the maximum none."""
    return {"gated": gates, "mean": torch.full_like(gates, 0.25), "max": None}[merge]


def test_directions_that_are_equally_large_share_the_gradient():
    maps = torch.zeros(1, 1, 3, 3, requires_grad=True)
    weights = torch.full((1, 4, 3, 3, 3), 0.2)
    propagate(maps, weights, merge="max").sum().backward()
    expected = maps.detach().clone().requires_grad_()
    propagate(expected, weights, merge="mean").sum().backward()
    assert_close(maps.grad, expected.grad)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("signed", [False, True])
def test_a_constant_map_is_kept(merge, signed):
    _, weights, gates = example(4, size=(20, 31), signed=signed)
    maps = torch.full((2, 3, 20, 31), 0.7)
    assert_close(propagate(maps, weights, gates_for(merge, gates), merge=merge), maps, rtol=0, atol=1e-6)


@pytest.mark.parametrize("merge", ["mean", "gated"])
def test_probabilities_stay_probabilities(merge):
    maps, weights, gates = example(5, size=(30, 41))
    spread = propagate(maps, weights, gates_for(merge, gates), merge=merge)
    assert float(spread.min()) >= 0
    assert_close(spread.sum(dim=1), torch.ones(2, 30, 41), rtol=0, atol=1e-5)
    assert not torch.allclose(spread, maps, atol=0.05), "and something has moved"


@pytest.mark.parametrize("merge", MERGES)
def test_the_range_is_kept(merge):
    maps, weights, gates = example(6, size=(30, 41))
    maps = 10 * maps - 3
    spread = propagate(maps, weights, gates_for(merge, gates), merge=merge)
    assert float(spread.min()) >= float(maps.min()) - 1e-5
    assert float(spread.max()) <= float(maps.max()) + 1e-5


@pytest.mark.parametrize("merge", ["mean", "gated"])
@pytest.mark.parametrize("size", SIZES)
def test_rows_of_the_matrix_are_means_and_do_what_the_scans_do(merge, size):
    maps, weights, gates = example(7, size=size)
    gates = gates_for(merge, gates)
    matrix = affinity_matrix(weights, gates, merge=merge)
    pixels = size[0] * size[1]
    assert matrix.shape == (2, pixels, pixels)
    assert float(matrix.min()) >= -1e-7
    assert_close(matrix.sum(dim=-1), torch.ones(2, pixels), rtol=0, atol=1e-5)
    multiplied = torch.einsum("bij,bcj->bci", matrix, maps.flatten(2)).unflatten(-1, size)
    assert_close(multiplied, propagate(maps, weights, gates, merge=merge), rtol=0, atol=1e-6)


def test_rows_of_the_matrix_sum_to_one_with_signed_weights_too():
    _, weights, gates = example(8, signed=True)
    matrix = affinity_matrix(weights, gates)
    assert_close(matrix.sum(dim=-1), torch.ones(2, 35), rtol=0, atol=1e-5)
    assert float(matrix.min()) < 0


def test_the_matrix_is_differentiable():
    _, weights, gates = example(9, 1, size=(2, 3), dtype=torch.float64)
    assert torch.autograd.gradcheck(affinity_matrix, [weights.requires_grad_(), gates.requires_grad_()])


def test_the_propagation_is_linear_in_the_maps():
    first, weights, gates = example(10)
    second, _, _ = example(11)
    together = propagate(first + 2 * second, weights, gates)
    assert_close(together, propagate(first, weights, gates) + 2 * propagate(second, weights, gates))


def mirrored(weights, gates, axis):
    """The weights and gates of the image's mirror image along an axis: -1 left-right, -2 upside down."""
    swapped = [1, 0, 2, 3] if axis == -1 else [0, 1, 3, 2]
    across = slice(2, 4) if axis == -1 else slice(0, 2)
    weights, gates = weights[:, swapped].flip(axis), gates[:, swapped].flip(axis)
    weights[:, across] = weights[:, across].flip(2)
    return weights, gates


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("merge", MERGES)
def test_mirror_image_in_mirror_image_out(merge, axis):
    maps, weights, gates = example(12)
    plain = propagate(maps, weights, gates_for(merge, gates), merge=merge)
    other_weights, other_gates = mirrored(weights, gates, axis)
    turned = propagate(maps.flip(axis), other_weights, gates_for(merge, other_gates), merge=merge)
    assert_close(turned.flip(axis), plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("merge", MERGES)
def test_the_transposed_image_gives_the_transposed_map(merge):
    maps, weights, gates = example(13)
    plain = propagate(maps, weights, gates_for(merge, gates), merge=merge)
    order = [2, 3, 0, 1]
    turned = propagate(maps.mT, weights[:, order].mT, gates_for(merge, gates[:, order].mT), merge=merge)
    assert_close(turned.mT, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("merge", MERGES)
def test_a_batch_of_two_is_two_batches_of_one(merge):
    given = [part.requires_grad_() for part in example(14)]
    alone = [part.detach().requires_grad_() for part in given]
    both = propagate(given[0], given[1], gates_for(merge, given[2]), merge=merge)
    singles = []
    for image in range(2):
        maps, weights, gates = (part[image : image + 1] for part in alone)
        singles.append(propagate(maps, weights, gates_for(merge, gates), merge=merge))
    assert_close(both, torch.cat(singles), rtol=0, atol=0)
    both.square().sum().backward()
    torch.cat(singles).square().sum().backward()
    for one, other in zip(given, alone, strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            assert_close(one.grad, other.grad, rtol=0, atol=1e-6)


def test_channels_go_alone_or_together_alike():
    maps, weights, gates = example(15, channels=4)
    together = propagate(maps, weights, gates)
    alone = [propagate(maps[:, c : c + 1], weights, gates) for c in range(4)]
    assert_close(together, torch.cat(alone, dim=1), rtol=0, atol=0)
    assert propagate(maps[:, :0], weights, gates).shape == (2, 0, 5, 7)
    assert propagate(maps[:0], weights[:0], gates[:0]).shape == (0, 4, 5, 7)


@pytest.mark.parametrize("merge", MERGES)
def test_arguments_are_left_alone(merge):
    given = example(16)
    before = [part.clone() for part in given]
    given = [part.requires_grad_() for part in given]
    result = propagate(given[0], given[1], gates_for(merge, given[2]), merge=merge)
    upstream = torch.ones_like(result)
    result.backward(upstream)
    assert all(part.equal(other) for part, other in zip(given, before, strict=True))
    assert upstream.equal(torch.ones_like(result))
    assert result.data_ptr() != given[0].data_ptr()


def test_any_memory_layout_will_do():
    maps, weights, gates = example(17)
    strange = [part.flip(-1).flip(-1).mT.contiguous().mT for part in (maps, weights, gates)]
    strange[0] = strange[0].contiguous(memory_format=torch.channels_last)
    assert_close(propagate(*strange), propagate(maps, weights, gates), rtol=0, atol=0)


def test_one_thread_and_two_give_the_same_bits():
    given = [part.requires_grad_() for part in example(18, size=(70, 66))]
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            result = propagate(*given)
            found.append([result, *torch.autograd.grad(result.square().sum(), given)])
    finally:
        torch.set_num_threads(before)
    assert all(one.equal(two) for one, two in zip(*found, strict=True))


def test_an_error_on_another_thread_comes_out(monkeypatch):
    from tag2mask.ops.kernels import scan as linear_scan

    def broken(*_):
        raise RuntimeError("scan")

    monkeypatch.setattr(linear_scan, "_scan", broken)
    monkeypatch.setattr(linear_scan.torch, "get_num_threads", lambda: 2)
    with pytest.raises(RuntimeError, match="scan"):
        propagate(*example(18, size=(70, 66)))


@pytest.mark.parametrize("merge", MERGES)
def test_weights_of_zero_keep_the_map_and_weights_outside_do_not_count(merge):
    maps, weights, gates = example(19)
    gates = gates_for(merge, gates)
    assert_close(propagate(maps, torch.zeros_like(weights), gates, merge=merge), maps)
    assert_close(
        propagate(maps, inside(weights), gates, merge=merge),
        propagate(maps, weights, gates, merge=merge),
        rtol=0,
        atol=0,
    )


def test_only_weights_that_leave_the_image_are_closed():
    weights = torch.ones(2, 4, 3, 3, 5)
    closed = inside(weights)
    assert weights.equal(torch.ones(2, 4, 3, 3, 5))
    # Of a 3 x 5 map, 4 columns (or 2 rows) have one before them; each lacks one neighbour at either end.
    assert closed[0].sum(dim=(1, 2, 3)).tolist() == [4 * 7, 4 * 7, 2 * 13, 2 * 13]
    assert float(closed[:, 0, :, :, 0].sum() + closed[:, 1, :, :, -1].sum()) == 0
    assert float(closed[:, 2, :, 0].sum() + closed[:, 3, :, -1].sum()) == 0


def test_a_wall_stops_what_is_handed_on():
    maps = torch.zeros(1, 1, 6, 9)
    maps[..., :3] = 1
    weights = torch.full((1, 4, 3, 6, 9), 1 / 3)
    weights[..., 4] = 0  # The fifth column takes nothing.
    spread = propagate(maps, weights, only(0, torch.zeros(1, 4, 6, 9)))
    assert float(spread[..., 3].min()) > 0.6, "two thirds at the upper and lower end, where one neighbour is missing"
    assert float(spread[..., 4:].max()) == 0


@pytest.mark.parametrize("size", [(5, 7), (1, 4), (3, 1), (1, 1)])
def test_neighbour_distances_are_those_of_a_double_loop(size):
    features = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = neighbour_distances(features)
    steps = {0: (0, -1), 1: (0, 1), 2: (-1, 0), 3: (1, 0)}
    expected = torch.zeros(2, 4, 3, *size)
    for direction, k, i, j in itertools.product(range(4), range(3), range(size[0]), range(size[1])):
        down, right = steps[direction]
        row, column = (i + k - 1, j + right) if direction < 2 else (i + down, j + k - 1)
        if 0 <= row < size[0] and 0 <= column < size[1]:
            apart = (features[:, :, i, j] - features[:, :, row, column]).abs().sum(dim=1)
            expected[:, direction, k, i, j] = apart
    assert_close(found, expected)


def test_convex_weights_are_shares_and_begin_at_a_quarter():
    raw = 5 * torch.randn(2, 12, 4, 5, generator=torch.Generator().manual_seed(20))
    weights = convex_weights(raw)
    assert weights.shape == (2, 4, 3, 4, 5)
    assert float(weights.min()) >= 0
    assert float(weights.sum(dim=2).max()) <= 1 + 1e-6
    assert_close(convex_weights(torch.zeros(1, 12, 1, 1)), torch.full((1, 4, 3, 1, 1), 0.25))
    # Channel 3 d + k is direction d, neighbour k.
    raw = torch.zeros(1, 12, 1, 1)
    raw[0, 3 * 2 + 1] = 50
    assert convex_weights(raw)[0, :, :, 0, 0].argmax().item() == 3 * 2 + 1
    assert torch.isfinite(convex_weights(torch.full((1, 12, 1, 1), 1e30))).all()


def test_signed_weights_are_only_made_smaller():
    raw = torch.randn(2, 12, 4, 5, generator=torch.Generator().manual_seed(21))
    weights, given = signed_weights(raw), raw.unflatten(1, (4, 3))
    totals = given.abs().sum(dim=2, keepdim=True)
    assert float(weights.abs().sum(dim=2).max()) <= 1 + 1e-6
    assert bool((totals < 1).any() and (totals > 1).any())
    assert_close(weights, torch.where(totals > 1, given / totals, given))


def test_signed_weights_are_stable_over_a_long_row():
    generator = torch.Generator().manual_seed(22)
    raw = 3 * torch.randn(1, 12, 5, 2000, generator=generator)
    gates = only(0, torch.zeros(1, 4, 5, 2000))
    first, other = torch.zeros(2, 1, 1, 5, 2000)
    other[..., 0] = torch.randn(5, generator=generator)
    change = (propagate(other, signed_weights(raw), gates) - propagate(first, signed_weights(raw), gates)).abs()
    assert float(change.max()) <= float(other.abs().max())
    # The same without the normalisation runs away.
    wild = propagate(other, raw.unflatten(1, (4, 3)), gates)
    assert not bool((wild.abs() < 1e6).all())


def test_signed_weights_may_leave_the_range_column_by_column():
    # h_t = 2 x_t - h_{t-1}: as large as it can get.
    maps = torch.tensor([1.0, -1.0] * 10).reshape(1, 1, 1, 20)
    raw = torch.zeros(1, 12, 1, 20)
    raw[:, 1] = -7
    spread = propagate(maps, signed_weights(raw), only(0, torch.zeros(1, 4, 1, 20)))
    assert_close(spread, maps * (1 + 2 * torch.arange(20)))


@pytest.mark.parametrize("merge", MERGES)
def test_half_precision_is_scanned_in_float32(merge):
    half = [part.bfloat16() for part in example(23)]
    gates = gates_for(merge, half[2])
    whole = propagate(half[0].float(), half[1].float(), None if gates is None else gates.float(), merge=merge)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = propagate(half[0].requires_grad_(), half[1].requires_grad_(), gates, merge=merge)
    assert result.dtype == torch.float32
    assert_close(result, whole, rtol=0, atol=0)
    result.sum().backward()
    assert half[0].grad.dtype == half[1].grad.dtype == torch.bfloat16
    assert convex_weights(torch.zeros(1, 12, 2, 2).bfloat16()).dtype == torch.float32
    assert signed_weights(torch.zeros(1, 12, 2, 2).bfloat16()).dtype == torch.float32


def test_float64_wins():
    maps, weights, gates = example(24)
    assert propagate(maps, weights.double(), gates).dtype == torch.float64
    assert affinity_matrix(weights.double(), gates.double()).dtype == torch.float64


def test_what_is_no_number_stays_visible():
    maps, weights, gates = example(25)
    maps[0, 0, 2, 3] = float("nan")
    spread = propagate(maps, weights, gates)
    assert bool(spread[0, 0].isnan().any())
    assert not bool(spread[0, 1:].isnan().any())


def test_wrong_arguments_are_named():
    maps, weights, gates = example(26)
    with pytest.raises(ValueError, match=r"maps: expected shape \(B, C, H, W\)"):
        propagate(maps[0], weights, gates)
    with pytest.raises(ValueError, match=r"weights: expected shape \(B, 4, 3, H, W\), B = 2, H = 5, W = 7"):
        propagate(maps, weights[..., :-1], gates)
    with pytest.raises(ValueError, match=r"gates: expected shape \(B, 4, H, W\)"):
        propagate(maps, weights, gates[:, :3])
    with pytest.raises(ValueError, match="maps: expected at least one pixel"):
        propagate(maps[..., :0], weights[..., :0], gates[..., :0])
    with pytest.raises(ValueError, match=r"gates: expected .* for merge 'gated', got None"):
        propagate(maps, weights)
    for merge in ("mean", "max"):
        with pytest.raises(ValueError, match=f"gates: expected None for merge '{merge}'"):
            propagate(maps, weights, gates, merge=merge)
    with pytest.raises(ValueError, match="merge: expected one of mean, gated, max, got 'sum'"):
        propagate(maps, weights, gates, merge="sum")
    for wrong in (torch.zeros(1, 16, 2, 2), torch.zeros(12, 2, 2)):
        for normalise in (convex_weights, signed_weights):
            with pytest.raises(ValueError, match="raw: expected shape"):
                normalise(wrong)
    with pytest.raises(ValueError, match="weights: expected shape"):
        inside(weights[:, :2])


def test_no_matrix_of_the_maximum_and_none_of_large_maps():
    _, weights, _ = example(27)
    with pytest.raises(ValueError, match="not linear"):
        affinity_matrix(weights, merge="max")
    with pytest.raises(ValueError, match="at most 4096 pixels, got 65 x 64 = 4160"):
        affinity_matrix(torch.zeros(1, 4, 3, 65, 64), merge="mean")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("merge", MERGES)
def test_gpu_equals_cpu(merge):
    maps, weights, gates = example(28, size=(33, 50))
    gates = gates_for(merge, gates)
    there = propagate(maps.cuda(), weights.cuda(), None if gates is None else gates.cuda(), merge=merge)
    assert_close(there.cpu(), propagate(maps, weights, gates, merge=merge), rtol=0, atol=1e-5)


def test_weights_can_be_divided_by_their_sum_always():
    raw = torch.randn(2, 12, 3, 4, generator=torch.Generator().manual_seed(0)) / 10
    sums = signed_weights(raw, always=True).abs().sum(dim=2)
    assert_close(sums, torch.ones_like(sums))
    assert signed_weights(raw).equal(raw.reshape(2, 4, 3, 3, 4)), "small ones stay as they are"
    large = 100 * raw
    assert_close(signed_weights(large, always=True), signed_weights(100 * large))
    assert not signed_weights(torch.zeros(1, 12, 2, 2), always=True).any()
