"""VGG-16 at stride 8: the published layers and dilations, pixels of the authors' size."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from paper_nets import pixels, shadow, whole
from reference.authors_networks import VGG16_LAYERS, vgg16_shapes
from tag2mask.nets.paper_backbones import freeze_first_stages
from tag2mask.nets.vgg16 import Vgg16Dilated


@pytest.fixture(scope="module")
def net():
    return whole(Vgg16Dilated)


def test_the_published_number_of_parameters():
    found = sum(parameter.numel() for parameter in shadow(Vgg16Dilated).parameters())
    assert found == sum(map(math.prod, vgg16_shapes().values()))
    # Chen et al., ICLR 2015, table of fields of view: 20.5 million, with a classifier of 21 classes on top.
    assert round((found + 21 * (1024 + 1)) / 1e6, 1) == 20.5


def test_the_published_dilations():
    found = [part.dilation[0] for part in shadow(Vgg16Dilated).modules() if isinstance(part, nn.Conv2d)]
    assert found == [layer[-1] or 1 for layer in VGG16_LAYERS if layer not in (1, 2)]
    assert [
        part.dilation[0] for part in shadow(Vgg16Dilated, output_stride=16).modules() if isinstance(part, nn.Conv2d)
    ] == [1] * 15


@pytest.mark.parametrize(("stride", "dilation"), [(8, 4), (16, 2)])
def test_a_widened_context(stride, dilation):
    net = shadow(Vgg16Dilated, output_stride=stride)
    before = [level.shape for level in net(torch.empty(1, 3, 40, 56, device="meta"))]
    net.widen_context()
    assert net.stage6[0].dilation == net.stage6[0].padding == (dilation, dilation)
    assert [level.shape for level in net(torch.empty(1, 3, 40, 56, device="meta"))] == before
    shadow(Vgg16Dilated, levels=5).widen_context()


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
    net = shadow(Vgg16Dilated)
    freeze_first_stages(net)
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    convolutions = ("stage1.0", "stage1.2", "stage2.0", "stage2.2")
    assert frozen == {f"{name}.{leaf}" for name in convolutions for leaf in ("weight", "bias")}
    assert [net.feature_info.info[level]["module"] for level in (0, 1)] == ["stage1", "stage2"]
