"""Spatial propagation, forward and backward: our compiled scans against plain loops in torch, all in turn.

    python benchmarks/propagation.py

"Plain" is the formula as one writes it down: x[..., t] and a list of columns, one direction after the other.
"Unbound" is what we run where there is no compiled loop: columns by unbind, the four directions in one batch.
Each time is the best of some repetitions: maps, weights and gates in, a gradient for each of them out. "Difference" is
the largest one between our results and gradients and those of the plain loop, relative to the largest value.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from tag2mask.ops.kernels.scan import scan_and_merge
from tag2mask.ops.propagation import _scan_and_merge_in_torch, convex_weights, inside
from timing import best_times

if TYPE_CHECKING:
    from collections.abc import Callable

    Way = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain(maps: Tensor, weights: Tensor, gates: Tensor) -> Tensor:
    """The formula, column by column or row by row."""
    weights = inside(weights)
    total = torch.zeros_like(maps)
    for direction in range(4):
        axis = -1 if direction < 2 else -2
        length = maps.shape[axis]
        order = range(length) if direction % 2 == 0 else range(length - 1, -1, -1)
        h: list[Tensor] = []
        for t in order:
            x, (first, second, third) = maps.select(axis, t), weights[:, direction].select(axis, t).unbind(1)
            if not h:
                h.append(x)
                continue
            near = F.pad(h[-1], (1, 1))
            kept = 1 - first - second - third
            taken = first[:, None] * near[..., :-2] + second[:, None] * near[..., 1:-1] + third[:, None] * near[..., 2:]
            h.append(kept[:, None] * x + taken)
        scanned = torch.stack(h if direction % 2 == 0 else h[::-1], dim=axis)
        total = total + gates[:, direction, None] * scanned
    return total


def draw(batch: int, channels: int, height: int, width: int) -> list[Tensor]:
    """Probabilities, weights as an untrained network gives them, gates, and a gradient from above."""
    generator = torch.Generator().manual_seed(0)
    size = (height, width)
    maps = torch.randn(batch, channels, *size, generator=generator).softmax(dim=1)
    weights = convex_weights(torch.randn(batch, 12, *size, generator=generator) + 1.1)
    gates = torch.randn(batch, 4, *size, generator=generator).softmax(dim=1)
    return [maps, weights.contiguous(), gates, torch.randn(maps.shape, generator=generator)]


def there_and_back(way: Way, given: list[Tensor]) -> list[Tensor]:
    """The result and the gradients of maps, weights and gates."""
    leaves = [part.detach().requires_grad_() for part in given[:3]]
    result = way(*leaves)
    return [result.detach(), *torch.autograd.grad(result, leaves, given[3])]


def difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest relative difference of any of the tensors."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    """Print one row per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=(64, 128), metavar="PIXELS")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--channels", type=int, default=21)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"spatial propagation, forward + backward, {options.threads} threads, best of {options.repetitions}, ms")
    print("            maps     plain   unbound      ours   ratio to plain   to unbound   forward only   difference")
    for size in options.sizes:
        given = draw(options.batch, options.channels, size, size)
        ways: dict[str, Way] = {"plain": plain, "unbound": _scan_and_merge_in_torch, "ours": scan_and_merge}
        calls: dict[str, Callable[[], object]] = {
            name: lambda w=way, g=given: there_and_back(w, g) for name, way in ways.items()
        }
        calls["forward"] = lambda g=given: scan_and_merge(*g[:3])
        times = best_times(calls, options.repetitions)
        worst = difference(there_and_back(scan_and_merge, given), there_and_back(plain, given))
        print(
            f"{f'{options.batch}x{options.channels}x{size}x{size}':>16}"
            f"{times['plain']:10.1f}{times['unbound']:10.1f}{times['ours']:10.1f}"
            f"{times['plain'] / times['ours']:16.1f}x{times['unbound'] / times['ours']:12.1f}x"
            f"{times['forward']:15.1f}{worst:13.1e}"
        )


if __name__ == "__main__":
    main()
