"""Stage 4: views with the seeds of their cells, and a net that starts from the classifier."""

from dataclasses import replace

import pytest
import torch

from tag2mask.labels import IGNORE
from tag2mask.nets.backbones import Backbone
from tag2mask.records import SeedScores, TaggedImage
from tag2mask.stages.s4_affinity import AffinitySettings, SeedViews, build_affinity_net, train_affinity
from tag2mask.weights.matching import in_own_names
from tiny import tiny_runtime, tiny_settings


class OneImage:
    """A dataset of one image with its left half of class 2, and the scores that say so."""

    names = ("a",)

    def __init__(self, size=(48, 96)):
        self.size = size

    def __getitem__(self, name):
        return TaggedImage(name, torch.zeros(3, *self.size, dtype=torch.uint8), torch.tensor([False, False, True]))

    def scores(self):
        maps = torch.zeros(2, self.size[0] // 4, self.size[1] // 4)
        maps[1, :, : self.size[1] // 8], maps[0, :, self.size[1] // 8 :] = 1, 1
        return {"a": SeedScores("a", torch.tensor([2]), maps, maps)}


def views_of(settings, data=None):
    data = data or OneImage()
    backbone = Backbone("resnet10t", settings.output_stride)
    return SeedViews(data, data.scores(), settings, backbone, tiny_runtime())


def test_a_view_that_holds_the_whole_image_has_its_seeds():
    settings = AffinitySettings(cells=12, crop=12, output_stride=8, jitter=(0, 0, 0, 0))
    name, pixels, labels = views_of(settings)[0, 0]
    assert name == "a"
    assert pixels.shape == (3, 96, 96)
    assert labels.shape == (12, 12)
    # 6 rows of cells lie inside the image, at any height; cells that are partly outside are unsure.
    inside = (labels != IGNORE).any(dim=1)
    assert 5 <= int(inside.sum()) <= 6
    rows = labels[inside]
    assert ((rows == 3) | (rows == 0)).float().mean() > 0.8
    assert set(labels.unique().tolist()) == {0, 3, IGNORE}
    left, right = rows[:, :5], rows[:, 7:]
    assert (left.unique().tolist(), right.unique().tolist()) in (([3], [0]), ([0], [3]))


@pytest.mark.parametrize("epoch", range(4))
def test_what_lies_outside_the_image_is_unsure_and_nothing_else_is(epoch):
    settings = AffinitySettings(cells=12, crop=16, output_stride=8, jitter=(0, 0, 0, 0))
    _, pixels, labels = views_of(settings)[epoch, 0]
    seen = (pixels != 0).any(dim=0).unflatten(0, (16, 8)).unflatten(-1, (16, 8)).float().mean(dim=(1, 3))
    assert ((labels != IGNORE) == (seen == 1)).all()


def test_views_follow_from_the_epoch():
    settings = AffinitySettings(cells=24, crop=8, output_stride=8)
    views = views_of(settings)
    assert views[1, 0][1].equal(views[1, 0][1])
    assert any(not views[1, 0][2].equal(views[epoch, 0][2]) for epoch in range(2, 8))


def test_the_net_starts_from_the_classifier(finished):
    net = build_affinity_net(tiny_settings().affinity, finished, tiny_runtime())
    own = {f"backbone.{name}": value for name, value in net.backbone.state_dict().items()}
    kept = in_own_names(finished.weights("01_classify"), own)
    assert all(value.equal(kept[name]) for name, value in own.items())


def test_early_levels_stay_as_they_were(finished):
    after = finished.weights("04_affinity")
    before = in_own_names(finished.weights("01_classify"), after)
    assert tiny_settings().affinity.frozen_levels == 2
    frozen = [name for name in after if name.startswith(("backbone.net.conv1", "backbone.net.layer1"))]
    assert frozen
    assert all(after[name].equal(before[name]) for name in frozen)
    moved = [name for name in after if name.startswith("backbone.net.layer4") and name.endswith("conv1.weight")]
    assert all(not after[name].equal(before[name]) for name in moved)
    running = [name for name in after if name.endswith(("running_mean", "running_var"))]
    assert all(after[name].equal(before[name]) for name in running), "batch norm is frozen"


def test_another_backbone_than_the_classifier_s_is_told(finished):
    settings = replace(tiny_settings().affinity, backbone="resnet18")
    with pytest.raises(ValueError, match=r"04_affinity: expected the classifier's backbone to be 'resnet18' too"):
        build_affinity_net(settings, finished, tiny_runtime())


def test_a_finished_stage_gives_the_weights_back(scenes, copied):
    net = train_affinity(scenes, copied.seed_scores, copied, tiny_settings().affinity, runtime=tiny_runtime())
    kept = copied.weights("04_affinity")
    assert all(value.equal(kept[name]) for name, value in net.state_dict().items())
    assert {"same_background", "same_object", "different", "loss"} <= copied.curves()["04_affinity"].keys()


def test_presets():
    paper = AffinitySettings.paper()
    assert (paper.radius, paper.output_stride, paper.epochs, paper.batch_size, paper.crop * 8) == (5, 8, 8, 8, 448)
    assert AffinitySettings.quick(50).epochs > AffinitySettings.quick(5000).epochs
