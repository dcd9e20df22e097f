"""Every path of tag2mask that runs on a GPU against the CPU, and one whole quick run there: differences, times, memory.

    python benchmarks/gpu.py [--device cuda|cpu] [--out runs/gpu] [--without-run]
    python benchmarks/gpu.py --beside-cpu                 the same run on the CPU, too
    PYTHONPATH=src python benchmarks/gpu.py               where the package is not installed
    OMP_NUM_THREADS=1 python benchmarks/gpu.py --device cpu          the script itself, without a GPU, on small scenes

Each row is a check: the same work from the same start on the CPU, in float32, and on the device, in float32 without
TF32, or in bfloat16 where the row says so. "Difference" is the largest one; of numbers above 1 it is relative to the
largest of their tensor, of labels it is the share that differ. "Again" is the same between two calls on the device.
Every work is done twice and the second time is timed. MB are the peak above what was there before: resident memory of
this process on the CPU (Linux), what torch took on the device. Rows at "CPU" are compiled loops that have no other
version: what came from the device is brought to them. A check that raises or differs by more than allowed is a FAULT
and hides none of the others; the exit status is 1 then, and 2 if there is no such device.

The whole run is `tag2mask demo --seed 1`, in the precision that `auto` stands for. Everything is drawn here: there are
no downloads, and all that stays is OUT/gpu.json. On a GPU it ends within 8 minutes: a run that would take longer is
stopped, and is a FAULT.
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import typer

import tag2mask
from gpu_checks import MATHS, Check, Scenes
from gpu_nets import NETS
from gpu_run import Demo, Ran, print_runs, run_demo
from tag2mask.datasets.scenes.scenes import make_scenes
from tag2mask.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

SEED, IMAGES, WORKERS = 1, 16, 2
"""Scenes that are drawn, and processes that load views beside the device."""

SIDES = {"cuda": 224, "cpu": 96}
"""Of the scenes, in pixels."""

LIMIT = 8 * 60.0
"""Seconds for everything."""


class Device(StrEnum):
    """Where to compute."""

    CUDA = "cuda"
    CPU = "cpu"


@dataclass(frozen=True)
class Row:
    """What came out of a check; not a number where there is nothing.

    Args:
        check: its name.
        compared: what is compared.
        where: ``device`` or ``CPU``.
        allowed: the largest difference allowed.
        difference: the largest one between device and CPU.
        again: the largest one between two calls on the device.
        cpu_seconds: of one call on the CPU.
        seconds: of one call on the device.
        cpu_mb: peak of the CPU.
        mb: peak of the device.
        status: ``ok``, ``FAULT``, or words for what is neither.
        message: why.
    """

    check: str
    compared: str
    where: str
    allowed: float
    difference: float = math.nan
    again: float = math.nan
    cpu_seconds: float = math.nan
    seconds: float = math.nan
    cpu_mb: float = math.nan
    mb: float = math.nan
    status: str = "ok"
    message: str = ""


@dataclass(frozen=True)
class Timed:
    """One work, done twice.

    Args:
        found: what it gave.
        first: the same of the first call.
        seconds: of the second call.
        mb: its peak.
    """

    found: list[Tensor]
    first: list[Tensor]
    seconds: float
    mb: float


def resident(kind: str) -> float:
    """Resident memory of this process in MB, now (VmRSS) or at most since it was reset (VmHWM); Linux."""
    found = re.search(rf"^{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return float(found[1]) / 1e3 if found else math.nan


def begin_peak(device: torch.device) -> float:
    """Forget the peak of memory so far; MB that are taken now."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e6
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return resident("VmRSS")
    except OSError:
        return math.nan


def peak(device: torch.device) -> float:
    """MB at most since `begin_peak`, once everything is done."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resident("VmHWM") if Path("/proc/self/status").is_file() else math.nan


def timed(check: Check, scenes: Scenes, runtime: Runtime) -> Timed:
    """Do the work of a check twice: the first time compiles, and loads what is loaded late."""
    first = [part.detach().cpu() for part in check.prepare(scenes, runtime)()]
    work = check.prepare(scenes, runtime)
    before, started = begin_peak(runtime.device), time.perf_counter()
    found = work()
    if runtime.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return Timed([part.detach().cpu() for part in found], first, seconds, max(0.0, peak(runtime.device) - before))


def difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest one; see above.

    Raises:
        ValueError: for other shapes, or numbers that are not finite.
    """
    shapes = [[tuple(part.shape) for part in parts] for parts in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"expected the shapes {shapes[1]}, got {shapes[0]}.")
    found = [0.0]
    for a, b in zip(ours, theirs, strict=True):
        if not a.numel():
            continue
        if not a.is_floating_point():
            found.append(float((a != b).float().mean()))
            continue
        for whose, part in (("the device", a), ("the other side", b)):
            if not bool(part.isfinite().all()):
                raise ValueError(
                    f"{int((~part.isfinite()).sum())} of {part.numel()} numbers of {whose} are not finite."
                )
        found.append(float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1)))
    return max(found)


def measured(check: Check, scenes: Scenes, device: Device) -> Row:
    """The row of a check, whatever happens in it."""
    row = Row(check.name, check.compared, check.where, check.tolerance)
    try:
        here = timed(check, scenes, Runtime("cpu", "32", SEED))
        there = timed(check, scenes, Runtime(device.value, check.precision, SEED, workers=WORKERS))
        again = difference(there.found, there.first)
        apart = again if check.itself else difference(there.found, here.found)
    except Exception as error:
        return replace(row, status="FAULT", message=f"{type(error).__name__}: {error}")
    row = replace(row, difference=apart, again=again, cpu_seconds=here.seconds, seconds=there.seconds)
    row = replace(row, cpu_mb=here.mb, mb=there.mb)
    if check.itself:
        equal = "equal to the bit" if again == 0 else f"not equal: {again:.1e}"
        return replace(row, status="ok" if again == 0 else "told", message=equal)
    if not apart <= check.tolerance:
        return replace(row, status="FAULT", message="the difference is larger than allowed")
    return row


def onnx_row() -> Row:
    """Whether the package has an export to ONNX; one that is there is not checked here yet."""
    row = Row("onnx", "export", "CPU", 0.0)
    modules = [module.name for module in pkgutil.walk_packages(tag2mask.__path__, "tag2mask.") if "onnx" in module.name]
    if not modules:
        return replace(row, status="not there", message="no module of tag2mask has onnx in its name")
    try:
        for name in modules:
            importlib.import_module(name)
    except Exception as error:
        return replace(row, status="FAULT", message=f"{type(error).__name__}: {error}")
    return replace(
        row, status="not checked", message=f"{', '.join(modules)}: give it a check in benchmarks/gpu_nets.py"
    )


def print_row(row: Row) -> None:
    """One line of the table; what was not measured stays empty."""
    numbers = (f"{row.allowed:.0e}", f"{row.difference:.1e}", f"{row.again:.1e}", f"{row.cpu_seconds:.3f}")
    cells = [*numbers, f"{row.seconds:.3f}", f"{row.cpu_mb:.0f}", f"{row.mb:.0f}"]
    words = [row.check, row.compared, row.where]
    told = row.status + (f": {' '.join(row.message.split())}" if row.message else "")
    print("| " + " | ".join([*words, *("" if cell == "nan" else cell for cell in cells), told]) + " |", flush=True)


def print_checks(scenes: Scenes, device: Device) -> list[Row]:
    """Print the table of the checks, row by row."""
    columns = ("check", "compared", "at", "allowed", "difference", "again", "CPU s", "device s", "CPU MB", "device MB")
    print("| " + " | ".join([*columns, "status"]) + " |\n|" + "---|" * (1 + len(columns)), flush=True)
    rows = []
    for check in (*MATHS, *NETS):
        rows.append(measured(check, scenes, device))
        print_row(rows[-1])
    rows.append(onnx_row())
    print_row(rows[-1])
    return rows


def described(device: Device) -> str:
    """What computes."""
    card = torch.cuda.get_device_name() if device is Device.CUDA else "CPU"
    return f"{card}, torch {torch.__version__}, {torch.get_num_threads()} threads on the CPU"


def main(  # noqa: PLR0917
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.CUDA,
    out: Annotated[Path, typer.Option(help="Where gpu.json goes.")] = Path("runs/gpu"),
    without_run: Annotated[bool, typer.Option("--without-run", help="Checks only.")] = False,
    beside_cpu: Annotated[bool, typer.Option("--beside-cpu", help="Make the whole run on the CPU, too.")] = False,
    demo_count: Annotated[int | None, typer.Option(help="Scenes of the run (default: 220; CPU: 12).")] = None,
    demo_size: Annotated[int | None, typer.Option(help="Their side in pixels (default: 144; CPU: 64).")] = None,
) -> None:
    started, small = time.monotonic(), device is Device.CPU
    if device is Device.CUDA and not torch.cuda.is_available():
        print(f"--device cuda: expected a GPU, torch {torch.__version__} sees none here.", file=sys.stderr)
        raise typer.Exit(2)
    # In float32 as the CPU has it; a setting of this process only, the run below is made as users make it.
    torch.backends.cudnn.allow_tf32 = False
    print(f"{described(device)}\n")
    side = SIDES[device.value]
    rows = print_checks(Scenes(make_scenes(IMAGES, side, SEED), side), device)
    runs: list[Ran] = []
    if not without_run:
        demo = Demo(demo_count or (12 if small else 220), demo_size or (64 if small else 144), SEED)
        for kind in [device.value, *(["cpu"] if beside_cpu and not small else [])]:
            with tempfile.TemporaryDirectory() as folder:
                runs.append(run_demo(demo, kind, Path(folder), LIMIT - (time.monotonic() - started)))
        print_runs(runs)
    out.mkdir(parents=True, exist_ok=True)
    told = {"device": described(device), "checks": [asdict(row) for row in rows], "runs": [asdict(ran) for ran in runs]}
    (out / "gpu.json").write_text(json.dumps(told, indent=1).replace("NaN", "null"))
    faults = [row.check for row in rows if row.status == "FAULT"] + [
        f"run on {ran.device}" for ran in runs if ran.fault
    ]
    print(f"\n{time.monotonic() - started:.0f} s; faults: {', '.join(faults) or 'none'}; written: {out / 'gpu.json'}")
    raise typer.Exit(1 if faults else 0)


if __name__ == "__main__":
    typer.run(main)
