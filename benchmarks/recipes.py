"""The recipe of a start from ImageNet weights: one setting changed at a time, and what that does to the maps.

    python benchmarks/recipes.py FOLDER [--every 3] [--seed 1] [--val-fraction 0.12] [--only crop] [--out runs/recipes]

FOLDER is tagged and has masks/ for scoring. Each row trains the classifier of the quick preset with one setting
changed, on all images; maps, and seeds at alphas chosen without truth, are made of every third training image. `batch
norm` keeps the ImageNet networks' statistics instead of those of the images.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from torch import nn

from tag2mask.auto.judge import MaskJudge
from tag2mask.datasets.dataset import without
from tag2mask.datasets.source import find_source, open_source
from tag2mask.learning.tag_precision import tag_precision
from tag2mask.pipelines.affinitynet import AffinityNetSettings
from tag2mask.pipelines.overrides import change_settings
from tag2mask.pipelines.prepare import working_copies
from tag2mask.runs.manifest import ImageNames, Manifest
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.settings import plain
from tag2mask.runtime import Runtime
from tag2mask.scores.score import score
from tag2mask.stages.s1_classify import train_classifier
from tag2mask.stages.s2_localize import make_cams
from tag2mask.stages.s3_seed import make_seeds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tag2mask.datasets.dataset import TagDataset

FROZEN = "batch norm frozen"
VARIATIONS = (
    "",
    "classify.rate=0.0002",
    "classify.rate=0.001",
    "classify.new_factor=1",
    "classify.weight_decay=0.01",
    "classify.weight_decay=0.2",
    "classify.warmup=0",
    "classify.dropout=0.5",
    "classify.balance=0",
    "classify.balance=1",
    "classify.crop=176",
    "classify.crop=288",
    "classify.epochs*0.5",
    "classify.epochs*2",
    "classify.output_stride=16",
    FROZEN,
)
ROWS = ("cam", "cam_crf", "seeds")


@contextmanager
def frozen_statistics() -> Iterator[None]:
    """Batch norms normalise by the statistics that they came with."""
    usual = nn.BatchNorm2d.train
    nn.BatchNorm2d.train = lambda norm, _mode=True: usual(norm, False)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.BatchNorm2d.train = usual  # type: ignore[method-assign]


def varied(settings: AffinityNetSettings, variation: str) -> AffinityNetSettings:
    """The settings with one changed."""
    if variation in ("", FROZEN):
        return settings
    place, times, factor = variation.partition("*")
    if times:
        variation = f"{place}={max(1, round(settings.classify.epochs * float(factor)))}"
    return change_settings(settings, [variation])


def measure(data: TagDataset, some: TagDataset, run: RunFolder, variation: str, seed: int) -> str:
    """One row: mean average precision on held-out images, mean IoU of maps and seeds, seconds of the training."""
    settings = varied(AffinityNetSettings.quick_for(data, pretrained=True), variation)
    runtime = Runtime(seed=seed)
    manifest = Manifest(tuple(data.class_names), some.digest(), seed, runtime.precision, settings=plain(settings))
    run.write_manifest(manifest, ImageNames(tuple(some.names), tuple(some.val_names)))
    copies = working_copies(data, settings)
    started = time.monotonic()
    with frozen_statistics() if variation == FROZEN else nullcontext():
        classifier = train_classifier(copies, run, settings.classify, runtime=runtime)
    seconds = time.monotonic() - started
    precision = tag_precision(copies, classifier, settings.classify, runtime).mean
    judge = MaskJudge(classifier, settings.crf, runtime, settings.localize.max_side)
    cams = make_cams(some, classifier, run, settings.localize, runtime=runtime)
    make_seeds(some, cams, run, settings.seed, crf=settings.crf, judge=judge)
    table = {row.key: 100 * row.confusion.mean_iou() for row in score(run, some).rows}
    alpha = run.chosen("03_seed").get("alpha_object", settings.seed.alpha_object)
    numbers = "".join(f"{table[row]:9.1f}" for row in ROWS)
    return f"{variation or 'the preset':<28}{100 * precision:7.1f}{numbers}{alpha!s:>7}{seconds:9.0f}"


def main(
    folder: Path,
    *,
    every: Annotated[int, typer.Option(help="Maps are made of every so many training images.")] = 3,
    seed: int = 1,
    val_fraction: Annotated[float, typer.Option(help="Share of the images to hold out.")] = 0.12,
    only: Annotated[str, typer.Option(help="Only variations that hold this word.")] = "",
    out: Annotated[Path, typer.Option(help="Where the runs go.")] = Path("runs/recipes"),
) -> None:
    data = open_source(find_source(folder, val_fraction=val_fraction, seed=seed))
    some = without(data, [name for index, name in enumerate(data.names) if index % every])
    print(f"{'setting':<28}{'mAP':>7}{'CAM':>9}{'CAM+CRF':>9}{'seeds':>9}{'alpha':>7}{'seconds':>9}")
    for number, variation in enumerate(VARIATIONS):
        if only in variation:
            print(measure(data, some, RunFolder(out / str(number)), variation, seed), flush=True)


if __name__ == "__main__":
    typer.run(main)
