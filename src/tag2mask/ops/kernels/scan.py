"""The compiled side of `tag2mask.ops.propagation`: three-way linear scans, their merging, and the gradients.

The unit of work is one axis of one image: left -> right and right -> left, or top -> bottom and bottom -> top.
The horizontal axis works on transposed maps. So every scan goes line by line, and the pixels of a line lie side by
side in memory: the innermost loops run along them, several pixels at a time. Sizes: C channels, which share the
weights, and T lines of N pixels. Weights and results stand in a frame of zeros, so no neighbour has to be checked.
"""

# Numba kernels: typed by their arguments, which come by position.
# mypy: disallow-untyped-defs = false
# ruff: noqa: PLR0917

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tag2mask.ops.kernels.compiled import for_each, kernel

if TYPE_CHECKING:
    from collections.abc import Callable

_WORTH_A_THREAD = 1 << 14
"""With fewer values in all maps the work is done before a second thread has started."""


def scan_and_merge(maps: Tensor, weights: Tensor, gates: Tensor | None) -> Tensor:
    """`tag2mask.ops.propagation.propagate` on the CPU.

    Args:
        maps: (B, C, H, W), float32 or float64, with at least one pixel.
        weights: (B, 4, 3, H, W), of the same type; those that leave the image count 0.
        gates: (B, 4, H, W), of the same type: what each direction counts. None: the largest one counts alone.

    Returns:
        (B, C, H, W), differentiable once. Directions that are the largest together share the gradient.
    """
    merged: Tensor = _ScanAndMerge.apply(maps, weights, gates)
    return merged


def close_(weights: Tensor) -> Tensor:
    """Set the weights of one axis that leave the map to 0, in place.

    Args:
        weights: (B, 2, 3, T, N): of the scan that begins with the first line and of the one with the last.
    """
    weights[:, 0, :, 0] = 0
    weights[:, 1, :, -1] = 0
    weights[:, :, 0, :, 0] = 0
    weights[:, :, 2, :, -1] = 0
    return weights


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """One axis of a batch, line by line.

    Args:
        maps: (B, C, T, N).
        weights: (B, 2, 3, T, N + 2), closed, in their frame.
        gates: (B, 2, 1 or C, T, N), once they are known.
    """

    maps: Tensor
    weights: Tensor
    gates: Tensor

    def room(self) -> Any:
        """Memory for h of one image and direction in its frame; all channels of a line together."""
        _, channels, lines, pixels = self.maps.shape
        return self.maps.new_empty((lines + 2, channels, pixels + 2)).numpy()


class _ScanAndMerge(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weights: Tensor, gates: Tensor | None) -> Tensor:
        axes = _axes(maps.detach(), weights.detach(), None if gates is None else gates.detach())
        if gates is None:
            axes, result = _choose_largest(axes)
        else:
            result = _gated_sum(axes)
        # h is not kept: to scan once more takes less time than to fetch four times the maps from memory.
        ctx.save_for_backward(*(part for axis in axes for part in (axis.maps, axis.weights, axis.gates)))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        axes = _Axis(*saved[:3]), _Axis(*saved[3:])
        merged = _lines(grad_outputs[0])
        wanted = [_zeros_if_wanted(axis, *ctx.needs_input_grad) for axis in axes]

        def task(image: int, number: int) -> None:
            axis, h = axes[number], axes[number].room()
            given = [part.numpy() for part in (axis.gates, merged[number], *wanted[number])]
            for direction in (0, 1):
                _scan(image, direction, axis.maps.numpy(), axis.weights.numpy(), h)
                _scan_back(image, direction, axis.maps.numpy(), axis.weights.numpy(), h, *given)

        _for_each_axis(task, axes)
        maps, weights, gates = zip(*wanted, strict=True)
        return (
            _both(*maps) if ctx.needs_input_grad[0] else None,
            torch.cat([close_(weights[0]).mT, close_(weights[1])], dim=1) if ctx.needs_input_grad[1] else None,
            torch.cat([gates[0].mT, gates[1]], dim=1).squeeze(2) if ctx.needs_input_grad[2] else None,
        )


def _axes(maps: Tensor, weights: Tensor, gates: Tensor | None) -> tuple[_Axis, _Axis]:
    """Lay out the horizontal and the vertical axis of what `scan_and_merge` takes."""
    nothing = maps.new_empty((0, 0, 0, 0, 0))
    shares = (nothing, nothing) if gates is None else _by_axis(gates.unsqueeze(2))
    axes = []
    for lines, steps, share in zip(_lines(maps), _by_axis(weights), shares, strict=True):
        framed = F.pad(steps, (1, 1)).contiguous()
        close_(framed[..., 1:-1])
        axes.append(_Axis(lines, framed, share))
    return axes[0], axes[1]


def _gated_sum(axes: tuple[_Axis, _Axis]) -> Tensor:
    """(B, C, H, W): the sum over the directions of gate times h."""
    merged = [torch.empty_like(axis.maps) for axis in axes]

    def task(image: int, number: int) -> None:
        axis, h = axes[number], axes[number].room()
        for direction in (0, 1):
            _scan(image, direction, axis.maps.numpy(), axis.weights.numpy(), h)
            _merge(image, direction, axis.gates.numpy(), h, merged[number].numpy())

    _for_each_axis(task, axes)
    return _both(*merged)


def _choose_largest(axes: tuple[_Axis, _Axis]) -> tuple[tuple[_Axis, _Axis], Tensor]:
    """The maximum is a gated sum too: the gate of the largest direction is 1. Gives the gates and the maximum."""
    every = [axis.maps.new_empty((len(axis.maps), 2, *axis.maps.shape[1:])) for axis in axes]

    def task(image: int, number: int) -> None:
        axis, h = axes[number], axes[number].room()
        for direction in (0, 1):
            _scan(image, direction, axis.maps.numpy(), axis.weights.numpy(), h)
            every[number].numpy()[image, direction] = h[1:-1, :, 1:-1].swapaxes(0, 1)

    _for_each_axis(task, axes)
    scanned = torch.cat([every[0].mT, every[1]], dim=1)
    largest = scanned.amax(dim=1, keepdim=True)
    shares = (scanned == largest).to(scanned.dtype)
    of_axis = _by_axis(shares / shares.sum(dim=1, keepdim=True))
    return (replace(axes[0], gates=of_axis[0]), replace(axes[1], gates=of_axis[1])), largest.squeeze(1)


def _zeros_if_wanted(axis: _Axis, maps: bool, weights: bool, gates: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Where the gradients of one axis are added up; empty for those that nobody wants."""
    batch, channels, count, pixels = axis.maps.shape
    return (
        axis.maps.new_zeros((batch, channels, count, pixels) if maps else (0, 0, 0, 0)),
        axis.maps.new_zeros((batch, 2, 3, count, pixels) if weights else (0, 0, 0, 0, 0)),
        axis.maps.new_zeros((batch, 2, 1, count, pixels) if gates else (0, 0, 0, 0, 0)),
    )


def _lines(maps: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) as lines of the horizontal and of the vertical axis."""
    return maps.mT.contiguous(), maps.contiguous()


def _by_axis(values: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 4, ..., H, W) as lines of the two directions of either axis."""
    return values[:, :2].mT.contiguous(), values[:, 2:].contiguous()


def _both(horizontal: Tensor, vertical: Tensor) -> Tensor:
    """The sum of both axes' lines, in the layout of the image; the second is overwritten."""
    return vertical.add_(horizontal.mT)


def _for_each_axis(task: Callable[[int, int], None], axes: tuple[_Axis, _Axis]) -> None:
    """Call task(image, 0 or 1), several at a time."""
    maps = axes[0].maps
    for_each(task, list(product(range(len(maps)), (0, 1))), alone=maps.numel() <= _WORTH_A_THREAD)


@kernel(fastmath=True)
def _scan(image, direction, all_maps, all_weights, scanned):
    """h_t = x_t + sum_k w_k (h_{t-1,k} - x_t), which is (1 - sum_k w_k) x_t + sum_k w_k h_{t-1,k}."""
    maps, weights = all_maps[image], all_weights[image, direction]
    channels, lines, pixels = maps.shape
    scanned[0], scanned[lines + 1] = 0, 0
    for number in range(lines):
        line, before = (lines - 1 - number, lines + 1 - number) if direction else (number, number)
        first, second, third = weights[0, line, 1:], weights[1, line, 1:], weights[2, line, 1:]
        for channel in range(channels):
            own, near, h = maps[channel, line], scanned[before, channel], scanned[line + 1, channel]
            h[0], h[pixels + 1] = 0, 0
            inner = h[1:]
            for i in range(pixels):
                x = own[i]
                inner[i] = x + first[i] * (near[i] - x) + second[i] * (near[i + 1] - x) + third[i] * (near[i + 2] - x)


@kernel(fastmath=True)
def _merge(image, direction, all_gates, scanned, all_merged):
    """Gate times h: the first direction's is written, the second one's added."""
    gates, merged = all_gates[image, direction, 0], all_merged[image]
    channels, lines, pixels = merged.shape
    for line in range(lines):
        gate = gates[line]
        for channel in range(channels):
            h, total = scanned[line + 1, channel, 1:], merged[channel, line]
            if direction:
                for i in range(pixels):
                    total[i] += gate[i] * h[i]
            else:
                for i in range(pixels):
                    total[i] = gate[i] * h[i]


@kernel(fastmath=True)
def _scan_back(image, direction, all_maps, all_weights, scanned, all_gates, all_merged, of_maps, of_weights, of_gates):
    """The scan backwards. `all_merged`: the gradient of the merged maps; to the last three, gradients are added."""
    maps, weights = all_maps[image], all_weights[image, direction]
    gates, merged = all_gates[image, direction], all_merged[image]
    channels, lines, pixels = maps.shape
    # What reaches a line's h from the line after it, and that plus what reaches it from the merging.
    handed, total = np.zeros((channels, pixels), maps.dtype), np.zeros(pixels + 2, maps.dtype)
    inner, kept = total[1:], np.empty(pixels, maps.dtype)
    for number in range(lines):
        line, before = (number, number + 2) if direction else (lines - 1 - number, lines - 1 - number)
        first, second, third = weights[0, line], weights[1, line], weights[2, line]
        for i in range(pixels):
            kept[i] = 1 - first[i + 1] - second[i + 1] - third[i + 1]
        for channel in range(channels):
            own, near, h = maps[channel, line], scanned[before, channel], scanned[line + 1, channel, 1:]
            slope, gate, ahead = merged[channel, line], gates[min(channel, len(gates) - 1), line], handed[channel]
            for i in range(pixels):
                inner[i] = gate[i] * slope[i] + ahead[i]
            if of_gates.size:
                of_gate = of_gates[image, direction, 0, line]
                for i in range(pixels):
                    of_gate[i] += slope[i] * h[i]
            if of_maps.size:
                of_map = of_maps[image, channel, line]
                for i in range(pixels):
                    of_map[i] += kept[i] * inner[i]
            if of_weights.size:
                for k in range(3):
                    of_weight, neighbour = of_weights[image, direction, k, line], near[k:]
                    for i in range(pixels):
                        of_weight[i] += inner[i] * (neighbour[i] - own[i])
            # Pixel i is the neighbour at -1 of pixel i + 1, and the weights stand at the pixel that takes.
            for i in range(pixels):
                ahead[i] = first[i + 2] * total[i + 2] + second[i + 1] * total[i + 1] + third[i] * total[i]
