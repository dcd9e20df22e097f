"""The random walk of 21 score maps, t = 256, on the CPU: ours against the authors' dense matrix and sparse products.

    python benchmarks/walk.py

"Dense" is how the authors of AffinityNet write it down: W^beta as a matrix of n x n, n pixels of the map, its columns
divided by their sums, squared eight times, then one product with the scores; all in float32. Where objects are cut off
from each other the powers hold denormal numbers (here about an eighth of them), which some CPUs multiply many times
more slowly and others do not; "flushed" is the same with `torch.set_flush_denormal(True)`. "Sparse" takes the 256 steps
one by one with a sparse matrix of scipy, in float32.

Every way runs in a process of its own, ours and the sparse one on one thread. Each time is the best of some
repetitions, from the pairs (the dense and the sparse way: from W as a matrix) to the walked scores. On maps from
--once on only one of the eight squarings is timed, and taken eight times; the rows say so. "Memory" is the largest
resident memory of one call, less what the process held before, W too (Linux). "Difference" is the largest one to the
same 256 steps in float64.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import multiprocessing
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F

from pairs import resident
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity, pair_windows
from tag2mask.ops.random_walk import random_walk
from tag2mask.records import PixelAffinity

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Map = tuple[int, int]

CLASSES, BETA, LOG2_STEPS = 21, 8, 8
OFFSETS = half_disc_offsets(5)
PATCHES, CONTRAST = 24, 3.0


class Found(NamedTuple):
    """Of one way: seconds, MB, and the walked scores, (CLASSES, h, w), if it went all the way."""

    seconds: float
    memory: float
    walked: np.ndarray | None


def draw(size: Map) -> tuple[Tensor, PixelAffinity]:
    """Blobs as scores, and the affinity of features as of a photograph: patches, each smooth, cut off from the next."""
    generator = torch.Generator().manual_seed(0)
    blobs, shades = (
        F.interpolate(torch.randn(1, maps, 6, 6, generator=generator), size, mode="bicubic", align_corners=False)
        for maps in (CLASSES, 64)
    )
    y, x = torch.meshgrid(*(torch.linspace(0, 1, side) for side in size), indexing="ij")
    centres = torch.rand(PATCHES, 2, generator=generator)
    patches = torch.cdist(torch.stack([y, x], dim=-1).flatten(0, 1), centres).argmin(dim=1).view(size)
    colours = CONTRAST * torch.randn(PATCHES, 64, generator=generator)
    noise = torch.randn(1, 64, *size, generator=generator)
    features = colours[patches].movedim(-1, 0)[None] + 0.3 * shades + 0.02 * noise
    return blobs[0].clamp(0, 1), PixelAffinity(OFFSETS, pair_affinity(features, OFFSETS)[0], stride=8)


def matrix(affinity: PixelAffinity) -> scipy.sparse.csr_array:
    """W in float64, (n, n), ones on its diagonal."""
    height, width = affinity.values.shape[-2:]
    pixels, values = np.arange(height * width).reshape(height, width), affinity.values.double().numpy()
    first, second, weights = [pixels.ravel()], [pixels.ravel()], [np.ones(pixels.size)]
    for offset, value in zip(affinity.offsets, values, strict=True):
        near, far = pair_windows(offset, height, width)
        first += [pixels[near].ravel(), pixels[far].ravel()]
        second += [pixels[far].ravel(), pixels[near].ravel()]
        weights += [value[near].ravel()] * 2
    places = np.concatenate(first), np.concatenate(second)
    return scipy.sparse.csr_array((np.concatenate(weights), places), shape=(pixels.size, pixels.size))


def sparse(scores: np.ndarray, weights: scipy.sparse.csr_array) -> np.ndarray:
    """The steps one by one, in the precision of the arguments."""
    powered = weights.power(BETA)
    step = scipy.sparse.csr_array(powered.multiply(1 / powered.sum(axis=1)[:, None]))
    walked = np.ascontiguousarray(scores.reshape(len(scores), -1).T)
    for _ in range(2**LOG2_STEPS):
        walked = step @ walked
    return walked.T.reshape(scores.shape)


def dense(scores: Tensor, weights: Tensor, squarings: int) -> Tensor:
    """As the authors write it down."""
    step = weights**BETA
    step = step / step.sum(dim=0, keepdim=True)
    for _ in range(squarings):
        step = step @ step
    return (scores.flatten(1) @ step).unflatten(1, scores.shape[1:])


def prepare(way: str, size: Map, squarings: int) -> Callable[[], Tensor | np.ndarray]:
    """The call that is timed."""
    scores, affinity = draw(size)
    if way == "ours":
        return partial(random_walk, scores, affinity, beta=BETA, steps=2**LOG2_STEPS)
    weights = matrix(affinity).astype(np.float32)
    if way == "sparse":
        return partial(sparse, scores.numpy(), weights)
    return partial(dense, scores, torch.from_numpy(weights.toarray()), squarings)


def run(way: str, size: Map, repetitions: int, threads: int, *, flush: bool, squarings: int) -> Found:
    """One way, in this process, which it should have for itself."""
    torch.set_flush_denormal(flush)  # First of all: threads that start later take it over.
    torch.set_num_threads(threads)
    prepare(way, (9, 9), LOG2_STEPS)()  # Compiles, and loads what is loaded late.
    call = prepare(way, size, squarings)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # The peak so far is forgotten.
    best, walked = math.inf, None
    for _ in range(repetitions):
        start = time.perf_counter()
        walked = call()
        best = min(best, time.perf_counter() - start)
    return Found(best, resident("VmHWM") - before, np.asarray(walked) if squarings == LOG2_STEPS else None)


def alone(*arguments: object, flush: bool = False, squarings: int = LOG2_STEPS) -> Found:
    """`run` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: Found = pool.apply(run, arguments, {"flush": flush, "squarings": squarings})
    return found


def compare(size: Map, options: argparse.Namespace) -> dict[str, tuple[int, Found]]:
    """Name -> threads and what was found."""
    threads, found = options.threads, {}
    if size[0] >= options.once:
        without, with_one = (alone("dense", size, 1, threads, flush=True, squarings=count) for count in (0, 1))
        seconds = without.seconds + LOG2_STEPS * (with_one.seconds - without.seconds)
        found["dense, flushed (8 times one squaring)"] = threads, Found(seconds, with_one.memory, None)
    else:
        if options.unflushed:
            found["dense"] = threads, alone("dense", size, 1, threads)
        found["dense, flushed"] = threads, alone("dense", size, options.repetitions, threads, flush=True)
    found["sparse, 256 steps"] = 1, alone("sparse", size, options.repetitions, 1)
    found["ours"] = 1, alone("ours", size, 10 * options.repetitions, 1)
    return found


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=("63x47", "125x94"), metavar="HxW", help="of the maps")
    parser.add_argument("--once", type=int, default=100, metavar="H", help="from this height on: one squaring is timed")
    parser.add_argument(
        "--unflushed", action=argparse.BooleanOptionalAction, default=True, help="the dense way with denormals, too"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the dense way")
    parser.add_argument("--repetitions", type=int, default=2, help="ours: ten times as many")
    options = parser.parse_args()
    print("| map | way | threads | seconds | ratio | memory MB | difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for text in options.sizes:
        height, width = (int(side) for side in text.split("x"))
        scores, affinity = draw((height, width))
        exact = sparse(scores.double().numpy(), matrix(affinity))
        found = compare((height, width), options)
        for name, (threads, (seconds, memory, walked)) in found.items():
            ratio = seconds / found["ours"][1].seconds
            gap = "-" if walked is None else f"{np.abs(walked - exact).max():.0e}"
            print(f"| {text} | {name} | {threads} | {seconds:.4g} | {ratio:.4g} | {memory:.0f} | {gap} |", flush=True)


if __name__ == "__main__":
    main()
