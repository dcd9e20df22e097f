"""One backbone for all nets of a pipeline, and a look at it and its weights before anything is computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tag2mask.nets.affinity_net import SIDE_CHANNELS
from tag2mask.nets.backbones import level_strides
from tag2mask.runs.places import MINE, PAIRWISE, ROUNDS, UNARY
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.settings import keyed
from tag2mask.runs.stage_folder import state_of
from tag2mask.weights.starting import check_backbone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

Nested = TypeVar("Nested", bound="DataclassInstance")
"""Settings of several stages."""

STAGES_OF_NETS = {
    "classify": "01_classify",
    "affinity": "04_affinity",
    "segment": "06_segment",
    "unary": f"{ROUNDS}/1/{UNARY}",
    "mine": f"{ROUNDS}/1/{MINE}",
    "pairwise": f"{ROUNDS}/1/{PAIRWISE}",
}
"""The settings that have a backbone, and the stage that trains it first."""

COARSE = 16
"""AffinityNet does without levels of more pixels per cell: objects would be hardly larger than its cells."""

HEAD_FACTOR = 10.0
"""What is new learns so many times faster than a backbone that starts from weights of others (authors' code)."""


def with_backbone(settings: Nested, name: str = "", *, pretrained: bool = False, weights: str = "") -> Nested:
    """The same settings with another backbone, or other weights to start from, in all nets together.

    Nets that start from the classifier still do. A backbone that can not be dilated to a net's output stride gives it
    its own: a ViT its patch. With weights to start from, backbones learn at a tenth of the rate of what is new.

    Args:
        settings: `AffinityNetSettings` or `IALSettings`; left as they are.
        name: any timm name with feature maps, or ``resnet38`` or ``vgg16_dilated``; empty: the backbones stay.
        pretrained: start from timm's weights.
        weights: start from this file instead.

    Raises:
        ValueError: if there is no such backbone, or it gives no feature maps.

    Example:
        >>> from tag2mask.pipelines.affinitynet import AffinityNetSettings
        >>> changed = with_backbone(AffinityNetSettings.quick(), "vit_tiny_patch16_224", weights="vit.safetensors")
        >>> changed.classify.weights, changed.affinity.start_from, changed.affinity.output_stride
        ('vit.safetensors', 'classifier', 16)
    """
    parts = {part: getattr(settings, part) for part in STAGES_OF_NETS if part in settings.__dataclass_fields__}
    if name:
        parts = {part: replace(net, **_strides(net, name)) for part, net in parts.items()}
    if pretrained or weights:
        parts = {part: replace(net, **_start(net, weights)) for part, net in parts.items()}
    return replace(settings, **parts)


def _strides(net: Any, name: str) -> dict[str, Any]:
    """The changes that another backbone brings."""
    strides = level_strides(name, net.output_stride)
    if not hasattr(net, "without_last"):
        return {"backbone": name, "output_stride": strides[-1]}
    spare = max(0, len(strides) - len(SIDE_CHANNELS))
    left_out = min(spare, max(net.without_last, sum(stride > COARSE for stride in strides)))
    return {"backbone": name, "without_last": left_out, "output_stride": strides[len(strides) - left_out - 1]}


def _start(net: Any, weights: str) -> dict[str, Any]:
    """The changes that weights bring, a file's or timm's."""
    changes: dict[str, Any] = {}
    if hasattr(net, "pretrained"):
        changes = {"pretrained": not weights, "weights": weights}
    elif net.start_from == "imagenet":
        changes = {"weights": weights}
    if net.new_factor < HEAD_FACTOR:
        changes |= {"rate": net.rate * net.new_factor / HEAD_FACTOR, "new_factor": HEAD_FACTOR}
    return changes


def check_backbones(
    run: str | Path | RunFolder, settings: DataclassInstance, *, only: tuple[str, ...] = tuple(STAGES_OF_NETS)
) -> None:
    """Look at the backbones, and the weights that they start from, of all nets that a run has not trained yet.

    Args:
        run: the run folder, or where it shall be.
        settings: `AffinityNetSettings` or `IALSettings`.
        only: the nets that are needed.

    Raises:
        ValueError: if there is no such backbone, or its weights can not be had or do not fit it.
    """
    folder = run.path if isinstance(run, RunFolder) else Path(run)
    for part in only:
        net: Any = getattr(settings, part, None)
        if net is None or not getattr(net, "enabled", True) or _is_trained(folder / STAGES_OF_NETS[part], keyed(net)):
            continue
        check_backbone(
            net.backbone,
            net.output_stride,
            weights=net.weights if getattr(net, "start_from", "imagenet") == "imagenet" else "",
            pretrained=net.pretrained if hasattr(net, "pretrained") else net.start_from == "imagenet",
            without_last=getattr(net, "without_last", 0),
        )


def _is_trained(stage: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether a stage is finished, with these settings among its own."""
    state = state_of(stage)
    return bool(state.get("finished")) and wanted.items() <= state["settings"].items()
