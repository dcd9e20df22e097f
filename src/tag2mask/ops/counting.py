"""Count pixels by (true label, given label), and by (true label, best class, how high its score is).

Compiled loops: label maps are long runs of equal labels, so a run is counted at once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tag2mask.checks import check_dtype, check_shape
from tag2mask.labels import IGNORE, channels_from_labels, labels_from_class_ids
from tag2mask.ops.kernels.compiled import kernel

IntArray = np.ndarray[Any, np.dtype[np.int64]]

_SKIP, _FORBIDDEN = -1, -2  # What the table of channels holds for IGNORE and for labels that no class has.


def count_labels(truth: Tensor, predicted: Tensor, num_classes: int, *, decided_only: bool = False) -> Tensor:
    """Count pixels by true and given label. Pixels whose truth is IGNORE are left out.

    Args:
        truth: labels of any shape, integers: 0, 1..C, IGNORE.
        predicted: labels of the same shape.
        num_classes: C.
        decided_only: leave out pixels that are IGNORE in `predicted`.

    Returns:
        (C + 1, C + 1) int64, rows = truth, columns = prediction, as channels (0 = background, 1 + class_id).

    Raises:
        ValueError: for other shapes or labels, and for IGNORE in `predicted` unless `decided_only`.
    """
    if truth.shape != predicted.shape:
        raise ValueError(
            f"predicted: expected the shape of truth, {tuple(truth.shape)}, got {tuple(predicted.shape)}. "
            "Resize the labels (nearest neighbour) to the size of the ground truth first."
        )
    table = _channel_table(num_classes)
    counts = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    if not _count_runs(_flat("truth", truth), _flat("predicted", predicted), table, decided_only, counts):
        _check_labels("truth", truth, table)
        _check_labels("predicted", predicted, table)
        raise ValueError(
            f"predicted: holds unsure pixels ({IGNORE}), which no column of the matrix stands for. "
            "For seeds, count only the decided pixels (decided_only=True)."
        )
    return torch.from_numpy(counts)


def count_scores(truth: Tensor, scores: Tensor, thresholds: Tensor, num_classes: int) -> Tensor:
    """Count pixels by true label, class of the highest score, and the first threshold that is as high.

    Args:
        truth: (H, W) labels, integers: 0, 1..C, IGNORE (left out).
        scores: (K, H, W) float; the first of equal scores wins.
        thresholds: (T,) float32, ascending.
        num_classes: C.

    Returns:
        (C + 1, max(K, 1), T + 1) int64; the last bin holds the pixels above every threshold. Without
        scores (K = 0) every pixel is in bin 0 of a class that does not exist.

    Raises:
        ValueError: for other shapes or labels.
    """
    sizes = check_shape("truth", truth, "H W")
    check_shape("scores", scores, "K H W", **sizes)
    found = np.zeros((num_classes + 1, max(1, len(scores)), len(thresholds) + 1), dtype=np.int64)
    flat_scores = scores.detach().float().cpu().flatten(1).contiguous().numpy()
    table = _channel_table(num_classes)
    if not _count_bins(_flat("truth", truth), flat_scores, table, thresholds.float().cpu().numpy(), found):
        _check_labels("truth", truth, table)
    return torch.from_numpy(found)


@cache
def _channel_table(num_classes: int) -> IntArray:
    """The channel of every label up to the largest one."""
    last = labels_from_class_ids(torch.tensor(max(0, num_classes - 1)))
    channels = channels_from_labels(torch.arange(max(int(last), IGNORE) + 1), ignored=_SKIP)
    table: IntArray = channels.masked_fill(channels > num_classes, _FORBIDDEN).numpy()
    return table


def _flat(name: str, labels: Tensor) -> IntArray:
    check_dtype(name, labels, torch.uint8, torch.int16, torch.int32, torch.int64)
    flat: IntArray = labels.detach().cpu().long().reshape(-1).contiguous().numpy()
    return flat


def _check_labels(name: str, labels: Tensor, table: IntArray) -> None:
    """Raise the error that names the labels which no class has."""
    found = torch.from_numpy(np.unique(_flat(name, labels)))
    known = torch.from_numpy(table) != _FORBIDDEN
    fits = (found >= 0) & (found < len(table)) & known[found.clamp(0, len(table) - 1)]
    if not bool(fits.all()):
        bad = ", ".join(map(str, found[~fits].tolist()[:5]))
        num_classes = int(table.max())
        raise ValueError(
            f"{name}: found the labels {bad}, but {num_classes} classes allow 0..{num_classes} and {IGNORE}. "
            "If they come from a file that stores colours, export it with indexed colours."
        )


@kernel
def _count_runs(rows: IntArray, columns: IntArray, table: IntArray, decided_only: bool, counts: IntArray) -> bool:
    if not len(rows):
        return True
    start, row, column = 0, rows[0], columns[0]
    for end in range(1, len(rows)):
        # An unsigned position spares the compiler the test for negative ones: twice as fast.
        here = np.uint64(end)
        if (rows[here] ^ row) | (columns[here] ^ column):
            if not _add_run(row, column, end - start, table, decided_only, counts):
                return False
            start, row, column = end, rows[here], columns[here]
    return bool(_add_run(row, column, len(rows) - start, table, decided_only, counts))


@kernel
def _add_run(  # noqa: PLR0917
    row: int, column: int, pixels: int, table: IntArray, decided_only: bool, counts: IntArray
) -> bool:
    if row < 0 or row >= len(table) or column < 0 or column >= len(table):
        return False
    truth, given = table[row], table[column]
    if _FORBIDDEN in (truth, given):
        return False
    if truth == _SKIP:
        return True
    if given == _SKIP:
        return decided_only
    counts[truth, given] += pixels
    return True


@kernel
def _count_bins(rows: IntArray, scores: Any, table: IntArray, thresholds: Any, found: IntArray) -> bool:
    for pixel in range(len(rows)):
        row = rows[pixel]
        if row < 0 or row >= len(table) or table[row] == _FORBIDDEN:
            return False
        if table[row] == _SKIP:
            continue
        best, low = 0, 0
        if len(scores):
            highest = scores[0, pixel]
            for k in range(1, len(scores)):
                if scores[k, pixel] > highest:
                    best, highest = k, scores[k, pixel]
            # Bisection without branches: how many thresholds are below the highest score.
            length = len(thresholds)
            while length > 1:
                half = length // 2
                low += half * (thresholds[low + half - 1] < highest)
                length -= half
            low += thresholds[low] < highest
        found[table[row], best, low] += 1
    return True
