"""Feature maps at the declared stride, and errors that say what to do."""

import math

import pytest
import torch

from tag2mask.nets.backbones import Backbone, freeze_batch_norm, frozen_parameters, to_channels_last


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 50)])
def test_levels_have_the_declared_channels_and_strides(stride, size):
    backbone = Backbone("resnet10t", stride)
    levels = backbone.eval()(torch.zeros(1, 3, *size))
    assert backbone.output_stride == backbone.strides[-1] == stride
    assert len(levels) == len(backbone.channels) == len(backbone.strides)
    for level, channels, cell in zip(levels, backbone.channels, backbone.strides, strict=True):
        assert level.shape == (1, channels, math.ceil(size[0] / cell), math.ceil(size[1] / cell))


def test_a_level_may_be_left_out_with_its_blocks():
    whole, less = Backbone("resnet10t", 8), Backbone("resnet10t", 8, without_last=1)
    assert less.channels == whole.channels[:-1]
    assert less.strides[-1] == 8
    assert sum(p.numel() for p in less.parameters()) < sum(p.numel() for p in whole.parameters()) / 2


@torch.no_grad()
def test_levels_behind_a_stride_may_be_left_out():
    whole, short = Backbone("resnet10t", 16).eval(), Backbone("resnet10t", 16, until_stride=4).eval()
    assert (whole.strides, short.strides, short.output_stride) == ((2, 4, 8, 16, 16), (2, 4), 4)
    short.load_state_dict({name: value for name, value in whole.state_dict().items() if name in short.state_dict()})
    pixels = torch.randn(1, 3, 33, 47, generator=torch.Generator().manual_seed(0))
    for level, same in zip(short(pixels), whole(pixels), strict=False):
        assert level.equal(same)
    assert sum(p.numel() for p in short.parameters()) < sum(p.numel() for p in whole.parameters()) / 8


def test_an_unknown_name_is_told_with_near_ones():
    with pytest.raises(ValueError, match=r"timm has no model of this name\. Near: .*resnet") as error:
        Backbone("resnet18x")
    assert "resnet18x" in str(error.value)


@pytest.mark.parametrize(
    ("name", "stride"), [("resnet18", 7), ("resnet18", 4), ("vgg16", 8), ("vit_tiny_patch16_224", 8)]
)
def test_an_impossible_stride_is_told(name, stride):
    with pytest.raises(ValueError, match=f"{name}.*output stride {stride}"):
        Backbone(name, stride)


def test_a_level_that_has_another_stride_is_told():
    with pytest.raises(ValueError, match="asked for output stride 16, its last map has 4"):
        Backbone("resnet10t", 16, without_last=3)


def test_weights_that_can_not_be_had_say_what_to_do(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="weights could not be had") as error:
        Backbone("resnet10t", 16, pretrained=True)
    assert "pretrained=False" in str(error.value)
    assert "HF_HOME" in str(error.value)


def test_frozen_batch_norm_neither_uses_nor_changes_the_batch():
    backbone = Backbone("resnet10t", 16).train()
    freeze_batch_norm(backbone)
    norms = [part for part in backbone.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert backbone.training, "everything else stays as it was"
    before = [norm.running_mean.clone() for norm in norms]
    backbone(torch.randn(2, 3, 64, 64))
    assert all(norm.running_mean.equal(mean) for norm, mean in zip(norms, before, strict=True))


def test_frozen_parameters_are_those_of_the_first_levels():
    backbone = Backbone("resnet18", 16)
    assert frozen_parameters(backbone, 0) == []
    names = {id(parameter): name for name, parameter in backbone.net.named_parameters()}
    frozen = {names[id(parameter)].split(".")[0] for parameter in frozen_parameters(backbone, 2)}
    # Level 1 is the stem at stride 2, level 2 the first stage at stride 4.
    assert frozen == {"conv1", "bn1", "layer1"}
    assert len(frozen_parameters(backbone, len(backbone.channels))) == len(list(backbone.parameters()))


def test_frozen_levels_are_all_that_their_maps_depend_on():
    backbone = Backbone("resnet10t", 16).eval()
    chosen = {id(parameter) for parameter in frozen_parameters(backbone, 2)}
    backbone(torch.randn(1, 3, 32, 32))[1].sum().backward()
    for parameter in backbone.parameters():
        if parameter.grad is not None:
            assert id(parameter) in chosen


def test_channels_last_changes_the_layout_and_no_value():
    backbone = Backbone("resnet10t", 16).eval()
    pixels = torch.randn(1, 3, 40, 40)
    before = backbone(pixels)[-1]
    assert to_channels_last(backbone) is backbone
    convolution = next(part for part in backbone.modules() if isinstance(part, torch.nn.Conv2d))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(backbone(pixels)[-1], before, rtol=1e-3, atol=1e-4)
