"""Feature maps at the declared stride, and errors that say what to do."""

import math

import pytest
import torch

from tag2mask.nets.backbones import (
    Backbone,
    freeze_batch_norm,
    frozen_parameters,
    level_strides,
    to_channels_last,
    until_stride,
    without_last,
)

KINDS = [
    ("resnet10t", 8), ("convnext_atto", 8), ("convnext_atto", 32), ("mobilenetv3_small_050", 16), ("test_vit", 16),
    ("edgenext_xx_small", 32), ("mambaout_femto", 32), ("vgg16_dilated", 8),
]  # fmt: skip
"""Convolutions with and without batch norm, a transformer, channels in the last place, a network of the papers."""


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
    whole, less = Backbone("resnet10t", 8), Backbone("resnet10t", 8, keep=without_last(1))
    assert less.channels == whole.channels[:-1]
    assert less.strides[-1] == 8
    assert sum(p.numel() for p in less.parameters()) < sum(p.numel() for p in whole.parameters()) / 2


@torch.no_grad()
def test_levels_behind_a_stride_may_be_left_out():
    whole, short = Backbone("resnet10t", 16).eval(), Backbone("resnet10t", 16, keep=until_stride(4)).eval()
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


def test_a_name_near_one_of_the_papers_is_told():
    with pytest.raises(ValueError, match=r"Near: resnet38"):
        Backbone("resnet_38")


@pytest.mark.parametrize(
    ("name", "stride", "found"),
    [
        ("resnet18", 7, 32),
        ("resnet18", 4, 32),
        ("vgg16", 8, 32),
        ("vit_tiny_patch16_224", 8, 16),
    ],
)
def test_an_impossible_stride_is_told_with_the_possible_one(name, stride, found):
    with pytest.raises(ValueError, match=f"{name}.*output stride {stride}.*Set output_stride to {found}"):
        Backbone(name, stride)
    assert level_strides(name, stride)[-1] == found


@pytest.mark.parametrize(("name", "stride"), [("beit_base_patch16_224", 16), ("inception_v3", 32)])
def test_a_network_without_maps_of_images_of_any_size_is_told(name, stride):
    with torch.device("meta"), pytest.raises(ValueError, match=f"{name}.*expected feature maps of images of any size"):
        Backbone(name, stride)


def test_too_many_levels_left_out_are_told():
    with pytest.raises(ValueError, match=r"fewer than the backbone's 5 levels, got 5"):
        Backbone("resnet10t", 16, keep=without_last(5))


@pytest.mark.parametrize(("name", "stride"), KINDS)
@pytest.mark.parametrize("size", [(64, 96), (33, 50), (3, 70)])
@torch.no_grad()
def test_every_kind_has_its_levels_for_every_size(name, stride, size):
    backbone = Backbone(name, stride).eval()
    levels = backbone(torch.randn(2, 3, *size))
    assert backbone.output_stride == stride
    for level, channels, cell in zip(levels, backbone.channels, backbone.strides, strict=True):
        assert level.shape == (2, channels, math.ceil(size[0] / cell), math.ceil(size[1] / cell))


@torch.no_grad()
@pytest.mark.parametrize(("name", "stride"), KINDS)
def test_every_kind_takes_an_image_by_itself_and_in_a_batch_alike(name, stride):
    backbone = Backbone(name, stride).eval()
    pixels = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    for both, one in zip(backbone(pixels), backbone(pixels[1:]), strict=True):
        torch.testing.assert_close(both[1:], one, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_an_image_is_padded_on_the_right_and_at_the_bottom_only():
    backbone = Backbone("test_vit", 16).eval()
    pixels = torch.randn(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(pixels, (0, 8, 0, 8))
    for level, same in zip(backbone(pixels), backbone(padded), strict=True):
        assert level.equal(same)


@torch.no_grad()
def test_the_levels_of_a_transformer_are_its_quarters_and_their_last_is_timm_s_last():
    import timm

    whole = Backbone("deit_tiny_patch16_224", 16).eval()
    assert whole.strides == (16, 16, 16, 16)
    plain = timm.create_model("deit_tiny_patch16_224", dynamic_img_size=True, num_classes=0).eval()
    plain.load_state_dict({name.removeprefix("model."): value for name, value in whole.net.state_dict().items()})
    pixels = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    expected = plain.forward_features(pixels)[:, plain.num_prefix_tokens :].transpose(1, 2).unflatten(2, (2, 3))
    torch.testing.assert_close(whole(pixels)[-1], expected)
    short = Backbone("deit_tiny_patch16_224", 16, keep=without_last(2)).eval()
    assert len(short.net.model.blocks) == 6
    short.load_state_dict({name: value for name, value in whole.state_dict().items() if name in short.state_dict()})
    for level, same in zip(short(pixels), whole(pixels), strict=False):
        assert level.equal(same)


def test_positions_are_resampled_for_sizes_that_a_transformer_was_not_made_for():
    backbone = Backbone("test_vit", 16)
    maps = backbone(torch.randn(1, 3, 64, 96))[-1]
    maps.sum().backward()
    position = backbone.net.model.pos_embed
    assert position.grad is not None
    assert float((position.grad.abs().sum(dim=-1) > 0).float().mean()) > 0.9, "all places take part, not a corner"


@pytest.mark.parametrize(("name", "stride"), [("resnet10t", 8), ("convnext_atto", 16), ("test_vit", 16)])
def test_levels_may_be_left_out_of_every_kind(name, stride):
    whole = Backbone(name, stride)
    for keep, count in ((without_last(1), len(whole.strides) - 1), (until_stride(4), until_stride(4)(whole.strides))):
        less = Backbone(name, stride, keep=keep)
        assert (less.strides, less.channels) == (whole.strides[:count], whole.channels[:count])
        assert sum(p.numel() for p in less.parameters()) < sum(p.numel() for p in whole.parameters())
        assert less.state_dict().keys() < whole.state_dict().keys()


def test_random_weights_are_those_of_timm_and_so_is_what_follows_them():
    import timm

    torch.manual_seed(3)
    net = timm.create_model("resnet10t", features_only=True, output_stride=8)
    after = torch.rand(2)
    torch.manual_seed(3)
    backbone = Backbone("resnet10t", 8)
    assert torch.rand(2).equal(after)
    assert [f"net.{name}" for name in net.state_dict()] == list(backbone.state_dict())
    assert all(value.equal(backbone.net.state_dict()[name]) for name, value in net.state_dict().items())


def test_strides_are_found_without_a_random_number():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert level_strides("convnext_atto", 8) == (4, 8, 8, 8)
    assert level_strides("resnet38", 8) == (1, 2, 4, 8, 8, 8)
    assert torch.rand(2).equal(expected)


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


@pytest.mark.parametrize(("name", "stride"), KINDS)
def test_the_first_levels_are_frozen_of_every_kind_and_the_others_are_not(name, stride):
    backbone = Backbone(name, stride)
    frozen = {id(parameter) for parameter in frozen_parameters(backbone, 1)}
    assert backbone.training
    assert 0 < len(frozen) < len(list(backbone.parameters()))
    deeper = {id(parameter) for parameter in frozen_parameters(backbone, 2)}
    assert frozen < deeper
    assert all(parameter.grad is None for parameter in backbone.parameters()), "nothing is left behind"


def test_channels_last_changes_the_layout_and_no_value():
    backbone = Backbone("resnet10t", 16).eval()
    pixels = torch.randn(1, 3, 40, 40)
    before = backbone(pixels)[-1]
    assert to_channels_last(backbone) is backbone
    convolution = next(part for part in backbone.modules() if isinstance(part, torch.nn.Conv2d))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(backbone(pixels)[-1], before, rtol=1e-3, atol=1e-4)
