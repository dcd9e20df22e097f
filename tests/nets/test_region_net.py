"""The region classifier: logits for every region, from its own pixels and nobody else's."""

import pytest
import torch
from torch.testing import assert_close

from reference.regions_by_loops import pool_by_loops
from tag2mask.nets.backbones import Backbone
from tag2mask.nets.region_net import RegionNet
from tag2mask.ops.superpixels import join_regions


def build(classes=3, stride=16, hidden=16):
    torch.manual_seed(0)
    return RegionNet(Backbone("resnet10t", stride), classes, hidden=hidden)


@pytest.fixture(scope="module")
def net():
    return build().eval()


def pixels(*size, count=2):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def blocks(height, width, side):
    """Square regions, and their number."""
    across = -(-width // side)
    ids = torch.arange(height)[:, None] // side * across + torch.arange(width) // side
    return ids, int(ids.max()) + 1


@pytest.mark.parametrize("size", [(64, 96), (65, 47), (33, 5), (1, 40)])
@torch.no_grad()
def test_every_region_gets_its_logits(net, size):
    ids, count = blocks(*size, 7)
    joined, total = join_regions([ids, ids], [count, count])
    logits = net(pixels(*size), joined, total)
    assert logits.shape == (2 * count, 4)
    assert logits.dtype == torch.float32


@torch.no_grad()
def test_the_logits_are_the_head_of_features_pooled_by_loops(net):
    ids, count = blocks(18, 12, 5)
    ids = torch.where(torch.rand(18, 12, generator=torch.Generator().manual_seed(2)) < 0.1, -1, ids)
    joined, total = join_regions([ids, ids.flip(0)], [count, count])
    images = pixels(18, 12)
    levels = net.backbone(images)
    parts = [torch.tensor(pool_by_loops(levels[level].double(), joined, total)) for level in net.levels]
    assert_close(net(images, joined, total), net.head(torch.cat(parts, dim=1).float()), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one(net):
    ids, count = blocks(48, 64, 10)
    other, fewer = blocks(48, 64, 16)
    both = pixels(48, 64)
    joined, total = join_regions([ids, other], [count, fewer])
    alone = [net(both[:1], ids[None], count), net(both[1:], other[None], fewer)]
    assert_close(net(both, joined, total), torch.cat(alone), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_new_numbers_move_the_logits_only(net):
    ids, count = blocks(32, 48, 9)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(3))
    image = pixels(32, 48, count=1)
    assert_close(net(image, order[ids][None], count)[order], net(image, ids[None], count), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_region_of_one_pixel_and_one_of_all_pixels(net):
    image = pixels(32, 32, count=1)
    ids = torch.arange(32 * 32).view(1, 32, 32)
    single = net(image, ids, 32 * 32)
    assert single.shape == (1024, 4)
    # Pixels of one cell of the fine level have the same features.
    assert single[0].equal(single[33])
    assert not single[0].equal(single[-1])
    assert net(image, torch.zeros_like(ids), 1).shape == (1, 4)


@torch.no_grad()
def test_two_regions_inside_one_cell_of_the_last_level_differ_by_the_fine_one(net):
    ids = torch.zeros(1, 32, 32, dtype=torch.int64)
    ids[0, :4, 4:8] = 1
    ids[0, :4, :4] = 2
    logits = net(pixels(32, 32, count=1), ids, 3)
    assert net.levels == [1, 4]
    assert [net.backbone.strides[level] for level in net.levels] == [4, 16]
    assert not torch.allclose(logits[1], logits[2])


@torch.no_grad()
def test_regions_may_have_another_resolution_than_the_pixels(net):
    ids, count = blocks(16, 24, 5)
    image = pixels(32, 48, count=1)
    fine = ids.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
    # A pixel of the coarse map is as large as four of the image, which lie in one cell.
    assert_close(net(image, ids[None], count), net(image, fine[None], count), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_absent_regions_have_logits_and_move_no_other(net):
    ids, count = blocks(32, 32, 8)
    image = pixels(32, 32, count=1)
    more = net(image, ids[None], count + 3)
    assert_close(more[:count], net(image, ids[None], count))
    assert bool(more.isfinite().all())


def test_every_layer_learns():
    net = build().train()
    ids, count = blocks(64, 64, 12)
    joined, total = join_regions([ids, ids], [count, count])
    net(pixels(64, 64), joined, total).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert all(bool(parameter.grad.isfinite().all()) for parameter in net.parameters())


@torch.no_grad()
def test_mixed_precision_gives_float32():
    net = build().eval()
    ids, count = blocks(32, 32, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(pixels(32, 32, count=1), ids[None], count)
    assert logits.dtype == torch.float32
    assert_close(logits, net(pixels(32, 32, count=1), ids[None], count), rtol=0.1, atol=0.1)


def test_dropout_is_for_training_only(net):
    ids, count = blocks(32, 32, 8)
    image = pixels(32, 32, count=1)
    with torch.no_grad():
        assert net(image, ids[None], count).equal(net(image, ids[None], count))
    assert sum(isinstance(part, torch.nn.Dropout) for part in net.head) == 2


def test_wrong_numbers_and_shapes_are_named(net):
    backbone = Backbone("resnet10t", 16)
    with pytest.raises(ValueError, match="num_classes: expected 1 or more, got 0"):
        RegionNet(backbone, 0)
    with pytest.raises(ValueError, match="hidden: expected 1 or more, got 0"):
        RegionNet(backbone, 1, hidden=0)
    with pytest.raises(ValueError, match="ids: expected shape"):
        net(pixels(32, 32), torch.zeros(1, 32, 32, dtype=torch.int64), 1)
    with pytest.raises(ValueError, match="ids: expected values in"):
        net(pixels(32, 32, count=1), torch.full((1, 32, 32), 2), 2)
