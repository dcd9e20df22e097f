"""A folder of real photographs with the quick preset: every row of the score table, and where the time goes.

    python benchmarks/photographs.py FOLDER [--out runs/photographs] [--val-fraction 0.15] [--seed 0]

FOLDER is an ordinary tagged folder with masks/ for scoring.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tag2mask.runs.run_folder import RunFolder


def main(
    folder: Path,
    out: Annotated[Path, typer.Option(help="Where the run goes.")] = Path("runs/photographs"),
    val_fraction: Annotated[float, typer.Option(help="Share of the images to hold out.")] = 0.15,
    seed: int = 0,
) -> None:
    tag2mask = str(Path(sys.executable).parent / "tag2mask")
    options = ["--out", str(out), "--val-fraction", str(val_fraction), "--seed", str(seed)]
    started = time.monotonic()
    subprocess.run([tag2mask, "run", str(folder), *options], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"whole run: {seconds / 60:.1f} minutes, peak memory {peak:.2f} GiB\n")
    print(f"{'stage':<14}{'seconds':>9}{'share':>8}{'images/s':>10}")
    for name, summary in RunFolder(out).stage_summaries().items():
        spent = float(summary.seconds)
        print(f"{name:<14}{spent:9.1f}{100 * spent / seconds:7.1f}%{summary.items / spent:10.2f}")
    print(flush=True)
    subprocess.run([tag2mask, "score", str(out), "--json"], check=True)


if __name__ == "__main__":
    typer.run(main)
