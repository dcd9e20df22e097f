"""Settings changed by name, as --set does: a change that can not be says what is expected."""

import re

import pytest

from tag2mask.pipelines.overrides import change_settings
from tiny import tiny_settings


def test_settings_are_changed_by_name():
    settings = tiny_settings()
    changes = ["seed.alpha_object=2", "walk.steps=auto", "classify.backbone=resnet34"]
    changed = change_settings(settings, [*changes, "segment.rates=[1, 2]", "crf.iterations=3"])
    assert changed.seed.alpha_object == 2.0
    assert isinstance(changed.seed.alpha_object, float)
    assert changed.walk.steps == "auto"
    assert changed.classify.backbone == "resnet34"
    assert changed.segment.rates == (1, 2)
    assert changed.crf.iterations == 3
    assert settings == tiny_settings(), "the argument stays as it is"


@pytest.mark.parametrize(
    "change",
    [
        "seed.alpha=4",
        "nothing.alpha=4",
        "seed=4",
        "alpha_object=4",
        "seed.alpha_object",
        "seed.alpha_object=many",
        "classify.pretrained=true",
        "classify.backbone=18",
        "classify.epochs=[3]",
        "localize.scales=2",
        "classify.epochs=2.5",
        "classify.batch_size=auto",
        "classify.optimizer=adam",
        "segment.start_from=nowhere",
    ],
)
def test_a_change_that_can_not_be_is_told(change):
    with pytest.raises(ValueError, match="setting "):
        change_settings(tiny_settings(), [change])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("classify.epochs=2.5", "expected a whole number, got 2.5"),
        ("classify.epochs=NaN", "expected a whole number"),
        ("walk.steps=2.5", "expected a whole number or auto"),
        ("classify.optimizer=adam", "expected sgd or adamw, got 'adam'"),
        ("classify.jitter=[1, 2]", "expected a list of 4 times a number"),
        ('localize.scales=[1, "a"]', "expected a number, got 'a'"),
        ("classify.epochs=0", "ClassifySettings.epochs: expected 1 or more, got 0"),
        ("affinity.rate=0", "AffinitySettings.rate: expected a number above 0, got 0"),
        ("segment.warmup=1", "SegmentSettings.warmup: expected 0 or more and below 1, got 1"),
        ("affinity.radius=1", "AffinitySettings.radius: expected 2 or more"),
        ("affinity.cells=-1", "AffinitySettings.cells: expected 0 or more"),
        ("affinity.crop=0", "AffinitySettings.crop: expected 1 or more"),
        ("classify.long_side=[300, 200]", "the largest: expected 300 or more, got 200"),
        ("segment.jitter=[0, 0, 0, 0.6]", "expected a hue of at most 0.5"),
        ("localize.scales=[]", "expected at least one scale"),
        ("localize.scales=[1, 0]", "LocalizeSettings.scales: expected a number above 0"),
        ("classify.start_from=classifier", "ClassifySettings.start_from: expected one of imagenet, scratch"),
        ("affinity.start_from=scratch", "AffinitySettings.start_from: expected one of classifier, imagenet"),
        ("classify.weights=net.pth", "expected start_from 'imagenet' beside a file of weights, got 'scratch'"),
        ("classify.epochs=true", "expected a whole number, got True"),
        ("localize.map_stride=0", "LocalizeSettings.map_stride: expected 1 or more"),
    ],
)
def test_a_change_that_can_not_be_says_what_is_expected(change, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        change_settings(tiny_settings(), [change])


def test_whole_numbers_and_lists_are_taken_as_the_field_wants_them():
    changed = change_settings(tiny_settings(), ["classify.epochs=3.0", "localize.scales=[1, 2]", "walk.beta=4"])
    assert changed.classify.epochs == 3
    assert isinstance(changed.classify.epochs, int)
    assert changed.localize.scales == (1.0, 2.0)
    assert all(isinstance(scale, float) for scale in (*changed.localize.scales, changed.walk.beta))
