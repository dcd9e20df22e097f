"""What a finished stage tells: for tables, the report and the scores."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  (summaries are read by their types)
from dataclasses import dataclass, field

from tag2mask.records import Evidence  # noqa: TC001  (likewise)

Curves = dict[str, list[tuple[int, float]]]
"""Scalar name -> (epoch, value) pairs."""


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
