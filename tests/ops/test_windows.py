"""Windows: an image and the maps that belong to it are cut alike."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from torchvision.transforms.v2 import ColorJitter

from tag2mask.ops.windows import Window, cut_window, jitter, normalise, padded_view, random_window

MEAN, STD = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)


def photo(height=6, width=8, seed=0):
    return torch.randint(256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_normalise_by_eye():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).expand(3, 1, 2)
    expected = torch.tensor([[[-1.0, 1.0]], [[-1.0, 3.0]], [[0.0, 1.0]]])
    assert_close(normalise(pixels, MEAN, STD), expected)


def test_a_window_inside_is_a_plain_cut():
    pixels = photo()
    assert cut_window(pixels, Window(1.0, 1, 2, 4, False), fill=0).equal(pixels[:, 1:5, 2:6])
    assert cut_window(pixels, Window(1.0, 1, 2, 4, True), fill=0).equal(pixels[:, 1:5, 2:6].flip(-1))


def test_a_window_larger_than_the_image_is_filled_up():
    pixels = photo()
    cut = cut_window(pixels, Window(1.0, -2, -1, 10, False), fill=9)
    assert cut[:, 2:8, 1:9].equal(pixels)
    outside = torch.ones(10, 10, dtype=torch.bool)
    outside[2:8, 1:9] = False
    assert (cut[:, outside] == 9).all()


def test_labels_are_never_mixed():
    labels = torch.tensor([0, 7, 255]).repeat_interleave(3).expand(9, 9)[None].int()
    for factor in (0.7, 1.0, 1.9):
        cut = cut_window(labels, Window(factor, 0, 0, 12, False), fill=255, nearest=True)
        assert set(cut.unique().tolist()) <= {0, 7, 255}
        assert cut.dtype == torch.int32


def drawing(seed):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(4, 60), st.integers(0, 20)),
    st.integers(8, 48),
)
def test_any_window_cuts_image_and_labels_alike(seed, size, sides, crop):
    window = random_window(size, (sides[0], sides[0] + sides[1]), crop, drawing(seed))
    # A picture whose grey value is its label: both cuts must agree about what is inside.
    inside = torch.full((1, *size), 200, dtype=torch.uint8)
    cut = cut_window(inside, window, fill=0)
    labels = cut_window(inside.int(), window, fill=255, nearest=True)
    assert cut.shape == labels.shape == (1, crop, crop)
    assert ((cut == 200) == (labels == 200)).all()
    full = [max(1, round(side * window.factor)) for side in size]
    assert int((cut == 200).sum()) == min(full[0], crop) * min(full[1], crop), "as much of the image as fits"


def test_enlarged_image_and_labels_keep_their_edges_together():
    half = torch.zeros(1, 16, 16)
    half[..., 8:] = 1
    window = Window(3.0, 5, 10, 24, True)
    smooth = cut_window(half, window, fill=0)
    labels = cut_window(half.int(), window, fill=255, nearest=True)
    assert ((smooth > 0.5) == (labels == 1)).float().mean() > 0.95


def test_windows_follow_from_the_generator():
    def draw(seed):
        return random_window((30, 40), (20, 60), 16, drawing(seed))

    assert draw(3) == draw(3)
    drawn = {draw(seed) for seed in range(50)}
    assert len(drawn) > 40
    assert {window.mirrored for window in drawn} == {True, False}
    assert all(20 / 40 <= window.factor <= 60 / 40 for window in drawn)


def test_no_jitter_changes_nothing_and_some_does():
    pixels = photo()
    assert jitter(pixels, (0, 0, 0, 0), drawing(0)) is pixels
    changed = jitter(pixels, (0.3, 0.3, 0.3, 0.1), drawing(0))
    assert changed.shape == pixels.shape
    assert changed.dtype == torch.uint8
    assert not changed.equal(pixels)


@pytest.mark.parametrize("strengths", [(0.3, 0.3, 0.3, 0.1), (0, 0, 0, 0.5), (0.2, 0, 1.0, 0), (0, 0.4, 0, 0.1)])
def test_jitter_is_colour_jitter_to_the_bit(strengths):
    orders = set()
    for seed in range(30):
        pixels = photo(9, 11, seed)
        torch.manual_seed(seed)
        expected, after = ColorJitter(*strengths)(pixels), torch.rand(())
        generator = drawing(seed)
        assert jitter(pixels, strengths, generator).equal(expected)
        assert torch.rand((), generator=generator) == after, "as many numbers are drawn"
        torch.manual_seed(seed)
        orders.add(tuple(torch.randperm(4).tolist()))
    assert len(orders) > 10, "the four in many orders"


@pytest.mark.parametrize("window", [Window(1.0, -200, -120, 448, False), Window(1.0, 30, 60, 100, True)])
def test_a_view_has_the_colours_of_the_whole_image_jittered_and_then_cut(window):
    pixels, nothing = photo(192, 256) // 2 + 100, ((0, 0, 0), (1, 1, 1))
    pixels[:, :, 128:] //= 2  # Darker on the right: a part has another mean than the whole.
    for seed in range(12):
        strengths = (0.3, 0.3, 0.3, 0.1)
        whole = jitter(pixels, strengths, drawing(seed))
        expected = padded_view(whole, window, (0, 0, 0, 0), *nothing, generator=drawing(0))
        assert padded_view(pixels, window, strengths, *nothing, generator=drawing(seed)).equal(expected)


def test_the_colours_of_a_large_image_are_the_same_up_to_rounding():
    smooth = torch.nn.functional.interpolate(photo(9, 12)[None].float(), (750, 1000), mode="bicubic")[0]
    pixels, window = smooth.clamp(0, 255).to(torch.uint8), Window(0.4, -20, -30, 448, False)
    for seed in range(12):
        contrast = (0.3, 0.3, 0.0, 0.0)
        whole = jitter(cut_window(pixels, Window(0.4, 0, 0, 400, False), fill=0)[:, :300], contrast, drawing(seed))
        view = padded_view(pixels, window, contrast, (0, 0, 0), (1, 1, 1), generator=drawing(seed))
        found = view[:, 20:320, 30:430] * 255
        assert float((found - whole).abs().max()) < 2.01, "one from resizing, one from the mean"
        assert float((found - whole).abs().mean()) < 0.5


def test_outside_the_image_a_view_is_zero():
    view = padded_view(photo(), Window(1.0, -2, -1, 10, False), (0.3, 0.3, 0.3, 0.1), MEAN, STD, generator=drawing(0))
    assert view.dtype == torch.float32
    assert (view[:, :2] == 0).all()
    assert (view[:, 8:] == 0).all()
    assert_close(
        padded_view(photo(), Window(1.0, -2, -1, 10, False), (0, 0, 0, 0), MEAN, STD, generator=drawing(0))[
            :, 2:8, 1:9
        ],
        normalise(photo(), MEAN, STD),
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4), st.tuples(st.integers(2, 12), st.integers(2, 12)), st.integers(4, 40))
def test_a_window_shows_the_same_of_a_smaller_copy(seed, times, cells, crop):
    size = tuple(4 * times * side for side in cells)
    window = random_window(size, (max(size) // times, max(size) // times), crop, drawing(seed))
    small = torch.randint(5, (1, *(4 * side for side in cells)), generator=drawing(seed), dtype=torch.int32)
    large = small.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
    cuts = [cut_window(maps, window, fill=9, nearest=True, size=size) for maps in (large, small)]
    assert cuts[0].equal(cuts[1])
    assert cut_window(large, window, fill=9, nearest=True).equal(cuts[0])


def test_maps_need_a_channel():
    with pytest.raises(ValueError, match="maps: expected shape"):
        cut_window(torch.zeros(6, 8), Window(1.0, 0, 0, 4, False), fill=0)


def test_arguments_are_left_alone():
    pixels = photo()
    before = pixels.clone()
    padded_view(pixels, Window(1.7, -2, 3, 10, True), (0.3, 0.3, 0.3, 0.1), MEAN, STD, generator=drawing(0))
    assert pixels.equal(before)
