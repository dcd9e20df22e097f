"""Maps and segments of other methods at the beginning of a pipeline, and what it does without a classifier."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from tag2mask.checks import some
from tag2mask.datasets.outside_maps import open_maps
from tag2mask.runs.manifest import OutsideFiles
from tag2mask.runs.places import CLASSIFY
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.settings import keyed
from tag2mask.runs.stage_folder import state_of
from tag2mask.weights.installed import installed_file, installed_networks

if TYPE_CHECKING:
    from collections.abc import Collection

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.datasets.outside_maps import OutsideMaps
    from tag2mask.datasets.outside_segments import OutsideSegments
    from tag2mask.learning.schedule import NetSettings
    from tag2mask.pipelines.affinitynet import AffinityNetSettings
    from tag2mask.pipelines.ial_settings import IALSettings
    from tag2mask.pipelines.one_backbone import Nested, NestedSettings
    from tag2mask.runtime import Runtime

logger = logging.getLogger(__name__)

Rounds = TypeVar("Rounds", "IALSettings", None)


@dataclass(frozen=True, eq=False)
class Beginning(Generic[Rounds]):
    """What a run begins with.

    Args:
        settings: of AffinityNet, less what needs a classifier if there is none.
        rounds: of the EM rounds, likewise.
        outside: maps of another method, if there are any.
        classifier: whether there is one; otherwise stage 1 is left out.
        force: go on also with a classifier that learned nothing.
    """

    settings: AffinityNetSettings
    rounds: Rounds
    outside: OutsideMaps | None = None
    classifier: bool = True
    force: bool = False

    def needed(self, *nets: str) -> tuple[str, ...]:
        """The networks that are trained: of these all, or all but the classifier."""
        return tuple(net for net in nets if self.classifier or net != "classify")


def begin(
    data: TagDataset,
    run: str | Path | RunFolder,
    settings: AffinityNetSettings,
    runtime: Runtime,
    *,
    rounds: Rounds,
    maps: str | Path | None,
    strict: bool,
    used: Collection[str],
) -> Beginning[Rounds]:
    """Look at maps of another method, and decide whether the run needs a classifier.

    It is trained if images with tags have no map, or networks shall start from its weights and there are no others; one
    that the run's folder has is used. Values of "auto" alone are no reason to train one.

    Args:
        data: images and tags.
        run: the run folder, or where it shall be.
        settings: of AffinityNet.
        runtime: device, precision and seed.
        rounds: settings of the EM rounds, if there will be any.
        maps: folder of maps; None: there are none.
        strict: an image that has a tag and no map is an error.
        used: the networks of `settings` that are trained.

    Raises:
        ValueError: for maps that do not fit, see `tag2mask.datasets.outside_maps.open_maps`.
    """
    if maps is None:
        return Beginning(settings, rounds)
    outside = open_maps(maps, data, strict=strict)
    missing = outside.missing(data)
    if not missing and _has_classifier(run, data, settings, runtime):
        logger.info("%s: the classifier of this folder is used: it judges masks, and networks start from it", CLASSIFY)
        return Beginning(settings, rounds, outside)
    lacking = _lacking(settings, settings.classify, used)
    lacking += [] if rounds is None else _lacking(rounds, settings.classify, rounds.nets())
    if missing or lacking:
        why = f"{len(missing)} images have no map" if missing else _why(lacking)
        logger.info("%s: a classifier is trained, although there are maps: %s", CLASSIFY, why)
        return Beginning(settings, rounds, outside)
    logger.info(
        "%s: left out, every image with a tag has a map. Networks start from ImageNet weights; without a classifier, "
        "an alpha, beta or t of 'auto' is judged by colours and size alone.",
        CLASSIFY,
    )
    later = rounds if rounds is None else rounds_without_classifier(rounds, settings.classify)
    return Beginning(without_classifier(settings), later, outside, classifier=False)


def without_classifier(settings: AffinityNetSettings) -> AffinityNetSettings:
    """The same settings for a run that has no classifier: networks start from ImageNet weights.

    Values of "auto" stay: they are judged by colours and size, see `tag2mask.auto.judge`.

    Args:
        settings: left as they are.
    """
    return _from_imagenet(settings, settings.classify)


def rounds_without_classifier(settings: IALSettings, first: NetSettings) -> IALSettings:
    """The same settings of the rounds of a run that has no classifier: networks start from ImageNet weights.

    Args:
        settings: left as they are.
        first: what the classifier would be, whose weights to start from count.

    Raises:
        ValueError: if a network shall start from the classifier, and there are no other weights.
    """
    if lacking := _lacking(settings, first, settings.nets()):
        example = " ".join(f"--set {name}.start_from=imagenet" for name in lacking)
        raise ValueError(
            f"expected a classifier, as {_why(lacking)}; the run has none, since its maps are another method's. Choose "
            f"backbones that weights are installed of, or have timm get them ({example})."
        )
    return _from_imagenet(settings, first)


def note_maps(run: RunFolder, outside: OutsideMaps | None) -> None:
    """Keep in ``run.json`` which maps of another method a run is made with.

    Args:
        run: with its ``run.json``.
        outside: None: with none.
    """
    files = None if outside is None else OutsideFiles(str(outside.folder.resolve()), outside.digest)
    if run.manifest().maps != files:
        run.write_manifest(replace(run.manifest(), maps=files))


def note_segments(run: RunFolder, segments: OutsideSegments | None) -> None:
    """Keep in ``run.json`` which segments of another method the rounds are made with.

    Args:
        run: with its ``run.json``.
        segments: None: with none.
    """
    files = None if segments is None else OutsideFiles(str(segments.path.resolve()), segments.digest)
    if run.manifest().segments != files:
        run.write_manifest(replace(run.manifest(), segments=files))


def _has_classifier(
    run: str | Path | RunFolder, data: TagDataset, settings: AffinityNetSettings, runtime: Runtime
) -> bool:
    """Whether the run's folder holds the classifier that would be trained."""
    state = state_of((run.path if isinstance(run, RunFolder) else Path(run)) / CLASSIFY)
    wanted = {"settings": keyed(settings.classify), "digest": data.digest(), "finished": True}
    wanted |= {"seed": runtime.seed, "precision": runtime.precision}
    return wanted.items() <= state.items()


def _lacking(settings: NestedSettings, first: NetSettings, used: Collection[str]) -> list[str]:
    """The networks among the used ones that shall start from the classifier and have no other weights."""
    return [
        name
        for name, net in settings.nets().items()
        if name in used and net.is_used and net.start_from == "classifier" and not _has_weights(net, first)
    ]


def _has_weights(net: NetSettings, first: NetSettings) -> bool:
    """Whether ImageNet weights are at hand: those that the classifier would start from, or installed ones."""
    same = net.backbone == first.backbone and first.start_from == "imagenet"
    return same or installed_file(net.backbone) is not None


def _from_imagenet(settings: Nested, first: NetSettings) -> Nested:
    """Networks that would start from the classifier start from what that would start from."""
    weights = {first.backbone: first.weights}
    nets = {
        name: replace(net, start_from="imagenet").with_weights(weights.get(net.backbone, ""))
        for name, net in settings.nets().items()
        if net.is_used and net.start_from == "classifier"
    }
    return replace(settings, **nets)


def _why(lacking: Collection[str]) -> str:
    installed = some(installed_networks()) or "none"
    return (
        f"{some(lacking)} would start from its weights, and no ImageNet weights of that backbone are at hand "
        f"(installed: {installed})"
    )
