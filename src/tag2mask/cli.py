"""The command line: commands over the package's functions, no logic."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tag2mask.console import console, escape, log_to_stderr, print_scores, print_times, say

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.records import Source
    from tag2mask.runs.manifest import BackboneStart
    from tag2mask.runs.run_folder import RunFolder

# The heavy imports stand inside the commands, so that `tag2mask --help` answers at once.

app = typer.Typer(
    help="Turn image-level tags into pixel masks, and train a segmentation network on them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Preset(StrEnum):
    """Names of the settings' classmethods."""

    QUICK = "quick"
    DEFAULT = "default"
    PAPER = "paper"


class Method(StrEnum):
    """What makes masks from tags."""

    AFFINITYNET = "affinitynet"
    IAL = "ial"


class Start(StrEnum):
    """What the first EM round learns from."""

    SEEDS = "seeds"
    MASKS = "masks"


class Precision(StrEnum):
    """What networks compute in."""

    AUTO = "auto"
    BF16 = "bf16"
    FULL = "32"


Folder = Annotated[Path, typer.Argument(help="Folder with images and tags; `tag2mask check` tells what is wrong.")]
Split = Annotated[
    str | None,
    typer.Option(help="Of PASCAL VOC or COCO: training images, the name or path of a list (default: trainaug, train)."),
]
ValSplit = Annotated[str | None, typer.Option(help="Of PASCAL VOC or COCO: held-out images, or none (default: val).")]
TagsFile = Annotated[Path | None, typer.Option(help="Of PASCAL VOC: tags of the authors' cls_labels.npy.")]
Run = Annotated[Path, typer.Argument(help="A run folder.")]
Seed = Annotated[int, typer.Option(help="Every random choice derives from it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell more.")]
Backbone = Annotated[
    str, typer.Option(help="Of all nets: any timm name, resnet38 or vgg16_dilated (default: the preset's).")
]
Pretrained = Annotated[bool, typer.Option("--pretrained", help="Start from timm's weights; needs internet once.")]
Weights = Annotated[Path | None, typer.Option(help="Start from this file: safetensors or a state dictionary.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, for example --set seed.alpha_object=4 or --set affinity.cells=62."),
]


def main() -> None:
    """Entry point: errors that the user can mend are told in a line, without a traceback."""
    # Before torch is loaded: its threads shall wait for each other in a short loop and then asleep. A long loop makes
    # training three times slower where other programs run, too; none at all costs a tenth on a quiet machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        app()
    except (ValueError, FileNotFoundError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the run goes.")] = Path("runs/demo"),
    seed: Seed = 0,
    count: Annotated[int, typer.Option(help="Scenes to train on.")] = 220,
    val_count: Annotated[int, typer.Option(help="Held-out scenes.")] = 60,
    size: Annotated[int, typer.Option(help="Side of a scene in pixels.")] = 144,
    device: Device = "auto",
    precision: Precision = Precision.AUTO,
    set_: Set = None,
    verbose: Verbose = False,
) -> None:
    """Draw scenes, make masks from their tags, score them: the whole pipeline on a CPU in minutes."""
    log_to_stderr(verbose)
    from tag2mask.pipelines.demo import demo_folder  # noqa: PLC0415
    from tag2mask.records import Source  # noqa: PLC0415

    data = demo_folder(out, count=count, val_count=val_count, size=size, seed=seed)
    source = Source("folder", str((out / "data").resolve()), seed=seed)
    folder = _run_and_report(data, out, Preset.QUICK, seed, device, precision, set_, strict=True, source=source)
    from tag2mask.report.sheet import write_sheet  # noqa: PLC0415

    say(f"picture: {write_sheet(folder, data)}")


@app.command()
def check(
    folder: Folder,
    split: Split = None,
    val_split: ValSplit = None,
    tags_file: TagsFile = None,
) -> None:
    """List everything that is wrong with a folder of images and tags. Exit status 1 if there is an error."""
    from tag2mask.datasets.problems import count_problems  # noqa: PLC0415
    from tag2mask.datasets.source import check_source, find_source  # noqa: PLC0415

    problems = check_source(find_source(folder, split=split, val_split=val_split, tags_file=tags_file))
    table = Table()
    for column in ("what", "which", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for problem in problems:
        colour = "red" if problem.severity == "error" else "yellow"
        table.add_row(
            f"[{colour}]{escape(problem.kind)}[/]",
            escape(problem.subject),
            escape(problem.message),
            escape(problem.remedy),
        )
    if problems:
        say(f"{folder}: {len(problems)} problem(s)")
        console.print(table)
        say(", ".join(f"{kind}: {count}" for kind, count in count_problems(problems).items()))
    else:
        say(f"{folder}: nothing wrong")
    raise typer.Exit(1 if any(problem.severity == "error" for problem in problems) else 0)


@app.command()
def run(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="Where the run goes (default: runs/NAME OF THE FOLDER).")] = None,
    preset: Annotated[
        Preset, typer.Option(help="quick: small nets on a CPU; paper: the published recipe.")
    ] = Preset.QUICK,
    seed: Seed = 0,
    val_fraction: Annotated[float, typer.Option(help="Share of the images to hold out, without a val.txt.")] = 0.0,
    split: Split = None,
    val_split: ValSplit = None,
    tags_file: TagsFile = None,
    device: Device = "auto",
    precision: Precision = Precision.AUTO,
    strict: Annotated[bool, typer.Option("--strict", help="A broken image is an error.")] = False,
    method: Annotated[
        Method, typer.Option(help="ial: EM rounds of two networks instead of the random walk.")
    ] = Method.AFFINITYNET,
    backbone: Backbone = "",
    pretrained: Pretrained = False,
    weights: Weights = None,
    set_: Set = None,
    verbose: Verbose = False,
) -> None:
    """From a folder of images and tags to masks, a segmentation network and a report. Resumable."""
    log_to_stderr(verbose)
    from tag2mask.datasets.source import find_source, open_source  # noqa: PLC0415
    from tag2mask.runs.manifest import BackboneStart  # noqa: PLC0415

    lists: dict[str, Any] = {"split": split, "val_split": val_split, "tags_file": tags_file}
    source = find_source(folder, **lists, val_fraction=val_fraction, seed=seed)
    data = open_source(source)
    out = out or Path("runs") / folder.resolve().name
    begin = BackboneStart(backbone, pretrained, str(weights.resolve()) if weights else "")
    _run_and_report(
        data, out, preset, seed, device, precision, set_, strict=strict, source=source, begin=begin, method=method
    )


@app.command()
def ial(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="Where the rounds go (default: into the run).")] = None,
    rounds: Annotated[int, typer.Option(help="How many in all; can be raised later.")] = 5,
    start: Annotated[Start, typer.Option(help="What round 1 learns from.")] = Start.SEEDS,
    seed: Annotated[int | None, typer.Option(help="Default: the run's; another one needs --out.")] = None,
    data: Annotated[Path | None, typer.Option(help="The folder of images, if it has moved.")] = None,
    device: Device = "auto",
    precision: Annotated[Precision | None, typer.Option(help="Default: the run's; another needs --out.")] = None,
    set_: Set = None,
    verbose: Verbose = False,
) -> None:
    """EM rounds on a finished run: a segmentation and a propagation network teach each other. Resumable."""
    log_to_stderr(verbose)
    from tag2mask.pipelines.ial import run_ial  # noqa: PLC0415
    from tag2mask.pipelines.ial_settings import IALSettings  # noqa: PLC0415
    from tag2mask.pipelines.overrides import change_settings  # noqa: PLC0415
    from tag2mask.runtime import Runtime  # noqa: PLC0415

    folder, dataset = _opened(run, data)
    manifest = folder.manifest()
    preset = Preset(manifest.origin.preset or Preset.QUICK)
    changes = [f"rounds.count={rounds}", f"rounds.start={start.value}", *(set_ or [])]
    settings = change_settings(_preset(preset, IALSettings, dataset, manifest.origin.backbone), changes)
    kept: Any = manifest.precision if precision is None else precision.value
    runtime = Runtime(device, kept, manifest.seed if seed is None else seed)
    made = run_ial(dataset, out or folder, settings, start=folder, runtime=runtime)
    _report(made, dataset)


@app.command()
def score(
    run: Run,
    as_json: Annotated[bool, typer.Option("--json", help="Also write score.json into the run folder.")] = False,
    data: Annotated[Path | None, typer.Option(help="The folder with masks/, if it has moved.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Of PASCAL VOC or COCO: count only the training images of this list.")
    ] = None,
) -> None:
    """Score every stage's masks against the ground truth."""
    from tag2mask.pipelines.publish import score_all, write_scores  # noqa: PLC0415

    folder, dataset = _opened(run, data, split)
    results = score_all(folder, dataset, needed=True)
    print_scores(results.stages, results.rounds)
    if as_json:
        say(f"written: {write_scores(folder, results)}")


@app.command()
def predict(
    run: Run,
    images: Annotated[list[Path], typer.Argument(help="Image files or folders of images.")],
    out: Annotated[Path | None, typer.Option(help="Where the masks go (default: RUN/predict).")] = None,
    device: Device = "auto",
    seed: Seed = 0,
    strict: Annotated[bool, typer.Option("--strict", help="A broken image is an error.")] = False,
    refine: Annotated[bool, typer.Option("--refine", help="After EM rounds: spread by the pairwise network.")] = False,
) -> None:
    """Masks for new images, no tags needed: indexed PNGs, overlays and confidence maps."""
    log_to_stderr(False)
    from tag2mask.pipelines.predict import predict_files  # noqa: PLC0415
    from tag2mask.runs.run_folder import RunFolder  # noqa: PLC0415
    from tag2mask.runtime import Runtime  # noqa: PLC0415

    folder, out, runtime = RunFolder.existing(run), out or run / "predict", Runtime(device, seed=seed)
    done, failed = predict_files(folder, images, out, runtime, strict=strict, refine=refine)
    say(f"{done} image(s) -> {out}: masks/, overlays/, confidence/")
    if failed:
        raise typer.Exit(1)


@app.command()
def report(run: Run, data: Annotated[Path | None, typer.Option(help="The folder, if it has moved.")] = None) -> None:
    """Write report.html: one file, no network."""
    from tag2mask.pipelines.publish import score_all  # noqa: PLC0415
    from tag2mask.report.page import write_report  # noqa: PLC0415

    folder, dataset = _opened(run, data)
    results = score_all(folder, dataset)
    say(f"report: {write_report(folder, dataset, results.stages, results.rounds)}")


def _run_and_report(
    data: TagDataset,
    out: Path,
    preset: Preset,
    seed: int,
    device: str,
    precision: Precision,
    changes: list[str] | None,
    *,
    strict: bool,
    source: Source,
    begin: BackboneStart | None = None,
    method: Method = Method.AFFINITYNET,
) -> RunFolder:
    from tag2mask.pipelines.affinitynet import AffinityNetSettings, run_affinitynet  # noqa: PLC0415
    from tag2mask.pipelines.overrides import change_settings  # noqa: PLC0415
    from tag2mask.runs.manifest import BackboneStart, Origin  # noqa: PLC0415
    from tag2mask.runtime import Runtime  # noqa: PLC0415

    runtime = Runtime(device, precision.value, seed)
    begin = begin or BackboneStart()
    origin = Origin(preset.value, source, begin)
    settings = _preset(preset, AffinityNetSettings, data, begin)
    if method is Method.IAL:
        from tag2mask.pipelines.ial import run_ial  # noqa: PLC0415
        from tag2mask.pipelines.ial_settings import IALSettings  # noqa: PLC0415

        of_rounds = [change for change in changes or [] if change.partition(".")[0] in IALSettings.__dataclass_fields__]
        rounds = change_settings(_preset(preset, IALSettings, data, begin), of_rounds)
        first = change_settings(settings, [change for change in changes or [] if change not in of_rounds])
        folder = run_ial(data, out, rounds, first=first, runtime=runtime, strict=strict, origin=origin)
    else:
        settings = change_settings(settings, changes or [])
        folder = run_affinitynet(data, out, settings, runtime=runtime, strict=strict, origin=origin)
    _report(folder, data)
    return folder


def _preset(preset: Preset, kind: Any, data: TagDataset, begin: BackboneStart) -> Any:
    """The settings of a preset, with the backbone and weights to begin with; `kind` is their class."""
    from tag2mask.pipelines.one_backbone import with_backbone  # noqa: PLC0415

    # The published recipe depends on the network.
    paper = partial(kind.paper, *([begin.name] if begin.name else []))
    made = {Preset.QUICK: lambda: kind.quick_for(data), Preset.DEFAULT: kind, Preset.PAPER: paper}[preset]()
    return with_backbone(made, begin.name, pretrained=begin.pretrained, weights=begin.weights)


def _report(folder: RunFolder, data: TagDataset) -> None:
    """Score, write the page, and tell where everything is."""
    from tag2mask.pipelines.publish import publish  # noqa: PLC0415

    results = publish(folder, data)
    print_times(folder)
    print_scores(results.stages, results.rounds)
    final = folder.final_masks()
    if final is not None:
        say(f"masks:  {final.folder}")
    say(f"report: {folder.path / 'report.html'}")


def _opened(run: Path, moved: Path | None, split: str | None = None) -> tuple[RunFolder, TagDataset]:
    """A run that was made before, and its images."""
    from tag2mask.pipelines.prepare import data_of  # noqa: PLC0415
    from tag2mask.runs.run_folder import RunFolder  # noqa: PLC0415

    folder = RunFolder.existing(run)
    return folder, data_of(folder, moved, split=split)
