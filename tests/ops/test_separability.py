"""How well a mask splits an image's colours: 1 for the object, less for its part and for more than it."""

import numpy as np
import pytest
from hypothesis import strategies as st

from reference.correlation_by_counting import separability_by_counting
from reference.equality import DOUBLE, SEEDS, SIZES, equality
from tag2mask.ops.separability import LEVELS, colour_bins, colour_separability


def scene():
    """A red object of 8 x 8 pixels on green ground, both noisy; and its mask."""
    random = np.random.default_rng(0)
    image = np.empty((20, 24, 3))
    image[:] = 60, 140, 60
    truth = np.zeros((20, 24), bool)
    truth[6:14, 8:16] = True
    image[truth] = 190, 60, 60
    return np.clip(image + random.normal(0, 12, image.shape), 0, 255).astype(np.uint8), truth


def test_the_object_beats_its_part_and_what_leaks():
    image, truth = scene()
    bins = colour_bins(image)
    part, leak = truth.copy(), truth.copy()
    part[10:] = False
    leak[4:16, 4:20] = True
    best = colour_separability(truth, bins)
    assert best > 0.85
    assert colour_separability(part, bins) < 0.85 * best
    assert colour_separability(leak, bins) < 0.85 * best


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_masks_get_nothing(value):
    bins = colour_bins(scene()[0])
    assert colour_separability(np.full((20, 24), value), bins) == 0


def test_an_image_of_one_colour_tells_nothing():
    bins = colour_bins(np.full((6, 8, 3), 100, np.uint8))
    assert len(np.unique(bins)) == 1
    assert colour_separability(scene()[1][:6, :8], bins) == 0


@equality(
    colour_separability, separability_by_counting, tolerance=DOUBLE, seed=SEEDS, size=SIZES, colours=st.integers(1, 5)
)
def test_it_equals_the_count(seed, size, colours):
    random = np.random.default_rng(seed)
    mask, bins = random.random(size) < 0.4, random.integers(0, colours, size)
    return colour_separability(mask, bins), separability_by_counting(mask, bins)


def test_the_complement_splits_as_well():
    image, truth = scene()
    bins = colour_bins(image)
    assert colour_separability(~truth, bins) == pytest.approx(colour_separability(truth, bins))


def test_bins_hold_like_colours_and_follow_a_mirror():
    image, _ = scene()
    bins = colour_bins(image)
    assert bins.shape == (20, 24)
    assert bins.min() >= 0
    assert bins.max() < LEVELS**3
    assert (colour_bins(image[:, ::-1]) == bins[:, ::-1]).all()
    assert (colour_bins(image, levels=1) == 0).all()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="image: expected shape"):
        colour_bins(np.zeros((4, 5), np.uint8))
    with pytest.raises(ValueError, match="bins: expected shape"):
        colour_separability(np.zeros((4, 5), bool), np.zeros((4, 6), np.int64))
