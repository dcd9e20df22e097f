"""What a finished stage tells: for tables, the report and the scores."""

from __future__ import annotations

import math
from collections.abc import Mapping  # noqa: TC003  (summaries are read by their types)
from dataclasses import dataclass, field

from tag2mask.records import Evidence  # noqa: TC001  (likewise)

Curves = dict[str, list[tuple[int, float]]]
"""Scalar name -> (epoch, value) pairs."""


@dataclass(frozen=True)
class ClassPrecision:
    """How well a classifier finds one class among images.

    Args:
        name: of the class.
        images: how many have its tag.
        average: average precision in (0, 1]; None: all images have the tag, or none, and there is nothing to find.
        by_chance: what shuffled tags have in the mean, likewise.
        learned: it is found better than by chance, or there is nothing to find.
    """

    name: str
    images: int
    average: float | None = None
    by_chance: float | None = None
    learned: bool = True


@dataclass(frozen=True)
class TagPrecision:
    """How well a classifier finds the tags of images.

    Args:
        held_out: they are held-out images; otherwise training images, whose tags it has seen.
        images: how many.
        classes: one each, in the order of the labels.
    """

    held_out: bool
    images: int
    classes: tuple[ClassPrecision, ...]

    @property
    def mean(self) -> float:
        """Mean average precision over the classes in which there is something to find; NaN without any."""
        found = [one.average for one in self.classes if one.average is not None]
        return sum(found) / len(found) if found else math.nan

    @property
    def not_learned(self) -> tuple[ClassPrecision, ...]:
        """The classes that are found no better than by chance."""
        return tuple(one for one in self.classes if not one.learned)

    @property
    def where(self) -> str:
        """On which images, and what that is worth, in words."""
        if self.held_out:
            return f"on {self.images} held-out images"
        return f"on {self.images} training images, whose tags it has seen: at most this was learned"


@dataclass(frozen=True)
class StageSummary:
    """What a finished stage tells.

    Args:
        line: the result in one line.
        items: how many images it went through.
        seconds: that it took.
        curves: of a training, the ``loss`` among them.
        evidence: why its values of "auto" were chosen.
        chosen: these values.
        energy: of a refining stage: J of alpha_u, Y^T L alpha_u and J of alpha_p, per pixel and class.
        odds: of a sharpening stage: how many images got which odds of the background.
        sharpened: of a refining stage: its masks are sharpened before they teach.
        segmenter: of a stage whose segmenter was given: what it is called.
        precision: of a classifier: how well it finds each class.
    """

    line: str
    items: int
    seconds: float
    curves: Curves = field(default_factory=dict)
    evidence: Evidence | None = None
    chosen: Mapping[str, float | int | str] = field(default_factory=dict)
    energy: Mapping[str, float] = field(default_factory=dict)
    odds: Mapping[str, int] = field(default_factory=dict)
    sharpened: bool = False
    segmenter: str = ""
    precision: TagPrecision | None = None


@dataclass(frozen=True)
class TrainingState:
    """How far an unfinished training is, beside its tensors.

    Args:
        epoch: that comes next, from 0.
        steps: optimiser steps taken so far.
        history: so far.
    """

    epoch: int
    steps: int = 0
    history: Curves = field(default_factory=dict)
