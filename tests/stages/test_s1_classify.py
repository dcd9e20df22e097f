"""Stage 1: views of tagged images, and a classifier that is trained once."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from tag2mask.datasets.dataset import Reduced
from tag2mask.learning.base_rate import check_learned
from tag2mask.learning.schedule import crop_side
from tag2mask.learning.segmenting import SegmentSettings
from tag2mask.nets.backbones import Backbone
from tag2mask.pipelines.prepare import prepare
from tag2mask.runs.manifest import Origin
from tag2mask.runs.run_folder import RunFolder
from tag2mask.stages.s1_classify import (
    ClassifySettings,
    TaggedViews,
    build_classifier,
    train_classifier,
)
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


def test_a_file_is_what_the_backbone_starts_from(tmp_path):
    torch.manual_seed(1)
    state = timm.create_model("resnet10t").state_dict()
    torch.save(state, tmp_path / "net.pth")
    settings = replace(tiny_settings().classify, weights=str(tmp_path / "net.pth"), start_from="imagenet")
    net = build_classifier(settings, 6, tiny_runtime())
    assert all(value.equal(state[name]) for name, value in net.backbone.net.model.state_dict().items())
    # What is new is as random as without a file.
    plain = build_classifier(replace(settings, start_from="scratch", weights=""), 6, tiny_runtime())
    assert net.head.weight.equal(plain.head.weight)


def test_the_first_stages_of_the_papers_networks_stay_as_they_came(scenes, tmp_path):
    torch.manual_seed(1)
    start = Backbone("vgg16_dilated", 8).net.state_dict()
    torch.save({f"backbone.net.{name}": value for name, value in start.items()}, tmp_path / "vgg.pth")
    data = Reduced(scenes, scenes.names[:2], ())
    tiny = replace(tiny_settings().classify, epochs=1, batch_size=2, backbone="vgg16_dilated", output_stride=8)
    changed = {}
    for name, start_from, weights in (("file", "imagenet", str(tmp_path / "vgg.pth")), ("scratch", "scratch", "")):
        run = RunFolder(tmp_path / name)
        prepare(data, run, tiny_settings(), tiny_runtime(), strict=False, origin=Origin())
        settings = replace(tiny, start_from=start_from, weights=weights, long_side=(32, 32), crop=32)
        before = build_classifier(settings, 6, tiny_runtime()).state_dict()
        after = train_classifier(data, run, settings, runtime=tiny_runtime()).state_dict()
        changed[name] = {key for key, value in after.items() if not value.equal(before[key])}
    assert not any(key.startswith(("backbone.net.stage1", "backbone.net.stage2")) for key in changed["file"])
    assert any(key.startswith("backbone.net.stage3") for key in changed["file"])
    assert any(key.startswith("backbone.net.stage1") for key in changed["scratch"])


def test_a_classifier_that_learned_nothing_is_refused(scenes):
    settings = tiny_settings().classify
    net = build_classifier(settings, 6, tiny_runtime())
    torch.nn.init.zeros_(net.head.weight)
    check_learned(scenes, net, 0.7, settings, tiny_runtime())
    many = Reduced(scenes, scenes.names * 6, ())
    with pytest.raises(ValueError, match=r"learned nothing.*tag2mask.weights.*--force"):
        check_learned(many, net, 0.7, settings, tiny_runtime())
    check_learned(many, net, 0.1, settings, tiny_runtime())


def test_quick_with_weights_is_a_short_fine_tuning():
    tuned, scratch = ClassifySettings.quick(pretrained=True), ClassifySettings.quick()
    assert tuned.start_from == "imagenet"
    assert tuned.epochs < scratch.epochs
    assert tuned.new_factor > 1
    assert ClassifySettings.quick(144, pretrained=True).long_side[1] > 144, "small images are enlarged"


def test_presets():
    # 0.1 is the authors' for VGG-16 alone.
    paper = ClassifySettings.paper("vgg16_dilated")
    assert (paper.rate, paper.momentum, paper.epochs, paper.batch_size, paper.crop) == (0.1, 5e-4, 15, 16, 448)
    assert (paper.new_factor, paper.bias_factor, paper.dropout, paper.output_stride) == (10, 2, 0.5, 8)
    few, many = ClassifySettings.quick(images=50), ClassifySettings.quick(images=5000)
    assert few.epochs > many.epochs
    assert (ClassifySettings.quick(144).dropout, ClassifySettings.quick(320).dropout) == (0, 0.5)
    assert [crop_side(side) for side in (48, 144, 320)] == [64, 112, 240]


def test_the_page_about_settings_tells_the_numbers_of_the_code():
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    (told,) = [line for line in page.splitlines() if line.startswith("| `classify.epochs`")]
    fewest, most = (ClassifySettings.quick(320, images).epochs for images in (10**6, 1))
    tuned = tuple(ClassifySettings.quick(320, images, pretrained=True).epochs for images in (10**6, 1))
    assert f"quick: {fewest} to {most} from scratch, {tuned[0]} to {tuned[1]} with weights" in told
    (told,) = [line for line in page.splitlines() if line.startswith("| `segment.epochs`")]
    fewest, most = (SegmentSettings.quick(320, images).epochs for images in (10**6, 1))
    assert f"quick: {fewest} to {most}," in told
