"""How good masks are: confusion matrices, IoU, the best constant background, agreement of masks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tag2mask.checks import check_dtype, check_shape
from tag2mask.labels import BACKGROUND, IGNORE, channels_from_labels, labels_from_class_ids
from tag2mask.ops.counting import count_labels, count_scores

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """How often each true label was given each label, in pixels. Add them up over a set of images.

    Channels as in `channels_from_labels`: 0 = background, 1 + class_id.

    Args:
        counts: (C + 1, C + 1) int64; rows = truth, columns = prediction.

    Example:
        >>> truth, predicted = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 1]])
        >>> Confusion.of(truth, predicted, num_classes=1).counts.tolist()
        [[1, 1], [0, 2]]
    """

    counts: Tensor

    def __post_init__(self) -> None:
        check_shape("counts", self.counts, "C C")
        check_dtype("counts", self.counts, torch.int64)

    @classmethod
    def empty(cls, num_classes: int) -> Confusion:
        """No pixel counted yet."""
        return cls(torch.zeros(num_classes + 1, num_classes + 1, dtype=torch.int64))

    @classmethod
    def of(cls, truth: Tensor, predicted: Tensor, num_classes: int, *, decided_only: bool = False) -> Confusion:
        """Count one image. Pixels whose truth is IGNORE (void) are not counted.

        Args:
            truth: labels of any shape, integers: 0, 1..C, IGNORE.
            predicted: labels of the same shape.
            num_classes: C.
            decided_only: leave out pixels that are IGNORE in `predicted`, as most pixels of seeds are.

        Raises:
            ValueError: for other shapes or labels, and for IGNORE in `predicted` unless `decided_only`.
        """
        return cls(count_labels(truth, predicted, num_classes, decided_only=decided_only))

    def __add__(self, other: Confusion) -> Confusion:
        check_shape("counts", other.counts, "C C", C=self.num_classes + 1)
        return Confusion(self.counts + other.counts)

    @property
    def num_classes(self) -> int:
        """C, without the background."""
        return int(self.counts.shape[0]) - 1

    def iou(self) -> Tensor:
        """(C + 1,) float64: intersection over union; NaN where neither truth nor prediction has the class."""
        hits = self.counts.diagonal()
        return _ratio(hits, self.counts.sum(dim=0) + self.counts.sum(dim=1) - hits)

    def precision(self) -> Tensor:
        """(C + 1,) float64: share of the pixels given a label that have it; NaN where it was never given."""
        return _ratio(self.counts.diagonal(), self.counts.sum(dim=0))

    def recall(self) -> Tensor:
        """(C + 1,) float64: share of a label's true pixels that were found; NaN where there are none."""
        return _ratio(self.counts.diagonal(), self.counts.sum(dim=1))

    def mean_iou(self) -> float:
        """Mean of `iou` over the labels that occur, background among them, as PASCAL VOC has it."""
        return float(self.iou().nanmean())

    def has_objects(self) -> bool:
        """Whether the truth has a pixel of any class; without one, `mean_iou` speaks of the background alone."""
        return bool(self.counts[BACKGROUND + 1 :].any())

    def pixel_accuracy(self) -> float:
        """Share of the counted pixels that have the right label."""
        return float(_ratio(self.counts.diagonal().sum(), self.counts.sum()))


def decided_share(labels: Iterable[Tensor]) -> float:
    """Share of the pixels of all label maps that are not IGNORE: the coverage of seeds.

    Example:
        >>> decided_share([torch.tensor([[0, 255]]), torch.tensor([[3, 1]])])
        0.75
    """
    decided = total = 0
    for one in labels:
        decided += int((one != IGNORE).sum())
        total += one.numel()
    return decided / total if total else math.nan


def mask_agreement(first: Iterable[Tensor], second: Iterable[Tensor], num_classes: int) -> float:
    """Mean IoU between two sets of masks of the same images: mask quality without ground truth.

    Args:
        first: label maps of integers; pixels that are IGNORE in either set are left out.
        second: as many, of the same sizes, in the same order.
        num_classes: C.
    """
    total = Confusion.empty(num_classes)
    for one, other in zip(first, second, strict=True):
        total += Confusion.of(one, other, num_classes, decided_only=True)
    return total.mean_iou()


@dataclass(slots=True, eq=False)
class ThresholdSweep:
    """Finds the best constant background for score maps: one `Confusion` per constant, in one pass.

    A pixel gets the class of its highest score, or background where no score is above the constant.
    Each image is counted once, not once per constant (see `count_scores`); a matrix is a partial sum.

    Args:
        num_classes: C.
        thresholds: (T,) ascending constants.

    Example:
        >>> sweep = ThresholdSweep(num_classes=1)
        >>> sweep.add(torch.tensor([[0, 1, 1]]), torch.tensor([[[0.31, 0.6, 0.9]]]), torch.tensor([0]))
        >>> threshold, confusion = sweep.best()
        >>> round(threshold, 2), confusion.mean_iou()
        (0.32, 1.0)
    """

    num_classes: int
    thresholds: Tensor = field(default_factory=lambda: torch.linspace(0.0, 1.0, 51))
    _truth: Tensor = field(init=False)
    _objects: dict[tuple[int, int], Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_shape("thresholds", self.thresholds, "T")
        self.thresholds = self.thresholds.float()
        if not len(self.thresholds) or bool((self.thresholds.diff() <= 0).any()):
            raise ValueError(f"thresholds: expected ascending numbers, got {self.thresholds.tolist()}.")
        self._truth = torch.zeros(self.num_classes + 1, dtype=torch.int64)

    def add(self, truth: Tensor, scores: Tensor, class_ids: Tensor) -> None:
        """Count one image.

        Args:
            truth: (H, W) labels, integers: 0, 1..C, IGNORE.
            scores: (K, H, W) float, at the size of the truth.
            class_ids: (K,) int64; K = 0 for an image without tags.
        """
        check_shape("scores", scores, "K H W", K=len(class_ids))
        channels = channels_from_labels(labels_from_class_ids(class_ids)).tolist()
        if any(not BACKGROUND < channel <= self.num_classes for channel in channels):
            raise ValueError(f"class_ids: expected 0..{self.num_classes - 1}, got {class_ids.tolist()}.")
        found = count_scores(truth, scores, self.thresholds, self.num_classes)
        self._truth += found.sum(dim=(1, 2))
        # Kept per pair that occurs: a full cube would be large with a thousand classes.
        for row, k in found[:, : len(channels)].any(dim=2).nonzero().tolist():
            pair = row, channels[k]
            self._objects[pair] = self._objects.get(pair, 0) + found[row, k]

    def confusion(self, position: int) -> Confusion:
        """The matrix of ``thresholds[position]``."""
        counts = torch.zeros(self.num_classes + 1, self.num_classes + 1, dtype=torch.int64)
        for pair, found in self._objects.items():
            counts[pair] = found[position + 1 :].sum()
        counts[:, BACKGROUND] = self._truth - counts.sum(dim=1)
        return Confusion(counts)

    def best(self) -> tuple[float, Confusion]:
        """The constant with the highest mean IoU (the lowest of equals) and its matrix."""
        means = torch.tensor([self.confusion(i).mean_iou() for i in range(len(self.thresholds))])
        position = int(means.nan_to_num(nan=-1.0).argmax())
        return float(self.thresholds[position]), self.confusion(position)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole in float64; NaN where the whole is 0."""
    return part.double() / whole.double()
