"""The networks of AffinityNet's authors: how large they are, and what a forward pass costs on this machine.

    python benchmarks/paper_backbones.py [--size 448] [--threads 2]

One image in float32, without gradients. Each network runs in a process of its own: "seconds" is the best of some
repetitions, "peak" the largest resident memory of that process (its ru_maxrss: interpreter, weights and maps). The timm
network is there to compare with. Weights are random, which takes the same time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
from dataclasses import dataclass

import torch

from tag2mask.nets.backbones import Backbone, to_channels_last
from timing import best_times


@dataclass(frozen=True)
class Cost:
    """What one network takes.

    Args:
        parameters: how many.
        stride: image pixels per cell of the last map.
        taps: channels of the last three levels, which AffinityNet looks at.
        seconds: of a forward pass.
        peak: resident memory of the process in MB.
    """

    parameters: int
    stride: int
    taps: tuple[int, ...]
    seconds: float
    peak: float


def measure(name: str, stride: int, size: int, threads: int, repetitions: int) -> Cost:
    """Build a network and run it; to be called in a process of its own."""
    torch.set_num_threads(threads)
    net = Backbone(name, stride).eval()
    to_channels_last(net)
    pixels = torch.zeros(1, 3, size, size).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        seconds = best_times({name: lambda: net(pixels)}, repetitions)[name] / 1000
    parameters = sum(parameter.numel() for parameter in net.parameters())
    # In kB on Linux, in bytes on a Mac.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return Cost(parameters, net.output_stride, net.channels[-3:], seconds, peak)


def main() -> None:
    """Print one row per network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["resnet38", "vgg16_dilated", "resnet50"], metavar="NAME")
    parser.add_argument("--stride", type=int, default=8)
    parser.add_argument("--size", type=int, default=448, metavar="PIXELS")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    print(f"forward pass, 1 x 3 x {options.size} x {options.size}, {options.threads} threads", end=", ")
    print(f"best of {options.repetitions}")
    print(f"{'network':<16}{'parameters':>12}{'stride':>8}{'taps':>18}{'seconds':>10}{'peak MB':>10}")
    for name in options.networks:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            arguments = (name, options.stride, options.size, options.threads, options.repetitions)
            cost = pool.apply(measure, arguments)
        taps = ", ".join(map(str, cost.taps))
        print(
            f"{name:<16}{cost.parameters / 1e6:11.2f}M{cost.stride:8d}{taps:>18}{cost.seconds:10.2f}{cost.peak:10.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
