"""Stage 1: views of tagged images, and a classifier that is trained once."""

import torch

from tag2mask.stages.s1_classify import ClassifySettings, TaggedViews, build_classifier, train_classifier
from tag2mask.stages.views import crop_side
from tiny import tiny_runtime, tiny_settings


def test_views_follow_from_seed_epoch_and_name(scenes):
    settings = tiny_settings().classify
    net = build_classifier(settings, 6, tiny_runtime())
    views = TaggedViews(scenes, settings, net.backbone, tiny_runtime())
    name, pixels, tags = views[2, 3]
    assert name == scenes.names[3]
    assert tags.equal(scenes.tags(name))
    assert pixels.shape == (3, settings.crop, settings.crop)
    assert pixels.dtype == torch.float32
    torch.rand(5)
    assert views[2, 3][1].equal(pixels)
    assert not views[3, 3][1].equal(pixels)
    other = TaggedViews(scenes, settings, net.backbone, tiny_runtime(seed=1))
    assert not other[2, 3][1].equal(pixels)
    assert len(views) == 8


def test_first_weights_follow_from_the_seed():
    settings = tiny_settings().classify

    def weights(seed):
        return build_classifier(settings, 6, tiny_runtime(seed)).head.weight

    assert weights(0).equal(weights(0))
    assert not weights(0).equal(weights(1))


def test_a_finished_stage_gives_the_weights_back(scenes, copied):
    net = train_classifier(scenes, copied, tiny_settings().classify, runtime=tiny_runtime())
    kept = copied.weights("01_classify")
    assert all(value.equal(kept[name]) for name, value in net.state_dict().items())
    assert not (copied.path / "01_classify" / "checkpoint.safetensors").exists()


def test_presets():
    paper = ClassifySettings.paper()
    assert (paper.rate, paper.momentum, paper.epochs, paper.batch_size, paper.crop) == (0.1, 5e-4, 15, 16, 448)
    assert (paper.new_factor, paper.bias_factor, paper.dropout, paper.output_stride) == (10, 2, 0.5, 8)
    few, many = ClassifySettings.quick(images=50), ClassifySettings.quick(images=5000)
    assert few.epochs > many.epochs
    assert [crop_side(side) for side in (48, 144, 320)] == [64, 112, 240]
