"""Stage 2: maps of exactly the tagged classes, the same for a mirrored image."""

import torch
from torch.testing import assert_close

from tag2mask.records import TaggedImage
from tag2mask.stages.s1_classify import build_classifier
from tag2mask.stages.s2_localize import LocalizeSettings, image_cams
from tiny import tiny_runtime, tiny_settings


def classifier():
    return build_classifier(tiny_settings().classify, 6, tiny_runtime())


def cams_of(image, settings):
    with tiny_runtime().inference(net := classifier()):
        return image_cams(image, net, settings, tiny_runtime())


def test_every_image_has_maps_of_its_tags(scenes, finished):
    for name in scenes.names:
        cams = finished.cams[name]
        assert cams.class_ids.tolist() == scenes.tags(name).nonzero().flatten().tolist()
        assert cams.image_size == (48, 48)
        assert cams.scores.shape == (len(cams.class_ids), 24, 24)
        assert all(float(one.max()) in (0.0, 1.0) or float(one.max()) > 0.99 for one in cams.scores)


def test_the_classifier_s_modes_are_put_back():
    net = classifier().train()
    with tiny_runtime().inference(net):
        pass
    assert net.training


def test_a_mirrored_image_has_mirrored_maps(scenes):
    image = scenes[scenes.names[0]]
    mirrored = TaggedImage(image.name, image.pixels.flip(-1), image.tags)
    settings = LocalizeSettings(scales=(1.0, 2.0), map_stride=2)
    # Each view is also seen mirrored, so the sum has no favourite side; 64 pixels, a multiple of every stride.
    assert_close(cams_of(mirrored, settings).scores.flip(-1), cams_of(image, settings).scores, rtol=1e-3, atol=1e-3)


def test_large_images_are_shrunk_and_odd_ones_fit():
    pixels = torch.randint(256, (3, 61, 203), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = TaggedImage("a", pixels, torch.tensor([True] + [False] * 5))
    cams = cams_of(image, LocalizeSettings(scales=(1.0, 0.5), max_side=100, map_stride=4))
    assert cams.image_size == (61, 203)
    assert cams.scores.shape == (1, 8, 25)


def test_an_image_of_one_pixel_and_one_without_tags():
    one = TaggedImage("a", torch.zeros(3, 1, 1, dtype=torch.uint8), torch.tensor([True] * 6))
    assert cams_of(one, LocalizeSettings.paper()).scores.shape == (6, 1, 1)
    none = TaggedImage("a", torch.zeros(3, 5, 7, dtype=torch.uint8), torch.tensor([False] * 6))
    assert cams_of(none, LocalizeSettings(map_stride=4)).scores.shape == (0, 2, 2)


def test_paper_views():
    assert LocalizeSettings.paper().scales == (1.0, 0.5, 1.5, 2.0)
    assert (LocalizeSettings.paper().max_side, LocalizeSettings.paper().map_stride) == (0, 1)
