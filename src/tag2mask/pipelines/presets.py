"""Recipes by name, and runs as the command line asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from tag2mask.pipelines.affinitynet import AffinityNetSettings, run_affinitynet
from tag2mask.pipelines.ial import run_ial
from tag2mask.pipelines.ial_settings import IALSettings
from tag2mask.pipelines.one_backbone import with_backbone
from tag2mask.pipelines.overrides import change_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.runs.manifest import BackboneStart, Origin
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Runtime

Settings = TypeVar("Settings", AffinityNetSettings, IALSettings)


class Preset(StrEnum):
    """Names of the settings' classmethods."""

    QUICK = "quick"
    DEFAULT = "default"
    PAPER = "paper"


class Method(StrEnum):
    """What makes masks from tags."""

    AFFINITYNET = "affinitynet"
    IAL = "ial"


@dataclass(frozen=True)
class Asked:
    """What a run is asked to be.

    Args:
        origin: preset, source and backbone.
        method: that makes the masks.
        changes: of single settings, as ``stage.field=value``.
        strict: a broken image is an error.
        maps: folder of maps of another method.
        segments: file of segments of another method, for the EM rounds.
        force: go on also with a classifier that learned nothing.
    """

    origin: Origin
    method: Method = Method.AFFINITYNET
    changes: Sequence[str] = ()
    strict: bool = False
    maps: Path | None = None
    segments: Path | None = None
    force: bool = False


def preset_settings(preset: str, kind: type[Settings], data: TagDataset, begin: BackboneStart) -> Settings:
    """The settings of a preset, with the backbone and weights to begin with.

    Args:
        preset: its name; empty: quick.
        kind: `AffinityNetSettings` or `IALSettings`.
        data: whose size counts for ``quick``.
        begin: of all networks.

    Raises:
        ValueError: if there is no such preset or backbone.
    """
    name = Preset(preset or Preset.QUICK)
    if name is Preset.QUICK:
        made = kind.quick_for(data, pretrained=begin.pretrained or bool(begin.weights))
    elif name is Preset.PAPER:
        # The published recipe depends on the network.
        made = kind.paper(begin.name) if begin.name else kind.paper()
    else:
        made = kind()
    return with_backbone(made, begin.name, pretrained=begin.pretrained, weights=begin.weights)


def run_as_asked(data: TagDataset, out: Path, asked: Asked, runtime: Runtime) -> RunFolder:
    """From images and tags to masks by the method that is asked for.

    Args:
        data: images and tags.
        out: where the run goes.
        asked: preset, method and changes.
        runtime: device, precision and seed.

    Returns:
        The run folder.

    Raises:
        ValueError: as `run_affinitynet` and `run_ial`, and for a change that can not be.
    """
    origin, changes = asked.origin, asked.changes
    given: dict[str, Any] = {"strict": asked.strict, "maps": asked.maps, "force": asked.force}
    first = preset_settings(origin.preset, AffinityNetSettings, data, origin.backbone)
    if asked.method is Method.AFFINITYNET:
        settings = change_settings(first, changes)
        if asked.segments is not None:
            raise ValueError("--segments: they stand for the superpixels of EM rounds, which need --method ial.")
        return run_affinitynet(data, out, settings, runtime=runtime, origin=origin, **given)
    of_rounds = [change for change in changes if change.partition(".")[0] in IALSettings.__dataclass_fields__]
    rounds = change_settings(preset_settings(origin.preset, IALSettings, data, origin.backbone), of_rounds)
    first = change_settings(first, [change for change in changes if change not in of_rounds])
    segments = asked.segments
    return run_ial(data, out, rounds, first=first, runtime=runtime, origin=origin, segments=segments, **given)


def run_rounds(
    data: TagDataset,
    out: Path | None,
    start: RunFolder,
    changes: Sequence[str],
    runtime: Runtime,
    *,
    segments: Path | None = None,
) -> RunFolder:
    """EM rounds on a finished run, with the preset and backbone that it was asked for.

    Args:
        data: its images.
        out: where the rounds go; None: into the run.
        start: the run.
        changes: of single settings, as ``stage.field=value``.
        runtime: device, precision and seed.
        segments: file of segments of another method.

    Raises:
        ValueError: as `run_ial`, and for a change that can not be.
    """
    origin = start.manifest().origin
    settings = change_settings(preset_settings(origin.preset, IALSettings, data, origin.backbone), changes)
    return run_ial(data, out or start, settings, start=start, runtime=runtime, segments=segments)
