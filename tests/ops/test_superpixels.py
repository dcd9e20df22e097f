"""Superpixels cover every pixel once, and sums, means, majorities and pooling over them equal the loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from reference.equality import EXACT, SEEDS, SINGLE, SIZES, equality
from reference.regions_by_loops import majority_by_loops, mean_by_loops, pool_by_loops, repeat_cells
from tag2mask.datasets.scenes.scenes import make_scenes
from tag2mask.labels import IGNORE
from tag2mask.ops.superpixels import (
    SuperpixelSettings,
    join_regions,
    mask_pool,
    region_majority,
    region_mean,
    region_sizes,
    region_sums,
    resize_regions,
    superpixels,
)
from tag2mask.records import Regions

ALGORITHMS = ("slic", "felzenszwalb")


def random(seed, *shape, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_ids(seed, count, *shape, low=-1):
    return torch.randint(low, count, shape, generator=torch.Generator().manual_seed(seed))


def random_regions(seed, height, width):
    """Any split of an image, every region there."""
    ids = random_ids(seed, 5, height, width, low=0).unique(return_inverse=True)[1]
    return Regions(ids, int(ids.max()) + 1)


def noise(seed, height, width):
    return random_ids(seed, 256, 3, height, width, low=0).to(torch.uint8)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_regions_stop_at_a_border_of_colours(algorithm):
    pixels = torch.full((3, 24, 36), 60, dtype=torch.uint8)
    pixels[0, 6:18, 10:25] = 200
    found = superpixels(pixels, SuperpixelSettings(algorithm, count=20))
    labels, share = region_majority((pixels[0] == 200).long(), found, num_labels=2)
    assert share.tolist() == [1.0] * found.count
    assert sorted(set(labels.tolist())) == [0, 1]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_scenes_can_be_labelled_by_whole_regions(algorithm):
    scenes = make_scenes(4, 96, seed=3)
    right = total = 0
    for name in scenes.names:
        truth = scenes.mask(name)
        found = superpixels(scenes[name].pixels, SuperpixelSettings(algorithm))
        labels, _ = region_majority(truth, found, num_labels=1 + len(scenes.class_names))
        objects = (truth > 0) & (truth != IGNORE)
        right += int((labels[found.ids] == truth)[objects].sum())
        total += int(objects.sum())
    assert right / total > 0.85


def test_slic_follows_the_count():
    pixels = make_scenes(1, 96)["scene_0000"].pixels
    for count in (20, 100, 400):
        assert superpixels(pixels, SuperpixelSettings(count=count)).count == pytest.approx(count, rel=0.4)


@pytest.mark.filterwarnings("error")
@settings(deadline=None, max_examples=60)
@given(SEEDS, st.tuples(st.integers(1, 12), st.integers(1, 12)), st.booleans(), st.sampled_from(ALGORITHMS))
def test_tiny_and_flat_images_have_regions_too(seed, size, flat, algorithm):
    height, width = size
    pixels = noise(seed, 1, 1).expand(3, height, width) if flat else noise(seed, height, width)
    found = superpixels(pixels, SuperpixelSettings(algorithm, count=1 + seed % 200))
    assert found.ids.shape == (height, width)
    assert 1 <= found.count <= height * width


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [(1, 300), (300, 1), (2, 150)])
def test_stripes_are_split(algorithm, size):
    assert 1 < superpixels(noise(0, *size), SuperpixelSettings(algorithm, count=10, min_share=0.1)).count <= 60


def test_more_regions_than_pixels_are_one_for_each():
    assert superpixels(noise(1, 3, 4), SuperpixelSettings(count=400)).count == 12
    assert superpixels(noise(1, 1, 1)).ids.tolist() == [[0]]


def test_the_image_is_left_alone_and_the_same_image_gives_the_same_regions():
    pixels = noise(2, 20, 24)
    before = pixels.clone()
    first, second = superpixels(pixels), superpixels(pixels)
    assert pixels.equal(before)
    assert first.ids.equal(second.ids)


def test_wrong_images_are_named():
    with pytest.raises(ValueError, match="pixels: expected shape"):
        superpixels(torch.zeros(4, 5, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"pixels: expected torch\.uint8"):
        superpixels(torch.zeros(3, 4, 5))
    with pytest.raises(ValueError, match="pixels: height x width: expected 1 or more, got 0"):
        superpixels(torch.zeros(3, 0, 5, dtype=torch.uint8))


REFUSED = {
    "count": (0, "count: expected 1 or more, got 0"),
    "compactness": (0, "compactness: expected a number above 0, got 0"),
    "scale": (float("nan"), "scale: expected a number above 0, got nan"),
    "sigma": (-1, "sigma: expected 0 or more, got -1"),
    "min_share": (-0.1, "min_share: expected 0 or more"),
    "algorithm": ("watershed", "algorithm: expected one of slic, felzenszwalb, got 'watershed'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_settings_are_named(name):
    value, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"SuperpixelSettings.{message}"):
        SuperpixelSettings(**{name: value})


def test_sums_and_means_by_eye():
    maps = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 8.0]]])
    ids = torch.tensor([[0, 0], [-1, 2]])
    assert region_sizes(ids, 4).tolist() == [2, 0, 1, 0]
    assert region_sums(maps, ids, 4).tolist() == [[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 8.0, 0.0]]
    assert region_mean(maps, ids, 4).tolist() == [[1.5, 0.0, 4.0, 0.0], [0.0, 0.0, 8.0, 0.0]]


@equality(
    region_mean,
    mean_by_loops,
    tolerance=SINGLE,
    seed=SEEDS,
    channels=st.integers(1, 3),
    size=SIZES,
    count=st.integers(1, 5),
)
def test_means_equal_the_loop(seed, channels, size, count):
    maps, ids = random(seed, channels, *size), random_ids(seed, count, *size)
    return region_mean(maps, ids, count), [mean_by_loops(one, ids, count) for one in maps]


def test_any_leading_shape_and_any_shape_of_ids():
    maps, ids = random(0, 2, 3, 4, 5, 6), random_ids(1, 7, 4, 5, 6)
    means = region_mean(maps, ids, 7)
    assert means.shape == (2, 3, 7)
    assert_close(means[1, 2], region_mean(maps[1, 2], ids, 7))
    assert region_mean(maps[:0], ids, 7).shape == (0, 3, 7)
    assert region_sums(maps[0, 0] > 0.5, ids, 7).dtype == torch.float32


def test_one_region_has_the_mean_of_the_map_and_one_per_pixel_has_the_pixels():
    maps = random(2, 3, 4, 5)
    assert_close(region_mean(maps, torch.zeros(4, 5, dtype=torch.int64), 1)[:, 0], maps.mean(dim=(-2, -1)))
    assert region_mean(maps, torch.arange(20).view(4, 5), 20).equal(maps.flatten(1))


def test_new_numbers_move_the_means_only():
    maps, ids, order = random(3, 2, 6, 7), random_ids(4, 5, 6, 7), torch.tensor([3, 1, 4, 0, 2])
    renamed = torch.where(ids >= 0, order[ids.clamp(min=0)], -1)
    assert_close(region_mean(maps, renamed, 5)[:, order], region_mean(maps, ids, 5))


def test_sums_of_half_precision_are_taken_in_float32():
    maps = torch.ones(1, 100, 100, dtype=torch.bfloat16)
    assert region_sums(maps, torch.zeros(100, 100, dtype=torch.int64), 1).tolist() == [[10_000.0]]


def test_gradients_of_means_and_pooling_are_right():
    ids = random_ids(5, 4, 2, 3, 5)
    maps = random(6, 2, 2, 3, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: region_mean(maps, ids, 4), maps)
    features = random(7, 2, 3, 2, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda features: mask_pool(features, ids, 4), features)


def test_wrong_ids_are_named():
    maps = torch.zeros(1, 2, 2)
    for ids, message in (
        (torch.full((2, 2), 3), r"ids: expected values in \[-1, 2\], got \[3, 3\]"),
        (torch.full((2, 2), -2), r"ids: expected values in"),
        (torch.zeros(2, 2), "ids: expected torch.int64"),
        (torch.zeros(2, 3, dtype=torch.int64), r"maps: expected shape \(\.\.\., 2, 3\), got \(1, 2, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            region_mean(maps, ids, 3)
    with pytest.raises(ValueError, match="count: expected 1 or more, got 0"):
        region_sizes(torch.full((2, 2), -1), 0)


def test_majority_by_eye():
    regions = Regions(torch.tensor([[0, 0, 0, 0], [1, 1, 2, 2]]), 3)
    labels, share = region_majority(torch.tensor([[1, 1, 2, IGNORE], [2, 1, IGNORE, IGNORE]]), regions, num_labels=3)
    assert labels.tolist() == [1, 1, IGNORE]  # Of equally frequent ones the lowest.
    assert share.tolist() == [0.5, 0.5, 0.0]


@equality(region_majority, majority_by_loops, tolerance=EXACT, seed=SEEDS, size=SIZES)
def test_majorities_equal_the_loop(seed, size):
    regions = random_regions(seed, *size)
    known = torch.tensor([0, 1, 2, 254, 256, IGNORE])
    labels = known[random_ids(seed + 1, 6, *size, low=0)]
    best, share = region_majority(labels, regions, num_labels=256)
    return list(zip(best.tolist(), share.tolist(), strict=True)), majority_by_loops(labels, regions.ids, regions.count)


def test_labels_that_no_class_has_are_named():
    regions = Regions(torch.zeros(1, 2, dtype=torch.int64), 1)
    for wrong in (3, -1, 256):
        with pytest.raises(ValueError, match=r"labels other than 255: expected values in \[0, 2\], got"):
            region_majority(torch.tensor([[1, wrong]]), regions, num_labels=3)
    with pytest.raises(ValueError, match="labels: expected shape"):
        region_majority(torch.zeros(2, 1, dtype=torch.int64), regions, num_labels=3)
    with pytest.raises(ValueError, match=r"labels: expected torch\.int64"):
        region_majority(torch.zeros(1, 2), regions, num_labels=3)


def test_joined_images_share_no_region():
    ids = [random_ids(8, 3, 4, 5), random_ids(9, 2, 4, 5)]
    joined, count = join_regions(ids, [3, 2])
    assert (joined.shape, count) == ((2, 4, 5), 5)
    maps = random(10, 2, 6, 4, 5)  # (B, D, h, w)
    both = region_mean(maps.transpose(0, 1), joined, count)
    alone = [region_mean(maps[b], ids[b], (3, 2)[b]) for b in range(2)]
    assert_close(both, torch.cat(alone, dim=1))
    assert (joined >= 0).equal(torch.stack(ids) >= 0)
    assert join_regions(torch.stack(ids), [3, 2])[0].equal(joined)


def test_what_can_not_be_joined_is_named():
    ids = torch.zeros(2, 3, dtype=torch.int64)
    for several, counts, message in (
        ([], [], "expected id maps and a count for each, got 0 and 0"),
        ([ids], [1, 1], "expected id maps and a count for each, got 1 and 2"),
        ([ids, ids[:1]], [1, 1], "ids: expected shape"),
        ([ids + 1], [1], "ids: expected values"),
    ):
        with pytest.raises(ValueError, match=message):
            join_regions(several, counts)


def test_ids_at_another_resolution():
    ids = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    assert resize_regions(ids, (2, 2)).tolist() == [[0, 1], [2, 3]]
    assert resize_regions(resize_regions(ids, (8, 12)), (4, 4)).equal(ids)
    assert resize_regions(ids, (4, 4)).equal(ids)
    assert resize_regions(ids[None, None], (1, 3)).shape == (1, 1, 1, 3)


@equality(resize_regions, repeat_cells, tolerance=EXACT, seed=SEEDS, size=SIZES, wanted=SIZES)
def test_each_pixel_takes_the_id_at_its_centre(seed, size, wanted):
    ids = random_ids(seed, 9, *size)
    return resize_regions(ids, wanted), repeat_cells(ids[None, None], *wanted)[0, 0]


def test_what_vanished_at_a_low_resolution_has_size_and_mean_0():
    ids = torch.tensor([[0, 1, 2, 3]])
    small = resize_regions(ids, (1, 2))
    assert region_sizes(small, 4).tolist() == [0, 1, 0, 1]
    assert region_mean(torch.ones(1, 1, 2), small, 4).tolist() == [[0.0, 1.0, 0.0, 1.0]]


@equality(
    mask_pool,
    pool_by_loops,
    tolerance=SINGLE,
    seed=SEEDS,
    batch=st.integers(1, 2),
    cells=SIZES,
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_pooling_equals_the_loop(seed, batch, cells, size):
    features, ids = random(seed, batch, 2, *cells), random_ids(seed, 4, batch, *size)
    return mask_pool(features, ids, 4), pool_by_loops(features, ids, 4)


def test_a_region_in_a_part_of_a_cell_has_the_cell_s_features():
    features = random(11, 1, 5, 2, 2)
    ids = torch.full((1, 32, 32), 0)
    ids[0, 3:5, 20:23] = 1
    assert_close(mask_pool(features, ids, 2)[1], features[0, :, 0, 1])


def test_pooling_of_nothing_is_0_and_has_a_gradient():
    features = random(12, 2, 3, 2, 2).requires_grad_()
    pooled = mask_pool(features, torch.full((2, 4, 4), -1), 2)
    assert pooled.tolist() == [[0.0] * 3] * 2
    pooled.sum().backward()
    assert features.grad.abs().sum() == 0


def test_pooling_under_mixed_precision_is_in_float32():
    features, ids = random(13, 1, 4, 3, 3).bfloat16(), random_ids(14, 3, 1, 9, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = mask_pool(features, ids, 3)
    assert pooled.dtype == torch.float32
    assert_close(pooled, mask_pool(features.float(), ids, 3))


def test_pooling_names_a_wrong_shape():
    with pytest.raises(ValueError, match="ids: expected shape"):
        mask_pool(torch.zeros(2, 3, 4, 4), torch.zeros(1, 8, 8, dtype=torch.int64), 1)


def test_arguments_are_left_alone():
    maps, ids, labels = random(15, 2, 2, 4, 4), random_ids(16, 3, 2, 4, 4), random_ids(17, 2, 4, 4, low=0)
    before = maps.clone(), ids.clone(), labels.clone()
    region_mean(maps, ids, 3)
    mask_pool(maps, ids, 3)
    join_regions(ids, [3, 3])
    resize_regions(ids, (2, 2))
    region_majority(labels, random_regions(0, 4, 4), num_labels=2)
    assert all(now.equal(then) for now, then in zip((maps, ids, labels), before, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_equals_cpu():
    maps, ids = random(18, 2, 3, 4, 4), random_ids(19, 5, 2, 9, 9)
    assert_close(mask_pool(maps.cuda(), ids.cuda(), 5).cpu(), mask_pool(maps, ids, 5))
    means = region_mean(random(20, 3, 2, 9, 9).cuda(), ids.cuda(), 5)
    assert_close(means.cpu(), region_mean(random(20, 3, 2, 9, 9), ids, 5))
