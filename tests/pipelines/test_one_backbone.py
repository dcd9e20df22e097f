"""One backbone for all nets, weights to start from, and runs of other kinds of networks than ResNets."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

import tag2mask
from tag2mask.pipelines.affinitynet import AffinityNetSettings, run_affinitynet, settings_of
from tag2mask.pipelines.ial_settings import IALSettings
from tag2mask.pipelines.one_backbone import check_backbones, with_backbone
from tag2mask.runs.places import STAGES
from tiny import ROWS, times_of, tiny_ial, tiny_rounds, tiny_run, tiny_runtime, tiny_settings


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with weights of a ResNet-10."""
    path = tmp_path_factory.mktemp("weights") / "resnet10t.pth"
    torch.manual_seed(5)
    torch.save(timm.create_model("resnet10t").state_dict(), path)
    return str(path)


def nets_of(settings):
    return {name: net for name in settings.__dataclass_fields__ if hasattr(net := getattr(settings, name), "backbone")}


@pytest.mark.parametrize("settings", [AffinityNetSettings.quick(), AffinityNetSettings.paper(), IALSettings.quick()])
def test_nothing_asked_for_is_nothing_changed(settings):
    assert with_backbone(settings) == settings


@pytest.mark.parametrize(
    "settings", [AffinityNetSettings.quick(), AffinityNetSettings(), IALSettings(), IALSettings.quick()]
)
def test_a_backbone_is_that_of_all_nets_and_changes_nothing_else(settings):
    changed = with_backbone(settings, "convnext_atto")
    assert {net.backbone for net in nets_of(changed).values()} == {"convnext_atto"}
    assert len(nets_of(changed)) == 3
    names = {net.backbone for net in nets_of(settings).values()}
    assert with_backbone(changed, names.pop()) == settings


@pytest.mark.parametrize(
    ("name", "strides", "left_out"),
    [
        ("resnet18", (16, 8, 16), 1),
        ("vit_tiny_patch16_224", (16, 16, 16), 1),
        ("eva02_tiny_patch14_224", (14, 14, 14), 1),
        ("swin_tiny_patch4_window7_224", (32, 16, 32), 1),
        ("vgg16_dilated", (16, 8, 16), 1),
    ],
)
def test_every_net_has_a_stride_that_the_backbone_can_have(name, strides, left_out):
    changed = with_backbone(AffinityNetSettings.quick(), name)
    assert tuple(net.output_stride for net in nets_of(changed).values()) == strides
    assert changed.affinity.without_last == left_out


def test_affinity_net_keeps_three_levels():
    changed = with_backbone(AffinityNetSettings.quick(), "efficientvit_m0")
    assert (changed.affinity.without_last, changed.affinity.output_stride) == (0, 64)


def test_weights_start_the_classifier_and_what_does_not_start_from_it(weights):
    quick = with_backbone(AffinityNetSettings.quick(), "resnet10t", weights=weights)
    assert (quick.classify.weights, quick.classify.start_from) == (weights, "imagenet")
    assert [(net.start_from, net.weights) for net in (quick.affinity, quick.segment)] == [("classifier", "")] * 2
    default = with_backbone(AffinityNetSettings(), "resnet10t", weights=weights)
    assert [(net.start_from, net.weights) for net in (default.affinity, default.segment)] == [("imagenet", weights)] * 2
    rounds = with_backbone(IALSettings(), "resnet10t", weights=weights)
    assert (rounds.unary.start_from, rounds.unary.weights) == ("imagenet", weights)
    for net in (rounds.mine, rounds.pairwise):
        assert net.start_from == "classifier" or net.weights == weights


def test_published_weights_start_the_classifier():
    quick = with_backbone(AffinityNetSettings.quick(), pretrained=True)
    assert (quick.classify.start_from, quick.classify.backbone) == ("imagenet", "resnet18")
    assert quick.affinity.start_from == "classifier"
    # The recipes with ImageNet weights are made for them.
    assert with_backbone(AffinityNetSettings(), pretrained=True) == AffinityNetSettings()


def test_with_weights_to_start_from_a_backbone_learns_slowly_and_what_is_new_as_fast_as_before(weights):
    quick = AffinityNetSettings.quick()
    for changed in (with_backbone(quick, pretrained=True), with_backbone(quick, weights=weights)):
        for name, net in nets_of(changed).items():
            before = getattr(quick, name)
            assert net.rate == pytest.approx(before.rate / 10)
            assert net.rate * net.new_factor == pytest.approx(before.rate * before.new_factor)
        assert with_backbone(changed, pretrained=True).classify.rate == changed.classify.rate, "once, not twice"


def test_a_run_that_can_not_start_is_told_before_anything_is_computed(scenes, tmp_path, weights, monkeypatch):
    def fail(*_args, **_kwargs):
        raise AssertionError("computed")

    monkeypatch.setattr(type(scenes), "digest", fail)
    bad = {
        "nowhere": with_backbone(tiny_settings(), weights=str(tmp_path / "nowhere.pth")),
        "expected the weights of backbone 'resnet18'": with_backbone(tiny_settings(), "resnet18", weights=weights),
        "timm has no model": with_backbone(tiny_settings(segment=replace(tiny_settings().segment, backbone="resnetx"))),
        "segment.backbone: expected the classifier's": tiny_settings(
            segment=replace(tiny_settings().segment, backbone="resnet18", start_from="classifier")
        ),
        "no output stride 7": tiny_settings(affinity=replace(tiny_settings().affinity, output_stride=7)),
    }
    for words, settings in bad.items():
        with pytest.raises(ValueError, match=words):
            tiny_run(scenes, tmp_path / "run", settings)
    rounds = tiny_rounds()
    with pytest.raises(ValueError, match="nowhere"):
        tiny_ial(scenes, tmp_path / "run", rounds, first=bad["nowhere"])
    unary = replace(rounds.unary, start_from="imagenet", weights=str(tmp_path / "nowhere.pth"))
    with pytest.raises(ValueError, match="nowhere"):
        tiny_ial(scenes, tmp_path / "run", replace(rounds, unary=unary), first=tiny_settings())
    assert not (tmp_path / "run").exists()


def test_published_weights_are_looked_for_before_anything_is_computed(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tag2mask.weights.starting.check_pretrained", lambda name: (_ for _ in ()).throw(ValueError(name))
    )
    segment = replace(tiny_settings().segment, start_from="imagenet")
    with pytest.raises(ValueError, match="resnet10t"):
        tiny_run(scenes, tmp_path / "run", tiny_settings(segment=segment))
    assert not (tmp_path / "run").exists()


def test_a_finished_run_needs_no_weights_any_more(scenes, copied, monkeypatch):
    monkeypatch.setattr("tag2mask.pipelines.one_backbone.check_backbone", lambda *_, **__: pytest.fail("looked"))
    check_backbones(copied, tiny_settings())
    tiny_run(scenes, copied.path)


def test_the_content_of_a_file_counts_and_not_its_place(scenes, weights, tmp_path, caplog):
    moved = tmp_path / "elsewhere.pth"
    moved.write_bytes(Path(weights).read_bytes())
    tiny = with_backbone(tiny_settings(), weights=weights)
    first = replace(tiny, classify=replace(tiny.classify, epochs=1))
    again = replace(first, classify=replace(first.classify, weights=str(moved)))
    rounds = replace(tiny_rounds(), rounds=replace(tiny_rounds().rounds, count=1))
    out = tmp_path / "run"

    def made(settings):
        """Runs the first stages and one round; gives when the files of the stages were written."""
        tiny_ial(scenes, out, rounds, first=settings)
        return {name: time for name, time in times_of(out).items() if name.count("/")}

    before = made(first)
    assert made(again) == before
    assert settings_of(tag2mask.RunFolder(out)).classify.weights == str(moved)
    torch.manual_seed(6)
    torch.save(timm.create_model("resnet10t").state_dict(), moved)
    caplog.clear()
    after = made(again)
    assert "01_classify: settings changed: weights 'blake2b:" in caplog.text
    assert "02_localize: it depends on 01_classify, which ran again" in caplog.text
    for name in ("01_classify/weights.safetensors", "03_seed/stage.json", "rounds/1/1_unary/weights.safetensors"):
        assert after[name] > before[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_vit", "convnext_atto"])
def test_a_transformer_and_a_net_without_batch_norm_go_from_tags_to_masks(scenes, scenes_folder, tmp_path, name):
    settings = with_backbone(tiny_settings(), name)
    settings = replace(settings, affinity=replace(settings.affinity, without_last=1))
    run = run_affinitynet(scenes, tmp_path / "run", settings, runtime=tiny_runtime())
    assert sorted(run.stage_summaries()) == sorted(STAGES)
    assert tuple(row.key for row in tag2mask.score(run, scenes).rows) == ROWS
    before = times_of(run.path)
    tiny_run(scenes, run.path, settings)
    assert all(time == before[path] for path, time in times_of(run.path).items() if path != "run.json")
    rounds = with_backbone(replace(tiny_rounds(), rounds=replace(tiny_rounds().rounds, count=1)), name)
    tiny_ial(scenes, run.path, rounds, start=run)
    trained = tag2mask.load(run.path, runtime=tiny_runtime())
    image = scenes_folder / "images" / f"{scenes.val_names[0]}.png"
    for refine in (False, True):
        assert trained.predict(image, refine=refine).labels.shape == (48, 48)


@pytest.mark.parametrize("kind", [AffinityNetSettings, IALSettings])
def test_quick_with_weights_has_one_backbone_for_all_nets(kind):
    nets = kind.quick(pretrained=True).nets().values()
    assert {net.backbone for net in nets} == {"tf_efficientnet_lite0"}
    assert kind.quick(pretrained=True) == with_backbone(
        kind.quick(pretrained=True), "tf_efficientnet_lite0", pretrained=True
    )
