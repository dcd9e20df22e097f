"""The authors' weights: the same maps and affinities as layer by layer, and back to the bit."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from reference.authors_networks import (
    affinities_by_pairs,
    affinity_features_by_layers,
    cams_by_layers,
    draw_weights,
    head_shapes,
    logits_by_layers,
    resnet38_shapes,
    vgg16_shapes,
)
from tag2mask.learning.fit import _optimizer
from tag2mask.learning.schedule import Schedule
from tag2mask.nets.affinity_net import AffinityNet
from tag2mask.nets.backbones import Backbone, frozen_parameters, without_last
from tag2mask.nets.classifier import CamClassifier
from tag2mask.nets.paper_backbones import PAPER_BACKBONES, freeze_first_stages
from tag2mask.nets.resnet38 import ResNet38
from tag2mask.nets.segmenter import DeepLab
from tag2mask.nets.vgg16 import Vgg16Dilated
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity
from tag2mask.weights.authors import (
    affinity_net_from_authors,
    authors_state,
    classifier_from_authors,
    load_start_weights,
    to_authors,
)

KINDS = {"classifier": CamClassifier, "affinity": AffinityNet}
READERS = {"classifier": classifier_from_authors, "affinity": affinity_net_from_authors}
BACKBONES = list(PAPER_BACKBONES)
SIZE = (40, 56)


@pytest.fixture(scope="module")
def starts():
    """Weights of both backbones by the authors' names; read only."""
    return {"resnet38": draw_weights(resnet38_shapes()), "vgg16_dilated": draw_weights(vgg16_shapes())}


def weights_of(starts, backbone, kind, classes=20):
    """All weights of one of the four networks."""
    return {**starts[backbone], **draw_weights(head_shapes(backbone, kind, classes), seed=1)}


def image(backbone, size=SIZE):
    """Pixels as our net wants them, and as the authors' does: not divided, blue first."""
    ours = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2))
    return ours, 64 * ours.flip(1) if backbone == "vgg16_dilated" else ours


def assert_near(found, expected):
    """Equal to 1e-5 of the largest value."""
    assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("backbone", BACKBONES)
@torch.no_grad()
def test_the_same_maps_and_logits_as_layer_by_layer(starts, backbone):
    weights = weights_of(starts, backbone, "classifier")
    net = classifier_from_authors(weights)
    ours, theirs = image(backbone)
    maps = net.cams(ours)
    assert maps.shape == (2, 20, 5, 7)
    assert_near(maps, cams_by_layers(backbone, weights, theirs))
    assert float(maps.std()) > 0.05 * float(maps.max()), "maps that differ from place to place"
    assert_near(net(ours), logits_by_layers(backbone, weights, theirs))


@pytest.mark.parametrize("backbone", BACKBONES)
@torch.no_grad()
def test_the_same_affinities_as_layer_by_layer(starts, backbone):
    weights = weights_of(starts, backbone, "affinity")
    net = affinity_net_from_authors(weights)
    ours, theirs = image(backbone)
    features = net(ours)
    expected = affinity_features_by_layers(backbone, weights, theirs)
    assert features.shape == (2, 448, 5, 7)
    assert_near(features, expected)
    offsets = half_disc_offsets(5)
    pairs = affinities_by_pairs(expected, offsets)
    assert_close(pair_affinity(features, offsets), pairs, rtol=0, atol=1e-5)
    assert 0.05 < float(pairs[pairs > 0].min()) < float(pairs.max()) < 0.95


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_there_and_back_is_the_same_to_the_bit(starts, backbone, kind):
    weights = weights_of(starts, backbone, kind)
    net = READERS[kind](weights)
    back = authors_state(net, backbone)
    assert back.keys() == weights.keys()
    assert all(back[name].equal(value) for name, value in weights.items())
    assert not net.training
    assert not any(value.is_meta for value in net.state_dict().values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_there_and_back(starts, kind, tmp_path):
    weights = weights_of(starts, "vgg16_dilated", kind)
    torch.save({f"module.{name}": value for name, value in weights.items()}, tmp_path / "theirs.pth")
    to_authors(READERS[kind](tmp_path / "theirs.pth"), str(tmp_path / "new" / "ours.pth"))
    written = torch.load(tmp_path / "new" / "ours.pth", weights_only=True)
    assert type(written) is dict
    assert written.keys() == weights.keys()
    assert all(written[name].equal(value) and value.is_contiguous() for name, value in weights.items())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["ours.pth"], "no leftover"


def test_counters_may_be_there_or_not(starts):
    weights = weights_of(starts, "resnet38", "classifier")
    norms = [name.removesuffix("running_var") for name in weights if name.endswith("running_var")]
    counted = {**weights, **{f"{norm}num_batches_tracked": torch.tensor(7) for norm in norms}}
    first, second = (classifier_from_authors(given).state_dict() for given in (weights, counted))
    assert all(value.equal(second[name]) for name, value in first.items())
    assert sum(name.endswith("num_batches_tracked") for name in first) == len(norms) == 37


@pytest.mark.parametrize("classes", [1, 80])
def test_any_number_of_classes(starts, classes):
    net = classifier_from_authors(weights_of(starts, "vgg16_dilated", "classifier", classes))
    assert net.head.weight.shape == (classes, 1024)


def test_training_on_leaves_the_given_weights_alone(starts):
    weights = weights_of(starts, "vgg16_dilated", "classifier")
    before = {name: value.clone() for name, value in weights.items()}
    net = classifier_from_authors(weights).train()
    net(image("vgg16_dilated", (16, 16))[0]).sum().backward()
    torch.optim.SGD(net.parameters(), lr=1.0).step()
    assert all(value.equal(before[name]) for name, value in weights.items())


def test_reading_draws_no_random_number(starts):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    affinity_net_from_authors(weights_of(starts, "vgg16_dilated", "affinity"))
    assert torch.get_rng_state().equal(before)


def test_all_that_is_wrong_is_named(starts):
    weights = weights_of(starts, "vgg16_dilated", "affinity")
    del weights["conv3_2.bias"], weights["gn8_4.weight"]
    weights["f9.bias"] = torch.zeros(448)
    weights["fc7.weight"] = torch.zeros(4096, 4096, 1, 1)
    with pytest.raises(ValueError, match="expected the AffinityNet on VGG-16") as error:
        affinity_net_from_authors(weights)
    told = str(error.value)
    assert "2 missing (conv3_2.bias, gn8_4.weight)" in told
    assert "1 unexpected (f9.bias)" in told
    assert "1 of another shape (fc7.weight: expected (1024, 1024, 1, 1), found (4096, 4096, 1, 1))" in told


def test_the_wrong_kind_of_file_says_what_to_do(starts, tmp_path):
    with pytest.raises(ValueError, match=r"found those of an AffinityNet on VGG-16\. .* affinity_net_from_authors"):
        classifier_from_authors(weights_of(starts, "vgg16_dilated", "affinity"))
    with pytest.raises(ValueError, match=r"found those of a classifier on VGG-16\. .* classifier_from_authors"):
        affinity_net_from_authors(weights_of(starts, "vgg16_dilated", "classifier"))
    with pytest.raises(ValueError, match=r"found those of a backbone alone on VGG-16\. .*load_start_weights"):
        affinity_net_from_authors(starts["vgg16_dilated"])
    torch.save({"layer1.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth: expected weights of the authors' code.*found layer1\.0\.weight"):
        classifier_from_authors(tmp_path / "other.pth")


def test_only_the_authors_networks_have_names_in_their_code(tmp_path):
    with pytest.raises(ValueError, match=r"expected one of the authors' backbones .*got a net on 'resnet10t'"):
        to_authors(CamClassifier(Backbone("resnet10t", 16), 2), tmp_path / "a.pth")
    assert not (tmp_path / "a.pth").exists()
    with torch.device("meta"):
        net = AffinityNet(Backbone("vgg16_dilated", 8, keep=without_last(1)))
    with pytest.raises(ValueError, match="expected VGG-16 with all of its levels"):
        to_authors(net, tmp_path / "a.pth")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_start_weights_fill_the_backbone(starts, backbone):
    with torch.device("meta"):
        net = PAPER_BACKBONES[backbone]()
    net = net.to_empty(device="cpu")
    # With a classifier on top, as the authors' AffinityNet may start from theirs too.
    load_start_weights(net, weights_of(starts, backbone, "classifier"))
    read = classifier_from_authors(weights_of(starts, backbone, "classifier")).backbone.net
    whole = dict(read.state_dict())
    for name, value in net.state_dict().items():
        assert name.endswith("num_batches_tracked") or value.equal(whole[name]), name


def test_start_weights_of_fewer_levels(starts):
    net = ResNet38(levels=2)
    load_start_weights(net, starts["resnet38"])
    assert net.stage1.weight.equal(starts["resnet38"]["conv1a.weight"])
    assert net.norm2.running_mean.equal(starts["resnet38"]["b3.bn_branch2a.running_mean"])


def torchvision_vgg16(classes=10):
    """The convolutions as torchvision has them, and fully connected layers that are much too small."""
    layers = []
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        inputs = next((part.out_channels for part in reversed(layers) if isinstance(part, nn.Conv2d)), 3)
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
    net = nn.Module()
    net.features, net.classifier = nn.Sequential(*layers), nn.Sequential(nn.Linear(7, classes))
    return net


@torch.no_grad()
def test_torchvision_s_convolutions_see_the_same_colours():
    torch.manual_seed(0)
    theirs, ours = torchvision_vgg16(), Vgg16Dilated().eval()
    random = ours.stage6[0].weight.clone()
    load_start_weights(ours, theirs.state_dict())
    colours = torch.rand(1, 3, 12, 16)
    for_theirs, for_ours = (
        (colours - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
        for mean, deviation in (
            ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            (ours.pretrained_cfg["mean"], ours.pretrained_cfg["std"]),
        )
    )
    expected, found = theirs.features[:2](for_theirs), ours.stage1[:2](for_ours)
    assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-5)
    # Outside the image there are zeros, which are not quite the same colour for both.
    assert_close(found, expected, rtol=0, atol=0.03)
    assert ours.stage5[4].weight.equal(theirs.features[28].weight)
    assert ours.stage6[0].weight.equal(random), "no fully connected layer fits"


def test_wrong_start_weights_are_named(starts):
    with pytest.raises(ValueError, match="expected a ResNet38 or Vgg16Dilated to load, got Conv2d"):
        load_start_weights(nn.Conv2d(1, 1, 1), {})
    weights = dict(starts["vgg16_dilated"])
    del weights["fc6.weight"]
    with pytest.raises(ValueError, match=r"start weights: expected those of VGG-16, found 1 missing \(fc6\.weight\)\."):
        load_start_weights(Vgg16Dilated(), weights)
    with pytest.raises(ValueError, match=r"1 unexpected \(linear\.weight\)"):
        load_start_weights(ResNet38(levels=1), {**starts["resnet38"], "linear.weight": torch.zeros(1)})
    # With batch norm between the convolutions, other layers have these numbers.
    with pytest.raises(ValueError, match=r"1 of another shape \(features\.2\.weight"):
        load_start_weights(Vgg16Dilated(), {**torchvision_vgg16().state_dict(), "features.2.weight": torch.zeros(64)})


def groups_of(net):
    """(rate factor, weight decay) -> names of the parameters that learn so."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    schedule = Schedule(epochs=1, batch_size=1, rate=0.1, new_factor=10, bias_factor=2, weight_decay=5e-4)
    groups = _optimizer(net, schedule).param_groups
    return {(group["factor"], group["weight_decay"]): {names[id(p)] for p in group["params"]} for group in groups}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_authors_groups_of_rates(backbone, kind):
    with torch.device("meta"):
        inner = Backbone(backbone, 8)
        net = CamClassifier(inner, 20) if kind == "classifier" else AffinityNet(inner)
    freeze_first_stages(inner.net)
    found = groups_of(net)
    new = {"head.weight"} if kind == "classifier" else {"merge.weight", *(f"sides.{i}.weight" for i in range(3))}
    later = [part for name, part in inner.net.named_children() if name.startswith("stage")][2:]
    learning = [part for stage in later for part in stage.modules() if isinstance(part, nn.Conv2d)]
    names = {part: f"backbone.net.{name}" for name, part in inner.net.named_modules()}
    expected = {(1.0, 5e-4): {f"{names[part]}.weight" for part in learning}, (10.0, 5e-4): new}
    if backbone == "vgg16_dilated":
        expected[2.0, 0.0] = {f"{names[part]}.bias" for part in learning}
        if kind == "affinity":
            expected[1.0, 5e-4] |= {f"side_norms.{i}.weight" for i in range(3)}
            expected[2.0, 0.0] |= {f"side_norms.{i}.bias" for i in range(3)}
    assert found == expected


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_frozen_stages_are_the_first_two_levels(backbone):
    with torch.device("meta"):
        inner = Backbone(backbone, 8)
    chosen = {id(parameter) for parameter in frozen_parameters(inner, 2)}
    # The batch norms never learn, frozen or not.
    before = {id(parameter) for parameter in inner.parameters() if parameter.requires_grad}
    freeze_first_stages(inner.net)
    assert chosen == before - {id(parameter) for parameter in inner.parameters() if parameter.requires_grad}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_segmenter_on_the_authors_backbones(backbone):
    with torch.device("meta"):
        net = DeepLab(Backbone(backbone, 8), 20).eval()
    assert net.backbone.strides[net.fine_level] == 4
    assert net(torch.empty(2, 3, 65, 47, device="meta")).shape == (2, 21, 65, 47)
