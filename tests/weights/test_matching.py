"""Which tensor of a file is which of a backbone's: every name that is known, and every misfit told."""

import logging
import re

import pytest
import timm
import torch
import torchvision

from reference.authors_networks import draw_weights, vgg16_shapes
from tag2mask.nets.backbones import Backbone, without_last
from tag2mask.nets.classifier import CamClassifier
from tag2mask.weights.matching import fill_backbone


def weights_of(name, **how):
    torch.manual_seed(1)
    return timm.create_model(name, **how).state_dict()


def plain(name):
    return name.removeprefix("model.").replace("_", ".")


def all_filled(backbone, state):
    """Every tensor of the backbone is one of the file, by name; names with ``_`` for a dot are the same."""
    given = {plain(name): value for name, value in state.items()}
    own = {plain(name): value for name, value in backbone.net.state_dict().items()}
    return all(value.equal(given[name]) for name, value in own.items() if "num.batches" not in name)


@pytest.mark.parametrize(
    ("name", "stride"),
    [("resnet10t", 8), ("convnext_atto", 16), ("mobilenetv3_small_050", 16), ("test_vit", 16), ("mambaout_femto", 32)],
)
def test_the_whole_network_of_timm_and_its_feature_maps_are_known(name, stride, caplog):
    caplog.set_level(logging.DEBUG, logger="tag2mask.weights.matching")
    head = timm.get_pretrained_cfg(name).classifier
    for how in ({}, {"features_only": True}):
        backbone, state = Backbone(name, stride), weights_of(name, **how)
        fill_backbone(backbone, state, "net.safetensors")
        if how and name == "test_vit":
            state |= {"norm.weight": torch.ones(64), "norm.bias": torch.zeros(64)}  # timm leaves them out there.
        assert all_filled(backbone, state)
    assert "net.safetensors: not used by the backbone:" in caplog.text
    assert f"{head}.weight" in caplog.text or "and" in caplog.text


def test_names_of_torchvision_are_those_of_resnets_and_old_files_have_no_counters():
    state = torchvision.models.resnet18().state_dict()
    for given in (state, {name: value for name, value in state.items() if "num_batches" not in name}):
        backbone = Backbone("resnet18", 8)
        fill_backbone(backbone, given, "resnet18.pth")
        assert all_filled(backbone, state)


def test_weights_of_a_run_are_known():
    torch.manual_seed(1)
    trained = CamClassifier(Backbone("resnet10t", 16), 3)
    backbone = Backbone("resnet10t", 8)
    fill_backbone(backbone, trained.state_dict(), "weights.safetensors")
    assert all_filled(backbone, trained.backbone.net.state_dict())


def test_a_backbone_of_fewer_levels_takes_what_it_has():
    backbone, state = Backbone("resnet10t", 8, keep=without_last(1)), weights_of("resnet10t")
    fill_backbone(backbone, state, "net.pth")
    assert all_filled(backbone, state)


def test_positions_of_another_image_size_are_resampled():
    backbone, state = Backbone("vit_tiny_patch16_224", 16), weights_of("vit_tiny_patch16_384")
    state["pos_embed"] = torch.ones_like(state["pos_embed"])
    fill_backbone(backbone, state, "vit.pth")
    assert state["pos_embed"].shape[1] == 1 + 24 * 24
    position = backbone.net.model.pos_embed
    assert position.shape[1] == 1 + 14 * 14
    torch.testing.assert_close(position.detach(), torch.ones_like(position))


def test_names_of_an_older_release_are_translated_where_timm_knows_how():
    ours = weights_of("convnext_atto")
    theirs = {}
    for name, value in ours.items():
        old = name.replace("stem.", "downsample_layers.0.").replace("head.norm", "norm").replace("head.fc", "head")
        old = re.sub(r"stages\.(\d)\.downsample\.(\d)", r"downsample_layers.\1.\2", old)
        old = re.sub(r"stages\.(\d)\.blocks\.(\d+)", r"stages.\1.\2", old)
        theirs[old.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")] = value
    theirs = {
        name: value.flatten(1) if "pwconv" in name and value.ndim == 4 else value for name, value in theirs.items()
    }
    backbone = Backbone("convnext_atto", 16)
    fill_backbone(backbone, theirs, "convnext.pth")
    assert all_filled(backbone, ours)


def test_the_authors_networks_take_the_authors_names():
    backbone = Backbone("vgg16_dilated", 8)
    state = draw_weights(vgg16_shapes())
    fill_backbone(backbone, state, "vgg16_20M.pth")
    assert backbone.net.state_dict()["stage2.0.weight"].equal(state["conv2_1.weight"])
    with pytest.raises(ValueError, match=r"wrong\.pth: start weights: expected those of VGG-16"):
        fill_backbone(backbone, {"a": torch.zeros(1)}, "wrong.pth")


@pytest.mark.parametrize(
    ("backbone", "file", "words"),
    [
        ("resnet18", "resnet34", r"96 unexpected \(layer1\.2\.conv1\.weight, .* and 92 more\)"),
        ("resnet34", "resnet18", r"80 of 216 tensors missing \(layer1\.2\.conv1\.weight"),
        ("resnet18", "resnet10t", r"layer1\.1\.conv1\.weight"),
        ("test_vit", "vit_tiny_patch16_224", r"of another shape \(.*cls_token \(1, 1, 192\) instead of \(1, 1, 64\)"),
        ("resnet18", "convnext_atto", r"100 of 120 tensors missing"),
    ],
)
def test_weights_of_another_network_are_told_and_nothing_is_filled(backbone, file, words):
    net = Backbone(backbone, 16)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=f"net\\.pth: expected the weights of backbone '{backbone}'.*{words}"):
        fill_backbone(net, weights_of(file), "net.pth")
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())


def test_a_deeper_network_is_not_taken_for_this_one():
    # All that a ResNet-50 needs is in a ResNet-101, and would be trained for something else.
    with pytest.raises(ValueError, match=r"unexpected \(layer3\.6\.conv1\.weight"), torch.device("meta"):
        fill_backbone(Backbone("resnet50", 16), timm.create_model("resnet101").state_dict(), "resnet101.pth")


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
def test_a_backbone_without_memory_only_tries():
    with torch.device("meta"):
        backbone = Backbone("resnet10t", 16)
    fill_backbone(backbone, weights_of("resnet10t"), "net.pth")
    assert next(backbone.parameters()).is_meta
    with pytest.raises(ValueError, match="missing"):
        fill_backbone(backbone, {}, "net.pth")
