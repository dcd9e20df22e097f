"""The wide ResNet-38: the published layers, strides and dilations, batch norm that never learns."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from reference.authors_networks import RESNET38_BLOCKS, RESNET38_BOTTLENECKS, resnet38_shapes
from tag2mask.nets.paper_backbones import PAPER_BACKBONES, freeze_first_stages
from tag2mask.nets.resnet38 import ResNet38

CHANNELS = [64, 128, 256, 512, 1024, 4096]


def shadow(**changes):
    """A net without memory, for shapes and names."""
    with torch.device("meta"):
        return ResNet38(**changes)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return ResNet38().eval()


def pixels(*size, count=1):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def test_as_many_parameters_as_the_published_layers():
    expected = sum(math.prod(shape) for name, shape in resnet38_shapes().items() if "running" not in name)
    assert sum(parameter.numel() for parameter in shadow().parameters()) == expected == 105_070_912
    assert PAPER_BACKBONES["resnet38"] is ResNet38


def test_38_layers_with_weights_as_the_name_says():
    convolutions = [part for part in shadow().modules() if isinstance(part, nn.Conv2d)]
    beside = [name for name, _ in shadow().named_modules() if name.endswith("shortcut")]
    # With the linear layer on top; the convolutions beside others are not counted.
    assert len(convolutions) - len(beside) + 1 == 38


@pytest.mark.parametrize(
    ("stride", "strides"), [(8, [1, 2, 4, 8, 8, 8]), (16, [1, 2, 4, 8, 16, 16]), (32, [1, 2, 4, 8, 16, 32])]
)
@pytest.mark.parametrize("size", [(64, 96), (65, 47), (33, 9)])
def test_levels_have_the_declared_channels_and_strides(stride, strides, size):
    net = shadow(output_stride=stride)
    assert net.feature_info.channels() == CHANNELS
    assert net.feature_info.reduction() == strides
    levels = net(torch.empty(2, 3, *size, device="meta"))
    expected = [(2, D, math.ceil(size[0] / s), math.ceil(size[1] / s)) for D, s in zip(CHANNELS, strides, strict=True)]
    assert [tuple(level.shape) for level in levels] == expected


def test_the_published_dilations():
    convolutions = {name: part for name, part in shadow().named_modules() if isinstance(part, nn.Conv2d)}
    for name, *_, stride, first, second in RESNET38_BLOCKS:
        stage, block = (int(number) for number in (name[1:] + "_0").split("_")[:2])
        for conv, dilation, step in (("conv1", first, stride), ("conv2", second, 1)):
            found = convolutions[f"stage{stage}.{block}.{conv}"]
            assert (found.dilation, found.padding, found.stride) == ((dilation,) * 2, (dilation,) * 2, (step,) * 2)
    for name, *_ in RESNET38_BOTTLENECKS:
        assert convolutions[f"stage{name[1:]}.conv2"].dilation == (4, 4)
    coarse = [part for part in shadow(output_stride=32).modules() if isinstance(part, nn.Conv2d)]
    assert all(part.dilation == (1, 1) for part in coarse)


@torch.no_grad()
def test_dilated_and_halved_maps_are_the_same_where_they_meet(net):
    image, fine = pixels(41, 56), net(pixels(41, 56))
    for stride in (16, 32):
        with torch.device("meta"):
            other = ResNet38(stride).eval()
        other.load_state_dict(net.state_dict(), assign=True)
        for level, coarse in zip(fine, other(image), strict=True):
            step = math.ceil(level.shape[-1] / coarse.shape[-1])
            assert_close(level[..., ::step, ::step], coarse, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one_and_nothing_is_below_zero(net):
    both = pixels(24, 33, count=2)
    for together, first, second in zip(net(both), net(both[:1]), net(both[1:]), strict=True):
        assert_close(together, torch.cat([first, second]), rtol=1e-4, atol=1e-5)
        assert float(together.min()) >= 0


@torch.no_grad()
def test_fewer_levels_are_the_first_ones(net):
    less = ResNet38(levels=4).eval()
    kept = {name: value for name, value in net.state_dict().items() if name in less.state_dict()}
    less.load_state_dict(kept)
    levels = less(pixels(24, 24))
    assert less.feature_info.channels() == CHANNELS[:4]
    assert all(level.equal(same) for level, same in zip(levels, net(pixels(24, 24)), strict=False))
    assert not any(name.startswith(("stage5", "norm5")) for name in kept)


def test_batch_norm_never_learns():
    net = ResNet38(levels=3).train()
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 13
    assert not any(norm.training or norm.weight.requires_grad or norm.bias.requires_grad for norm in norms)
    before = {name: value.clone() for name, value in net.named_buffers()}
    net(pixels(32, 32, count=2))[-1].sum().backward()
    assert all(value.equal(before[name]) for name, value in net.named_buffers())
    assert all(part.weight.grad is not None for part in net.modules() if isinstance(part, nn.Conv2d))


def test_dropout_of_whole_channels_in_the_last_stages_only(net):
    found = {name: part.p for name, part in net.named_modules() if isinstance(part, nn.Dropout2d)}
    assert found == {"stage6.dropout": 0.3, "stage7.dropout": 0.5}
    torch.manual_seed(0)
    with torch.no_grad():
        calm, wild = net(pixels(16, 16)), net.train()(pixels(16, 16))
    net.eval()
    assert [level.equal(same) for level, same in zip(calm, wild, strict=True)] == [True] * 5 + [False]


def test_the_stages_that_the_authors_freeze():
    net = shadow()
    freeze_first_stages(net)
    frozen = {
        name for name, part in net.named_modules() if isinstance(part, nn.Conv2d) and not part.weight.requires_grad
    }
    blocks = {f"stage2.{block}.{conv}" for block in range(3) for conv in ("conv1", "conv2")}
    assert frozen == {"stage1", "stage2.0.shortcut"} | blocks
    # The first two levels, as the settings of the stages count them.
    assert [net.feature_info.info[level]["module"] for level in (0, 1)] == ["norm1", "norm2"]
    assert [name for name, _ in net.named_children()][:4] == ["stage1", "norm1", "stage2", "norm2"]


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match=r"ResNet38: output_stride: expected one of 8, 16, 32, got 4\."):
        ResNet38(output_stride=4)
    for levels in (0, 7):
        with pytest.raises(ValueError, match=f"ResNet38: levels: expected 1 or more and below 7, got {levels}"):
            ResNet38(levels=levels)
