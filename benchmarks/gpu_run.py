"""The whole run of `gpu.py`: the demo in a process of its own, its stages and scores, and what memory it took."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from tag2mask.pipelines.affinitynet import settings_of
from tag2mask.runs.run_folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

ENOUGH = 100
"""With fewer scenes only the script itself is tried: a few epochs, and on it goes with what hardly learned anything."""

TRIAL = ["--force", "--set=classify.epochs=4", "--set=affinity.epochs=2", "--set=segment.epochs=2"]
"""Options of such a run."""

PAUSE = 0.2
"""Seconds between two looks at the memory of the device."""

LAST_LINES = 3
"""Of what a run said, that its fault tells."""


@dataclass(frozen=True)
class Demo:
    """What is run.

    Args:
        count: scenes to train on; a quarter of them are held out on top.
        size: their side in pixels.
        seed: of the scenes and of the run.
    """

    count: int
    size: int
    seed: int

    def arguments(self, device: str, folder: Path) -> list[str]:
        """Of ``python -m tag2mask``."""
        scenes = ["--count", str(self.count), "--val-count", str(self.count // 4), "--size", str(self.size)]
        where = ["--seed", str(self.seed), "--device", device, "--out", str(folder)]
        return ["demo", *scenes, *where, *(TRIAL if self.count < ENOUGH else [])]


@dataclass(frozen=True)
class Ran:
    """A run.

    Args:
        device: where.
        seconds: of all of it.
        network: what the classifier is, and what it started from.
        stages: name -> seconds.
        scores: row of the score table -> mean IoU in percent.
        host_gb: largest resident memory of any process that has ended so far.
        device_mb: most memory of the device that was taken, what was taken before left out; that of all processes.
        fault: why it did not end well; empty if it did.
    """

    device: str
    seconds: float
    network: str = ""
    stages: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    host_gb: float = math.nan
    device_mb: float = math.nan
    fault: str = ""


def taken(device: str) -> float:
    """MB of the device's memory that are taken now, by whomever."""
    if device != "cuda":
        return math.nan
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 1e6


def run_demo(demo: Demo, device: str, folder: Path, limit: float) -> Ran:
    """Make the run in a new folder, or stop it after some seconds."""
    started, said = time.monotonic(), folder / "said.txt"
    before = most = taken(device)
    command = [sys.executable, "-m", "tag2mask", *demo.arguments(device, folder / "run")]
    with said.open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        while process.poll() is None and time.monotonic() - started < limit:
            time.sleep(PAUSE)
            most = max(most, taken(device))
        late = process.poll() is None
        if late:
            process.kill()
    seconds = time.monotonic() - started
    if late or process.returncode:
        why = f"stopped after {seconds:.0f} s" if late else f"exit status {process.returncode}"
        last = said.read_text().splitlines()[-LAST_LINES:]
        return Ran(device, seconds, fault=" / ".join([why, *(" ".join(line.split()) for line in last)]))
    run = RunFolder(folder / "run")
    settings = settings_of(run).classify
    table = json.loads((run.path / "score.json").read_text())["stages"]
    return Ran(
        device,
        seconds,
        f"{settings.backbone} from {settings.start_from}",
        {name: float(summary.seconds) for name, summary in run.stage_summaries().items()},
        {name: 100 * row["mean_iou"] for name, row in table.items() if row.get("mean_iou") is not None},
        # On Linux in KiB.
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
        most - before,
    )


def print_runs(runs: list[Ran]) -> None:
    """Print the tables of the whole runs, beside each other: seconds of stages, scores, memory."""
    for ran in runs:
        if ran.fault:
            print(f"\nrun on {ran.device}: FAULT: {ran.fault}")
            continue
        device = "" if math.isnan(ran.device_mb) else f", of the device {ran.device_mb:.0f} MB"
        memory = f"peak memory {ran.host_gb:.2f} GiB{device}"
        print(f"\nrun on {ran.device}: {ran.seconds:.0f} s, {ran.network}, {memory}")
    good = [ran for ran in runs if not ran.fault]
    for title, parts in (("stage, s", [ran.stages for ran in good]), ("mean IoU, %", [ran.scores for ran in good])):
        if good:
            print("\n| " + " | ".join([title, *(ran.device for ran in good)]) + " |\n|---|" + "---:|" * len(good))
        for name in dict.fromkeys(name for part in parts for name in part):
            numbers = (f"{part[name]:.1f}" if name in part else "" for part in parts)
            print(f"| {name} | " + " | ".join(numbers) + " |", flush=True)
