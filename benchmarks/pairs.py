"""Affinity of neighbouring pixels with its loss, forward and backward: our compiled pairs against two ways in torch.

    python benchmarks/pairs.py

"Gathered" is how the authors of AffinityNet write it down: one index_select for the first pixel of all pairs, one for
the second, then exp(-mean |f_i - f_j|). Their list leaves out the pairs near the left, right and bottom border, so that
every first pixel has all 34 partners. "By offset" is what we run on other devices than the CPU: two windows per offset.
Both of ours compare every pair inside; the loss, and so the backward pass, takes the pairs of the authors' list
everywhere. Every pixel of the labels is sure: ours would skip the backward pass of unsure pairs, so they are left out.

Each time is the best of some repetitions: features in, their gradient out, all ways in turn. "Memory" is the largest
resident memory of one call in a process of its own (Linux), less what that held before the call (features, targets); it
includes the gradient, as large as the features. "Difference" is the largest one between our affinities, loss and
gradient and those of the gathered way, relative to the largest value. "Targets" is `pair_targets`, which is no part of
the rest: it is the same for all.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from tag2mask.ops.affinity import _pair_affinity_in_torch, half_disc_offsets, pair_affinity, pair_targets
from tag2mask.ops.losses import pair_loss
from tag2mask.records import PairTargets
from timing import best_times

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Way = Callable[[Tensor, Sequence[tuple[int, int]]], Tensor]

RADIUS = 5
REACH = RADIUS - 1
OFFSETS = half_disc_offsets(RADIUS)
LAYOUTS = {"first": torch.contiguous_format, "last": torch.channels_last}


def gathered(features: Tensor, offsets: Sequence[tuple[int, int]]) -> Tensor:
    """Both ends of every pair of the authors' list, fetched by index: (B, P, h, w), 0 for the pairs they leave out."""
    height, width = features.shape[-2:]
    pixels = torch.arange(height * width).reshape(height, width)
    rows, columns = height - REACH, width - 2 * REACH
    first = pixels[:rows, REACH : REACH + columns]
    second = torch.stack([pixels[y : y + rows, REACH + x : REACH + x + columns] for y, x in offsets])
    flat = features.flatten(2)
    near = flat.index_select(2, first.flatten()).unsqueeze(2)
    far = flat.index_select(2, second.flatten()).unflatten(2, (len(offsets), -1))
    values = torch.exp(-torch.mean(torch.abs(far - near), dim=1))
    return F.pad(values.unflatten(2, (rows, columns)), (REACH, REACH, 0, REACH))


WAYS: dict[str, Way] = {"gathered": gathered, "by offset": _pair_affinity_in_torch, "ours": pair_affinity}


def draw(batch: int, channels: int, size: int, layout: str) -> tuple[Tensor, Tensor]:
    """Features as an ELU leaves them, (B, D, h, w), and blocks of three labels, (B, h, w)."""
    generator = torch.Generator().manual_seed(0)
    features = F.elu(torch.randn(batch, channels, size, size, generator=generator))
    blocks = torch.randint(3, (batch, 1, 7, 7), generator=generator).float()
    labels = F.interpolate(blocks, (size, size))[:, 0].long()
    return features.contiguous(memory_format=LAYOUTS[layout]), labels


def listed_targets(labels: Tensor) -> PairTargets:
    """What the pairs of the authors' list should be."""
    targets = pair_targets(labels, OFFSETS)
    listed = torch.zeros_like(targets.different)
    listed[:, :, :-REACH, REACH:-REACH] = True
    return PairTargets(*(getattr(targets, kind.name) & listed for kind in fields(targets)))


def there_and_back(way: Way, features: Tensor, targets: PairTargets) -> list[Tensor]:
    """Affinities, loss and the gradient of the features."""
    leaf = features.detach().requires_grad_()
    values = way(leaf, OFFSETS)
    loss = torch.stack(list(pair_loss(values, targets).values())).sum()
    return [values.detach(), loss.detach(), *torch.autograd.grad(loss, leaf)]


def resident(kind: str) -> float:
    """Resident memory of this process in MB, now (VmRSS) or at most since it was reset (VmHWM); Linux."""
    found = re.search(rf"^{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return float(found[1]) / 1e3 if found else float("nan")


def extra_memory(name: str, shape: tuple[int, int, int, str], threads: int) -> float:
    """MB at the peak of one call, less those before; to be run in a process of its own."""
    torch.set_num_threads(threads)
    there_and_back(WAYS[name], *prepared(1, 2, 2 * RADIUS, shape[3]))  # Compiles, and loads what torch loads late.
    features, targets = prepared(*shape)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # The peak so far is forgotten.
    there_and_back(WAYS[name], features, targets)
    return resident("VmHWM") - before


def prepared(batch: int, channels: int, size: int, layout: str) -> tuple[Tensor, PairTargets]:
    """Features and what their pairs should be."""
    features, labels = draw(batch, channels, size, layout)
    return features, listed_targets(labels)


def memory(shape: tuple[int, int, int, str], threads: int) -> dict[str, float]:
    """MB of each way, each in a fresh process."""
    found = {}
    for name in WAYS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[name] = pool.apply(extra_memory, (name, shape, threads))
    return found


def difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest relative difference of any of the tensors, where the authors' list has a pair."""
    ours = [ours[0] * (theirs[0] > 0), *ours[1:]]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    """Print a small table per size and layout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=(32, 56), metavar="PIXELS")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, default=448)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS), help="of the channels")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"affinity + loss, forward + backward, {options.threads} threads, best of {options.repetitions}")
    print("        features   channels        way       ms   ratio   memory MB   ratio   difference   targets ms")
    for size in options.sizes:
        for layout in options.layouts:
            shape = (options.batch, options.channels, size, layout)
            features, targets = prepared(*shape)
            labels = draw(*shape)[1]
            # Once before the clock runs: compiles and warms up.
            found = {name: there_and_back(way, features, targets) for name, way in WAYS.items()}
            calls: dict[str, Callable[[], object]] = {
                name: lambda w=way, f=features, t=targets: there_and_back(w, f, t) for name, way in WAYS.items()
            }
            calls["targets"] = lambda known=labels: pair_targets(known, OFFSETS)
            times, peaks = best_times(calls, options.repetitions), memory(shape, options.threads)
            for name in WAYS:
                print(
                    f"{f'{options.batch}x{options.channels}x{size}x{size}':>16}{layout:>11}{name:>11}"
                    f"{times[name]:9.1f}{times[name] / times['ours']:7.1f}x"
                    f"{peaks[name]:12.0f}{peaks[name] / peaks['ours']:7.1f}x"
                    f"{difference(found[name], found['gathered']):13.1e}{times['targets']:13.1f}"
                )


if __name__ == "__main__":
    main()
