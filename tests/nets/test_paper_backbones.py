"""Both networks of the papers: declared channels and strides, dilation instead of halving, levels left out."""

import math

import pytest
import torch
from torch.testing import assert_close

from paper_nets import pixels, shadow, whole
from tag2mask.nets.paper_backbones import PAPER_BACKBONES
from tag2mask.nets.resnet38 import ResNet38
from tag2mask.nets.vgg16 import Vgg16Dilated

CHANNELS = {ResNet38: [64, 128, 256, 512, 1024, 4096], Vgg16Dilated: [64, 128, 256, 512, 512, 1024]}
STRIDES = [
    (ResNet38, 8, [1, 2, 4, 8, 8, 8]),
    (ResNet38, 16, [1, 2, 4, 8, 16, 16]),
    (ResNet38, 32, [1, 2, 4, 8, 16, 32]),
    (Vgg16Dilated, 8, [1, 2, 4, 8, 8, 8]),
    (Vgg16Dilated, 16, [1, 2, 4, 8, 16, 16]),
]
BOTH = pytest.mark.parametrize("kind", CHANNELS)


def test_their_names():
    assert {"resnet38": ResNet38, "vgg16_dilated": Vgg16Dilated} == PAPER_BACKBONES


@pytest.mark.parametrize(("kind", "stride", "strides"), STRIDES)
@pytest.mark.parametrize("size", [(64, 96), (65, 47), (33, 9)])
def test_levels_have_the_declared_channels_and_strides(kind, stride, strides, size):
    net = shadow(kind, output_stride=stride)
    assert net.feature_info.channels() == CHANNELS[kind]
    assert net.feature_info.reduction() == strides
    levels = net(torch.empty(2, 3, *size, device="meta"))
    sides = [(math.ceil(size[0] / s), math.ceil(size[1] / s)) for s in strides]
    assert [tuple(level.shape) for level in levels] == [
        (2, depth, *side) for depth, side in zip(CHANNELS[kind], sides, strict=True)
    ]


@torch.no_grad()
@pytest.mark.parametrize(("kind", "stride"), [(kind, stride) for kind, stride, _ in STRIDES if stride > 8])
def test_dilated_and_halved_maps_are_the_same_where_they_meet(kind, stride):
    image, nets = pixels(41, 56), []
    for each in (8, stride):
        net = shadow(kind, output_stride=each).eval()
        net.load_state_dict(whole(kind).state_dict(), assign=True)
        if kind is Vgg16Dilated:
            net.widen_context()
        nets.append(net)
    for level, coarse in zip(nets[0](image), nets[1](image), strict=True):
        step = math.ceil(level.shape[-1] / coarse.shape[-1])
        assert_close(level[..., ::step, ::step], coarse, rtol=1e-4, atol=1e-5)


@BOTH
@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one_and_nothing_is_below_zero(kind):
    net, both = whole(kind), pixels(24, 33, count=2)
    for together, first, second in zip(net(both), net(both[:1]), net(both[1:]), strict=True):
        assert_close(together, torch.cat([first, second]), rtol=1e-4, atol=1e-5)
        assert float(together.min()) >= 0


@BOTH
@torch.no_grad()
def test_fewer_levels_are_the_first_ones(kind):
    net, less = whole(kind), kind(levels=4).eval()
    kept = {name: value for name, value in net.state_dict().items() if name in less.state_dict()}
    less.load_state_dict(kept)
    levels = less(pixels(24, 24))
    assert len(levels) == 4
    assert less.feature_info.channels() == CHANNELS[kind][:4]
    assert all(level.equal(same) for level, same in zip(levels, net(pixels(24, 24)), strict=False))
    assert not any(name.startswith(("stage5", "norm5")) for name in kept)


@BOTH
def test_wrong_numbers_are_named(kind):
    strides = "8, 16, 32" if kind is ResNet38 else "8, 16"
    with pytest.raises(ValueError, match=rf"{kind.__name__}: output_stride: expected one of {strides}, got 4\."):
        kind(output_stride=4)
    for levels in (0, 7):
        with pytest.raises(ValueError, match=f"{kind.__name__}: levels: expected 1 or more and below 7, got {levels}"):
            kind(levels=levels)
