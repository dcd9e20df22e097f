"""What a network itself pools, by family: timm's own features, and with timm's own head timm's own logits."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from tag2mask.nets.backbones import Backbone
from tag2mask.nets.classifier import CamClassifier
from tag2mask.nets.pooled import PooledFeatures, create_pooled

DILATED = {"output_stride": 16}
FREE = {"strict_img_size": False}

MAPS = [
    ("resnet10t", 16, DILATED), ("regnety_002", 16, DILATED), ("efficientnet_b0", 16, DILATED),
    ("tf_efficientnet_lite0", 8, {"output_stride": 8}), ("mobilenetv2_050", 16, DILATED),
    ("convnext_atto", 16, DILATED), ("inception_next_atto", 16, DILATED), ("nfnet_l0", 32, {}),
    ("mobilevit_xxs", 16, DILATED), ("densenet121", 32, {}),
    ("dla46_c", 32, {}), ("mobilenetv3_small_050", 32, {}), ("ghostnet_050", 32, {}), ("edgenext_xx_small", 32, {}),
    ("swin_tiny_patch4_window7_224", 32, FREE), ("twins_svt_small", 32, {}),
]  # fmt: skip
"""Name, stride, and what timm has to be told for it."""

LATE_NORM = {"convnext_atto", "edgenext_xx_small"}
"""Their norm stands between pooling and classifier."""

LINEAR = [
    ("resnet10t", {}), ("resnet10t", DILATED), ("regnety_002", {}), ("tf_efficientnet_lite0", {}),
    ("tf_efficientnet_lite0", DILATED), ("mobilenetv2_050", {}), ("densenet121", {}), ("repvgg_a0", {}),
    ("mobilevit_xxs", {}), ("rexnet_100", {}), ("nfnet_l0", {}), ("swin_tiny_patch4_window7_224", FREE),
    ("twins_svt_small", {}), ("pvt_v2_b0", {}),
]  # fmt: skip
"""They pool, and then classify linearly."""

PATCHES = [("vit_tiny_patch16_224", 16), ("vit_wee_patch16_reg1_gap_256", 16), ("eva02_tiny_patch14_224", 14)]
"""A class token; a mean of patches with a register beside them; a mean with its norm behind it."""


def images(side=64, count=2):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def whole_network(name, **how):
    """timm's network with random weights, whose norms have learned something, too."""
    torch.manual_seed(0)
    net = timm.create_model(name, **how).eval()
    for part in net.modules():
        if isinstance(part, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return net


def filled(backbone, net):
    """The backbone with the weights of timm's whole network; all of them."""
    state = net.state_dict()
    own = {name: state[name.removeprefix("model.")] for name in backbone.net.state_dict()}
    backbone.net.load_state_dict(own)
    return backbone.eval()


def as_maps(features, channels):
    return features if features.shape[1] == channels else features.permute(0, 3, 1, 2)


@pytest.mark.parametrize(("name", "stride", "how"), MAPS)
@torch.no_grad()
def test_the_maps_are_timm_s_last_features(name, stride, how):
    net = whole_network(name, **how)
    backbone = Backbone(name, stride, pooled=True)
    assert backbone.strides == (stride,), f"{name} does not give what it pools"
    filled(backbone, net)
    maps = backbone(images())[-1]
    expected = net.forward_features(images())
    if expected.ndim == 3:
        expected = expected.unflatten(1, (64 // stride, 64 // stride))
    expected = as_maps(expected, net.num_features)
    if name in LATE_NORM:
        norm = net.head.norm
        rows = F.layer_norm(expected.movedim(1, -1), (net.num_features,), norm.weight, norm.bias, norm.eps)
        expected = rows.movedim(-1, 1)
    assert_close(maps, expected, rtol=1e-3, atol=1e-4)
    assert maps.shape == (2, net.num_features, 64 // stride, 64 // stride)


@pytest.mark.parametrize(("name", "how"), LINEAR)
@torch.no_grad()
def test_with_timm_s_head_the_logits_are_timm_s(name, how):
    net = whole_network(name, **how)
    backbone = filled(Backbone(name, how.get("output_stride", 32), pooled=True), net)
    classifier = CamClassifier(backbone, 1000).eval()
    head = net.get_classifier()
    classifier.head.weight.copy_(head.weight)
    assert_close(classifier(images()) + head.bias, net(images()), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "patch"), PATCHES)
@torch.no_grad()
def test_of_a_transformer_they_are_the_patches_after_its_last_norm(name, patch):
    side = 4 * patch
    net = whole_network(name, dynamic_img_size=True)
    backbone = filled(Backbone(name, patch, pooled=True), net)
    tokens = net.forward_features(images(side))[:, net.num_prefix_tokens :]
    expected = net.fc_norm(tokens).transpose(1, 2).unflatten(2, (4, 4))
    assert_close(backbone(images(side))[-1], expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_mobilenet_that_is_dilated_only_as_maps_has_its_stride_all_the_same():
    backbone = Backbone("mobilenetv3_small_050", 16, pooled=True).eval()
    assert backbone(images())[-1].shape == (2, 288, 4, 4)
    # Its last level is what it pools: seen where no dilation is needed.
    torch.manual_seed(0)
    net = timm.create_model("mobilenetv3_small_050").eval()
    whole, levels = Backbone("mobilenetv3_small_050", 32, pooled=True), Backbone("mobilenetv3_small_050", 32)
    filled(whole, net)
    levels.net.load_state_dict(net.state_dict(), strict=False)
    assert_close(levels.eval()(images())[-1], whole(images())[-1])


def test_what_pools_no_maps_at_this_stride_leaves_it_to_the_feature_levels():
    with torch.device("meta"):
        assert create_pooled("vit_tiny_patch16_224", 16, pretrained=False) is None
        assert create_pooled("densenet121", 16, pretrained=False) is None
        assert create_pooled("crossvit_tiny_240", 16, pretrained=False) is None
    with pytest.raises(ValueError, match="'densenet121': it has no output stride 16, its last map has 32"):
        Backbone("densenet121", 16, pooled=True)


def test_looking_at_the_layout_leaves_the_mode_as_it_was():
    net = PooledFeatures(timm.create_model("resnet10t", num_classes=0).train())
    assert all(part.training for part in net.model.modules())
