"""Class activation maps, merged views and the background score, against a loop over pixels."""

import itertools

import pytest
import torch
from hypothesis import strategies as st
from torch.testing import assert_close

from reference.equality import SEEDS, SINGLE, SIZES, equality
from reference.maps_by_pixel import (
    background_by_pixel,
    cams_by_pixel,
    merge_by_pixel,
    normalise_by_pixel,
    shares_by_pixel,
)
from tag2mask.ops.cam import (
    as_probabilities,
    background_scores,
    class_activation_maps,
    maps_with_odds,
    merge_views,
    normalise_maps,
    sharpen_diffuse,
    upper_fence,
    with_background,
)

CLASSES = st.integers(0, 3)
ALPHAS = st.sampled_from([0.5, 1, 4, 16, 24, 64])


def random(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_map_is_the_weighted_sum_of_features_cut_off_at_zero():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # Two channels of a 1 x 2 map.
    weights = torch.tensor([[1.0, -1.0], [0.5, 1.0]])
    assert class_activation_maps(features, weights).tolist() == [[[[0.0, 2.0]], [[3.5, 1.0]]]]


@equality(
    class_activation_maps,
    cams_by_pixel,
    tolerance=SINGLE,
    seed=SEEDS,
    classes=st.integers(1, 3),
    channels=st.integers(1, 7),
    size=SIZES,
)
def test_maps_equal_the_loop(seed, classes, channels, size):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, channels, *size, generator=generator)
    weights = torch.randn(classes, channels, generator=generator)
    return class_activation_maps(features, weights), [cams_by_pixel(one, weights) for one in features]


def test_maps_average_to_the_logit_where_nothing_is_cut_off():
    # Pooling and a linear layer commute, which is why the classifier's weights make maps.
    features, weights = random(0, 2, 4, 5, 6), random(1, 3, 4)
    maps = class_activation_maps(features, weights)
    assert_close(maps.mean(dim=(-2, -1)), features.mean(dim=(-2, -1)) @ weights.T)


def test_map_shapes_are_checked():
    with pytest.raises(ValueError, match="weights: expected shape"):
        class_activation_maps(torch.zeros(1, 4, 2, 2), torch.zeros(3, 5))
    with pytest.raises(ValueError, match="features: expected shape"):
        class_activation_maps(torch.zeros(4, 2, 2), torch.zeros(3, 4))


def test_views_add_up_and_mirrored_ones_are_turned_back():
    view = random(2, 2, 4, 6)
    merged = merge_views([view, view.flip(-1)], [False, True], (4, 6))
    assert_close(merged, 2 * view)


def test_views_of_several_sizes_meet_at_one():
    views = [torch.full((1, 2, 3), 0.25), torch.full((1, 8, 12), 0.5)]
    assert_close(merge_views(views, [False, True], (4, 6)), torch.full((1, 4, 6), 0.75))


@equality(
    merge_views,
    merge_by_pixel,
    tolerance=SINGLE,
    edges=[
        {"seed": 0, "classes": 1, "views": 1, "size": (1, 1)},
        {"seed": 0, "classes": 0, "views": 2, "size": (1, 7)},
    ],
    seed=SEEDS,
    classes=CLASSES,
    views=st.integers(1, 8),
    size=SIZES,
)
def test_merged_views_equal_the_loop(seed, classes, views, size):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 8, (views, 2), generator=generator).tolist()
    mirrored = (torch.rand(views, generator=generator) < 0.5).tolist()
    maps = [torch.rand(classes, *small, generator=generator) for small in sizes]
    return merge_views(maps, mirrored, size), merge_by_pixel(maps, mirrored, size)


def test_mirrored_views_give_the_mirrored_sum():
    views, flags = [random(3, 2, 4, 6), random(4, 2, 2, 3)], [False, True]
    merged = merge_views(views, flags, (8, 12))
    mirrored = merge_views([view.flip(-1) for view in views], flags, (8, 12))
    assert_close(mirrored.flip(-1), merged)


def test_views_without_classes_merge_to_nothing():
    assert merge_views([torch.zeros(0, 2, 3)], [False], (4, 6)).shape == (0, 4, 6)


@pytest.mark.parametrize(("views", "flags"), [([], []), ([torch.zeros(1, 2, 2)], [])])
def test_views_need_a_flag_each(views, flags):
    with pytest.raises(ValueError, match="expected at least one view and a flag for each"):
        merge_views(views, flags, (2, 2))


def test_every_map_is_divided_by_its_own_maximum():
    maps = torch.tensor([[[0.0, 2.0, 4.0]], [[0.0, 0.1, 0.05]]])
    expected = torch.tensor([[[0.0, 0.5, 1.0]], [[0.0, 1.0, 0.5]]])
    assert_close(normalise_maps(maps), expected, rtol=0, atol=2e-4)  # The floor of 1e-5 beside 0.1.
    assert float(normalise_maps(maps).max()) < 1


def test_a_coarser_map_is_divided_by_the_peak_that_it_misses():
    whole = torch.tensor([[[0.0, 4.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    coarse = torch.tensor([[[1.0]], [[2.0]]])
    assert_close(normalise_maps(coarse, whole).flatten(), torch.tensor([0.25, 1.0]), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="whole"):
        normalise_maps(coarse, whole[:1])


def test_an_empty_map_stays_zero_and_no_map_is_allowed():
    assert normalise_maps(torch.zeros(1, 2, 2)).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]
    assert normalise_maps(torch.zeros(0, 2, 2)).shape == (0, 2, 2)


@equality(
    normalise_maps,
    normalise_by_pixel,
    tolerance=SINGLE,
    edges=[{"seed": 0, "classes": 1, "size": (1, 1), "scale": 0.0}],
    seed=SEEDS,
    classes=CLASSES,
    size=SIZES,
    scale=st.sampled_from([0.0, 1e-5, 1.0, 8.0]),
)
def test_normalised_maps_equal_the_loop(seed, classes, size, scale):
    maps = scale * random(seed, classes, *size)
    return normalise_maps(maps), normalise_by_pixel(maps)


@equality(
    background_scores,
    background_by_pixel,
    tolerance=SINGLE,
    edges=[{"seed": 0, "classes": 0, "size": (1, 1), "alpha": 4}],
    seed=SEEDS,
    classes=CLASSES,
    size=SIZES,
    alpha=ALPHAS,
)
def test_background_equals_the_loop(seed, classes, size, alpha):
    cams = random(seed, classes, *size)
    return background_scores(cams, alpha), background_by_pixel(cams, alpha)


def test_a_larger_alpha_leaves_less_background():
    cams = random(5, 2, 6, 7)
    scores = [background_scores(cams, alpha) for alpha in (1, 4, 16, 64)]
    assert all(bool((more >= less).all()) for more, less in itertools.pairwise(scores))


def test_background_of_full_and_empty_maps():
    assert background_scores(torch.ones(1, 1, 2), 16).tolist() == [[0.0, 0.0]]
    assert background_scores(torch.zeros(1, 1, 2), 16).tolist() == [[1.0, 1.0]]
    assert background_scores(torch.zeros(0, 2, 3), 16).tolist() == [[1.0] * 3] * 2


def test_background_stands_in_front():
    cams = random(6, 2, 3, 4)
    whole = with_background(cams, 4)
    assert whole.shape == (3, 3, 4)
    assert_close(whole[0], background_scores(cams, 4))
    assert whole[1:].equal(cams)


@pytest.mark.parametrize("alpha", [0, -1, float("nan")])
def test_alpha_must_be_above_zero(alpha):
    with pytest.raises(ValueError, match="alpha: expected a number above 0"):
        background_scores(torch.zeros(1, 2, 2), alpha)


def test_arguments_are_left_alone():
    maps = 3 * random(7, 2, 3, 4)
    before = maps.clone()
    normalise_maps(maps)
    merge_views([maps], [True], (6, 8))
    with_background(maps / 3, 4)
    assert maps.equal(before)


def test_probabilities_are_shares_of_the_sum():
    scores = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]]])
    assert as_probabilities(scores).tolist() == [[[0.25, 0.0]], [[0.75, 0.0]]]
    assert scores.tolist() == [[[1.0, 0.0]], [[3.0, 0.0]]]


@equality(
    as_probabilities,
    shares_by_pixel,
    tolerance=SINGLE,
    edges=[{"seed": 0, "classes": 0, "size": (1, 1), "alpha": 4}],
    seed=SEEDS,
    classes=CLASSES,
    size=SIZES,
    alpha=ALPHAS,
)
def test_probabilities_equal_the_loop(seed, classes, size, alpha):
    # Where the best class has 1, the background has 0.
    scores = with_background((4 * random(seed, classes, *size)).round() / 4, alpha)
    return as_probabilities(scores), shares_by_pixel(scores)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_the_fence_is_that_of_the_quartiles(count):
    values = torch.rand(count, generator=torch.Generator().manual_seed(count))
    low, high = torch.quantile(values.double(), torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
    assert upper_fence(values, 1.5) == pytest.approx(high + 1.5 * (high - low), rel=1e-6)
    assert upper_fence(values, 0) == pytest.approx(high, rel=1e-6)
    with pytest.raises(ValueError, match="values: N: expected 1 or more, got 0"):
        upper_fence(torch.zeros(0), 1.5)


def test_diffuse_maps_keep_their_peaks_and_get_the_mean():
    maps = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    maps[:, 3, 3], maps[1] = 1, maps[1] * 0.1
    before = maps.clone()
    sharpened = sharpen_diffuse(maps, 0.2)
    assert maps.equal(before)
    assert sharpened[1].equal(maps[1])
    for index in (0, 2):
        assert float(sharpened[index].mean()) == pytest.approx(0.2, rel=1e-4)
        assert float(sharpened[index].max()) == 1
        power = sharpened[index].double().log() / maps[index].double().log()
        assert float(power[torch.isfinite(power)].median()) == pytest.approx(4, rel=0.1), "the mean of x^4 is 1/5"


def test_a_map_of_ones_and_no_map_stay():
    assert sharpen_diffuse(torch.ones(1, 2, 2), 0.5).equal(torch.ones(1, 2, 2))
    assert sharpen_diffuse(torch.zeros(0, 2, 2), 0.5).shape == (0, 2, 2)
    with pytest.raises(ValueError, match="mean: expected a number above 0"):
        sharpen_diffuse(torch.ones(1, 2, 2), 0.0)


@pytest.mark.parametrize("alpha", [1, 4, 16, 128])
@pytest.mark.parametrize("classes", [1, 3])
def test_maps_with_odds_score_as_what_they_are_made_of(alpha, classes):
    scores = torch.rand(1 + classes, 6, 7, generator=torch.Generator().manual_seed(alpha)).clamp(min=0.01)
    before = scores.clone()
    both = with_background(maps_with_odds(scores, alpha).double(), alpha)
    assert scores.equal(before)
    # At a large alpha the background of a float32 map near 1 has few digits.
    assert_close(both[1:].amax(dim=0) / both[0], (scores[1:].amax(dim=0) / scores[0]).double(), rtol=2e-3, atol=0)
    assert_close(both[1:] / both[1], scores[1:].double() / scores[1], rtol=1e-4, atol=1e-5)


def test_maps_of_pixels_that_are_sure_or_know_nothing():
    scores = torch.tensor([[[1.0, 0.0, 0.3, 0.0]], [[0.0, 0.2, 0.3, 0.0]]])
    sure, other, even, none = maps_with_odds(scores, 16)[0, 0].tolist()
    assert (sure, other, none) == (0, 1, 0)
    assert (1 - even) ** 16 == pytest.approx(even, rel=1e-4)
    assert maps_with_odds(scores[:1], 16).shape == (0, 1, 4)
    with pytest.raises(ValueError, match="alpha: expected a number above 0"):
        maps_with_odds(scores, 0)
