"""VGG-16 at stride 8: the published layers and dilations, pixels of the authors' size."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from reference.authors_networks import VGG16_LAYERS, vgg16_shapes
from tag2mask.nets.paper_backbones import PAPER_BACKBONES, freeze_first_stages
from tag2mask.nets.vgg16 import Vgg16Dilated

CHANNELS = [64, 128, 256, 512, 512, 1024]


def shadow(**changes):
    """A net without memory, for shapes and names."""
    with torch.device("meta"):
        return Vgg16Dilated(**changes)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Vgg16Dilated().eval()


def pixels(*size, count=1):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def test_the_published_number_of_parameters():
    found = sum(parameter.numel() for parameter in shadow().parameters())
    assert found == sum(map(math.prod, vgg16_shapes().values()))
    # Chen et al., ICLR 2015, table of fields of view: 20.5 million, with a classifier of 21 classes on top.
    assert round((found + 21 * (1024 + 1)) / 1e6, 1) == 20.5
    assert PAPER_BACKBONES["vgg16_dilated"] is Vgg16Dilated


@pytest.mark.parametrize(("stride", "strides"), [(8, [1, 2, 4, 8, 8, 8]), (16, [1, 2, 4, 8, 16, 16])])
@pytest.mark.parametrize("size", [(64, 96), (65, 47), (33, 9)])
def test_levels_have_the_declared_channels_and_strides(stride, strides, size):
    net = shadow(output_stride=stride)
    assert net.feature_info.channels() == CHANNELS
    assert net.feature_info.reduction() == strides
    levels = net(torch.empty(2, 3, *size, device="meta"))
    expected = [(2, D, math.ceil(size[0] / s), math.ceil(size[1] / s)) for D, s in zip(CHANNELS, strides, strict=True)]
    assert [tuple(level.shape) for level in levels] == expected


def test_the_published_dilations():
    found = [part.dilation[0] for part in shadow().modules() if isinstance(part, nn.Conv2d)]
    assert found == [layer[-1] or 1 for layer in VGG16_LAYERS if layer not in (1, 2)]
    assert [part.dilation[0] for part in shadow(output_stride=16).modules() if isinstance(part, nn.Conv2d)] == [1] * 15


@pytest.mark.parametrize(("stride", "dilation"), [(8, 4), (16, 2)])
def test_a_widened_context(stride, dilation):
    net = shadow(output_stride=stride)
    before = [level.shape for level in net(torch.empty(1, 3, 40, 56, device="meta"))]
    net.widen_context()
    assert net.stage6[0].dilation == net.stage6[0].padding == (dilation, dilation)
    assert [level.shape for level in net(torch.empty(1, 3, 40, 56, device="meta"))] == before
    shadow(levels=5).widen_context()


@torch.no_grad()
def test_dilated_and_halved_maps_are_the_same_where_they_meet(net):
    image = pixels(41, 56)
    fine, coarse = Vgg16Dilated(8).eval(), Vgg16Dilated(16).eval()
    for other in (fine, coarse):
        other.load_state_dict(net.state_dict())
        other.widen_context()
    for level, half in zip(fine(image), coarse(image), strict=True):
        step = math.ceil(level.shape[-1] / half.shape[-1])
        assert_close(level[..., ::step, ::step], half, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one_and_nothing_is_below_zero(net):
    both = pixels(24, 33, count=2)
    for together, first, second in zip(net(both), net(both[:1]), net(both[1:]), strict=True):
        assert_close(together, torch.cat([first, second]), rtol=1e-4, atol=1e-6)
        assert float(together.min()) >= 0


@torch.no_grad()
def test_fewer_levels_are_the_first_ones(net):
    less = Vgg16Dilated(levels=4).eval()
    less.load_state_dict({name: value for name, value in net.state_dict().items() if name in less.state_dict()})
    assert less.feature_info.channels() == CHANNELS[:4]
    assert all(level.equal(same) for level, same in zip(less(pixels(24, 24)), net(pixels(24, 24)), strict=False))


def test_the_pixels_are_the_authors_divided_by_64(net):
    mean, deviation = (torch.tensor(net.pretrained_cfg[name]) for name in ("mean", "std"))
    colour = torch.tensor([0.0, 116.669, 255.0])
    ours = (colour / 255 - mean) / deviation
    assert_close(64 * ours, torch.tensor([-122.675, 0.0, 255 - 104.008]), rtol=1e-5, atol=1e-4)


def test_every_layer_learns_and_dropout_is_for_training_only(net):
    torch.manual_seed(0)
    levels = net.train()(pixels(24, 24))
    levels[-1].sum().backward()
    net.eval()
    assert all(parameter.grad is not None for parameter in net.parameters())
    net.zero_grad(set_to_none=True)
    with torch.no_grad():
        calm = net(pixels(24, 24))
    assert [level.equal(same) for level, same in zip(calm, levels, strict=True)] == [True] * 5 + [False]


def test_the_stages_that_the_authors_freeze():
    net = shadow()
    freeze_first_stages(net)
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    convolutions = ("stage1.0", "stage1.2", "stage2.0", "stage2.2")
    assert frozen == {f"{name}.{leaf}" for name in convolutions for leaf in ("weight", "bias")}
    assert [net.feature_info.info[level]["module"] for level in (0, 1)] == ["stage1", "stage2"]


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match=r"Vgg16Dilated: output_stride: expected one of 8, 16, got 32\."):
        Vgg16Dilated(output_stride=32)
    for levels in (0, 7):
        with pytest.raises(ValueError, match=f"Vgg16Dilated: levels: expected 1 or more and below 7, got {levels}"):
            Vgg16Dilated(levels=levels)
