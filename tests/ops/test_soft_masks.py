"""Soft masks: tags applied to probabilities, and their means over cells."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tag2mask.labels import labels_from_channels
from tag2mask.ops.soft_masks import soft_mask, with_tags
from tag2mask.records import TaggedImage


def probabilities(classes, *size, seed=0):
    return torch.randn(1 + classes, *size, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(dim=0)


def tags_of(*class_ids, classes=4):
    tags = torch.zeros(classes, dtype=torch.bool)
    tags[list(class_ids)] = True
    return tags


def test_only_the_background_and_the_tags_are_left_and_sum_to_1():
    given = probabilities(4, 5, 6)
    before = given.clone()
    found = with_tags(given, tags_of(0, 3))
    assert given.equal(before), "the argument stays as it is"
    assert not found[[2, 3]].any()
    assert_close(found.sum(dim=0), torch.ones(5, 6))
    left = given[[0, 1, 4]]
    assert_close(found[[0, 1, 4]], left / left.sum(dim=0))


def test_what_has_every_tag_stays():
    given = probabilities(4, 5, 6)
    assert_close(with_tags(given, tags_of(0, 1, 2, 3)), given)


def test_without_tags_all_is_background():
    assert_close(with_tags(probabilities(4, 5, 6), tags_of())[0], torch.ones(5, 6))


def test_where_nothing_is_left_is_background():
    given = torch.zeros(3, 1, 2)
    given[2, 0, 0] = 1.0  # All of the first pixel is a class that the image has no tag of.
    given[:, 0, 1] = torch.tensor([0.0, 0.5, 0.5])
    found = with_tags(given, torch.tensor([True, False]))
    assert found[:, 0, 0].tolist() == [1, 0, 0]
    assert found[:, 0, 1].tolist() == [0, 1, 0]
    assert given[0].sum() == 0, "the argument stays as it is"


def image_of(size, tags):
    return TaggedImage("a", torch.zeros(3, *size, dtype=torch.uint8), tags)


@pytest.mark.parametrize("stride", [1, 2, 4, 7])
def test_a_soft_mask_is_the_mean_over_cells(stride):
    whole = probabilities(4, 12, 20)
    found = soft_mask(image_of((12, 20), tags_of(1, 3)), whole, stride)
    assert found.class_ids.tolist() == [1, 3]
    assert found.image_size == (12, 20)
    assert found.probabilities.shape == (3, -(-12 // stride), -(-20 // stride))
    assert_close(found.probabilities.sum(dim=0), torch.ones(found.probabilities.shape[1:]))
    if 12 % stride == 0:
        expected = F.avg_pool2d(with_tags(whole, tags_of(1, 3)), stride)
        assert_close(found.probabilities, expected[[0, 2, 4]])
        assert_close(found.spread(4), expected)


def test_a_soft_mask_of_an_image_without_tags_is_background():
    found = soft_mask(image_of((4, 4), tags_of()), probabilities(4, 4, 4), 2)
    assert found.probabilities.tolist() == [[[1, 1], [1, 1]]]


def test_a_soft_mask_with_300_classes_finds_the_channel_of_label_300():
    whole = torch.zeros(301, 2, 2)
    whole[299] = 1.0
    found = soft_mask(image_of((2, 2), tags_of(298, classes=300)), whole, 1)
    assert found.probabilities[1].min() == 1
    assert labels_from_channels(found.spread(300).argmax(dim=0)).unique().tolist() == [300]
