"""AffinityNet from tags to a segmentation network, on one screen (Ahn & Kwak, CVPR 2018)."""

from __future__ import annotations

import json
import logging
import math
import platform
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from tag2mask.auto.judge import MaskJudge
from tag2mask.datasets.dataset import unreadable, without
from tag2mask.learning.fit import Runtime
from tag2mask.ops.crf import CrfSettings
from tag2mask.pipelines.one_backbone import check_backbones
from tag2mask.pipelines.overrides import fit_value
from tag2mask.pipelines.prepare import working_copies
from tag2mask.progress import progress_bar
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.settings import plain, settings_from
from tag2mask.stages.s1_classify import ClassifySettings, train_classifier
from tag2mask.stages.s2_localize import LocalizeSettings, make_cams
from tag2mask.stages.s3_seed import SeedSettings, make_seeds
from tag2mask.stages.s4_affinity import AffinitySettings, train_affinity
from tag2mask.stages.s5_walk import WalkSettings, walk_masks
from tag2mask.stages.s6_segment import SegmentSettings, train_segmenter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from _typeshed import DataclassInstance

    from tag2mask.datasets.dataset import TagDataset

logger = logging.getLogger(__name__)

Nested = TypeVar("Nested", bound="DataclassInstance")
"""Settings of several stages."""


@dataclass(frozen=True)
class AffinityNetSettings:
    """The settings of every stage. The defaults suit a GPU, ImageNet weights and photographs.

    Args:
        classify: stage 1.
        localize: stage 2.
        seed: stage 3.
        affinity: stage 4.
        walk: stage 5.
        segment: stage 6.
        crf: the dense CRF of stages 3 and 5.
    """

    classify: ClassifySettings = field(default_factory=ClassifySettings)
    localize: LocalizeSettings = field(default_factory=LocalizeSettings)
    seed: SeedSettings = field(default_factory=SeedSettings)
    affinity: AffinitySettings = field(default_factory=AffinitySettings)
    walk: WalkSettings = field(default_factory=WalkSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    crf: CrfSettings = field(default_factory=CrfSettings)

    @classmethod
    def paper(cls) -> AffinityNetSettings:
        """The published recipe, with fixed alphas, beta and t."""
        return cls(
            ClassifySettings.paper(),
            LocalizeSettings.paper(),
            SeedSettings.paper(),
            AffinitySettings.paper(),
            WalkSettings.paper(),
            SegmentSettings.paper(),
            CrfSettings.paper(),
        )

    @classmethod
    def quick(cls, image_side: int = 320, images: int = 400) -> AffinityNetSettings:
        """Small nets from scratch on a CPU, minutes instead of days.

        Args:
            image_side: typical long side of the images in pixels; larger ones are shrunk to it.
            images: how many there are; small sets get more epochs.
        """
        return cls(
            ClassifySettings.quick(image_side, images),
            LocalizeSettings.quick(image_side),
            SeedSettings.quick(image_side),
            AffinitySettings.quick(images),
            WalkSettings.quick(image_side),
            SegmentSettings.quick(image_side, images),
            CrfSettings.quick(image_side),
        )

    @classmethod
    def quick_for(cls, data: TagDataset) -> AffinityNetSettings:
        """`quick` with the image size and the number of images of a data set.

        Args:
            data: up to 20 of its images are decoded; those that cannot be are left out.
        """
        return cls.quick(typical_side(data), len(data.names))


def typical_side(data: TagDataset) -> int:
    """The image side for `quick`: the median long side of up to 20 images, within 64 and 320; 320 if none can be read.

    Args:
        data: images.
    """
    sides = []
    for name in data.names[:: max(1, math.ceil(len(data.names) / 20))]:
        with suppress(ValueError):  # `prepare` tells of broken images.
            sides.append(max(data[name].size))
    return max(64, min(320, sorted(sides)[len(sides) // 2])) if sides else 320


def run_affinitynet(
    data: TagDataset,
    run: str | Path | RunFolder,
    settings: AffinityNetSettings | None = None,
    *,
    runtime: Runtime | None = None,
    strict: bool = False,
    **facts: Any,
) -> RunFolder:
    """Image tags to pixel masks and a segmentation network.

    Finished stages with unchanged settings and inputs are not run again; a killed run goes on where it stopped.

    Args:
        data: images and tags.
        run: the run folder, or where it shall be.
        settings: of every stage.
        runtime: device, precision and seed.
        strict: an image that cannot be read is an error; otherwise it is reported and left out.
        facts: more for ``run.json``.

    Returns:
        The run folder: ``.masks``, ``.predictions``, ``.seeds``, ``.cams`` ...

    Raises:
        ValueError: for an empty set, a set without any tag, unreadable images if strict, settings that do not fit,
            or weights to start from that can not be had or do not fit.
    """
    settings = settings or AffinityNetSettings()
    runtime = runtime or Runtime()
    check_backbones(run, settings)
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    data = prepare(working_copies(data, settings), run, settings, runtime, strict=strict, **facts)

    make_start(data, run, settings, runtime)
    train_segmenter(data, run.masks, run, settings.segment, runtime=runtime)
    return run


def make_start(
    data: TagDataset, run: RunFolder, settings: AffinityNetSettings, runtime: Runtime, *, masks: bool = True
) -> None:
    """Tags to seeds, and on to pseudo masks.

    Args:
        data: images and tags.
        run: where everything goes.
        settings: of every stage.
        runtime: device, precision and seed.
        masks: go on to the pseudo masks; otherwise the seeds are the end.
    """
    classifier = train_classifier(data, run, settings.classify, runtime=runtime)
    cams = make_cams(data, classifier, run, settings.localize, runtime=runtime)
    judge = MaskJudge(classifier, settings.crf, runtime, settings.localize.max_side)
    scores = make_seeds(data, cams, run, settings.seed, crf=settings.crf, judge=judge)
    if not masks:
        return
    affinity_net = train_affinity(data, scores, run, settings.affinity, runtime=runtime)
    walk_masks(
        data,
        cams,
        affinity_net,
        run,
        settings.walk,
        affinity=settings.affinity,
        crf=settings.crf,
        runtime=runtime,
        judge=judge,
    )


def prepare(
    data: TagDataset,
    run: RunFolder,
    settings: AffinityNetSettings,
    runtime: Runtime,
    *,
    strict: bool,
    **facts: Any,
) -> TagDataset:
    """Look at everything that could stop a run hours later, and write ``run.json``.

    Returns:
        The data less the images that cannot be read.

    Raises:
        ValueError: see `run_affinitynet`.
    """
    digest = data.digest()
    known = run.record() if (run.path / "run.json").is_file() else {}
    if known.get("digest") == digest and "skipped" in known:
        broken = dict(known["skipped"])
    else:
        names = (*data.names, *data.val_names)
        with progress_bar("reading every image once", len(names)) as advance:
            broken = unreadable(data, names, lambda _done, _total: advance(1, ""))
    if broken and strict:
        raise ValueError(
            f"{len(broken)} image(s) cannot be read, the first: {next(iter(broken.values()))} "
            "Mend or remove them, or run without --strict to leave them out."
        )
    for message in broken.values():
        logger.warning("left out: %s", message)
    data = without(data, broken) if broken else data
    if not data.names:
        raise ValueError("no image to train on: expected at least one readable image with a row of tags.")
    if not any(bool(data.tags(name).any()) for name in data.names):
        raise ValueError("no image has a tag: expected at least one. Without tags there is nothing to learn.")
    run.write_record(
        class_names=list(data.class_names),
        names=list(data.names),
        val_names=list(data.val_names),
        digest=digest,
        skipped=broken,
        seed=runtime.seed,
        settings=plain(settings),
        precision=runtime.precision,
        device=str(runtime.device),
        versions=versions(),
        **facts,
    )
    return data


def settings_of(run: RunFolder) -> AffinityNetSettings:
    """The settings that a run was made with.

    Args:
        run: with its ``run.json``.
    """
    kept, parts = run.record()["settings"], {}
    for name, part in AffinityNetSettings.__dataclass_fields__.items():
        kind: Any = part.default_factory
        parts[name] = settings_from(kind, kept[name])
    return AffinityNetSettings(**parts)


def versions() -> dict[str, str]:
    """The versions of what a run's numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("tag2mask", "torch", "torchvision", "timm", "numpy", "numba", "lightning-fabric"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def change_settings(settings: Nested, changes: Sequence[str]) -> Nested:
    """Replace single fields, given as ``stage.field=value``.

    Args:
        settings: a dataclass of dataclasses; left as it is.
        changes: for example ``["seed.alpha_object=4", "classify.backbone=resnet34"]``; the value is read as JSON,
            and as plain text where it is none.

    Raises:
        ValueError: if there is no such stage or field, or the value has another type or is out of range.
    """
    for change in changes:
        place, equals, text = change.partition("=")
        stage, _, name = place.partition(".")
        part = getattr(settings, stage, None) if stage in type(settings).__dataclass_fields__ else None
        if not equals or part is None or name not in type(part).__dataclass_fields__:
            stages = ", ".join(type(settings).__dataclass_fields__)
            known = f" {stage} has: {', '.join(type(part).__dataclass_fields__)}." if part is not None else ""
            raise ValueError(f"setting {change!r}: expected STAGE.FIELD=VALUE with one of the stages {stages}.{known}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        try:
            value = fit_value(get_type_hints(type(part))[name], value)
        except TypeError as error:
            raise ValueError(f"setting {change!r}: {error}.") from error
        settings = replace(settings, **{stage: replace(part, **{name: value})})
    return settings
