"""The scores of a run's stages: one row per stage, for people and for files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tag2mask.checks import check_shape

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.scores.confusion import Confusion

SIDE_BY_SIDE_CLASSES = 12
"""Up to this many classes the plain table shows every class in the row of its stage."""

NO_OBJECT = "no mean: no true mask shows an object"
"""Beside a row that counts nothing but background, where a mean would look like a perfect score."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreRow:
    """The score of one stage's masks.

    Args:
        key: short name for files: outside, cam, cam_crf, seeds, walk, walk_crf, segmenter_train, segmenter_val.
        title: name for people.
        confusion: over the whole set.
        note: what else to know, such as the chosen constant background.
        coverage: share of the pixels that are decided, for seeds; None where every pixel is.
    """

    key: str
    title: str
    confusion: Confusion
    note: str = ""
    coverage: float | None = None

    @property
    def mean_iou(self) -> float:
        """Mean over the labels that occur; NaN where no true mask shows an object."""
        return self._mean(self.confusion.iou())

    @property
    def mean_precision(self) -> float:
        """Mean over the labels that were given; NaN likewise."""
        return self._mean(self.confusion.precision())

    @property
    def mean_recall(self) -> float:
        """Mean over the labels that the truth has; NaN likewise."""
        return self._mean(self.confusion.recall())

    @property
    def remark(self) -> str:
        """The note, and why there is no mean."""
        empty = bool(self.confusion.counts.any()) and not self.confusion.has_objects()
        return "; ".join(text for text in (self.note, NO_OBJECT * empty) if text)

    def _mean(self, shares: Tensor) -> float:
        return float(shares.nanmean()) if self.confusion.has_objects() else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """The scores of a run, one row per stage.

    Args:
        class_names: C names, without the background.
        rows: in pipeline order.
    """

    class_names: tuple[str, ...]
    rows: tuple[ScoreRow, ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            check_shape(f"{row.key}: counts", row.confusion.counts, "C C", C=len(self.class_names) + 1)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Background and the C classes, in channel order."""
        return ("background", *self.class_names)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: fractions rounded to 5 digits, None where a class does not occur."""
        return {"stages": {row.key: self._stage(row) for row in self.rows}}

    def _stage(self, row: ScoreRow) -> dict[str, Any]:
        # A class may be called "background", too: the real one is written last and keeps the word.
        iou = dict(zip(self.label_names[::-1], map(rounded, reversed(row.confusion.iou().tolist())), strict=True))
        return {
            "mean_iou": rounded(row.mean_iou),
            "iou": {name: iou[name] for name in self.label_names},
            "precision": rounded(row.mean_precision),
            "recall": rounded(row.mean_recall),
            "note": row.remark,
            "coverage": None if row.coverage is None else rounded(row.coverage),
        }

    def table(self) -> str:
        """Plain text, in percent; "-" where a class does not occur."""
        heads = ["stage", "mean IoU", "precision", "recall", "coverage"]
        lines = [
            [
                row.title,
                *map(percent, (row.mean_iou, row.mean_precision, row.mean_recall)),
                "" if row.coverage is None else percent(row.coverage),
            ]
            for row in self.rows
        ]
        per_class = [list(map(percent, row.confusion.iou().tolist())) for row in self.rows]
        notes = ["", *(row.remark for row in self.rows)]
        if len(self.class_names) <= SIDE_BY_SIDE_CLASSES:
            wide = [[*line, *ious] for line, ious in zip(lines, per_class, strict=True)]
            return text_columns([[*heads, *self.label_names], *wide], notes)
        columns = [list(column) for column in zip(self.label_names, *per_class, strict=True)]
        by_class = text_columns([["IoU per class", *(row.title for row in self.rows)], *columns])
        return f"{text_columns([heads, *lines], notes)}\n\n{by_class}"


def rounded(value: float) -> float | None:
    """Five digits, for JSON; None for NaN."""
    return None if math.isnan(value) else round(value, 5)


def percent(value: float) -> str:
    """A share in percent; "-" for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def text_columns(lines: list[list[str]], notes: list[str] | None = None) -> str:
    """Text in columns: the first to the left, the others (numbers) to the right, notes behind."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for line, note in zip(lines, notes or [""] * len(lines), strict=True):
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        cells[0] = line[0].ljust(widths[0])
        text.append("  ".join([*cells, note]).rstrip())
    return "\n".join(text)
