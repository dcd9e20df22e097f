"""The wide ResNet-38: the published layers, strides and dilations, batch norm that never learns."""

import math

import pytest
import torch
from torch import nn

from paper_nets import pixels, shadow, whole
from reference.authors_networks import RESNET38_BLOCKS, RESNET38_BOTTLENECKS, resnet38_shapes
from tag2mask.nets.paper_backbones import freeze_first_stages
from tag2mask.nets.resnet38 import ResNet38


@pytest.fixture(scope="module")
def net():
    return whole(ResNet38)


def test_as_many_parameters_as_the_published_layers():
    expected = sum(math.prod(shape) for name, shape in resnet38_shapes().items() if "running" not in name)
    assert sum(parameter.numel() for parameter in shadow(ResNet38).parameters()) == expected == 105_070_912


def test_38_layers_with_weights_as_the_name_says():
    convolutions = [part for part in shadow(ResNet38).modules() if isinstance(part, nn.Conv2d)]
    beside = [name for name, _ in shadow(ResNet38).named_modules() if name.endswith("shortcut")]
    # With the linear layer on top; the convolutions beside others are not counted.
    assert len(convolutions) - len(beside) + 1 == 38


def test_the_published_dilations():
    convolutions = {name: part for name, part in shadow(ResNet38).named_modules() if isinstance(part, nn.Conv2d)}
    for name, *_, stride, first, second in RESNET38_BLOCKS:
        stage, block = (int(number) for number in (name[1:] + "_0").split("_")[:2])
        for conv, dilation, step in (("conv1", first, stride), ("conv2", second, 1)):
            found = convolutions[f"stage{stage}.{block}.{conv}"]
            assert (found.dilation, found.padding, found.stride) == ((dilation,) * 2, (dilation,) * 2, (step,) * 2)
    for name, *_ in RESNET38_BOTTLENECKS:
        assert convolutions[f"stage{name[1:]}.conv2"].dilation == (4, 4)
    coarse = [part for part in shadow(ResNet38, output_stride=32).modules() if isinstance(part, nn.Conv2d)]
    assert all(part.dilation == (1, 1) for part in coarse)


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
    net = shadow(ResNet38)
    freeze_first_stages(net)
    frozen = {
        name for name, part in net.named_modules() if isinstance(part, nn.Conv2d) and not part.weight.requires_grad
    }
    blocks = {f"stage2.{block}.{conv}" for block in range(3) for conv in ("conv1", "conv2")}
    assert frozen == {"stage1", "stage2.0.shortcut"} | blocks
    # The first two levels, as the settings of the stages count them.
    assert [net.feature_info.info[level]["module"] for level in (0, 1)] == ["norm1", "norm2"]
    assert [name for name, _ in net.named_children()][:4] == ["stage1", "norm1", "stage2", "norm2"]
