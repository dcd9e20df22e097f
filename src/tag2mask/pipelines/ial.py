"""IAL, iterative affinity learning, on one screen: EM rounds of two networks (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tag2mask.auto.judge import MaskJudge
from tag2mask.datasets.dataset import without
from tag2mask.pipelines.affinitynet import AffinityNetSettings, make_start, settings_of
from tag2mask.pipelines.ial_settings import STARTS, IALSettings
from tag2mask.pipelines.one_backbone import check_backbones
from tag2mask.pipelines.prepare import prepare, versions, working_copies
from tag2mask.runs.round import ESTIMATE, MINE, PAIRWISE, REFINE, SUPERPIXELS, UNARY, Round
from tag2mask.runs.run_folder import STAGES, RunFolder
from tag2mask.runs.settings import plain
from tag2mask.runtime import Runtime
from tag2mask.stages.r0_superpixels import make_superpixels
from tag2mask.stages.r1_unary import learn_unary
from tag2mask.stages.r2_estimate import estimate_unary
from tag2mask.stages.r3_mine import mine_regions
from tag2mask.stages.r4_pairwise import learn_pairwise
from tag2mask.stages.r5_refine import refine_masks
from tag2mask.stages.s1_classify import load_classifier

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.segmenting import LabelSource
    from tag2mask.nets.segmenter import Segmenter
    from tag2mask.nets.spn import PairwiseNetwork
    from tag2mask.pipelines.ial_settings import RoundSettings
    from tag2mask.records import SoftMask
    from tag2mask.runs.run_folder import Artefacts


@dataclass(frozen=True, eq=False)
class RoundNetworks:
    """The two networks that a round trained.

    Args:
        unary: the segmentation network f.
        pairwise: the propagation network g; None if the settings do without it.
    """

    unary: Segmenter
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
    **facts: Any,
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
        facts: more for ``run.json``.

    Returns:
        The run folder; `tag2mask.runs.round.Round` finds what the rounds made.

    Raises:
        ValueError: for a start without seeds (or masks), another seed or precision in the start's own folder, a round
            of which a file is missing, weights to start from that can not be had, and as `run_affinitynet`.
    """
    settings = settings or IALSettings()
    if start is None:
        runtime, first = runtime or Runtime(), first or AffinityNetSettings()
        masks = settings.rounds.start == "masks"
        check_backbones(run, first, only=("classify", "affinity") if masks else ("classify",))
        check_backbones(run, settings)
        run = run if isinstance(run, RunFolder) else RunFolder(run)
        data = prepare(working_copies(data, first, settings), run, first, runtime, strict=strict, **facts)
        make_start(data, run, first, runtime, masks=masks)
        start = run
    else:
        start = start if isinstance(start, RunFolder) else RunFolder.existing(start)
        runtime = runtime or runtime_of(start)
        _check_start(start, settings.rounds)
        check_backbones(run, settings)
        data, run = _adopt(working_copies(data, settings), run, start, runtime, **facts)
    run.write_record(ial=plain(settings))
    make_superpixels(data, run, settings.superpixels)
    judge = _judge(data, start, settings, runtime)
    before: RoundNetworks | None = None
    for number in range(1, settings.rounds.count + 1):
        made = run_round(data, Round(run, number, start), settings, before, judge=judge, runtime=runtime)
        before = made if settings.rounds.continued else None
    return run


def run_round(
    data: TagDataset,
    this: Round,
    settings: IALSettings,
    before: RoundNetworks | None,
    *,
    judge: MaskJudge | None,
    runtime: Runtime,
) -> RoundNetworks:
    """One EM round: learn unary, estimate alpha_u, mine, learn pairwise, alpha_p = G alpha_u.

    Args:
        data: images and tags.
        this: the round.
        settings: of the rounds.
        before: the networks of the round before, to go on from; None: start as the settings say.
        judge: of the masks that teach the next round, if they are judged.
        runtime: where.

    Returns:
        The round's two networks.
    """
    this.check_whole()
    masks, origin = _teacher(this, settings.rounds)
    own, how = settings.unary, settings.pairwise
    # The second round is the first one that learns whole masks: it takes as long as the first.
    share = 1.0
    if before is not None and this.number > 2:
        own, how = settings.rounds.going_on(own), settings.rounds.going_on(how)
        share = 1 / (this.number - 1) if settings.rounds.averaged else 1.0

    def after(stage: str, *inputs: str) -> tuple[str, ...]:
        """What a trained stage depends on: its inputs, and where its first weights come from."""
        weights = this.of_start("01_classify") if before is None else f"em/round_{this.number - 1}/{stage}"
        return (*inputs, weights)

    unary = learn_unary(
        data,
        masks,
        this,
        own,
        after=after(UNARY, origin),
        before=None if before is None else before.unary,
        share=share,
        runtime=runtime,
    )
    estimate_unary(data, unary, this, own, stride=how.stride, runtime=runtime)
    mine_regions(data, this, settings.mine, crf=settings.crf, runtime=runtime)
    pairwise = learn_pairwise(
        data,
        this,
        how,
        after=after(PAIRWISE, SUPERPIXELS, f"{this.folder}/{ESTIMATE}", f"{this.folder}/{MINE}"),
        before=None if before is None else before.pairwise,
        runtime=runtime,
    )
    refine_masks(
        data,
        this,
        unary,
        pairwise,
        settings=own,
        how=how,
        crf=settings.crf if settings.rounds.sharpen else None,
        judge=judge,
        averaged=settings.rounds.averaged,
        runtime=runtime,
    )
    return RoundNetworks(unary, pairwise)


def _teacher(this: Round, rounds: RoundSettings) -> tuple[LabelSource | Artefacts[SoftMask], str]:
    """What the unary network of a round learns: name -> labels or probabilities, and the stage that made them."""
    if this.number == 1:
        made = this.of_start(STARTS[rounds.start])
        return this.start.seeds if rounds.start == "seeds" else this.start.masks, made
    last = Round(this.run, this.number - 1, this.start)
    hard = last.sharpened if rounds.sharpen else last.masks
    soft = last.mean_refined_soft if rounds.averaged else last.refined_soft
    return soft if rounds.soft else hard, f"{last.folder}/{REFINE}"


def _judge(data: TagDataset, start: RunFolder, settings: IALSettings, runtime: Runtime) -> MaskJudge | None:
    """The start's classifier as the judge of masks, if the settings want one."""
    if not (settings.rounds.sharpen and settings.rounds.judged):
        return None
    classifier = load_classifier(start, len(data.class_names), settings_of(start).classify, runtime)
    return MaskJudge(classifier, settings.crf, runtime, settings.pairwise.max_side)


def runtime_of(run: RunFolder) -> Runtime:
    """A runtime with the seed and the precision that a run was made with, on any device.

    Args:
        run: with its ``run.json``.
    """
    record = run.record()
    return Runtime("auto", record.get("precision", "auto"), record.get("seed", 0))


def _adopt(
    data: TagDataset, run: str | Path | RunFolder, start: RunFolder, runtime: Runtime, **facts: Any
) -> tuple[TagDataset, RunFolder]:
    """Begin a run on another one's images, or go on in the same folder, whose stages all have one seed and precision.

    Returns:
        The data less the images that the start skipped, and the run.

    Raises:
        ValueError: if the images or tags are not those of the start, or the run's folder holds something else.
    """
    record = start.record()
    if data.digest() != record["digest"]:
        raise ValueError(
            f"{start.path}: the images or tags changed since this run was made. "
            "Run `tag2mask run` on it again first; only what depends on the change is made anew."
        )
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    drawn = {"seed": runtime.seed, "precision": runtime.precision}
    if run.path.resolve() != start.path.resolve():
        if found := [stage for stage in STAGES if stage in run.stage_summaries()]:
            raise ValueError(
                f"{run.path}: expected a new folder, or one with rounds only, found a run of its own ({found[0]}). "
                "Its run.json would be overwritten; take another folder for the rounds."
            )
        own = {"device": str(runtime.device), "versions": versions(), "start": str(start.path.resolve())}
        facts = {**record, **drawn, **own, **facts}
    elif changed := [
        f"{name} {record.get(name)} -> {value}" for name, value in drawn.items() if record.get(name) != value
    ]:
        raise ValueError(
            f"{start.path}: rounds in the folder of their start have its seed and precision, got {', '.join(changed)}. "
            "Take another folder for the rounds."
        )
    if facts:
        run.write_record(**facts)
    skipped = dict(record.get("skipped", {}))
    return without(data, skipped) if skipped else data, run


def _check_start(start: RunFolder, rounds: RoundSettings) -> None:
    """Require the classifier and what round 1 learns from.

    Raises:
        ValueError: if a stage is not finished, or a file of it is missing.
    """
    for stage in ("01_classify", STARTS[rounds.start]):
        if stage not in start.stage_summaries():
            raise ValueError(
                f"{start.path}: expected a run with finished {rounds.start} ({stage}), found none. "
                "Finish it with `tag2mask run`, or begin from tags with `tag2mask run FOLDER --method ial`."
            )
    found = start.seeds if rounds.start == "seeds" else start.masks
    missing = [name for name in found if name not in found]
    if missing:
        raise ValueError(
            f"{found.path_of(missing[0])}: expected {rounds.start} of every image, found nothing "
            f"({len(missing)} missing). Delete {start.path / STARTS[rounds.start]} and start `tag2mask run` again."
        )
