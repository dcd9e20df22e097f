"""A segmenter learned from any label maps, that predicts any image without tags."""

import itertools
from dataclasses import replace

import pytest
import torch

from tag2mask.labels import IGNORE
from tag2mask.learning.segmenting import LabelledViews, SegmentSettings, build_segmenter, learn_masks, predict_mask
from tag2mask.records import PseudoMask, TaggedImage
from tiny import tiny_runtime, tiny_settings


def predicted(net, pixels, settings):
    with tiny_runtime().inference(net):
        return predict_mask(TaggedImage("a", pixels, torch.zeros(1, dtype=torch.bool)), net, settings, tiny_runtime())


@pytest.mark.parametrize("size", [(48, 48), (33, 71), (1, 1), (200, 10)])
def test_a_mask_has_the_size_of_its_image(size):
    settings = tiny_settings().segment
    net = build_segmenter(settings, 6, None, tiny_runtime())
    mask = predicted(net, torch.zeros(3, *size, dtype=torch.uint8), settings)
    assert mask.labels.shape == mask.confidence.shape == size
    assert int(mask.labels.max()) <= 6


def test_a_mirrored_image_has_the_mirrored_mask(scenes):
    settings = tiny_settings().segment
    net = build_segmenter(settings, 6, None, tiny_runtime())
    pixels = scenes[scenes.names[0]].pixels
    plain, mirrored = (predicted(net, view, settings) for view in (pixels, pixels.flip(-1)))
    assert (plain.labels == mirrored.labels.flip(-1)).float().mean() > 0.99


def test_many_classes_predict_labels_that_pass_over_unsure():
    settings = tiny_settings().segment
    net = build_segmenter(settings, 300, None, tiny_runtime())
    with torch.no_grad():
        net.classify.bias[299] = 100.0  # Class id 298.
    assert predicted(net, torch.zeros(3, 16, 16, dtype=torch.uint8), settings).labels.unique().tolist() == [300]


def test_views_cut_image_and_mask_alike(scenes, finished):
    settings = replace(tiny_settings().segment, jitter=(0, 0, 0, 0))
    net = build_segmenter(settings, 6, None, tiny_runtime())
    # Labels made of the image itself, so that both cuts must show the same place.
    bright = {n: PseudoMask(n, (scenes[n].pixels[0] > 127).long(), torch.ones(48, 48)) for n in scenes.names}
    views = LabelledViews(scenes, bright, settings, net.backbone, runtime=tiny_runtime())
    outside = 0
    for epoch, index in itertools.product(range(3), range(8)):
        _, pixels, labels = views[epoch, index]
        assert pixels.shape[-2:] == labels.shape == (settings.crop, settings.crop)
        red = pixels[0] * net.backbone.std[0] + net.backbone.mean[0]
        sure = (labels != IGNORE) & ((red - 0.5).abs() > 0.2)
        agree = ((red > 0.5) == (labels == 1))[sure].float().mean()
        assert agree > 0.9
        outside += int((labels == IGNORE).sum())
        assert (pixels[:, labels == IGNORE] == 0).all()
    assert outside > 0


def test_it_learns_to_tell_the_true_masks(scenes):
    truth = {n: PseudoMask(n, (scenes.mask(n) > 0).long(), torch.ones(48, 48)) for n in scenes.names}
    settings = replace(tiny_settings().segment, epochs=8, rate=5e-3)
    net = build_segmenter(settings, 6, None, tiny_runtime())
    losses = [loss for _, loss in learn_masks(net, scenes, truth, settings, runtime=tiny_runtime()).history["loss"]]
    assert losses[-1] < 0.75 * losses[0]


def test_presets():
    assert SegmentSettings.paper().output_stride == 8
    assert SegmentSettings.quick(images=100).epochs > SegmentSettings.quick(images=2000).epochs
