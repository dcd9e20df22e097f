"""The command line: commands over the package's functions, no logic."""

from __future__ import annotations

import logging
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.table import Table

if TYPE_CHECKING:
    from tag2mask.data.dataset import TagDataset
    from tag2mask.data.store import RunFolder
    from tag2mask.evaluation import ScoreTable

# The heavy imports stand inside the commands, so that `tag2mask --help` answers at once.

app = typer.Typer(
    help="Turn image-level tags into pixel masks, and train a segmentation network on them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()


class Preset(StrEnum):
    """Names of the settings' classmethods."""

    QUICK = "quick"
    DEFAULT = "default"
    PAPER = "paper"


class Precision(StrEnum):
    """What networks compute in."""

    AUTO = "auto"
    BF16 = "bf16"
    FULL = "32"


Folder = Annotated[Path, typer.Argument(help="Folder with images and tags; `tag2mask check` tells what is wrong.")]
Run = Annotated[Path, typer.Argument(help="A run folder.")]
Seed = Annotated[int, typer.Option(help="Every random choice derives from it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell more.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, for example --set seed.alpha_object=4 or --set affinity.cells=62."),
]


def main() -> None:
    """Entry point: errors that the user can mend are told in a line, without a traceback."""
    # Before torch is loaded: its threads wait for each other asleep instead of in a loop, which costs nothing on a
    # quiet machine and makes training three times as fast where other programs run, too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except (ValueError, FileNotFoundError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
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
    _log(verbose)
    from tag2mask.pipelines.demo import demo_folder  # noqa: PLC0415

    data = demo_folder(out, count=count, val_count=val_count, size=size, seed=seed)
    source = {"kind": "folder", "path": str((out / "data").resolve()), "val_fraction": 0.0, "seed": seed}
    folder = _run_and_report(data, out, Preset.QUICK, seed, device, precision, set_, strict=True, source=source)
    from tag2mask.sheet import write_sheet  # noqa: PLC0415

    _say(f"picture: {write_sheet(folder, data)}")


@app.command()
def check(
    folder: Folder,
) -> None:
    """List everything that is wrong with a folder of images and tags. Exit status 1 if there is an error."""
    from tag2mask.data.problems import count_problems, find_problems  # noqa: PLC0415

    problems = find_problems(folder)
    table = Table()
    for column in ("what", "which", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for problem in problems:
        colour = "red" if problem.severity == "error" else "yellow"
        table.add_row(
            f"[{colour}]{_escape(problem.kind)}[/]",
            _escape(problem.subject),
            _escape(problem.message),
            _escape(problem.remedy),
        )
    if problems:
        _say(f"{folder}: {len(problems)} problem(s)")
        console.print(table)
        _say(", ".join(f"{kind}: {count}" for kind, count in count_problems(problems).items()))
    else:
        _say(f"{folder}: nothing wrong")
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
    device: Device = "auto",
    precision: Precision = Precision.AUTO,
    strict: Annotated[bool, typer.Option("--strict", help="A broken image is an error.")] = False,
    set_: Set = None,
    verbose: Verbose = False,
) -> None:
    """From a folder of images and tags to masks, a segmentation network and a report. Resumable."""
    _log(verbose)
    source = {"kind": "folder", "path": str(folder.resolve()), "val_fraction": val_fraction, "seed": seed}
    data = _open(source)
    out = out or Path("runs") / folder.resolve().name
    _run_and_report(data, out, preset, seed, device, precision, set_, strict=strict, source=source)


@app.command()
def score(
    run: Run,
    as_json: Annotated[bool, typer.Option("--json", help="Also write score.json into the run folder.")] = False,
    data: Annotated[Path | None, typer.Option(help="The folder with masks/, if it has moved.")] = None,
) -> None:
    """Score every stage's masks against the ground truth."""
    from tag2mask.data.artefacts import write_json  # noqa: PLC0415
    from tag2mask.stages.score import score_run  # noqa: PLC0415

    folder = _existing(run)
    table = score_run(folder, _dataset_of(folder, data))
    _print_scores(table)
    if as_json:
        write_json(folder.path / "score.json", table.as_dict())
        _say(f"written: {folder.path / 'score.json'}")


@app.command()
def predict(
    run: Run,
    images: Annotated[list[Path], typer.Argument(help="Image files or folders of images.")],
    out: Annotated[Path | None, typer.Option(help="Where the masks go (default: RUN/predict).")] = None,
    device: Device = "auto",
    seed: Seed = 0,
    strict: Annotated[bool, typer.Option("--strict", help="A broken image is an error.")] = False,
) -> None:
    """Masks for new images, no tags needed: indexed PNGs, overlays and confidence maps."""
    _log(False)
    from tag2mask.pipelines.predict import predict_files  # noqa: PLC0415
    from tag2mask.training import Runtime  # noqa: PLC0415

    folder = _existing(run)
    done, failed = predict_files(
        folder, images, out or folder.path / "predict", Runtime(device, seed=seed), strict=strict
    )
    _say(f"{done} image(s) -> {out or folder.path / 'predict'}: masks/, overlays/, confidence/")
    if failed:
        raise typer.Exit(1)


@app.command()
def report(run: Run, data: Annotated[Path | None, typer.Option(help="The folder, if it has moved.")] = None) -> None:
    """Write report.html: one file, no network."""
    from tag2mask.report import write_report  # noqa: PLC0415
    from tag2mask.stages.score import score_run  # noqa: PLC0415

    folder = _existing(run)
    dataset = _dataset_of(folder, data)
    table = score_run(folder, dataset) if dataset.has_masks() else None
    _say(f"report: {write_report(folder, dataset, table)}")


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
    source: dict[str, Any],
) -> RunFolder:
    from tag2mask.data.artefacts import write_json  # noqa: PLC0415
    from tag2mask.pipelines.affinitynet import AffinityNetSettings, change_settings, run_affinitynet  # noqa: PLC0415
    from tag2mask.report import write_report  # noqa: PLC0415
    from tag2mask.stages.score import score_run  # noqa: PLC0415
    from tag2mask.training import Runtime  # noqa: PLC0415

    presets = {
        Preset.QUICK: lambda: AffinityNetSettings.quick_for(data),
        Preset.DEFAULT: AffinityNetSettings,
        Preset.PAPER: AffinityNetSettings.paper,
    }
    settings = change_settings(presets[preset](), changes or [])
    runtime = Runtime(device, precision.value, seed)
    folder = run_affinitynet(data, out, settings, runtime=runtime, strict=strict, preset=preset.value, source=source)
    table = None
    if data.has_masks():
        table = score_run(folder, data)
        write_json(folder.path / "score.json", table.as_dict())
    path = write_report(folder, data, table)
    _print_times(folder)
    if table is not None:
        _print_scores(table)
    _say(f"masks:  {folder.path / '05_walk' / 'masks'}\nreport: {path}")
    return folder


def _open(source: dict[str, Any]) -> TagDataset:
    from tag2mask.data.sources import open_folder  # noqa: PLC0415

    path, val_fraction, seed = Path(source["path"]), source.get("val_fraction", 0.0), source.get("seed", 0)
    return open_folder(path, val_fraction=val_fraction, seed=seed)


def _existing(path: Path) -> RunFolder:
    from tag2mask.data.store import RunFolder  # noqa: PLC0415

    return RunFolder.existing(path)


def _dataset_of(folder: RunFolder, moved: Path | None) -> TagDataset:
    source = dict(folder.record().get("source", {}))
    if moved is not None:
        return _open({**source, "path": str(moved)})
    if "path" not in source or not Path(source["path"]).is_dir():
        # A run made by the library notes no source.
        why = f"was made from {source['path']}, which is not there" if "path" in source else "does not say from what"
        raise ValueError(f"{folder.path}: the run {why}. Say where the images are with --data FOLDER.")
    return _open(source)


def _print_times(folder: RunFolder) -> None:
    table = Table(title="Stages", title_justify="left")
    for column in ("stage", "seconds", "images/s", "result"):
        table.add_column(column, justify="right" if column in {"seconds", "images/s"} else "left")
    for name, summary in folder.stage_summaries().items():
        seconds = float(summary["seconds"])
        table.add_row(name, f"{seconds:.1f}", f"{summary['items'] / max(seconds, 1e-9):.1f}", _escape(summary["line"]))
    console.print(table)


def _print_scores(table: ScoreTable) -> None:
    _say(table.table())


def _say(text: str) -> None:
    """Print lines as they are: a path may hold brackets, and must not be broken into lines."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


def _log(verbose: bool) -> None:
    # In a file or a pipe, tables of evidence shall not be broken at 80 characters.
    stderr = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=stderr, show_path=False, markup=False, highlighter=NullHighlighter())],
    )
    logging.getLogger("tag2mask").setLevel(logging.DEBUG if verbose else logging.INFO)
