"""Weights of the authors' code for AffinityNet (Ahn & Kwak, CVPR 2018): their names, their files, our networks.

Their networks have flat names (`tag2mask.weights.authors_names`), their VGG-16 sees blue, green and red from 0 to 255,
and their classifier is a convolution. That is all: each of their tensors is one of ours, and comes back as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from tag2mask.checks import some
from tag2mask.disk import whole_file
from tag2mask.nets.affinity_net import AffinityNet
from tag2mask.nets.backbones import Backbone
from tag2mask.nets.classifier import CamClassifier
from tag2mask.nets.resnet38 import ResNet38
from tag2mask.nets.vgg16 import PIXEL_MEAN, PIXEL_SCALE, Vgg16Dilated
from tag2mask.weights.authors_names import (
    BACKBONE_NAMES,
    HEAD_NAMES,
    TORCHVISION_NAMES,
    module_of,
    renamed,
    whole_names,
)
from tag2mask.weights.reading import read_weights, without_wrapper

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""What torchvision's networks want taken out of red, green and blue, 0 to 1."""

Kind = Literal["classifier", "affinity"]

_HEADS = {"classifier": "fc8.weight", "affinity": "f9.weight"}
_TITLES = {"resnet38": "ResNet-38", "vgg16_dilated": "VGG-16"}
_STARTS = {"resnet38": "conv1a.weight", "vgg16_dilated": "conv1_1.weight"}
# How often a batch norm has learned: theirs never do, and old files do not have it.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, slots=True, eq=False)
class AuthorsWeights:
    """The weights of one of the authors' four networks.

    Args:
        source: where they are from, for messages.
        backbone: name in `tag2mask.nets.paper_backbones.PAPER_BACKBONES`.
        kind: of the network on top.
        tensors: by the authors' names, whatever was found.
    """

    source: str
    backbone: str
    kind: Kind
    tensors: Mapping[str, Tensor]

    @property
    def num_classes(self) -> int:
        """Of a classifier."""
        shape = self.tensors["fc8.weight"].shape
        return int(shape[0]) if len(shape) else 0


def classifier_from_authors(weights: str | Path | Mapping[str, Tensor]) -> CamClassifier:
    """The net of a file of the authors' code, ``res38_cls.pth`` or ``vgg16_cls.pth``; in evaluation mode.

    Args:
        weights: the file, or what is in it; of any number of classes.

    Raises:
        ValueError: if it can not be read, or tensors are missing, unexpected or of another shape.
    """
    given = read_authors(weights, "classifier")
    with torch.device("meta"):
        net = CamClassifier(Backbone(given.backbone, output_stride=8), given.num_classes)
    fill_net(net, given)
    return net.eval()


def affinity_net_from_authors(weights: str | Path | Mapping[str, Tensor]) -> AffinityNet:
    """The net of a file of the authors' code, ``res38_aff.pth`` or ``vgg16_aff.pth``; in evaluation mode.

    Args:
        weights: the file, or what is in it.

    Raises:
        ValueError: if it can not be read, or tensors are missing, unexpected or of another shape.
    """
    given = read_authors(weights, "affinity")
    with torch.device("meta"):
        net = AffinityNet(Backbone(given.backbone, output_stride=8))
    fill_net(net, given)
    return net.eval()


def to_authors(net: CamClassifier | AffinityNet, path: str | Path) -> None:
    """Write the weights of a net as the authors' code reads them.

    Args:
        net: classifier or AffinityNet.
        path: of the file, for example ``res38_cls.pth`` or ``res38_aff.pth``.

    Raises:
        ValueError: if the backbone is none of the authors'.
    """
    write_authors(path, authors_state(net, net.backbone.name))


def read_authors(weights: str | Path | Mapping[str, Tensor], kind: Kind) -> AuthorsWeights:
    """Read a file of the authors' code, and find out which network it is of.

    Args:
        weights: the file, or the state dictionary that is in it.
        kind: which network is wanted.

    Raises:
        ValueError: if the file can not be read, or is of none of the networks or of another kind.
    """
    if isinstance(weights, str | Path):
        source, state = str(weights), read_weights(Path(weights))
    else:
        source, state = "state dictionary", {name: value.clone() for name, value in without_wrapper(weights).items()}
    backbone = _backbone_of(state)
    found = next((name for name in (kind, *_HEADS) if _HEADS[name] in state), "start")
    if backbone is None:
        raise ValueError(
            f"{source}: expected weights of the authors' code, with {_STARTS['resnet38']} (ResNet-38) or "
            f"{_STARTS['vgg16_dilated']} (VGG-16) among them, found {some(state, 3) or 'no tensor'}."
        )
    if found != kind:
        titles = {"classifier": "a classifier", "affinity": "an AffinityNet"}
        raise ValueError(
            f"{source}: expected the weights of {titles[kind]} ({_HEADS[kind]} among them), found those of "
            f"{titles.get(found, 'a backbone alone')} on {_TITLES[backbone]}. "
            + {
                "classifier": "Read them with classifier_from_authors.",
                "affinity": "Read them with affinity_net_from_authors.",
                "start": "They are what a training starts from: give them to load_start_weights.",
            }[found]
        )
    return AuthorsWeights(source, backbone, kind, state)


def fill_net(net: nn.Module, weights: AuthorsWeights) -> None:
    """Put the authors' weights into a network, which may be without memory (on the meta device).

    Args:
        net: classifier or AffinityNet, on the backbone that the weights are of; its tensors become the given ones.
        weights: of it.

    Raises:
        ValueError: if tensors are missing, unexpected or of another shape; it names them all.
    """
    own = net.state_dict()
    expected = authors_state(net, weights.backbone)
    kind = {"classifier": "classifier", "affinity": "AffinityNet"}[weights.kind]
    found = {name: value for name, value in weights.tensors.items() if not name.endswith(_COUNTER)}
    _check(f"{weights.source}: expected the {kind} on {_TITLES[weights.backbone]}", expected, found)
    names = whole_names(weights.backbone)
    full = {name: torch.zeros((), dtype=torch.int64) for name in own if name.endswith(_COUNTER)}
    for name in own.keys() - full.keys():
        theirs = renamed(name, names)
        full[name] = _as_ours(theirs, found[theirs].to(own[name].dtype))
    net.load_state_dict(full, assign=True)


def authors_state(net: nn.Module, backbone: str) -> dict[str, Tensor]:
    """A network's weights under the authors' names and in their form.

    Args:
        net: classifier or AffinityNet.
        backbone: the name of its backbone.

    Returns:
        Without the batch norms' counters, which any version of PyTorch does without.

    Raises:
        ValueError: if the authors have no such network.
    """
    if backbone not in BACKBONE_NAMES:
        raise ValueError(
            f"to_authors: expected one of the authors' backbones ({', '.join(BACKBONE_NAMES)}), got a net on "
            f"{backbone!r}. Their code has no place for its weights; keep them as safetensors."
        )
    names = whole_names(backbone)
    state = net.state_dict()
    whole = {f"{name}.weight" for name in names if name.startswith("backbone.")} <= state.keys()
    if not whole:
        raise ValueError(
            f"to_authors: expected {_TITLES[backbone]} with all of its levels, this net was built without the last "
            "ones. The authors' networks have them all."
        )
    theirs = {renamed(name, names): value for name, value in state.items() if not name.endswith(_COUNTER)}
    return {name: _as_theirs(name, value) for name, value in theirs.items()}


def write_authors(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dictionary as the authors' code reads it, whole or not at all.

    Args:
        path: of the file; its folder is made.
        state: name -> tensor.
    """
    with whole_file(Path(path)) as temporary:
        torch.save({name: value.detach().cpu().clone().contiguous() for name, value in state.items()}, temporary)


def load_start_weights(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a backbone the ImageNet weights that a training starts from.

    ResNet-38: the authors' names (``conv1a.weight`` ... ``bn7.running_var``), as their code makes them of the MXNet
    file of Wu et al. VGG-16: the authors' names (``conv1_1.weight`` ... ``fc7.bias``), as their code makes them of
    ``vgg16_20M.caffemodel``; all of the net is loaded. Or torchvision's and timm's names (``features.0.weight`` ...):
    then only the convolutions are loaded, and stage 6 stays random, since fully connected layers of 4096 channels do
    not fit its 1024. A classifier or side convolutions on top, of a trained network of the authors, are left out.

    Args:
        net: `ResNet38` or `Vgg16Dilated`, changed in place; of any number of levels.
        state: name -> tensor.

    Raises:
        ValueError: for another net, and if tensors are missing, unexpected or of another shape; it names them all.
    """
    if not isinstance(net, ResNet38 | Vgg16Dilated):
        raise ValueError(f"start weights: expected a ResNet38 or Vgg16Dilated to load, got {type(net).__name__}.")
    backbone = "resnet38" if isinstance(net, ResNet38) else "vgg16_dilated"
    names = BACKBONE_NAMES[backbone]
    found = {name: value for name, value in without_wrapper(state).items() if not name.endswith(_COUNTER)}
    if backbone == "vgg16_dilated" and "features.0.weight" in found:
        names = TORCHVISION_NAMES
        found = {name: value for name, value in found.items() if name.startswith("features.")}
    own = {name: value for name, value in net.state_dict().items() if not name.endswith(_COUNTER)}
    expected = {renamed(name, names): value for name, value in own.items() if module_of(name) in names}
    # What stands on top, and what a net of fewer levels does without.
    spare = {*names.values(), *HEAD_NAMES.values()}
    found = {name: value for name, value in found.items() if name in expected or module_of(name) not in spare}
    _check(f"start weights: expected those of {_TITLES[backbone]}", expected, found)
    if names is TORCHVISION_NAMES:
        found = _for_our_pixels(found)
    theirs = {name: renamed(name, names) for name in own if module_of(name) in names}
    net.load_state_dict({name: _as_ours(other, found[other]) for name, other in theirs.items()}, strict=False)


def _as_ours(name: str, value: Tensor) -> Tensor:
    """One of their tensors in our form."""
    if name == "fc8.weight":
        return value.flatten(1)
    return value.flip(1) * PIXEL_SCALE if name == "conv1_1.weight" else value


def _as_theirs(name: str, value: Tensor) -> Tensor:
    """One of our tensors in their form; `name` is theirs."""
    if name == "fc8.weight":
        return value[:, :, None, None]
    return value.flip(1) / PIXEL_SCALE if name == "conv1_1.weight" else value


def _for_our_pixels(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Torchvision's first convolution for the pixels of our VGG-16; exact but for the outermost row of zeros."""
    weight, bias = found["features.0.weight"], found["features.0.bias"]
    mean, deviation = (weight.new_tensor(numbers)[:, None, None] for numbers in (IMAGENET_MEAN, IMAGENET_STD))
    shift = (weight.new_tensor(PIXEL_MEAN)[:, None, None] / 255 - mean) / deviation
    bias = bias + (weight * shift).sum(dim=(1, 2, 3))
    return {**found, "features.0.weight": weight * (PIXEL_SCALE / 255 / deviation), "features.0.bias": bias}


def _backbone_of(state: Mapping[str, Tensor]) -> str | None:
    return next((backbone for backbone, name in _STARTS.items() if name in state), None)


def _check(what: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Require the same names and shapes; what is wrong is told in full."""
    both = [name for name in expected if name in found and expected[name].shape != found[name].shape]
    shapes = [f"{name}: expected {tuple(expected[name].shape)}, found {tuple(found[name].shape)}" for name in both]
    wrong = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "of another shape": shapes,
    }
    if any(wrong.values()):
        told = "; ".join(f"{len(names)} {word} ({', '.join(names)})" for word, names in wrong.items() if names)
        raise ValueError(f"{what}, found {told}. Take the whole state dictionary of this network.")
