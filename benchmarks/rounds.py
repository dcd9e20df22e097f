"""IAL's rounds on finished runs: the laws of the method, AffinityNet iterated alike, and what each part is worth.

    python benchmarks/rounds.py runs/demo_seeds/1 runs/demo_seeds/2 [--rounds 5] [--start seeds] [--also steps] ...

RUN must be finished and have masks. IAL's rounds go to RUN_ial_START. Besides:

    --also steps      the AffinityNet run's segmenter, trained for as many steps as the unary network in all rounds
    --also iterated   AffinityNet in the place of mining and propagation: in every round the segmenter's probabilities
                      take the place of the activation maps, and seeds, AffinityNet, walk and segmenter follow; in
                      RUN_iterated
    --also ablate     IAL without one part after the other, two rounds unless --ablated says more; in
                      RUN_ial_START_PART. What a part has no say in is taken over from the whole IAL.
    --sweep pairwise.smoothness=0,0.1,0.3
                      likewise with other values of one setting
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tag2mask import IALSettings, run_ial
from tag2mask.auto.judge import MaskJudge
from tag2mask.datasets.source import open_source
from tag2mask.learning.segmenting import build_segmenter, image_probabilities, learn_masks, mask_of
from tag2mask.ops.cam import normalise_maps
from tag2mask.ops.soft_masks import soft_mask
from tag2mask.pipelines.affinitynet import settings_of
from tag2mask.pipelines.ial_settings import RoundSettings
from tag2mask.records import Cams
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runtime import Runtime
from tag2mask.scores.confusion import Confusion
from tag2mask.scores.score import score_rounds
from tag2mask.stages.s1_classify import train_classifier
from tag2mask.stages.s3_seed import make_seeds
from tag2mask.stages.s4_affinity import train_affinity
from tag2mask.stages.s5_walk import walk_masks

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.segmenting import SegmentSettings
    from tag2mask.nets.segmenter import DeepLab
    from tag2mask.pipelines.affinitynet import AffinityNetSettings

ABLATIONS = {
    "all of it": {},
    "no mining": {"mine": {"enabled": False}},
    "no smoothness": {"pairwise": {"smoothness": 0.0}},
    "no pairwise network": {"pairwise": {"enabled": False}},
    "max, not gated": {"pairwise": {"merge": "max"}},
}


def open_run(path: Path) -> tuple[RunFolder, TagDataset, Runtime]:
    """A finished run, its images, and the runtime it was made with."""
    run = RunFolder.existing(path)
    manifest = run.manifest()
    data = open_source(manifest.origin.source)
    return run, data, Runtime(seed=manifest.seed)


def held_out(net: DeepLab, data: TagDataset, settings: SegmentSettings, runtime: Runtime) -> float:
    """Mean IoU of a segmenter on the held-out images, in percent."""
    total = Confusion.empty(len(data.class_names))
    with runtime.inference(net):
        for name in data.val_names:
            image = data[name]
            found = mask_of(name, image_probabilities(image.pixels, net, settings, runtime), image.image_size)
            total += Confusion.of(data.mask(name), found.labels, len(data.class_names))
    return 100 * total.mean_iou()


def on_training_images(labels: dict[str, object], data: TagDataset) -> float:
    """Mean IoU of labels of the training images, in percent."""
    total = Confusion.empty(len(data.class_names))
    for name in data.names:
        total += Confusion.of(data.mask(name), labels[name], len(data.class_names))
    return 100 * total.mean_iou()


def iterate_affinitynet(
    run: RunFolder,
    data: TagDataset,
    settings: AffinityNetSettings,
    alike: IALSettings,
    *,
    rounds: int,
    runtime: Runtime,
) -> list[tuple[float, float]]:
    """AffinityNet in the place of mining and propagation: held-out and training mean IoU of every round."""
    base = run.path.parent / f"{run.path.name}_iterated"
    rows = []
    masks = run.seeds
    net = None
    classifier = train_classifier(data, run, settings.classify, runtime=runtime)
    judge = MaskJudge(classifier, settings.crf, runtime, settings.localize.max_side)
    for number in range(1, rounds + 1):
        folder = RunFolder(base / str(number))
        shutil.copy(run.path / "run.json", folder.path / "run.json")
        shutil.copytree(run.path / "01_classify", folder.path / "01_classify", dirs_exist_ok=True)
        weights = None if net is None else net.state_dict()
        net = build_segmenter(settings.segment, len(data.class_names), run, runtime)
        if weights is not None:
            net.load_state_dict(weights)
        learn_masks(net, data, masks, of_round(alike, number), runtime=runtime, title=f"iterated {number}")
        stage = folder.open_stage("02_localize", settings.localize, after=("01_classify",))
        with runtime.inference(net):
            for name in data.names:
                image = data[name]
                soft = soft_mask(image, image_probabilities(image.pixels, net, settings.segment, runtime), 2)
                maps = Cams(name, soft.class_ids, normalise_maps(soft.probabilities[1:]), image.image_size)
                folder.cams.write(name, maps)
        stage.finish("alpha_u in the place of activation maps", items=len(data.names))
        scores = make_seeds(data, folder.cams, folder, settings.seed, crf=settings.crf, judge=judge)
        affinity_net = train_affinity(data, scores, folder, settings.affinity, runtime=runtime)
        masks = walk_masks(
            data,
            folder.cams,
            affinity_net,
            folder,
            settings.walk,
            affinity=settings.affinity,
            crf=settings.crf,
            runtime=runtime,
            judge=judge,
        )
        labels = {name: masks[name].labels for name in data.names}
        rows.append((held_out(net, data, settings.segment, runtime), on_training_images(labels, data)))
        print(f"AffinityNet iterated, round {number}: val {rows[-1][0]:.1f}, masks {rows[-1][1]:.1f}", flush=True)
    return rows


def of_round(settings: IALSettings, number: int) -> SegmentSettings:
    """How the unary network of a round is trained."""
    return settings.rounds.going_on(settings.unary) if number > 2 else settings.unary


def as_many_steps(run: RunFolder, data: TagDataset, settings: IALSettings, rounds: int, runtime: Runtime) -> float:
    """The AffinityNet run's segmenter trained for as many steps as all rounds together: held-out mean IoU."""
    epochs = sum(of_round(settings, number).epochs for number in range(1, rounds + 1))
    longer = replace(settings.unary, epochs=epochs)
    net = build_segmenter(longer, len(data.class_names), run, runtime)
    learn_masks(net, data, run.masks, longer, runtime=runtime)
    return held_out(net, data, longer, runtime)


def changed(settings: IALSettings, changes: dict[str, dict[str, object]]) -> IALSettings:
    """Settings with some fields replaced."""
    return replace(settings, **{part: replace(getattr(settings, part), **some) for part, some in changes.items()})


def swept(words: str) -> dict[str, dict[str, dict[str, object]]]:
    """What ``part.setting=value,value`` changes, by name."""
    place, _, values = words.partition("=")
    part, _, name = place.partition(".")
    return {f"{place}={value}": {part: {name: float(value)}} for value in values.split(",")}


def main(
    runs: list[Path],
    *,
    rounds: Annotated[int, typer.Option(help="How many.")] = 5,
    start: Annotated[str, typer.Option(help="What round 1 learns from: seeds or masks.")] = "seeds",
    also: Annotated[list[str] | None, typer.Option(help="steps, iterated, ablate.")] = None,
    ablated: Annotated[int, typer.Option(help="Rounds of each ablation, and of each value of a sweep.")] = 2,
    sweep: Annotated[str, typer.Option(help="A setting and its values.")] = "",
) -> None:
    more = also or []
    parts = ABLATIONS if "ablate" in more else {"all of it": {}}
    parts |= swept(sweep) if sweep else {}
    for path in runs:
        run, data, runtime = open_run(path)
        settings = replace(IALSettings.quick_for(data), rounds=RoundSettings(start, rounds))
        whole = run.path.parent / f"{run.path.name}_ial_{start}"
        for name, changes in parts.items():
            started = time.monotonic()
            count = ablated if changes else rounds
            part = replace(changed(settings, changes), rounds=replace(settings.rounds, count=count))
            folder = whole.with_name(f"{whole.name}_{name.replace(' ', '_')}") if changes else whole
            if changes and not folder.exists():
                # Round 1 up to where the part comes in is the same; stages of other settings are made anew.
                shutil.copytree(whole / "rounds" / "0_superpixels", folder / "rounds" / "0_superpixels")
                shutil.copytree(whole / "rounds" / "1", folder / "rounds" / "1")
            made = run_ial(data, folder, part, start=run, runtime=runtime)
            print(f"{path}, {name}: {(time.monotonic() - started) / 60:.1f} minutes")
            print(score_rounds(made, data).table(), flush=True)
        if "steps" in more:
            longer = as_many_steps(run, data, settings, rounds, runtime)
            print(f"the run's segmenter, trained for the steps of {rounds} rounds: val {longer:.1f}", flush=True)
        if "iterated" in more:
            # The same network as the unary one, whatever the run's own segmenter was.
            own = replace(settings_of(run), segment=settings.unary)
            iterate_affinitynet(run, data, own, settings, rounds=rounds, runtime=runtime)


if __name__ == "__main__":
    typer.run(main)
