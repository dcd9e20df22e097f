"""AffinityNet from tags to a segmentation network, on one screen (Ahn & Kwak, CVPR 2018)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tag2mask.auto.judge import MaskJudge
from tag2mask.datasets.dataset import typical_side
from tag2mask.learning.base_rate import check_learned
from tag2mask.learning.learned_pairs import LearnedPairs
from tag2mask.learning.schedule import TUNED_BACKBONE
from tag2mask.learning.segmenting import SegmentSettings
from tag2mask.ops.crf import CrfSettings
from tag2mask.pipelines.one_backbone import check_backbones, with_backbone
from tag2mask.pipelines.outside import Beginning, begin, note_maps
from tag2mask.pipelines.prepare import prepare, working_copies
from tag2mask.runs.manifest import MANIFEST, Origin
from tag2mask.runs.places import CLASSIFY
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.settings import nested_settings_from
from tag2mask.runtime import Runtime
from tag2mask.stages.s1_classify import ClassifySettings, train_classifier
from tag2mask.stages.s2_localize import LocalizeSettings, make_cams
from tag2mask.stages.s3_seed import SeedSettings, make_seeds
from tag2mask.stages.s4_affinity import AffinitySettings, train_affinity
from tag2mask.stages.s5_walk import WalkSettings, walk_masks
from tag2mask.stages.s6_segment import train_segmenter

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.schedule import NetSettings
    from tag2mask.learning.segmenter import Segmenter


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

    def sides(self) -> tuple[float, ...]:
        """Long sides in pixels at which any stage looks at images; 0 means their own size."""
        stages = (self.classify, self.localize, self.seed, self.affinity, self.walk, self.segment)
        return tuple(side for stage in stages for side in stage.sides())

    def nets(self) -> dict[str, NetSettings]:
        """The settings of the networks, by their names here."""
        return {"classify": self.classify, "affinity": self.affinity, "segment": self.segment}

    @classmethod
    def paper(cls, backbone: str = "resnet50") -> AffinityNetSettings:
        """The published recipe, with fixed alphas, beta and t.

        Args:
            backbone: classifier and AffinityNet learn at the rate of this network.
        """
        return cls(
            ClassifySettings.paper(backbone),
            LocalizeSettings.paper(),
            SeedSettings.paper(),
            AffinitySettings.paper(backbone),
            WalkSettings.paper(),
            SegmentSettings.paper(),
            CrfSettings.paper(),
        )

    @classmethod
    def quick(cls, image_side: int = 320, images: int = 400, *, pretrained: bool = False) -> AffinityNetSettings:
        """Small nets on a CPU, minutes instead of days.

        Args:
            image_side: typical long side of the images in pixels; larger ones are shrunk to it.
            images: how many there are; small sets get more epochs.
            pretrained: the classifier starts from ImageNet weights, and all other networks from the classifier.
        """
        made = cls(
            ClassifySettings.quick(image_side, images, pretrained=pretrained),
            LocalizeSettings.quick(image_side, pretrained=pretrained),
            SeedSettings.quick(image_side),
            AffinitySettings.quick(images, pretrained=pretrained),
            WalkSettings.quick(image_side, pretrained=pretrained),
            SegmentSettings.quick(image_side, images, pretrained=pretrained),
            CrfSettings.quick(image_side, pretrained=pretrained),
        )
        return with_backbone(made, TUNED_BACKBONE, pretrained=True) if pretrained else made

    @classmethod
    def quick_for(cls, data: TagDataset, *, pretrained: bool = False) -> AffinityNetSettings:
        """`quick` with the image size and the number of images of a data set.

        Args:
            data: up to 20 of its images are decoded; those that cannot be are left out.
            pretrained: the classifier starts from ImageNet weights.
        """
        return cls.quick(typical_side(data), len(data.names), pretrained=pretrained)


def run_affinitynet(
    data: TagDataset,
    run: str | Path | RunFolder,
    settings: AffinityNetSettings | None = None,
    *,
    runtime: Runtime | None = None,
    strict: bool = False,
    origin: Origin | None = None,
    segmenter: Segmenter | None = None,
    maps: str | Path | None = None,
    force: bool = False,
) -> RunFolder:
    """Image tags to pixel masks and a segmentation network.

    Finished stages with unchanged settings and inputs are not run again; a killed run goes on where it stopped.

    Args:
        data: images and tags.
        run: the run folder, or where it shall be.
        settings: of every stage.
        runtime: device, precision and seed.
        strict: an image that cannot be read is an error; otherwise it is reported and left out.
        origin: how the run was asked for, for ``run.json``.
        segmenter: any segmentation network for the data's classes, see `tag2mask.learning.segmenter.Segmenter`;
            trained in place. None: one is built as the settings say.
        maps: a folder of maps that another method made, in place of stages 1 and 2, see
            `tag2mask.datasets.outside_maps`; an image without one gets the run's own, or is an error if strict.
        force: begin also with tags that no classifier can learn, and go on with one that learned nothing.

    Returns:
        The run folder: ``.masks``, ``.predictions``, ``.seeds``, ``.cams`` ...

    Raises:
        ValueError: for an empty set, a set without any tag, unreadable images if strict, settings that do not fit,
            weights to start from that can not be had or do not fit, maps that do not fit, or a classifier that learned
            nothing.
    """
    settings = settings or AffinityNetSettings()
    runtime = runtime or Runtime()
    nets = tuple(settings.nets()) if segmenter is None else ("classify", "affinity")
    start = begin(data, run, settings, runtime, rounds=None, maps=maps, strict=strict, used=nets)
    settings = start.settings
    check_backbones(run, settings, only=start.needed(*nets))
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    prepared = prepare(
        working_copies(data, settings), run, settings, runtime, strict=strict, origin=origin or Origin(), force=force
    )

    make_start(prepared, run, replace(start, force=force), runtime)
    train_segmenter(prepared, run.masks, run, settings.segment, runtime=runtime, net=segmenter)
    return run


def make_start(
    data: TagDataset, run: RunFolder, start: Beginning[Any], runtime: Runtime, *, masks: bool = True
) -> None:
    """Tags to seeds, and on to pseudo masks.

    Args:
        data: images and tags.
        run: where everything goes.
        start: settings of every stage, and maps of another method.
        runtime: device, precision and seed.
        masks: go on to the pseudo masks; otherwise the seeds are the end.

    Raises:
        ValueError: if the classifier learned nothing, unless the start is forced.
    """
    settings, outside, classifier = start.settings, start.outside, None
    note_maps(run, outside)
    if start.classifier:
        classifier = train_classifier(data, run, settings.classify, runtime=runtime)
        if not start.force:
            loss = run.stage_summaries()[CLASSIFY].curves["loss"][-1][1]
            check_learned(data, classifier, loss, settings.classify, runtime)
    else:
        run.drop_stage(CLASSIFY)
    judge = MaskJudge(classifier, settings.crf, runtime, settings.localize.max_side)
    cams = make_cams(data, classifier, run, settings.localize, runtime=runtime, outside=outside)
    scores = make_seeds(data, cams, run, settings.seed, crf=settings.crf, judge=judge, outside=outside)
    if not masks:
        return
    affinity_net = train_affinity(data, scores, run, settings.affinity, runtime=runtime)
    learned = LearnedPairs(affinity_net, settings.affinity, runtime)
    walk_masks(data, cams, learned, run, settings.walk, crf=settings.crf, judge=judge)


def settings_of(run: RunFolder) -> AffinityNetSettings:
    """The settings that a run was made with.

    Args:
        run: with its ``run.json``.

    Raises:
        ValueError: if they are not those of this version.
    """
    manifest, where = run.manifest(), f"{run.path / MANIFEST}: settings"
    return nested_settings_from(AffinityNetSettings, manifest.settings, where, complete=manifest.is_complete)
