"""One backbone for all nets of a pipeline, and a look at it and its weights before anything is computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from tag2mask.runs.places import MINE, PAIRWISE, ROUNDS, UNARY
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.settings import keyed
from tag2mask.runs.stage_folder import state_of
from tag2mask.weights.starting import check_backbone, check_classifier_start

if TYPE_CHECKING:
    from collections.abc import Mapping
    from dataclasses import Field

    from tag2mask.learning.schedule import NetSettings


class NestedSettings(Protocol):
    """Settings of several stages, some of which have networks."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def nets(self) -> Mapping[str, NetSettings]: ...


Nested = TypeVar("Nested", bound=NestedSettings)

STAGES_OF_NETS = {
    "classify": "01_classify",
    "affinity": "04_affinity",
    "segment": "06_segment",
    "unary": f"{ROUNDS}/1/{UNARY}",
    "mine": f"{ROUNDS}/1/{MINE}",
    "pairwise": f"{ROUNDS}/1/{PAIRWISE}",
}
"""The settings that have a backbone, and the stage that trains it first."""


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
    nets = settings.nets()
    if name:
        nets = {part: net.with_backbone(name) for part, net in nets.items()}
    if pretrained or weights:
        nets = {part: net.with_weights(weights) for part, net in nets.items()}
    return replace(settings, **nets)


def check_backbones(
    run: str | Path | RunFolder,
    settings: NestedSettings,
    *,
    classifier: str = "",
    only: tuple[str, ...] = tuple(STAGES_OF_NETS),
) -> None:
    """Look at the backbones, and the weights that they start from, of all nets that a run has not trained yet.

    Args:
        run: the run folder, or where it shall be.
        settings: `AffinityNetSettings` or `IALSettings`.
        classifier: its backbone, where it is not among the settings; empty: there is none.
        only: the nets that are needed.

    Raises:
        ValueError: if there is no such backbone, or its weights can not be had or do not fit it.
    """
    nets = settings.nets()
    classifier = classifier or (nets["classify"].backbone if "classify" in nets else "")
    folder = run.path if isinstance(run, RunFolder) else Path(run)
    for part, net in nets.items():
        if part not in only or not net.is_used or _is_trained(folder / STAGES_OF_NETS[part], keyed(net)):
            continue
        check_backbone(
            net.backbone,
            net.output_stride,
            weights=net.weights,
            pretrained=net.start_from == "imagenet",
            without_last=net.levels_left_out,
            pooled=part == "classify",
        )
        if net.start_from == "classifier" and classifier:
            check_classifier_start(
                net.backbone, net.output_stride, classifier, f"{part}.backbone", without_last=net.levels_left_out
            )


def _is_trained(stage: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether a stage is finished, with these settings among its own."""
    state = state_of(stage)
    return bool(state.get("finished")) and wanted.items() <= state["settings"].items()
