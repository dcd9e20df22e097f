"""Whether our own loops pay: the walk's vectors against plain numba, counting by runs against `numpy.bincount`.

    python benchmarks/plain_loops.py

On one thread, both ways in turn, best of some repetitions. The walk is the whole of `random_walk`, 256 steps, 2 and 21
score maps; only the innermost pass over the pairs is replaced by one that leaves the vectorising to numba's compiler
(blocks of pixels, pairs outside, pixels inside: the quickest plain order that we found). Counting is of 500x375
pixels, masks as in `benchmarks/confusion.py`. "Difference" is the largest one between the two results.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch

from confusion import CLASSES, draw_noise, draw_objects
from tag2mask.labels import IGNORE
from tag2mask.ops import chebyshev
from tag2mask.ops.counting import count_labels
from tag2mask.ops.kernels.compiled import kernel
from tag2mask.ops.random_walk import random_walk
from timing import best_times
from walk import BETA, LOG2_STEPS, draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

BLOCK = 512
REPETITIONS = 5


@kernel(fastmath=True)
def plain_sum_up(  # noqa: PLR0917 - the arguments of the kernel that it stands in for.
    values: Any, sums: Any, weights: Any, taken: Any, shifts: Any, shares: Any, first: int, stop: int
) -> None:
    """`tag2mask.ops.kernels.walk.sum_up`, vectors left to the compiler."""
    size = len(taken)
    following, drift, pull = np.zeros_like(values), np.zeros_like(values), np.empty(BLOCK, np.float32)
    for k in range(1, len(shares)):
        gain = np.float32(1) if k == 1 else np.float32(2)
        for start in range(first, stop, BLOCK):
            width = min(BLOCK, stop - start)
            for c in range(len(values) // size):
                at = c * size + start
                own = values[at : at + width]
                pull[:width] = 0
                for p in range(len(shifts)):
                    shift, here = shifts[p], p * size + start
                    ahead, behind = weights[here : here + width], weights[here - shift : here - shift + width]
                    after, before = values[at + shift : at + shift + width], values[at - shift : at - shift + width]
                    for i in range(width):
                        pull[i] += ahead[i] * (after[i] - own[i]) + behind[i] * (before[i] - own[i])
                for i in range(width):
                    drift[at + i] += gain * taken[start + i] * pull[i]
                    following[at + i] = own[i] + drift[at + i]
                for s in range(len(sums)):
                    for i in range(width):
                        sums[s, at + i] += shares[k, s] * following[at + i]
        values, following = following, values


def walk_with(loops: Callable[..., None], scores: Tensor, affinity: Any) -> Tensor:
    """The walk with these loops inside."""
    with patch.object(chebyshev, "sum_up", loops):
        return random_walk(scores, affinity, beta=BETA, steps=2**LOG2_STEPS)


def bincount(truth: Tensor, predicted: Tensor) -> np.ndarray:
    """(C + 1, C + 1) int64 of labels that are in order: no check, unlike ours."""
    kept = (real := truth.numpy()) != IGNORE
    pairs = real[kept] * (CLASSES + 1) + predicted.numpy()[kept]
    return np.bincount(pairs, minlength=(CLASSES + 1) ** 2).reshape(CLASSES + 1, -1)


def row(name: str, own: Callable[[], Any], plain: Callable[[], Any]) -> None:
    """Print both times."""
    times = best_times({"own": own, "plain": plain}, REPETITIONS)
    difference = np.abs(np.asarray(own()) - np.asarray(plain())).max()
    ratio = times["plain"] / times["own"]
    print(f"| {name} | {times['plain']:.2f} | {times['own']:.2f} | {ratio:.2f}x | {difference:.0e} |", flush=True)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("| what | plain, ms | ours, ms | ratio | difference |\n|---|---|---|---|---|")
    for size in ((36, 36), (47, 63), (94, 125)):
        scores, affinity = draw(size)
        for maps in (2, 21):
            some = scores[:maps].contiguous()
            own, plain = (partial(walk_with, loops, some, affinity) for loops in (chebyshev.sum_up, plain_sum_up))
            row(f"walk, {size[1]}x{size[0]}, {maps} maps", own, plain)
    random = np.random.default_rng(0)
    for name, drawn in (("objects", draw_objects), ("noise", draw_noise)):
        truth, found = drawn(375, 500, random)
        row(f"counting, {name}", partial(count_labels, truth, found, CLASSES), partial(bincount, truth, found))


if __name__ == "__main__":
    main()
