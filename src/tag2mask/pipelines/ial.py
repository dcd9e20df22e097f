"""IAL, iterative affinity learning, on one screen: EM rounds of two networks (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tag2mask.auto.judge import MaskJudge
from tag2mask.datasets.dataset import without
from tag2mask.datasets.outside_segments import open_segments
from tag2mask.pipelines.affinitynet import AffinityNetSettings, make_start, settings_of
from tag2mask.pipelines.ial_settings import STARTS, IALSettings
from tag2mask.pipelines.one_backbone import check_backbones
from tag2mask.pipelines.outside import Beginning, begin, note_segments, rounds_without_classifier
from tag2mask.pipelines.prepare import check_same, prepare, runtime_of, versions, working_copies
from tag2mask.runs.manifest import ImageNames, Origin
from tag2mask.runs.places import CLASSIFY, ESTIMATE, MINE, PAIRWISE, REFINE, SHARPEN, STAGES, SUPERPIXELS, UNARY
from tag2mask.runs.round import Round
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.settings import plain
from tag2mask.runtime import Runtime
from tag2mask.stages.r0_superpixels import make_superpixels
from tag2mask.stages.r1_unary import learn_unary
from tag2mask.stages.r2_estimate import estimate_unary
from tag2mask.stages.r3_mine import mine_regions
from tag2mask.stages.r4_pairwise import learn_pairwise
from tag2mask.stages.r5_refine import Refiner, refine_masks
from tag2mask.stages.r5_sharpen import SharpenSettings, sharpen_masks
from tag2mask.stages.s1_classify import load_classifier

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.pairwise import PairwiseSettings
    from tag2mask.learning.segmenting import LabelSource, SegmentSettings
    from tag2mask.nets.segmenter import DeepLab
    from tag2mask.nets.spn import PairwiseNetwork
    from tag2mask.pipelines.ial_settings import RoundSettings
    from tag2mask.records import SoftMask
    from tag2mask.runs.stage_folder import Upstream


@dataclass(frozen=True, eq=False)
class RoundNetworks:
    """The two networks that a round trained.

    Args:
        unary: the segmentation network f.
        pairwise: the propagation network g; None if the settings do without it.
    """

    unary: DeepLab
    pairwise: PairwiseNetwork | None


def run_ial(
    data: TagDataset,
    run: str | Path | RunFolder,
    settings: IALSettings | None = None,
    *,
    start: str | Path | RunFolder | None = None,
    first: AffinityNetSettings | None = None,
    runtime: Runtime | None = None,
    strict: bool = False,
    origin: Origin | None = None,
    maps: str | Path | None = None,
    segments: str | Path | None = None,
    force: bool = False,
) -> RunFolder:
    """Two networks that teach each other, round by round, from tags or from a finished run.

    Finished rounds are not run again; a killed run goes on where it stopped.

    Args:
        data: images and tags.
        run: the run folder, or where it shall be.
        settings: of the rounds.
        start: a finished run with seeds (or masks); may be `run` itself. None: its first stages are run here.
        first: settings of these first stages.
        runtime: device, precision and seed; None: those of the start, on any device.
        strict: an image that cannot be read is an error; otherwise it is reported and left out.
        origin: how the run was asked for, for ``run.json``.
        maps: of another method, for the first stages, as of `run_affinitynet`.
        segments: a file of another method's segments in place of superpixels, see `tag2mask.datasets.outside_segments`.
        force: begin also with tags that no classifier can learn, and go on with one that learned nothing.

    Returns:
        The run folder; `tag2mask.runs.round.Round` finds what the rounds made.

    Raises:
        ValueError: for a start without seeds (or masks), another seed or precision in the start's own folder, a round
            of which a file is missing, weights to start from that can not be had, and as `run_affinitynet`.
    """
    settings = settings or IALSettings()
    given = None if segments is None else open_segments(segments, data, strict=strict)
    if start is None:
        runtime, first = runtime or Runtime(), first or AffinityNetSettings()
        nets = ("classify", "affinity") if settings.rounds.start == "masks" else ("classify",)
        begun = begin(data, run, first, runtime, rounds=settings, maps=maps, strict=strict, used=nets)
        settings, begun = begun.rounds, replace(begun, force=force)
        data, run = _make_first(data, run, begun, runtime, nets=nets, strict=strict, origin=origin or Origin())
        start = run
    else:
        start = start if isinstance(start, RunFolder) else RunFolder.existing(start)
        runtime = runtime or runtime_of(start)
        settings = _fitting(settings, run, start)
        data, run = _adopt(working_copies(data, settings), run, start, runtime)
    run.write_manifest(replace(run.manifest(), ial=plain(settings)))
    note_segments(run, given)
    make_superpixels(data, run, settings.superpixels, given)
    judge = _judge(data, start, settings, runtime)
    before: RoundNetworks | None = None
    for number in range(1, settings.rounds.count + 1):
        made = run_round(data, Round(run, number, start), settings, before, judge=judge, runtime=runtime)
        before = made if settings.rounds.continued else None
    return run


def _fitting(settings: IALSettings, run: str | Path | RunFolder, start: RunFolder) -> IALSettings:
    """The settings of rounds for a finished run, without what needs a classifier if it has none; all looked at."""
    _check_start(start, settings.rounds)
    first = settings_of(start).classify
    if CLASSIFY not in start.stage_summaries():
        settings = rounds_without_classifier(settings, first)
    check_backbones(run, settings, classifier=first.backbone)
    return settings


def _make_first(
    data: TagDataset,
    run: str | Path | RunFolder,
    begun: Beginning[IALSettings],
    runtime: Runtime,
    *,
    nets: tuple[str, ...],
    strict: bool,
    origin: Origin,
) -> tuple[TagDataset, RunFolder]:
    """The first stages of a run, up to what its rounds start from: the data less broken images, and the run."""
    first, settings = begun.settings, begun.rounds
    check_backbones(run, first, only=begun.needed(*nets))
    check_backbones(run, settings, classifier=first.classify.backbone)
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    copies = working_copies(data, first, settings)
    data = prepare(copies, run, first, runtime, strict=strict, origin=origin, force=begun.force)
    make_start(data, run, begun, runtime, masks=settings.rounds.start == "masks")
    return data, run


def run_round(
    data: TagDataset,
    em_round: Round,
    settings: IALSettings,
    before: RoundNetworks | None,
    *,
    judge: MaskJudge | None,
    runtime: Runtime,
) -> RoundNetworks:
    """One EM round: learn unary, estimate alpha_u, mine, learn pairwise, alpha_p = G alpha_u.

    Args:
        data: images and tags.
        em_round: the round.
        settings: of the rounds.
        before: the networks of the round before, to go on from; None: start as the settings say.
        judge: of the masks that teach the next round, if they are judged.
        runtime: device, precision and seed.

    Returns:
        The round's two networks.
    """
    em_round.check_whole()
    unary_settings, pairwise_settings, share = _lessons(settings, em_round.number, goes_on=before is not None)
    masks, origin = _teacher(em_round, settings.rounds)
    first = em_round.of_start(CLASSIFY)
    # The stages that the networks' first weights come from.
    begins = {name: first if before is None else f"{em_round.before}/{name}" for name in (UNARY, PAIRWISE)}
    unary = learn_unary(
        data,
        masks,
        em_round,
        unary_settings,
        after=(origin, begins[UNARY]),
        before=None if before is None else before.unary,
        share=share,
        runtime=runtime,
    )
    estimate_unary(data, unary, em_round, unary_settings, stride=pairwise_settings.stride, runtime=runtime)
    mine_regions(data, em_round, settings.mine, crf=settings.crf, runtime=runtime)
    mined = (SUPERPIXELS, f"{em_round.folder}/{ESTIMATE}", f"{em_round.folder}/{MINE}")
    pairwise = learn_pairwise(
        data,
        em_round,
        pairwise_settings,
        after=(*mined, begins[PAIRWISE]),
        before=None if before is None else before.pairwise,
        runtime=runtime,
    )
    refiner = Refiner(unary, unary_settings, pairwise, pairwise_settings, runtime)
    refine_masks(data, em_round, refiner, sharpened=settings.rounds.sharpen)
    _sharpen(data, em_round, settings, judge)
    return RoundNetworks(unary, pairwise)


def _lessons(settings: IALSettings, number: int, *, goes_on: bool) -> tuple[SegmentSettings, PairwiseSettings, float]:
    """How both networks of a round learn, and the share of what the unary one learned in it."""
    unary, pairwise = settings.unary, settings.pairwise
    # The second round is the first one that learns whole masks: it takes as long as the first.
    if not goes_on or number <= 2:
        return unary, pairwise, 1.0
    share = 1 / (number - 1) if settings.rounds.averaged else 1.0
    return settings.rounds.going_on(unary), settings.rounds.going_on(pairwise), share


def _sharpen(data: TagDataset, em_round: Round, settings: IALSettings, judge: MaskJudge | None) -> None:
    """Sharpen the round's masks if the settings want it; otherwise those of other settings are gone."""
    if settings.rounds.sharpen:
        sharpen = SharpenSettings(settings.pairwise.max_side, settings.rounds.averaged)
        sharpen_masks(data, em_round, sharpen, crf=settings.crf, judge=judge)
    else:
        em_round.run.drop_stage(f"{em_round.folder}/{SHARPEN}")


def _teacher(em_round: Round, rounds: RoundSettings) -> tuple[LabelSource | Mapping[str, SoftMask], str | Upstream]:
    """What the unary network of a round learns: name -> labels or probabilities, and the stage that made them."""
    if em_round.number == 1:
        made = em_round.of_start(STARTS[rounds.start])
        return em_round.start.seeds if rounds.start == "seeds" else em_round.start.masks, made
    last = Round(em_round.run, em_round.number - 1, em_round.start)
    if rounds.soft:
        return last.mean_refined_soft if rounds.averaged else last.refined_soft, f"{last.folder}/{REFINE}"
    if rounds.sharpen:
        return last.sharpened, f"{last.folder}/{SHARPEN}"
    return last.masks, f"{last.folder}/{REFINE}"


def _judge(data: TagDataset, start: RunFolder, settings: IALSettings, runtime: Runtime) -> MaskJudge | None:
    """The judge of masks, with the start's classifier if it has one, if the settings want one."""
    if not (settings.rounds.sharpen and settings.rounds.judged):
        return None
    classifier = None
    if CLASSIFY in start.stage_summaries():
        classifier = load_classifier(start, len(data.class_names), settings_of(start).classify, runtime)
    return MaskJudge(classifier, settings.crf, runtime, settings.pairwise.max_side)


def _adopt(
    data: TagDataset, run: str | Path | RunFolder, start: RunFolder, runtime: Runtime
) -> tuple[TagDataset, RunFolder]:
    """Begin a run on another one's images, or go on in the same folder, whose stages all have one seed and precision.

    Returns:
        The data less the images that the start skipped, and the run.

    Raises:
        ValueError: if the images or tags are not those of the start, or the run's folder holds something else.
    """
    known = start.manifest()
    facts = (("seed", known.seed, runtime.seed), ("precision", known.precision, runtime.precision))
    if data.digest() != known.digest:
        raise ValueError(
            f"{start.path}: the images or tags changed since this run was made. "
            "Run `tag2mask run` on it again first; only what depends on the change is made anew."
        )
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    if run.path.resolve() != start.path.resolve():
        if found := [stage for stage in STAGES if stage in run.stage_summaries()]:
            raise ValueError(
                f"{run.path}: expected a new folder, or one with rounds only, found a run of its own ({found[0]}). "
                "Its run.json would be overwritten; take another folder for the rounds."
            )
        if run.has_manifest():
            check_same(run, run.manifest(), data, known.origin.source)
        own = replace(known, seed=runtime.seed, precision=runtime.precision, device=str(runtime.device))
        own = replace(own, versions=versions(), start=str(start.path.resolve()), segments=None)
        run.write_manifest(own, ImageNames(start.names(), start.names("val")))
    elif changed := [f"{name} {before} -> {now}" for name, before, now in facts if before != now]:
        raise ValueError(
            f"{start.path}: rounds in the folder of their start have its seed and precision, got {', '.join(changed)}. "
            "Take another folder for the rounds."
        )
    return without(data, known.skipped) if known.skipped else data, run


def _check_start(start: RunFolder, rounds: RoundSettings) -> None:
    """Require the classifier and what round 1 learns from.

    Raises:
        ValueError: if a stage is not finished, or a file of it is missing.
    """
    needed = (STARTS[rounds.start],) if start.manifest().maps else (CLASSIFY, STARTS[rounds.start])
    for stage in needed:
        if stage not in start.stage_summaries():
            raise ValueError(
                f"{start.path}: expected a run with finished {rounds.start} ({stage}), found none. "
                "Finish it with `tag2mask run`, or begin from tags with `tag2mask run FOLDER --method ial`."
            )
    (start.seeds if rounds.start == "seeds" else start.masks).check(f"{rounds.start} of every image")
