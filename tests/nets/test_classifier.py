"""The classifier and the maps that its weights make."""

import math

import pytest
import torch
from torch.testing import assert_close

from tag2mask.nets.backbones import Backbone
from tag2mask.nets.classifier import CamClassifier


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return CamClassifier(Backbone("resnet10t", 16), num_classes=4).eval()


def pixels(*size, count=2):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(64, 96), (65, 47), (33, 33)])
@torch.no_grad()
def test_shapes_at_odd_sizes(net, size):
    assert net(pixels(*size)).shape == (2, 4)
    assert net.cams(pixels(*size)).shape == (2, 4, math.ceil(size[0] / 16), math.ceil(size[1] / 16))


@torch.no_grad()
def test_maps_are_weights_dot_features_above_zero(net):
    features = net.backbone(pixels(64, 48))[-1]
    expected = torch.einsum("cd,bdhw->bchw", net.head.weight, features)
    maps = net.cams(pixels(64, 48))
    assert_close(maps, expected.clamp(min=0), rtol=1e-4, atol=1e-5)
    assert float(maps.min()) == 0
    assert float(expected.min()) < 0


@torch.no_grad()
def test_logits_are_the_maps_mean_before_the_cut(net):
    features = net.backbone(pixels(64, 48))[-1]
    maps = torch.einsum("cd,bdhw->bchw", net.head.weight, features)
    assert_close(net(pixels(64, 48)), maps.mean(dim=(-2, -1)), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one(net):
    both = pixels(48, 64)
    assert_close(net(both), torch.cat([net(one[None]) for one in both]), rtol=1e-4, atol=1e-5)
    assert_close(net.cams(both), torch.cat([net.cams(one[None]) for one in both]), rtol=1e-4, atol=1e-5)


def test_one_class_works_and_none_is_an_error():
    backbone = Backbone("resnet10t", 16)
    assert CamClassifier(backbone, 1)(pixels(32, 32)).shape == (2, 1)
    with pytest.raises(ValueError, match="num_classes: expected at least 1, got 0"):
        CamClassifier(backbone, 0)


def test_the_linear_layer_has_no_bias(net):
    assert net.head.bias is None
