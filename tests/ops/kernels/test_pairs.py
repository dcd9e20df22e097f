"""The compiled pairs: against the torch path of other devices, and what their layout, threads and memory promise."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tag2mask.ops import affinity
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity
from tag2mask.ops.kernels import pairs as pair_kernels

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
CHANNELS = st.sampled_from((1, 2, 7, 16, 33, 70))
LAYOUTS = (torch.contiguous_format, torch.channels_last)
KINDS = st.tuples(st.sampled_from(LAYOUTS), st.sampled_from((torch.float32, torch.float64)))
in_torch = affinity._pair_affinity_in_torch


def random(seed, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def there_and_back(way, features, offsets, from_above):
    """The values and the gradient of the features."""
    leaf = features.detach().requires_grad_()
    values = way(leaf, offsets)
    return values.detach(), torch.autograd.grad(values, leaf, from_above)[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), CHANNELS, SIZES, st.integers(1, 5), KINDS)
def test_compiled_equals_torch(seed, channels, size, radius, kind):
    layout, dtype = kind
    offsets = half_disc_offsets(radius)
    features = random(seed, 2, channels, *size, dtype=dtype).contiguous(memory_format=layout)
    from_above = random(seed + 1, 2, len(offsets), *size, dtype=dtype)
    ours = there_and_back(pair_affinity, features, offsets, from_above)
    theirs = there_and_back(in_torch, features, offsets, from_above)
    assert_close(ours, theirs, rtol=1e-5, atol=1e-12 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_is_that_of_finite_differences(layout):
    features = random(0, 2, 5, 4, 6, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: pair_affinity(f, half_disc_offsets(4)), features)


def test_ties_have_no_slope():
    # Whole numbers: many channels of a pair are equal.
    features = torch.randint(3, (2, 6, 7, 8), generator=torch.Generator().manual_seed(0)).float()
    offsets = half_disc_offsets(5)
    from_above = random(1, 2, len(offsets), 7, 8)
    ours = there_and_back(pair_affinity, features, offsets, from_above)
    theirs = there_and_back(in_torch, features, offsets, from_above)
    assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5])
def test_pairs_that_the_loss_leaves_out_do_not_matter(kept):
    features, offsets = random(2, 2, 9, 8, 7), half_disc_offsets(5)
    chosen = torch.rand(2, len(offsets), 8, 7, generator=torch.Generator().manual_seed(3)) < kept
    from_above = random(4, 2, len(offsets), 8, 7) * chosen
    ours = there_and_back(pair_affinity, features, offsets, from_above)
    theirs = there_and_back(in_torch, features, offsets, from_above)
    assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_bfloat16_equals_torch():
    features, offsets = random(5, 1, 40, 6, 6).bfloat16(), half_disc_offsets(5)
    from_above = random(6, 1, len(offsets), 6, 6)
    ours = there_and_back(pair_affinity, features, offsets, from_above)
    theirs = there_and_back(in_torch, features, offsets, from_above)
    assert ours[1].dtype == torch.bfloat16
    assert_close(ours[0], theirs[0], rtol=1e-5, atol=1e-6)
    assert_close(ours[1], theirs[1], rtol=1e-2, atol=1e-5)  # bfloat16 has 8 bits.


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(pair_kernels, "_WORTH_A_THREAD", 0)
    features, offsets = random(7, 2, 50, 13, 11), half_disc_offsets(5)
    from_above = random(8, 2, len(offsets), 13, 11)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(pair_kernels.torch, "get_num_threads", lambda count=threads: count)
        found.append(there_and_back(pair_affinity, features, offsets, from_above))
    for others in found[1:]:
        assert all(one.equal(other) for one, other in zip(found[0], others, strict=True))


def test_an_error_on_another_thread_comes_out(monkeypatch):
    def broken(*_):
        raise RuntimeError("compare")

    monkeypatch.setattr(pair_kernels, "_compare", broken)
    monkeypatch.setattr(pair_kernels, "_WORTH_A_THREAD", 0)
    monkeypatch.setattr(pair_kernels.torch, "get_num_threads", lambda: 2)
    with pytest.raises(RuntimeError, match="compare"):
        pair_affinity(random(9, 2, 3, 8, 8), half_disc_offsets(3))


def test_the_cpu_takes_the_compiled_path_and_other_devices_torch(monkeypatch):
    def never(*_):
        raise AssertionError("the other path")

    features, offsets = random(10, 1, 3, 4, 5), half_disc_offsets(3)
    with monkeypatch.context() as patch:
        patch.setattr(affinity, "_pair_affinity_in_torch", never)
        assert pair_affinity(features, offsets).shape == (1, len(offsets), 4, 5)
    monkeypatch.setattr(affinity, "pair_affinity_compiled", never)
    assert pair_affinity(features.to("meta"), offsets).shape == (1, len(offsets), 4, 5)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (1, 3, 0, 4), (1, 3, 4, 0), (2, 3, 1, 1)])
def test_without_a_pair_there_is_neither_affinity_nor_gradient(shape):
    features = torch.ones(shape, requires_grad=True)
    for offsets in ((), half_disc_offsets(5)):
        values = pair_affinity(features, offsets)
        assert values.shape == (shape[0], len(offsets), *shape[2:])
        assert not values.any()
        gradient = torch.autograd.grad(values.sum(), features)[0]
        assert gradient.equal(torch.zeros(shape))


def test_a_feature_that_is_no_number_shows_in_its_pairs_only():
    features, offsets = random(11, 1, 20, 6, 6), half_disc_offsets(3)
    features[0, 4, 2, 3] = float("nan")
    features[0, 5, 5, 5] = float("inf")
    ours, theirs = pair_affinity(features, offsets), in_torch(features, offsets)
    assert theirs.isnan().any()
    assert_close(ours, theirs, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_forward_keeps_nothing_but_features_and_values():
    features = random(12, 1, 8, 5, 5).requires_grad_()
    values = pair_affinity(features, half_disc_offsets(3))
    kept = values.grad_fn.saved_tensors
    assert [one.data_ptr() for one in kept] == [features.data_ptr(), values.data_ptr()]


def test_channels_last_features_are_not_copied_and_get_such_a_gradient():
    features = random(13, 2, 8, 5, 6).contiguous(memory_format=torch.channels_last)
    assert pair_kernels._pixels(features).data_ptr() == features.data_ptr()
    offsets = half_disc_offsets(3)
    _, gradient = there_and_back(pair_affinity, features, offsets, torch.ones(2, len(offsets), 5, 6))
    assert gradient.is_contiguous(memory_format=torch.channels_last)
