"""How cost grows with pixels, with classes and with images: tables of time and of peak memory, and a plot of both.

    python benchmarks/growth.py [--plot growth.png] [--quick]

"Time" is the processor's, of one thread, the best of up to three calls; unlike that of a clock it hardly depends on
what else runs. "Memory" is the largest resident memory of a call less that before it, in a process of its own (Linux).
The exponent is the slope of a straight line through all points in log-log axes; "at the end" is the slope between the
two largest sizes. 0.9 to 1.1 is linear; where it is not, the table says why. Photographs are one drawn scene at
several resolutions, with a camera's noise; a "label" is a class or the background. Sets of images are tiny pictures
with masks, tags and the artefacts of a run, in a temporary folder: what is measured is what every image costs besides
networks and pixels.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import multiprocessing
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from growth_works import PHOTO_WORKS, SET_WORKS, draw_set, prepare_maps, prepare_superpixels, scene
from loglog import draw_panel, stack
from pairs import resident

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REPETITIONS, ENOUGH = 3, 2.0
"""A call is repeated so often, until so many seconds are spent."""

MOST_FOR_MAPS = 4.0
"""Megapixels: a view at twice the size and its mirror image go through the net together."""

LEAST_MEMORY = 0.1
"""MB: less is a matter of pages."""

LINEAR, CONSTANT = (0.9, 1.1), 0.1
"""Exponents from .. to that are called linear, and up to which, up or down, they are called constant."""

COUNTED = {"dense CRF": "its lattice points"}
"""What works count, and how that is called in a table."""

CACHES = "a step where arrays outgrow the caches"

REASONS: dict[str, dict[str, tuple[str, str]]] = {
    "megapixels": {
        "dense CRF, time": ("more pixels of one scene share a lattice point", CACHES),
        "its lattice points, time": ("more pixels of one scene share one", ""),
        "random walk, time": ("the same preparation for every map", CACHES),
        "maps, memory": ("of small images the allocator keeps what was freed", ""),
        "mining, time": ("", CACHES),
        "superpixels, time": ("", f"scikit-image's SLIC, {CACHES}"),
    },
    "labels": {
        "dense CRF, time": ("one lattice for all labels", ""),
        "dense CRF, memory": ("one lattice for all labels", ""),
        "random walk, time": ("one set of weights for all labels", ""),
        "random walk, memory": ("one set of weights for all labels", ""),
        "mining, time": ("one label map; only means are taken of every label", ""),
        "mining, memory": ("one label map; only means are taken of every label", ""),
    },
    "images": {
        "keep count, time": ("a stage is opened and closed once", ""),
        "report, time": ("six images are shown, at most 500 are ranked", ""),
    },
}
"""What grows -> a work and its cost -> why it grows less than in proportion, or more, should it do so."""


@dataclass(frozen=True)
class Cost:
    """Of one call: processor seconds, MB at the peak, and what it counted, if it counts anything."""

    seconds: float
    memory: float
    counted: float


def measure(prepare_call: Callable[..., Callable[[], Any]], given: tuple[Any, ...], small: tuple[Any, ...]) -> Cost:
    """The cost of one call; to be run in a process of its own. A call on something small compiles and loads first."""
    torch.set_num_threads(1)
    prepare_call(*small)()
    call = prepare_call(*given)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # The peak so far is forgotten.
    times: list[float] = []
    peak, counted = math.nan, None
    while len(times) < REPETITIONS and sum(times) < ENOUGH:
        start = time.process_time()
        counted = call()
        times.append(time.process_time() - start)
        if len(times) == 1:
            peak = resident("VmHWM") - before
    return Cost(min(times), peak, counted if isinstance(counted, float) else math.nan)


def in_own_process(*task: Any) -> Cost:
    """`measure`, in a child of this process: what is imported here is not imported again."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send(measure(*task)))
    child.start()
    sender.close()  # So that a child that fails ends the waiting.
    cost: Cost = receiver.recv()
    child.join()
    return cost


@dataclass(frozen=True)
class Axis:
    """What was measured at which sizes.

    Args:
        title: what grows.
        sizes: of it.
        works: title of a work -> its costs at the sizes, as far as they were measured.
    """

    title: str
    sizes: tuple[float, ...]
    works: dict[str, list[Cost]]

    def rows(self, what: str) -> dict[str, list[float]]:
        """Title -> seconds or MB."""
        if what == "time":
            return {title: [cost.seconds for cost in costs] for title, costs in self.works.items()}
        return {title: [max(cost.memory, LEAST_MEMORY) for cost in costs] for title, costs in self.works.items()}


def over_pixels(sizes: Sequence[float]) -> Axis:
    works: dict[str, list[Cost]] = {}
    for title, work in PHOTO_WORKS.items():
        most = MOST_FOR_MAPS if work is prepare_maps else math.inf
        works[title] = [in_own_process(work, (size, 5), (0.02, 5)) for size in sizes if size <= most]
    return Axis("megapixels", tuple(sizes), works)


def over_labels(sizes: Sequence[int]) -> Axis:
    works = {
        title: [in_own_process(work, (0.2, size), (0.02, size)) for size in sizes]
        for title, work in PHOTO_WORKS.items()
        if work is not prepare_superpixels  # It knows of no labels.
    }
    return Axis("labels", tuple(sizes), works)


def over_images(sizes: Sequence[int], root: Path) -> Axis:
    works: dict[str, list[Cost]] = {title: [] for title in SET_WORKS}
    draw_set(root / "small", 20)
    for size in sizes:
        folder = root / str(size)
        draw_set(folder, size)
        for title, work in SET_WORKS.items():
            works[title].append(in_own_process(work, (folder,), (root / "small",)))
        shutil.rmtree(folder)
    return Axis("images", tuple(sizes), works)


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Of the straight line through points in log-log axes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def growth(sizes: Sequence[float], values: Sequence[float], reasons: tuple[str, str]) -> list[str]:
    """The exponent of all points and of the last two, and what to make of it.

    Args:
        sizes: ascending.
        values: at the first ones of these.
        reasons: why they grow less than in proportion, or more.
    """
    sizes = sizes[: len(values)]
    whole, end = slope(sizes, values), slope(sizes[-2:], values[-2:])
    less = whole < LINEAR[0]
    if abs(whole) < CONSTANT:
        word = "constant"
    elif LINEAR[0] <= whole <= LINEAR[1]:
        word = "linear"
    else:
        reason = reasons[0 if less else 1]
        word = ("less" if less else "**more**") + " than linear" + (f": {reason}" if reason else "")
    return [f"{whole:.2f}", f"{end:.2f}", word]


def print_tables(axis: Axis) -> None:
    """Time, and memory, with a row per work; the memory of sets also per image."""
    for what, unit in (("time", "s"), ("memory", "MB")):
        of_sets = axis.title == "images" and what == "memory"
        more = ["KB per image"] if of_sets else ["exponent", "at the end", ""]
        print(f"\n{what} ({unit}) against {axis.title}\n")
        print(f"| | {' | '.join([*(f'{size:g}' for size in axis.sizes), *more])} |")
        print("|---" + "|---:" * (len(axis.sizes) + len(more) - ("" in more)) + "|---" * ("" in more) + "|")
        rows = axis.rows(what)
        if what == "time" and axis.title == "megapixels":
            rows |= {counted: [cost.counted for cost in axis.works[work]] for work, counted in COUNTED.items()}
        for title, values in rows.items():
            cells = [f"{value:.3g}" for value in values] + ["-"] * (len(axis.sizes) - len(values))
            if of_sets:
                cells.append(f"{1e3 * (values[-1] - values[0]) / (axis.sizes[-1] - axis.sizes[0]):.2f}")
            else:
                cells += growth(axis.sizes, values, REASONS[axis.title].get(f"{title}, {what}", ("", "")))
            print(f"| {title} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the tables, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a PNG")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller sizes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scene()  # Children have it.
    axes = [over_pixels((0.1, 0.4, 1) if options.quick else (0.1, 0.4, 1, 4, 16))]
    print_tables(axes[-1])
    axes.append(over_labels((2, 5, 21) if options.quick else (2, 5, 21, 80)))
    print_tables(axes[-1])
    with tempfile.TemporaryDirectory() as root:
        axes.append(over_images((100, 1000) if options.quick else (100, 1000, 10000), Path(root)))
    print_tables(axes[-1])
    if options.plot:
        panels = [
            [draw_panel(f"{what} ({unit}) against {axis.title}", axis.sizes, axis.rows(what)) for axis in axes]
            for what, unit in (("time", "s"), ("memory", "MB"))
        ]
        stack(panels).save(options.plot)


if __name__ == "__main__":
    main()
