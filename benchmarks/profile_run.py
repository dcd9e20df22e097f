"""Where the time of a whole run goes: stage by stage, kernel by kernel, and against what the machine can do at most.

    python benchmarks/profile_run.py [--scenes 220] [--seed 1]      the demo
    python benchmarks/profile_run.py --folder FOLDER                any tagged folder, with the quick preset
    python benchmarks/profile_run.py --rounds 1                     and a round of IAL on top

Every stage runs its own code on all images, trainings for a few epochs only; their time is that of as many steps as the
preset asks for. Some steps of each training are profiled, others, behind them, are timed.

Parts of a stage without training are its networks, CRFs, walks and pair affinities: some of their calls are made again
alone, with the same arguments, on all cores. No stage can be faster than all of its parts together.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from tag2mask import AffinityNetSettings, IALSettings, open_folder, run_affinitynet, run_ial
from tag2mask.learning.schedule import Schedule
from tag2mask.parallel import map_images
from tag2mask.pipelines.demo import demo_folder
from tag2mask.pipelines.publish import publish
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runtime import Runtime
from timing import best_times
from watching import CONVOLUTIONS, TIMED, WARM, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from watching import Part, Stage

TRAINED = {"01_classify": "classify", "04_affinity": "affinity", "06_segment": "segment"}
TRAINED_IN_ROUNDS = {"1_unary": "unary", "3_mine": "mine", "4_pairwise": "pairwise"}
"""The stages that train, and their settings."""


def shortened(settings: Any, images: int, steps: int) -> tuple[Any, dict[str, float]]:
    """Settings whose trainings take some steps, not many more; and what their epochs are times too few."""
    short, factors = {}, {}
    for name in (each.name for each in fields(settings)):
        schedule = getattr(settings, name)
        if isinstance(schedule, Schedule):
            epochs = min(schedule.epochs, math.ceil(steps / math.ceil(images / schedule.batch_size)))
            short[name], factors[name] = replace(schedule, epochs=epochs), schedule.epochs / epochs
    return replace(settings, **short), factors


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in markdown."""
    print(f"\n{title}\n")
    for cells in (columns, ["---"] * len(columns), *rows):
        print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def whole_seconds(name: str, stage: Stage, factors: dict[str, float]) -> tuple[float, float]:
    """What a stage takes with all of its epochs: training, and everything else, in seconds."""
    settings = {**TRAINED, **TRAINED_IN_ROUNDS}.get(name.rpartition("/")[2])
    if not stage.steps or settings is None:
        return 0.0, stage.ended - stage.begun
    return stage.step_seconds()[1] * len(stage.steps) * factors[settings], stage.other_seconds()


def print_stages(
    stages: dict[str, Stage], items: dict[str, int], factors: dict[str, float], others: dict[str, float]
) -> None:
    """Table 1: seconds of a whole run."""
    rows: list[tuple[str, float, float]] = []
    for name, stage in stages.items():
        training, other = whole_seconds(name, stage, factors)
        if training:
            settings = {**TRAINED, **TRAINED_IN_ROUNDS}[name.rpartition("/")[2]]
            rows.append((f"{name}: training", training, items[name] * factors[settings] / training))
            rows.append((f"{name}: the rest", other, 0.0))
        else:
            rows.append((name, other, items[name] / other))
    rows += [(name, seconds, 0.0) for name, seconds in others.items()]
    total = sum(seconds for _, seconds, _ in rows)
    shown = [
        (name, f"{seconds:.1f}", f"{100 * seconds / total:.1f} %", f"{rate:.1f}" if rate else "")
        for name, seconds, rate in rows
    ]
    table("Stages", ("stage", "seconds", "share", "images/s"), [*shown, ("whole run", f"{total:.1f}", "100 %", "")])


def print_kernels(trainings: dict[str, Stage], factors: dict[str, float]) -> None:
    """Table 2: where the time of a training goes."""
    rows, everywhere, whole = [], Counter[str](), 0.0
    for name, stage in trainings.items():
        shares, seconds = stage.shares(), whole_seconds(name, stage, factors)[0]
        everywhere.update({kind: seconds * share for kind, share in shares.items()})
        whole += seconds
        percent = [f"{100 * share:.1f}" for share in shares.values()]
        rows.append((name, stage.profiled, f"{1000 * stage.step_seconds()[1]:.0f}", *percent))
    rows.append(("all, as long as they take", "", "", *(f"{100 * part / whole:.1f}" for part in everywhere.values())))
    table("Trainings: % of the time", ("training", "steps profiled", "ms per step", *everywhere), rows)


def peaks() -> dict[str, float]:
    """The operations per second that this machine reaches in one large product and one large convolution."""
    side, batch, channels, cells = 4096, 16, 256, 56
    calls: dict[str, Callable[[], object]] = {}
    for word, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        a, b = (torch.randn(side, side).to(dtype) for _ in range(2))
        maps = torch.randn(batch, channels, cells, cells).to(dtype, memory_format=torch.channels_last)
        kernel = torch.randn(channels, channels, 3, 3).to(dtype, memory_format=torch.channels_last)
        calls[f"{word} matrix product"] = lambda a=a, b=b: a @ b
        calls[f"{word} convolution"] = lambda maps=maps, kernel=kernel: F.conv2d(maps, kernel, padding=1)
    work = {"product": 2 * side**3, "convolution": 2 * batch * cells**2 * 9 * channels**2}
    with torch.inference_mode():
        found = best_times(calls, 2)
    return {name: work[name.split()[-1]] / (1e-3 * found[name]) for name in calls}


def print_limits(trainings: dict[str, Stage], precision: str) -> None:
    """Table 3: operations per second against the most that the machine reaches."""
    most = peaks()
    table(
        f"The machine: {torch.get_num_threads()} threads",
        ("", "GFLOP/s"),
        [(name, f"{rate / 1e9:.0f}") for name, rate in most.items()],
    )
    peak = max(rate for name, rate in most.items() if name.startswith("bf" if precision == "bf16" else "float32"))
    rows = []
    for name, stage in trainings.items():
        inside, whole = stage.step_seconds()
        kernels = whole * stage.shares()[CONVOLUTIONS]
        shares = (f"{100 * stage.flops / seconds / peak:.0f} %" for seconds in (kernels, inside, whole))
        rows.append((name, f"{stage.flops / 1e9:.1f}", f"{stage.flops / whole / 1e9:.0f}", *shares))
    columns = ("training", "GFLOP per step", "GFLOP/s", "convolutions, matrices", "step", "step and loading")
    table(f"Trainings: share of the machine's best, {peak / 1e9:.0f} GFLOP/s", columns, rows)


def alone(part: Part, runtime: Runtime) -> float:
    """Seconds that all calls of a part take alone, in the faster of two ways: side by side on one core each, or, nets,
    one after the other on all cores."""

    def beside(index: str) -> None:
        torch.set_num_threads(1)
        with nullcontext() if part.net is None else runtime.inference(part.net):
            part.again[int(index)]()

    def one_by_one() -> None:
        with runtime.inference(part.net):
            for call in part.again:
                call()

    threads, places = torch.get_num_threads(), [str(index) for index in range(len(part.again))]
    ways: dict[str, Callable[[], object]] = {"side by side": lambda: map_images(beside, places, "alone")}
    found = best_times(ways, 1)
    torch.set_num_threads(threads)
    if part.net is not None:
        found |= best_times({"one by one": one_by_one}, 1)
    return min(found.values()) / 1000 * part.count / len(part.again)


def print_parts(stages: dict[str, Stage], items: dict[str, int], runtime: Runtime) -> None:
    """Table 4: stages that go from image to image, against their necessary parts alone."""
    rows = []
    for name, stage in stages.items():
        if not stage.parts or name == "01_classify":
            continue
        took = stage.other_seconds()
        parts = {each: alone(part, runtime) for each, part in stage.parts.items()}
        slowest, whole = max(parts.values()), sum(parts.values())
        words = ", ".join(f"{each} {seconds:.1f}" for each, seconds in sorted(parts.items(), key=lambda it: -it[1]))
        rows.append((name, f"{took:.1f}", words, f"{took / slowest:.2f}", f"{took / whole:.2f}"))
    columns = ("stage without training", "seconds", "parts alone, seconds", "times the slowest", "times all parts")
    table("From image to image", columns, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="instead of the demo's scenes")
    parser.add_argument("--scenes", type=int, default=220)
    parser.add_argument("--val-scenes", type=int, default=60)
    parser.add_argument("--size", type=int, default=144, help="of a scene in pixels")
    parser.add_argument("--val-fraction", type=float, default=0.15, help="of a folder's images")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=0, help="of IAL")
    parser.add_argument("--steps", type=int, default=12, help="of each training to profile")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options)


def measure(out: Path, options: argparse.Namespace) -> None:
    """Run everything once, and print."""
    start = time.perf_counter()
    if options.folder:
        data = open_folder(options.folder, val_fraction=options.val_fraction, seed=options.seed)
    else:
        data = demo_folder(
            out, count=options.scenes, val_count=options.val_scenes, size=options.size, seed=options.seed
        )
    others = {"opening or drawing": time.perf_counter() - start}
    runtime, images, steps = Runtime(seed=options.seed), len(data.names), options.steps + WARM + TIMED
    settings, factors = shortened(AffinityNetSettings.quick_for(data), images, steps)
    with watched(options.steps) as watch:
        run = run_affinitynet(data, out, settings, runtime=runtime)
        if options.rounds:
            more, of_rounds = shortened(IALSettings.quick_for(data), images, steps)
            more = replace(more, rounds=replace(more.rounds, count=options.rounds))
            run_ial(data, out, more, start=run, runtime=runtime)
            factors |= of_rounds
        start = time.perf_counter()
        publish(run, data)
        others["scores and report"] = time.perf_counter() - start
    items = {name: int(summary.items) for name, summary in RunFolder(out).stage_summaries().items()}
    trainings = {name: stage for name, stage in watch.stages.items() if stage.profiled}
    print_stages(watch.stages, items, factors, others)
    print_kernels(trainings, factors)
    print_limits(trainings, runtime.precision)
    print_parts(watch.stages, items, runtime)


if __name__ == "__main__":
    main()
