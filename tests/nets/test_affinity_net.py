"""AffinityNet: 448 channels at the declared stride, batch norm that never learns."""

import math

import pytest
import torch
from torch.testing import assert_close

from tag2mask.nets.affinity_net import SIDE_CHANNELS, SMALLEST_VARIANCE, AffinityNet
from tag2mask.nets.backbones import Backbone, without_last


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return AffinityNet(Backbone("resnet10t", 8)).eval()


def pixels(*size, count=2):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def test_the_published_channels():
    assert SIDE_CHANNELS == (64, 128, 256)
    assert sum(SIDE_CHANNELS) == 448


@pytest.mark.parametrize("size", [(64, 96), (65, 47), (33, 9)])
@torch.no_grad()
def test_448_channels_at_stride_8(net, size):
    assert net.stride == 8
    assert net.channels == 448
    assert net(pixels(*size)).shape == (2, 448, math.ceil(size[0] / 8), math.ceil(size[1] / 8))


@pytest.mark.parametrize(("stride", "left_out"), [(16, 0), (32, 0), (8, 1)])
@torch.no_grad()
def test_the_stride_is_the_backbone_s(stride, left_out):
    net = AffinityNet(Backbone("resnet10t", stride, keep=without_last(left_out) if left_out else None)).eval()
    assert net.stride == stride
    assert net(pixels(64, 64)).shape == (2, 448, 64 // stride, 64 // stride)


@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one(net):
    both = pixels(48, 64)
    assert_close(net(both), torch.cat([net(one[None]) for one in both]), rtol=1e-3, atol=1e-4)


def test_batch_norm_stays_frozen_in_training():
    net = AffinityNet(Backbone("resnet10t", 8)).train()
    assert net.training
    norms = [part for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    before = {name: value.clone() for name, value in net.named_buffers()}
    learning = net(pixels(64, 64))
    assert all(value.equal(before[name]) for name, value in net.named_buffers())
    with torch.no_grad():
        assert_close(learning, net.eval()(pixels(64, 64)), rtol=1e-3, atol=1e-4)


def test_every_layer_learns():
    net = AffinityNet(Backbone("resnet10t", 8)).train()
    net(pixels(32, 32)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_no_layer_of_its_own_has_a_bias(net):
    assert all(conv.bias is None for conv in (*net.sides, net.merge))


@pytest.mark.parametrize("scale", [0.01, 100])
@torch.no_grad()
def test_how_large_the_maps_are_does_not_matter(net, scale):
    expected = net(pixels(64, 64))
    hook = net.backbone.register_forward_hook(lambda _, __, levels: [level * scale for level in levels])
    try:
        assert_close(net(pixels(64, 64)), expected, rtol=1e-2, atol=1e-3)
    finally:
        hook.remove()


def test_all_but_the_authors_resnet38_have_norms_on_their_sides():
    with torch.device("meta"):
        nets = {name: AffinityNet(Backbone(name, 8)) for name in ("resnet38", "vgg16_dilated", "resnet10t")}
    assert all(isinstance(norm, torch.nn.Identity) for norm in nets["resnet38"].side_norms)
    for name, eps in (("vgg16_dilated", 1e-5), ("resnet10t", SMALLEST_VARIANCE)):
        norms = nets[name].side_norms
        assert [(norm.num_groups, norm.num_channels, norm.eps) for norm in norms] == [
            (groups, side, eps) for groups, side in zip((8, 16, 32), SIDE_CHANNELS, strict=True)
        ]


def test_three_levels_are_needed():
    backbone = Backbone("resnet10t", 8)
    backbone.channels = backbone.channels[-2:]
    with pytest.raises(ValueError, match="at least 3 feature levels, 'resnet10t' has 2"):
        AffinityNet(backbone)
