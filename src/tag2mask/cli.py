"""The command line: commands over the package's functions, no logic."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tag2mask.console import (
    escape,
    log_to_stderr,
    print_as_json,
    print_learned,
    print_look,
    print_scores,
    print_times,
    say,
)
from tag2mask.options import (
    Computing,
    Device,
    Folder,
    Force,
    FromScratch,
    Lists,
    Method,
    Nets,
    Outside,
    Precision,
    Preset,
    Run,
    Scenes,
    Seed,
    Segments,
    Set,
    Start,
    Strict,
    Tables,
    Verbose,
    Version,
    grouped,
)
from tag2mask.program import show_any_text, told_in_a_line

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.runs.run_folder import RunFolder

# The heavy imports stand inside the commands, so that `tag2mask --help` answers at once.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point: errors that the user can mend are told in a line, without a traceback."""
    # Before torch is loaded: its threads shall wait for each other in a short loop and then asleep. A long loop makes
    # training three times slower where other programs run, too; none at all costs a tenth on a quiet machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    show_any_text()
    with told_in_a_line(_tell):
        app()


def _tell(what: str, text: str) -> None:
    colour = "bold red" if what == "error" else "bold yellow"
    Console(stderr=True).print(f"[{colour}]{what}:[/] {escape(text)}", soft_wrap=True)


@app.callback()
def package(version: Version = False) -> None:
    """Turn image-level tags into pixel masks, and train a segmentation network on them."""


@app.command()
@grouped
def demo(
    *,
    out: Annotated[Path, typer.Option(help="Where the run goes.")] = Path("runs/demo"),
    from_scratch: FromScratch = False,
    force: Force = False,
    scenes: Scenes,
    computing: Computing,
) -> None:
    """Draw scenes, make masks from their tags, score them: the whole pipeline on a CPU in minutes."""
    log_to_stderr(computing.verbose)
    from tag2mask.pipelines.best_start import best_start  # noqa: PLC0415
    from tag2mask.pipelines.demo import demo_folder  # noqa: PLC0415
    from tag2mask.pipelines.presets import Asked, run_as_asked  # noqa: PLC0415
    from tag2mask.report.sheet import write_sheet  # noqa: PLC0415
    from tag2mask.runs.manifest import Origin  # noqa: PLC0415
    from tag2mask.runtime import Runtime  # noqa: PLC0415
    from tag2mask.sources import Source  # noqa: PLC0415

    runtime = Runtime(computing.device, computing.precision.value, computing.seed)
    data = demo_folder(out, count=scenes.count, val_count=scenes.val_count, size=scenes.size, seed=computing.seed)
    source = Source("folder", str((out / "data").resolve()), seed=computing.seed)
    origin = Origin("quick", source, best_start(from_scratch=from_scratch, changes=computing.set_ or ()))
    folder = run_as_asked(data, out, Asked(origin, changes=computing.set_ or (), strict=True, force=force), runtime)
    _report(folder, data)
    say(f"picture: {write_sheet(folder, data)}")


@app.command()
@grouped
def check(
    folder: Folder,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every finding and every class, not only a few.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")] = False,
    lists: Lists,
    tables: Tables,
) -> None:
    """Say what is in a folder of images and tags, and all that is wrong with it. Exit status 1 if there is an error."""
    from tag2mask.datasets.first_look import look_for_check  # noqa: PLC0415
    from tag2mask.datasets.source import find_source  # noqa: PLC0415

    look = look_for_check(find_source(folder, **vars(lists), reading=tables.reading()))
    if as_json:
        print_as_json(folder, look)
    else:
        print_look(folder, look, every=every)
    raise typer.Exit(1 if any(problem.severity == "error" for problem in look.problems) else 0)


@app.command()
@grouped
def run(
    folder: Folder,
    *,
    out: Annotated[Path | None, typer.Option(help="Where the run goes (default: runs/NAME OF THE FOLDER).")] = None,
    preset: Annotated[
        Preset, typer.Option(help="quick: small nets on a CPU; paper: the published recipe.")
    ] = Preset.QUICK,
    method: Annotated[
        Method, typer.Option(help="ial: EM rounds of two networks instead of the random walk.")
    ] = Method.AFFINITYNET,
    val_fraction: Annotated[float, typer.Option(help="Share of the images to hold out, without a val.txt.")] = 0.0,
    strict: Strict = False,
    outside: Outside,
    lists: Lists,
    tables: Tables,
    nets: Nets,
    computing: Computing,
) -> None:
    """From a folder of images and tags to masks, a segmentation network and a report. Resumable."""
    log_to_stderr(computing.verbose)
    from tag2mask.datasets.first_look import look_for_run, require_learnable  # noqa: PLC0415
    from tag2mask.datasets.source import find_source  # noqa: PLC0415
    from tag2mask.pipelines import presets  # noqa: PLC0415
    from tag2mask.pipelines.best_start import best_start  # noqa: PLC0415
    from tag2mask.runs.manifest import Origin  # noqa: PLC0415
    from tag2mask.runtime import Runtime  # noqa: PLC0415

    runtime = Runtime(computing.device, computing.precision.value, computing.seed)
    source = find_source(
        folder, **vars(lists), reading=tables.reading(), val_fraction=val_fraction, seed=computing.seed
    )
    data, look = look_for_run(source, strict=strict)
    print_look(folder, look)
    require_learnable(look.problems, folder, force=outside.force)
    begin = best_start(preset.value, **vars(nets), changes=computing.set_ or ())
    origin, method_ = Origin(preset.value, source, begin), presets.Method(method.value)
    asked = presets.Asked(origin, method_, computing.set_ or (), strict, **vars(outside))
    out = out or Path("runs") / folder.resolve().name
    _report(presets.run_as_asked(data, out, asked, runtime), data)


@app.command()
def ial(
    run: Run,
    *,
    out: Annotated[Path | None, typer.Option(help="Where the rounds go (default: into the run).")] = None,
    rounds: Annotated[int, typer.Option(help="How many in all; can be raised later.")] = 5,
    start: Annotated[Start, typer.Option(help="What round 1 learns from.")] = Start.SEEDS,
    seed: Annotated[int | None, typer.Option(help="Default: the run's; another one needs --out.")] = None,
    data: Annotated[Path | None, typer.Option(help="The folder of images, if it has moved.")] = None,
    device: Device = "auto",
    precision: Annotated[Precision | None, typer.Option(help="Default: the run's; another needs --out.")] = None,
    segments: Segments = None,
    set_: Set = None,
    verbose: Verbose = False,
) -> None:
    """EM rounds on a finished run: a segmentation and a propagation network teach each other. Resumable."""
    log_to_stderr(verbose)
    from tag2mask.pipelines.prepare import runtime_of  # noqa: PLC0415
    from tag2mask.pipelines.presets import run_rounds  # noqa: PLC0415

    folder, dataset = _opened(run, data)
    changes = [f"rounds.count={rounds}", f"rounds.start={start.value}", *(set_ or [])]
    runtime = runtime_of(folder, device, precision=precision.value if precision else None, seed=seed)
    _report(run_rounds(dataset, out, folder, changes, runtime, segments=segments), dataset)


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
    print_learned(folder)
    results = score_all(folder, dataset, needed=True)
    print_scores(results.stages, results.rounds)
    if as_json:
        say(f"written: {write_scores(folder, results)}")


@app.command()
def predict(
    run: Run,
    images: Annotated[list[Path], typer.Argument(help="Image files or folders of images.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Where the masks go (default: RUN/predict).")] = None,
    device: Device = "auto",
    seed: Seed = 0,
    strict: Strict = False,
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


def _report(folder: RunFolder, data: TagDataset) -> None:
    """Score, write the page, and tell where everything is."""
    from tag2mask.pipelines.publish import publish  # noqa: PLC0415

    results = publish(folder, data)
    print_times(folder)
    print_learned(folder)
    print_scores(results.stages, results.rounds)
    final = folder.final_masks()
    if final is not None:
        say(f"masks:  {final.folder}")
    if folder.outdated_rounds():
        say(f"rounds: made from other images or tags, passed over; tag2mask ial {folder.path} makes them anew")
    say(f"report: {folder.path / 'report.html'}")


def _opened(run: Path, moved: Path | None, split: str | None = None) -> tuple[RunFolder, TagDataset]:
    """A run that was made before, and its images."""
    from tag2mask.pipelines.opened import open_run  # noqa: PLC0415
    from tag2mask.pipelines.prepare import data_of  # noqa: PLC0415

    folder = open_run(run)
    return folder, data_of(folder, moved, split=split)
