"""The weights that networks start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tag2mask.nets.backbones import Backbone

if TYPE_CHECKING:
    from tag2mask.data.store import RunFolder


class StartSettings(Protocol):
    """The settings of a network that starts from weights of others."""

    @property
    def backbone(self) -> str: ...

    @property
    def output_stride(self) -> int: ...

    @property
    def start_from(self) -> str: ...


def starting_backbone(
    settings: StartSettings, start: RunFolder | None, stage: str, *, without_last: int = 0, until_stride: int = 0
) -> Backbone:
    """The backbone with the weights that a training starts from; random ones without a run.

    Args:
        settings: which backbone, and whether it starts from ``classifier``, ``imagenet`` or ``scratch``.
        start: the run with the classifier.
        stage: for the message.
        without_last: how many of the deepest levels to leave out.
        until_stride: leave out all levels behind the first one of this stride or coarser; 0 keeps them.

    Raises:
        ValueError: if it shall start from a classifier with another backbone.
    """
    pretrained = start is not None and settings.start_from == "imagenet"
    backbone = Backbone(settings.backbone, settings.output_stride, pretrained, without_last, until_stride)
    if start is not None and settings.start_from == "classifier":
        _load_classifier(backbone, start, stage)
    return backbone


def _load_classifier(backbone: Backbone, start: RunFolder, stage: str) -> None:
    """Give a backbone the weights of the run's classifier."""
    weights = start.weights("01_classify")
    prefix = "backbone."
    own = {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}
    own = {name: value for name, value in own.items() if name in backbone.state_dict()}
    try:
        backbone.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(
            f"{stage}: expected the classifier's backbone to be {backbone.name!r} too, its weights do not fit. "
            "Use the same backbone for both, or start from 'imagenet'."
        ) from error
