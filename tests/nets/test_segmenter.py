"""The segmenter: logits at the size of the image, whatever it is."""

import pytest
import torch
from torch.testing import assert_close

from tag2mask.nets.backbones import Backbone
from tag2mask.nets.segmenter import DeepLab


def build(stride=16, classes=3):
    torch.manual_seed(0)
    return DeepLab(Backbone("resnet10t", stride), classes, width=16, rates=(1, 2))


def pixels(*size, count=2):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("size", [(64, 96), (65, 47), (33, 5)])
@torch.no_grad()
def test_logits_have_the_size_of_the_image(stride, size):
    logits = build(stride).eval()(pixels(*size))
    assert logits.shape == (2, 4, *size)
    assert logits.dtype == torch.float32


@torch.no_grad()
def test_one_class_and_a_thousand():
    assert build(classes=1).eval()(pixels(32, 32)).shape == (2, 2, 32, 32)
    assert build(classes=1000).eval()(pixels(32, 32)).shape == (2, 1001, 32, 32)


@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one():
    net, both = build().eval(), pixels(48, 64)
    assert_close(net(both), torch.cat([net(one[None]) for one in both]), rtol=1e-3, atol=1e-4)


def test_every_layer_learns():
    net = build().train()
    net(pixels(64, 64)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert all(bool(parameter.grad.isfinite().all()) for parameter in net.parameters())


def test_the_fine_level_is_at_stride_4():
    net = build()
    assert net.backbone.strides[net.fine_level] == 4
