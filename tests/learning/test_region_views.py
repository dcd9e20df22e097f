"""Views of images with their regions: pixels, region numbers and labels of the same place."""

from __future__ import annotations

from dataclasses import replace

import torch

from painted import STRIPES, inside, stripes_seen
from tag2mask.labels import IGNORE
from tag2mask.learning.region_views import RegionViews, collate_regions
from tag2mask.nets.backbones import Backbone
from tiny import tiny_rounds, tiny_runtime

SETTINGS = replace(tiny_rounds().mine, long_side=(40, 90), crop=64, jitter=(0, 0, 0, 0))


def views_of(data, em_round, samples=None):
    samples = samples or {name: torch.arange(STRIPES) % 2 * 3 for name in data.names}
    backbone = Backbone("resnet10t", 16)
    return RegionViews(data, samples, em_round, SETTINGS, backbone=backbone, runtime=tiny_runtime()), backbone


def test_views_show_pixels_and_regions_of_the_same_place(painted):
    views, backbone = views_of(*painted)
    assert len(views) == 2
    outside = mirrored = 0
    for epoch in range(12):
        pixels, ids, labels, allowed = views[epoch, epoch % 2]
        assert pixels.shape[-2:] == ids.shape == (64, 64)
        stripes, clean = stripes_seen(pixels, backbone.mean, backbone.std)
        assert clean.float().sum() > 500
        assert (ids[clean] == stripes[clean]).float().mean() > 0.99
        assert (ids[~inside(pixels)] == -1).all()
        assert (ids[inside(pixels)] >= 0).all()
        outside += int((ids < 0).sum())
        seen = ids[ids >= 0]
        row = ids[ids.amax(dim=1).argmax()]
        mirrored += int((row[row >= 0].diff() < 0).any())
        expected = [i % 2 * 3 if bool((seen == i).any()) else IGNORE for i in range(STRIPES)]
        assert labels.tolist() == expected
        assert allowed.tolist() == [[True, False, False, True]] * STRIPES
    assert outside > 0
    assert 0 < mirrored < 12, "half of the views are mirrored"


def test_regions_that_are_no_sample_or_not_in_view_teach_nothing(painted):
    data, em_round = painted
    samples = {name: torch.tensor([0, IGNORE, 0, IGNORE, 0, IGNORE]) for name in data.names}
    views, _ = views_of(data, em_round, samples)
    hidden = 0
    for epoch in range(12):
        _, ids, labels, _ = views[epoch, 0]
        for region in range(STRIPES):
            seen = bool((ids == region).any())
            hidden += not seen
            assert int(labels[region]) == (0 if seen and region % 2 == 0 else IGNORE)
    assert hidden > 0


def test_views_follow_from_epoch_and_image(painted):
    views, _ = views_of(*painted)
    assert views[3, 1][0].equal(views[3, 1][0])
    assert not views[3, 1][0].equal(views[4, 1][0])
    assert not views[3, 1][0].equal(views[3, 0][0])


def test_a_batch_numbers_its_regions_through(painted):
    views, _ = views_of(*painted)
    items = [views[0, 0], views[0, 1]]
    batch = collate_regions(items)
    assert batch.labels.shape == (12,)
    assert batch.allowed.shape == (12, 4)
    for place, (pixels, ids, labels, _) in enumerate(items):
        assert batch.pixels[place].equal(pixels)
        assert batch.ids[place].equal(torch.where(ids >= 0, ids + 6 * place, -1))
        assert batch.labels[6 * place : 6 * place + 6].equal(labels)
