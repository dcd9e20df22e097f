"""Sizes of images and label maps: the long side decides, and labels are never mixed."""

from dataclasses import replace

import torch

from tag2mask.ops.sizes import (
    fit_long_side,
    grid_size,
    limit_long_side,
    resize_image,
    resize_labels,
    shrink,
    working_size,
)
from tag2mask.records import TaggedImage
from tag2mask.stages.s4_affinity import AffinitySettings


def photo(height=6, width=8, seed=0):
    return torch.randint(256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_the_long_side_decides():
    assert fit_long_side((6, 8), 4) == (3, 4)
    assert fit_long_side((8, 6), 16) == (16, 12)
    assert fit_long_side((1, 500), 50) == (1, 50)


def test_only_larger_images_shrink():
    assert limit_long_side((6, 8), 8) == (6, 8)
    assert limit_long_side((6, 8), 4) == (3, 4)
    assert limit_long_side((6, 8), 0) == (6, 8)


def test_resizing_keeps_a_plain_image_plain():
    pixels = torch.full((3, 6, 8), 77, dtype=torch.uint8)
    assert resize_image(pixels, (9, 5)).equal(torch.full((3, 9, 5), 77, dtype=torch.uint8))
    assert resize_image(pixels, (6, 8)) is pixels


def test_a_shrunk_image_keeps_its_size():
    image = TaggedImage("a", photo(40, 60), torch.tensor([True]))
    small = shrink(image, 30)
    assert small.pixels.shape == (3, 20, 30)
    assert small.image_size == image.image_size == (40, 60)
    assert small.pixels.equal(resize_image(image.pixels, (20, 30)))
    for side in (60, 100, 0):
        assert shrink(image, side).pixels is image.pixels
    assert shrink(small, 15).image_size == (40, 60)


def test_resized_labels_are_old_labels():
    labels = torch.tensor([[0, 255], [300, 7]])
    large = resize_labels(labels, (4, 6))
    assert large.tolist() == [[0, 0, 0, 255, 255, 255]] * 2 + [[300, 300, 300, 7, 7, 7]] * 2
    assert resize_labels(large, (2, 2)).equal(labels)


def test_the_working_size_has_the_wanted_cells():
    settings = AffinitySettings(cells=40, output_stride=8)
    assert working_size((213, 320), settings) == (213, 320)
    assert working_size((100, 50), settings) == (320, 160)
    assert grid_size((213, 320), settings) == (27, 40)
    assert working_size((213, 321), replace(settings, cells=0)) == (213, 321)
    assert grid_size((213, 321), replace(settings, cells=0)) == (27, 41)
