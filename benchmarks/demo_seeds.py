"""The demo, seed by seed: time, memory, score of every stage, and the segmenter against full supervision.

    python benchmarks/demo_seeds.py [--seeds 1 --seeds 2 --seeds 3] [--out runs/demo_seeds]

Full supervision is the same network with the same start, trained for the same steps on the true masks.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tag2mask.datasets.source import open_source
from tag2mask.learning.segmenting import build_segmenter, learn_masks, predict_mask
from tag2mask.pipelines.affinitynet import settings_of
from tag2mask.records import PseudoMask
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runtime import Runtime
from tag2mask.scores.confusion import Confusion

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset

ROWS = ("cam", "cam_crf", "walk", "walk_crf", "segmenter_train", "segmenter_val")


class TrueMasks:
    """Ground truth in the place of pseudo masks."""

    def __init__(self, data: TagDataset) -> None:
        self.data = data

    def __getitem__(self, name: str) -> PseudoMask:
        labels = self.data.mask(name)
        assert labels is not None
        return PseudoMask(name, labels, labels.new_ones(labels.shape).float())


def supervised(run: RunFolder) -> tuple[float, float]:
    """(mean IoU on held-out images, seconds) of the fully supervised twin of a run's segmenter."""
    manifest = run.manifest()
    data = open_source(manifest.origin.source)
    settings = settings_of(run).segment
    runtime = Runtime(seed=manifest.seed)
    started = time.monotonic()
    net = build_segmenter(settings, len(data.class_names), run, runtime)
    learn_masks(net, data, TrueMasks(data), settings, runtime=runtime)
    total = Confusion.empty(len(data.class_names))
    with runtime.inference(net):
        for name in data.val_names:
            found = predict_mask(data[name], net, settings, runtime)
            total += Confusion.of(data.mask(name), found.labels, len(data.class_names))
    return total.mean_iou(), time.monotonic() - started


def main(
    seeds: Annotated[list[int], typer.Option(help="Seeds of the demo.")] = [1, 2, 3],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Where the runs go.")] = Path("runs/demo_seeds"),
) -> None:
    print("seed  seconds  peak GiB  " + "  ".join(f"{row:>15}" for row in ROWS) + "  gain  supervised  share")
    for seed in seeds:
        folder = out / str(seed)
        started = time.monotonic()
        command = [Path(sys.executable).parent / "tag2mask", "demo", "--seed", str(seed), "--out", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        # The largest of the finished demo processes so far; on Linux in KiB.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        stages = json.loads((folder / "score.json").read_text())["stages"]
        full, _ = supervised(RunFolder(folder))
        scores = [100 * stages[row]["mean_iou"] for row in ROWS]
        gain = scores[ROWS.index("walk_crf")] - scores[ROWS.index("cam")]
        share = scores[ROWS.index("segmenter_val")] / full
        print(
            f"{seed:4}  {seconds:7.0f}  {peak:8.2f}  "
            + "  ".join(f"{score:15.1f}" for score in scores)
            + f"  {gain:+4.1f}  {100 * full:10.1f}  {share:4.0f}%",
            flush=True,
        )


if __name__ == "__main__":
    typer.run(main)
