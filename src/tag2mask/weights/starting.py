"""The weights that networks start from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from tag2mask.nets import backbones
from tag2mask.nets.backbones import Backbone, check_pretrained
from tag2mask.weights.installed import installed_file
from tag2mask.weights.matching import OWN, fill_backbone
from tag2mask.weights.reading import read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from tag2mask.nets.timm_nets import Keep
    from tag2mask.runs.run_folder import RunFolder


class StartSettings(Protocol):
    """The settings of a network that starts from weights of others."""

    @property
    def backbone(self) -> str: ...

    @property
    def output_stride(self) -> int: ...

    @property
    def start_from(self) -> str: ...

    @property
    def weights(self) -> str: ...


def starting_backbone(
    settings: StartSettings,
    start: RunFolder | None,
    stage: str,
    *,
    weights: str = "",
    without_last: int = 0,
    until_stride: int = 0,
) -> Backbone:
    """The backbone with the weights that a training starts from; random ones without a run.

    Args:
        settings: which backbone, and whether it starts from ``classifier``, ``imagenet`` or ``scratch``.
        start: the run with the classifier.
        stage: for the message.
        weights: a file with what ``imagenet`` stands for; without it, timm's weights.
        without_last: how many of the deepest levels to leave out.
        until_stride: leave out all levels behind the first one of this stride or coarser; 0 keeps them.

    Raises:
        ValueError: if it shall start from a classifier with another backbone, or from weights that can not be had or
            do not fit.
    """
    keep = kept_levels(without_last=without_last, until_stride=until_stride)
    if start is None or settings.start_from == "scratch":
        return Backbone(settings.backbone, settings.output_stride, keep=keep)
    if settings.start_from == "imagenet":
        return loaded_backbone(settings.backbone, settings.output_stride, weights=weights, pretrained=True, keep=keep)
    backbone = Backbone(settings.backbone, settings.output_stride, keep=keep)
    _fill_from_classifier(backbone, start.weights("01_classify"), stage)
    return backbone


def loaded_backbone(
    name: str,
    output_stride: int,
    *,
    weights: str = "",
    pretrained: bool = False,
    keep: Keep | None = None,
    pooled: bool = False,
) -> Backbone:
    """A backbone with the weights of a file, published ones, or random ones.

    Published weights are those of an installed package (`tag2mask.weights.installed`), else timm's.

    Args:
        name: of the backbone.
        output_stride: of its last level.
        weights: a file; it goes before published weights.
        pretrained: with published weights.
        keep: which levels.
        pooled: the last level is what the network itself pools, for a classifier.

    Raises:
        ValueError: if the weights can not be had or do not fit.
    """
    file = weights_file_of(name, weights) if weights or pretrained else None
    backbone = Backbone(name, output_stride, pretrained and file is None, keep, pooled=pooled)
    if file is not None:
        fill_backbone(backbone, read_weights(file), str(file))
    return backbone


def weights_file_of(name: str, weights: str) -> Path | None:
    """The file that a backbone is filled from: the one named, else an installed one; None: timm has to ask for it.

    Args:
        name: of the backbone.
        weights: a file, or empty.
    """
    return Path(weights) if weights else installed_file(name)


def check_backbone(
    name: str,
    output_stride: int,
    *,
    weights: str = "",
    pretrained: bool = False,
    without_last: int = 0,
    pooled: bool = False,
) -> None:
    """Say now what `loaded_backbone` would say in the middle of a run; nothing is built and nothing downloaded.

    Args:
        name: of the backbone.
        output_stride: of its last level.
        weights: a file; it goes before timm's weights.
        pretrained: with published weights.
        without_last: how many of the deepest levels are left out.
        pooled: for a classifier.

    Raises:
        ValueError: if there is no such backbone, or the weights can not be had or do not fit.
    """
    # Without memory: names and shapes are all that is needed.
    with torch.device("meta"):
        backbone = Backbone(name, output_stride, keep=kept_levels(without_last=without_last), pooled=pooled)
    check_stride(backbone, output_stride, without_last)
    file = weights_file_of(name, weights) if weights or pretrained else None
    if file is not None:
        with warnings.catch_warnings():
            # torch warns of every tensor that such a net can not hold it.
            warnings.simplefilter("ignore")
            fill_backbone(backbone, read_weights(file), str(file))
    elif pretrained:
        check_pretrained(name)


def check_stride(backbone: Backbone, output_stride: int, without_last: int) -> None:
    """Require that a backbone of fewer levels still has the stride that is set.

    Args:
        backbone: without its last levels.
        output_stride: that is set.
        without_last: how many levels were left out, for the message.

    Raises:
        ValueError: if not.
    """
    if backbone.output_stride != output_stride:
        raise ValueError(
            f"without_last: expected output stride {output_stride} also without the last {without_last} level(s) of "
            f"{backbone.name!r}, found {backbone.output_stride}. Leave out fewer, or set output_stride to "
            f"{backbone.output_stride}."
        )


def kept_levels(*, without_last: int = 0, until_stride: int = 0) -> Keep | None:
    """Which levels of a backbone settings ask for; None: all.

    Args:
        without_last: how many of the deepest levels to leave out.
        until_stride: leave out all levels behind the first one of this stride or coarser; 0 keeps them.
    """
    if until_stride:
        return backbones.until_stride(until_stride)
    return backbones.without_last(without_last) if without_last else None


def check_classifier_start(
    name: str, output_stride: int, classifier: str, stage: str, *, without_last: int = 0
) -> None:
    """Say now whether the classifier's weights will fit a network that starts from them; nothing is built.

    Args:
        name: of the network's backbone.
        output_stride: of its last level.
        classifier: the classifier's backbone.
        stage: of the network, for the message.
        without_last: how many of the deepest levels it leaves out.

    Raises:
        ValueError: if they will not.
    """
    if name == classifier:
        return
    with torch.device("meta"):
        backbone = Backbone(name, output_stride, keep=kept_levels(without_last=without_last))
        whole = Backbone(classifier, output_stride, pooled=True).net.state_dict()
    _fill_from_classifier(backbone, {f"{OWN}{key}": value for key, value in whole.items()}, stage)


def _fill_from_classifier(backbone: Backbone, weights: Mapping[str, Tensor], stage: str) -> None:
    """Give a backbone the weights of a run's classifier."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # On the meta device torch warns of every tensor.
            fill_backbone(backbone, weights, "classifier", tell=False)
    except ValueError as error:
        raise ValueError(
            f"{stage}: expected the classifier's backbone to be {backbone.name!r} too, its weights do not fit. "
            "Use the same backbone for both, or start from 'imagenet'."
        ) from error
