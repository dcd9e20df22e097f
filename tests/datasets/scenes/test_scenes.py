from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tag2mask.datasets.scenes.drawing import Stamp, draw_clutter, paste, window
from tag2mask.datasets.scenes.objects import HEAD_SHARE, draw_object
from tag2mask.datasets.scenes.scenes import CLASS_NAMES, make_scenes

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def sets() -> dict[int, tuple[TagDataset, torch.Tensor]]:
    """Per seed: 100 scenes of 64 pixels, and their labels (100, 64, 64)."""
    drawn = {seed: make_scenes(100, 64, seed) for seed in SEEDS}
    return {seed: (data, torch.stack([data.mask(name) for name in data.names])) for seed, data in drawn.items()}


def same_scene(first: TagDataset, second: TagDataset, name: str) -> bool:
    return bool(
        torch.equal(first[name].pixels, second[name].pixels) and torch.equal(first.mask(name), second.mask(name))
    )


# What a set holds


def test_names_and_classes():
    data = make_scenes(3, 48, val_count=2)
    assert data.names == ("scene_0000", "scene_0001", "scene_0002")
    assert data.val_names == ("val_0000", "val_0001")
    assert data.class_names == CLASS_NAMES
    assert len(set(CLASS_NAMES)) >= 6
    assert data.has_masks()


@pytest.mark.parametrize("size", [48, 144, 200, 512])
def test_pixels_and_masks_have_the_size_asked_for(size):
    data = make_scenes(3, size)
    for name in data.names:
        image, mask = data[name], data.mask(name)
        assert image.pixels.shape == (3, size, size)
        assert image.pixels.dtype == torch.uint8
        assert mask.shape == (size, size)
        assert mask.dtype == torch.int64
        assert 0 <= int(mask.min()) <= int(mask.max()) <= len(CLASS_NAMES)


def test_tags_are_exactly_the_classes_of_the_mask(sets):
    for data, masks in sets.values():
        for name, mask in zip(data.names, masks, strict=True):
            shown = [class_id for class_id in range(len(CLASS_NAMES)) if (mask == class_id + 1).any()]
            assert data.tags(name).nonzero().flatten().tolist() == shown
            assert torch.equal(data[name].tags, data.tags(name))


def test_scenes_show_none_to_three_classes(sets):
    for data, _ in sets.values():
        counts = torch.bincount(torch.stack([data.tags(name) for name in data.names]).sum(dim=1), minlength=4)
        assert len(counts) == 4
        assert (counts > 0).all()
        assert int(counts[0]) == 8  # 8% show nothing.


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        make_scenes(2, 48)["scene_0002"]


@pytest.mark.parametrize(
    "numbers", [{"count": -1}, {"val_count": -1}, {"seed": -1}, {"size": 47}, {"size": 513}], ids=str
)
def test_numbers_out_of_range_are_told(numbers):
    (name,) = numbers
    with pytest.raises(ValueError, match=f"{name}: expected .* got {numbers[name]}"):
        make_scenes(**numbers)


# What a set depends on


def test_the_same_arguments_give_the_same_bits():
    first, second = make_scenes(8, 64, seed=5, val_count=2), make_scenes(8, 64, seed=5, val_count=2)
    assert all(same_scene(first, second, name) for name in first.names + first.val_names)
    assert first.digest() == second.digest()


def test_the_order_of_asking_changes_nothing():
    forward, backward = make_scenes(6, 48), make_scenes(6, 48)
    for name in reversed(backward.names):
        backward[name]
    assert all(same_scene(forward, backward, name) for name in forward.names)


def test_a_scene_does_not_depend_on_the_count():
    few, many = make_scenes(3, 48, val_count=1), make_scenes(60, 48, val_count=5)
    assert all(same_scene(few, many, name) for name in few.names + few.val_names)
    assert few.digest() != many.digest()


def test_other_seeds_and_held_out_scenes_are_other_pictures():
    first, second = make_scenes(4, 48, seed=0, val_count=4), make_scenes(4, 48, seed=1)
    assert first.digest() != second.digest()
    for name, val_name in zip(first.names, first.val_names, strict=True):
        assert not torch.equal(first[name].pixels, second[name].pixels)
        assert not torch.equal(first[name].pixels, first[val_name].pixels)


def test_what_is_handed_out_can_be_changed_without_harm():
    data, untouched = make_scenes(1, 48), make_scenes(1, 48)
    name = data.names[0]
    data[name].pixels.zero_()
    data.mask(name).fill_(3)
    data.tags(name).fill_(True)
    assert same_scene(data, untouched, name)
    assert torch.equal(data.tags(name), untouched.tags(name))


# How hard a set is


def test_every_seed_gives_a_comparable_set(sets):
    tags = {seed: torch.stack([data.tags(name) for name in data.names]) for seed, (data, _) in sets.items()}
    for seed, (_, masks) in sets.items():
        per_class = tags[seed].sum(dim=0)
        assert int(per_class.min()) >= 16  # 146 objects of six classes: 24 of each, less those in twos.
        assert int(per_class.max()) <= 30
        assert 0.065 < float((masks > 0).float().mean()) < 0.1
        areas = [float((masks[tags[seed][:, c]] == c + 1).float().mean()) for c in range(len(CLASS_NAMES))]
        assert min(areas) > 0.04
        assert max(areas) < 0.09
    sizes = [int(tags[seed].sum()) for seed in SEEDS]
    assert max(sizes) - min(sizes) <= 10


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_the_telling_part_is_at_most_a_third_of_the_object(name):
    scenery = np.full(3, 0.5, np.float32)
    shares = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        stamp = draw_object(rng, name, rng.uniform(0.26, 0.56) * 144, scenery)
        assert not (stamp.part & ~stamp.mask).any()
        shares.append(stamp.part.sum() / stamp.mask.sum())
    assert max(shares) <= 1 / 3
    assert min(shares) >= 0.15
    assert HEAD_SHARE[0] < np.mean(shares) < HEAD_SHARE[1]


@pytest.mark.parametrize("size", [48, 512])
def test_the_part_stays_small_at_any_size(size):
    for seed in range(6):
        stamp = draw_object(np.random.default_rng(seed), CLASS_NAMES[seed], 0.3 * size, np.full(3, 0.5, np.float32))
        assert stamp.part.any()
        assert stamp.part.sum() <= stamp.mask.sum() / 3


def test_all_classes_wear_the_same_bodies():
    """The same generator draws the same body, whatever the class: its pixels away from the head agree."""
    stamps = [draw_object(np.random.default_rng(3), name, 60, np.full(3, 0.5, np.float32)) for name in CLASS_NAMES]
    heads = np.any([stamp.alpha != stamps[0].alpha for stamp in stamps], axis=0)
    heads |= np.any([stamp.part for stamp in stamps], axis=0)
    body = (stamps[0].alpha == 1) & ~heads
    body[1:-1, 1:-1] &= ~(heads[:-2, 1:-1] | heads[2:, 1:-1] | heads[1:-1, :-2] | heads[1:-1, 2:])
    assert body.sum() > stamps[0].mask.sum() / 3
    for stamp in stamps[1:]:
        assert_close(stamp.colour[body], stamps[0].colour[body], atol=1e-6, rtol=0)


def test_clutter_has_no_part_of_a_class():
    for seed in range(30):
        stamp = draw_clutter(np.random.default_rng(seed), 144, front=seed % 2 == 0)
        assert not stamp.part.any()
        assert stamp.mask.any()


# Painting


def test_what_leaves_the_frame_is_lost():
    stamp = Stamp(np.ones((3, 3, 3), np.float32), np.ones((3, 3), np.float32), np.zeros((3, 3), np.bool_))
    picture = np.zeros((4, 4, 3), np.float32)
    paste(picture, stamp, (0, 3))
    assert picture[..., 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("centre", [(-9, 2), (2, 20), (-9, 20), (13, -9)])
def test_a_stamp_outside_the_frame_lands_nowhere(centre):
    there, piece = window((4, 4), (3, 3), centre)
    assert np.zeros((4, 4))[there].size == 0
    assert np.zeros((4, 4))[there].shape == np.zeros((3, 3))[piece].shape
