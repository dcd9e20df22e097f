"""Confusion matrices of label maps: ours against torchmetrics' `MulticlassConfusionMatrix`, both in turn.

    pip install torchmetrics   (without it, only our own times are printed)
    python benchmarks/confusion.py

The masks are as large as photographs of PASCAL VOC, with 21 labels, one update per mask, labels as int64 tensors.
"Objects": one to four of them with a border of void (255) in the truth, in the other mask moved a little and in part
of another class. "Noise": every pixel at random, the worst case of our way, which counts runs of equal labels.
"Equal" says whether both count every pair of labels equally often over all masks.
"""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch
from skimage.draw import ellipse, polygon
from skimage.morphology import dilation, erosion, footprint_rectangle
from torch import Tensor

from tag2mask.labels import IGNORE
from tag2mask.scores.confusion import Confusion
from timing import best_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Pair = tuple[Tensor, Tensor]

try:
    from torchmetrics.classification import MulticlassConfusionMatrix
except ImportError:
    MulticlassConfusionMatrix = None

CLASSES = 20
DISTINCT = 40
"""So many different masks; more would fill the memory. They take 120 MB, more than what a core keeps at hand."""
BORDER = 5


def draw_objects(height: int, width: int, random: np.random.Generator) -> Pair:
    """Truth and what a network could say of it: (H, W) int64 each."""
    truth, found = (np.zeros((height, width), dtype=np.int64) for _ in range(2))
    for number in range(random.integers(1, 5)):
        label = random.integers(1, CLASSES + 1)
        said = label if random.random() < 0.8 else random.integers(0, CLASSES + 1)
        centre, radii = random.uniform(0.2, 0.8, 2) * (height, width), random.uniform(0.1, 0.4, 2) * (height, width)
        turn, moved = random.uniform(0, np.pi), centre + random.normal(scale=8, size=2)
        corners = random.uniform(0.6, 1.0, 12) * np.exp(1j * np.linspace(0, 2 * np.pi, 12, endpoint=False))
        for mask, place, given in ((truth, centre, label), (found, moved, said)):
            if number % 2:
                rows, columns = place[0] + radii[0] * corners.real, place[1] + radii[1] * corners.imag
                mask[polygon(rows, columns, mask.shape)] = given
            else:
                mask[ellipse(*place, *radii, shape=mask.shape, rotation=turn)] = given
    square = footprint_rectangle((BORDER, BORDER))
    truth[dilation(truth, square) != erosion(truth, square)] = IGNORE
    return torch.from_numpy(truth), torch.from_numpy(found)


def draw_noise(height: int, width: int, random: np.random.Generator) -> Pair:
    """Every pixel for itself, 5% void: (H, W) int64 each."""
    truth, found = random.integers(0, CLASSES + 1, (2, height, width))
    truth[random.random((height, width)) < 0.05] = IGNORE
    return torch.from_numpy(truth), torch.from_numpy(found)


def ours(pairs: Iterator[Pair]) -> Tensor:
    """(C + 1, C + 1) int64, rows = truth."""
    total = Confusion.empty(CLASSES)
    for truth, found in pairs:
        total += Confusion.of(truth, found, CLASSES)
    return total.counts


def torchmetrics(pairs: Iterator[Pair]) -> Tensor:
    """(C + 1, C + 1) int64, rows = truth."""
    metric = MulticlassConfusionMatrix(num_classes=CLASSES + 1, ignore_index=IGNORE)
    for truth, found in pairs:
        metric.update(found, truth)
    counts: Tensor = metric.compute()
    return counts


def runs_of(pairs: list[Pair]) -> float:
    """Pixels per run of equal pairs of labels."""
    changes = sum(int(((t.diff(dim=1) != 0) | (f.diff(dim=1) != 0)).sum()) + t.shape[0] for t, f in pairs)
    return sum(t.numel() for t, _ in pairs) / changes


def main() -> None:
    """Print one row per kind of mask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(375, 500), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--masks", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=1, help="after one that warms up")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.masks} masks of {options.size[1]}x{options.size[0]}, {CLASSES + 1} labels", end="")
    print(f", {options.threads} threads, best of {options.repetitions + 1}\n")
    print("| masks | pixels per run | torchmetrics, s | ours, s | ratio | equal |")
    print("|---|---|---|---|---|---|")
    for name, draw in {"objects": draw_objects, "noise": draw_noise}.items():
        random = np.random.default_rng(0)
        pairs = [draw(*options.size, random) for _ in range(min(DISTINCT, options.masks))]
        ways = {"ours": ours} | ({"torchmetrics": torchmetrics} if MulticlassConfusionMatrix else {})
        counts: dict[str, Tensor] = {}

        def call(way: str, pairs: list[Pair] = pairs, counts: dict[str, Tensor] = counts) -> None:
            counts[way] = ways[way](itertools.islice(itertools.cycle(pairs), options.masks))  # noqa: B023

        calls: dict[str, Callable[[], object]] = {way: lambda w=way: call(w) for way in ways}
        seconds = {way: time / 1000 for way, time in best_times(calls, options.repetitions).items()}
        row = f"| {name} | {runs_of(pairs):.1f} |"
        if "torchmetrics" not in ways:
            print(f"{row} - | {seconds['ours']:.2f} | - | - |")
            continue
        equal = "yes" if torch.equal(counts["ours"], counts["torchmetrics"]) else "NO"
        ratio = seconds["torchmetrics"] / seconds["ours"]
        print(f"{row} {seconds['torchmetrics']:.2f} | {seconds['ours']:.2f} | {ratio:.0f}x | {equal} |", flush=True)


if __name__ == "__main__":
    main()
