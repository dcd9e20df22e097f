"""What all trainings share: epochs for small sets, rates, weights to begin with, and the authors' loader."""

from dataclasses import replace

import pytest
from torch import nn

from tag2mask.learning.batches import epoch_batches
from tag2mask.learning.fit import _optimizer
from tag2mask.learning.pairwise import PairwiseSettings
from tag2mask.learning.schedule import NetSettings, Schedule, epochs_for, view_sides
from tag2mask.learning.segmenting import SegmentSettings
from tag2mask.pipelines.affinitynet import AffinityNetSettings
from tag2mask.pipelines.ial_settings import IALSettings
from tag2mask.runtime import Runtime
from tag2mask.stages.r3_mine import MineSettings
from tag2mask.stages.s1_classify import ClassifySettings
from tag2mask.stages.s4_affinity import AffinitySettings

CLASSES = (ClassifySettings, AffinitySettings, SegmentSettings, MineSettings, PairwiseSettings)


@pytest.mark.parametrize(("images", "epochs"), [(1, 70), (242, 70), (243, 70), (250, 68), (1700, 10), (50_000, 10)])
def test_small_sets_get_more_epochs_within_bounds(images, epochs):
    assert epochs_for(images, 17_000, 10, 70) == epochs
    assert ClassifySettings.quick(images=images).epochs == epochs


def test_views_are_shares_of_the_image():
    assert view_sides(144, 0.7, 1.1) == (101, 158)


@pytest.mark.parametrize(("count", "size", "batches"), [(10, 4, 2), (8, 4, 2), (3, 4, 1), (1, 4, 1)])
def test_a_last_small_batch_can_be_left_out_but_not_the_only_one(count, size, batches):
    class Places:
        def __len__(self):
            return count

        def __getitem__(self, place):
            return place[1]

    schedule = Schedule(epochs=1, batch_size=size, rate=1.0, fill_last=False)
    make, steps = epoch_batches(Places(), list, schedule, Runtime("cpu", "32"), "test")
    found = list(make(0))
    assert len(found) == steps == batches
    assert all(len(batch) == min(size, count) for batch in found)
    shown = [index for batch in found for index in batch]
    assert len(set(shown)) == len(shown), "nothing is shown twice"


def test_momentum_looks_ahead_only_where_the_settings_say_so():
    net = nn.Linear(2, 2)
    found = {
        (momentum, nesterov): _optimizer(net, Schedule(1, 1, 0.1, momentum=momentum, nesterov=nesterov)).defaults
        for momentum in (0.0, 0.9)
        for nesterov in (True, False)
    }
    assert {key for key, defaults in found.items() if defaults["nesterov"]} == {(0.9, True)}


def test_the_published_recipes_have_neither_nesterov_nor_a_filled_batch():
    first, rounds = AffinityNetSettings.paper(), IALSettings.paper()
    for net in (*first.nets().values(), *rounds.nets().values()):
        assert (net.nesterov, net.fill_last) == (False, False)
    for net in (*AffinityNetSettings.quick().nets().values(), *IALSettings().nets().values()):
        assert (net.nesterov, net.fill_last) == (True, True)


@pytest.mark.parametrize(
    ("backbone", "classify", "affinity"),
    [("vgg16_dilated", 0.1, 0.1), ("resnet38", 0.01, 0.01), ("resnet50", 0.01, 0.01)],
)
def test_the_published_rates_are_those_of_the_network(backbone, classify, affinity):
    paper = AffinityNetSettings.paper(backbone)
    assert (paper.classify.rate, paper.affinity.rate) == (classify, affinity)
    assert paper.classify.backbone == paper.affinity.backbone == backbone
    assert paper.classify.momentum == paper.affinity.momentum == 5e-4


@pytest.mark.parametrize("kind", CLASSES)
def test_weights_to_begin_with_are_among_those_that_a_network_can_have(kind):
    settings = kind()
    for start in ("classifier", "imagenet", "scratch"):
        if start in kind.starts:
            assert replace(settings, start_from=start).start_from == start
        else:
            with pytest.raises(ValueError, match=rf"{kind.__name__}\.start_from: expected one of"):
                replace(settings, start_from=start)
    others = [start for start in kind.starts if start != "imagenet"]
    with pytest.raises(ValueError, match="expected start_from 'imagenet' beside a file of weights"):
        replace(settings, start_from=others[0], weights="net.pth")


@pytest.mark.parametrize("kind", CLASSES)
def test_a_bad_number_is_told_with_class_and_field(kind):
    name = kind.__name__
    for changes, words in (
        ({"crop": 0}, f"{name}.crop: expected 1 or more"),
        ({"output_stride": 0}, f"{name}.output_stride: expected 1 or more"),
        ({"jitter": (0.1, -0.1, 0, 0)}, f"{name}.jitter: expected 0 or more"),
        ({"jitter": (0, 0, 0, 0.6)}, "expected a hue of at most 0.5"),
        ({"rate": 0.0}, f"{name}.rate: expected a number above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(kind(), **changes)


def test_every_network_has_one_base_of_settings():
    assert all(issubclass(kind, NetSettings) for kind in CLASSES)
