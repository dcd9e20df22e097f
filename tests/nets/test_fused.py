"""A network fused for looking says the same, and does without the batch norms."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.nets import fused as module
from tag2mask.nets.affinity_net import AffinityNet
from tag2mask.nets.backbones import Backbone, to_channels_last
from tag2mask.nets.classifier import CamClassifier
from tag2mask.nets.fused import fused
from tag2mask.nets.segmenter import Segmenter

KINDS = [
    ("resnet10t", 8), ("resnet18", 16), ("regnetx_002", 16), ("densenet121", 32), ("xception41", 16), ("dla34", 32),
    ("mobilenetv3_small_050", 16), ("tf_efficientnet_b0", 16), ("convnext_atto", 8), ("test_vit", 16),
    ("vgg16_dilated", 8), ("resnet38", 8),
]  # fmt: skip
"""Norms behind convolutions and in front of them, with activations inside, read by hooks; what can not be traced."""

PATHS = pytest.mark.parametrize("onednn", [True, False], ids=["onednn", "anywhere"])


@pytest.fixture
def path(onednn, monkeypatch):
    """Convolutions of oneDNN, or those that every device has."""
    if not onednn:
        monkeypatch.setattr(module, "_has_fused_convolutions", lambda: False)


def trained(net):
    """As if it had been: batch norms that do something."""
    generator = torch.Generator().manual_seed(0)
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            for values, low, high in ((part.running_mean, -0.2, 0.2), (part.running_var, 0.5, 2.0)):
                values.uniform_(low, high, generator=generator)
            with torch.no_grad():
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.uniform_(-0.2, 0.2, generator=generator)
    return net.eval()


def pixels(*size):
    values = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    return values.contiguous(memory_format=torch.channels_last)


def apart(ours, theirs):
    """The largest difference relative to the largest value."""
    assert ours.shape == theirs.shape
    return float((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max())


@torch.no_grad()
@PATHS
@pytest.mark.parametrize(("name", "stride"), KINDS)
def test_any_backbone_says_the_same(path, name, stride):
    net = nn.Sequential(trained(Backbone(name, stride)))
    looking = fused(net, torch.float32)
    for view in (pixels(65, 97), pixels(33, 50)):
        for ours, theirs in zip(looking(view), net(view), strict=True):
            assert apart(ours, theirs) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "xception41"])
def test_batch_norms_behind_convolutions_are_gone(name, monkeypatch):
    called = []
    norm = F.batch_norm
    monkeypatch.setattr(F, "batch_norm", lambda *how, **more: called.append(1) or norm(*how, **more))
    net = nn.Sequential(trained(Backbone(name, 16)))
    net(pixels(65, 97))
    assert len(called) > 5
    looking = fused(net, torch.float32)
    called.clear()
    looking(pixels(65, 97))
    # Hooks read levels of an xception behind some of its parts; those are left as they are.
    assert len(called) <= (3 if name == "xception41" else 0)


@torch.no_grad()
@PATHS
def test_whole_networks_say_the_same(path):
    classifier = trained(to_channels_last(CamClassifier(Backbone("resnet10t", 16), 3)))
    assert apart(fused(classifier, torch.float32).cams(pixels(65, 97)), classifier.cams(pixels(65, 97))) < 1e-5
    for net in (AffinityNet(Backbone("resnet10t", 8)), Segmenter(Backbone("resnet10t", 16), 3, 32, rates=(1, 2))):
        trained(net)
        assert apart(fused(net, torch.float32)(pixels(65, 97)), net(pixels(65, 97))) < 1e-5


@torch.no_grad()
def test_in_bfloat16_it_is_as_near_to_float32_as_autocast_is():
    net = nn.Sequential(trained(Backbone("resnet10t", 16)))
    exact = net(pixels(65, 97))[-1]
    with torch.autocast("cpu", torch.bfloat16):
        usual, ours = net(pixels(65, 97))[-1], fused(net, torch.bfloat16)(pixels(65, 97))[-1]
    assert ours.dtype == usual.dtype == torch.bfloat16
    assert 0 < apart(ours, exact) < max(2 * apart(usual, exact), 0.01)


class Sums(nn.Module):
    """All ways in which a convolution's values are used that must not be taken for a plain sum."""

    def __init__(self):
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1, bias=False)
        self.norm, self.act = nn.BatchNorm2d(4), nn.ReLU(inplace=True)

    def forward(self, values):
        first = self.conv(values)
        doubled = first + first
        shifted = torch.add(self.conv(values), doubled, alpha=2) + 3
        wide = self.conv(values) + shifted.mean(dim=(-2, -1), keepdim=True)
        late = self.norm(self.conv(values) + wide)
        rectified = F.relu(self.conv(values) + late)
        twice = self.act(self.act(self.norm(self.conv(rectified[:, :3]))))
        return [first, doubled, shifted, wide, late, twice + rectified, self.act(self.other(twice) + 1)]


@torch.no_grad()
@PATHS
def test_only_what_follows_alone_is_taken_in(path):
    net = nn.Sequential(trained(Sums()))
    for ours, theirs in zip(fused(net, torch.float32)(pixels(9, 7)), net(pixels(9, 7)), strict=True):
        assert apart(ours, theirs) < 1e-5


@torch.no_grad()
def test_a_sum_with_another_type_is_made_outside():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, values):
            return F.relu(self.conv(values) + values.mean(dim=1, keepdim=True).expand(-1, 4, -1, -1).float())

    net = nn.Sequential(Branch()).eval()
    with torch.autocast("cpu", torch.bfloat16):
        ours = fused(net, torch.bfloat16)(pixels(9, 7))
    assert ours.dtype == torch.float32
    assert apart(ours, net(pixels(9, 7))) < 0.02


@torch.no_grad()
@pytest.mark.parametrize("wrong", ["raises", "differs"])
def test_a_backbone_that_tracing_gets_wrong_stays_as_it_is(wrong):
    class Asks(nn.Module):
        def __init__(self, inside):
            super().__init__()
            self.inside, self.extra = inside, nn.Conv2d(3, 3, 1)

        def forward(self, values):
            if isinstance(values, Tensor):  # A stand-in for a tensor is none.
                return self.inside(values)
            return self.inside(values) * 2 if wrong == "differs" else self.extra(self.inside(values))

    backbone = trained(Backbone("resnet10t", 16))
    backbone.net.layer1[0] = Asks(backbone.net.layer1[0]).eval()
    net = nn.Sequential(backbone)
    for ours, theirs in zip(fused(net, torch.float32)(pixels(65, 97)), net(pixels(65, 97)), strict=True):
        assert ours.equal(theirs)


@torch.no_grad()
def test_the_trained_net_is_not_touched():
    net = CamClassifier(Backbone("mobilenetv3_small_050", 16), 3).train()
    state = copy.deepcopy(net.state_dict())
    before = copy.deepcopy(trained(copy.deepcopy(net)))(pixels(65, 97))
    looking = fused(trained(net), torch.float32)
    looking(pixels(65, 97))
    assert net(pixels(65, 97)).equal(before)
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert net.state_dict().keys() == state.keys()
    assert type(looking) is CamClassifier
    net.train()
    assert not looking.backbone.training
