"""Depthwise convolutions that learn in float32."""

import copy

import pytest
import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from tag2mask.nets.backbones import Backbone
from tag2mask.nets.depthwise import DepthwiseConv2d, DepthwiseConv2dSame, learn_depthwise_in_float32

CASES = [(1, 1), (2, 1), (1, 2)]


def both(kind, stride, dilation):
    torch.manual_seed(0)
    pads = {} if kind == "same" else {"padding": dilation}
    layer = (
        Conv2dSame(6, 6, 3, stride=stride, dilation=dilation, groups=6)
        if kind == "same"
        else nn.Conv2d(6, 6, 3, stride=stride, dilation=dilation, groups=6, **pads)
    )
    net = nn.Sequential(copy.deepcopy(layer))
    learn_depthwise_in_float32(net)
    return layer, net[0]


@pytest.mark.parametrize(("stride", "dilation"), CASES)
@pytest.mark.parametrize(("kind", "expected"), [("plain", DepthwiseConv2d), ("same", DepthwiseConv2dSame)])
def test_values_are_those_of_the_layer_it_stands_for(kind, expected, stride, dilation):
    layer, new = both(kind, stride, dilation)
    pixels = torch.randn(2, 6, 11, 9)
    assert type(new) is expected
    assert new(pixels).equal(layer(pixels))
    assert new.state_dict().keys() == layer.state_dict().keys()


@pytest.mark.parametrize("kind", ["plain", "same"])
def test_gradients_under_autocast_are_those_of_float32(kind):
    layer, new = both(kind, 1, 1)
    pixels = torch.randn(2, 6, 11, 9).bfloat16().float()
    layer(pixels).square().sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        found = new(pixels)
    assert found.dtype == torch.bfloat16
    found.float().square().sum().backward()
    torch.testing.assert_close(
        new.weight.grad, layer.weight.grad, rtol=0.02, atol=0.02 * float(layer.weight.grad.std())
    )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert new(pixels).dtype == torch.bfloat16


def test_only_depthwise_layers_are_exchanged_and_names_stay():
    net = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    before, weights = list(net.state_dict()), {id(weight) for weight in net.parameters()}
    learn_depthwise_in_float32(net)
    assert list(net.state_dict()) == before
    assert {id(weight) for weight in net.parameters()} == weights
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            assert isinstance(layer, DepthwiseConv2d | DepthwiseConv2dSame) == (layer.groups > 1)


def test_backbones_have_them():
    assert any(isinstance(layer, DepthwiseConv2d) for layer in Backbone("mobilenetv2_035", 16).modules())
    assert not any(isinstance(layer, DepthwiseConv2d) for layer in Backbone("resnet10t", 16).modules())
