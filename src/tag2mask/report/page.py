"""One self-contained HTML page per run: pictures of every stage, scores, curves, settings, times."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined

from tag2mask.datasets.usable_masks import usable_masks
from tag2mask.disk import whole_file
from tag2mask.labels import labels_from_class_ids
from tag2mask.ops.colours import colour_labels
from tag2mask.report.stories import draw_story, mean_iou
from tag2mask.scores.round_table import COLUMNS, RoundTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.records import PseudoMask, Seeds
    from tag2mask.report.stories import Story
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.scores.score_table import ScoreTable

RANKED_IMAGES = 500
"""Best, median and worst are looked for among at most this many images."""

ROWS_AT_FULL_SIZE = 9
"""The pictures of more images than this are made smaller, so that the page stays small."""

SIDE, SMALLEST_SIDE = 320, 120
"""Pixels of the longer side of a picture."""

BAR_STAGES = ("outside", "cam", "walk_crf", "segmenter_val")
"""The stages that the bars per class compare."""

CURVE_POINTS, CHART_SIZE = 200, (240.0, 96.0)
"""Longer curves are averaged down to this many points; width and height of a drawn curve."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One scalar of a training stage, ready to draw: ``points`` as an SVG polyline has them."""

    name: str
    points: str
    low: float
    high: float
    first_step: int
    last_step: int
    last: float


def write_report(
    run: RunFolder,
    dataset: TagDataset,
    table: ScoreTable | None = None,
    rounds: RoundTable | None = None,
    *,
    rows: int = 6,
    seed: int = 0,
) -> Path:
    """Write ``report.html`` into the run folder: one file that needs no network and no JavaScript.

    Args:
        run: what the stages made; those that did not run are left out.
        dataset: the images and, if there are any, their true masks.
        table: the scores, if there are true masks.
        rounds: the scores of the EM rounds, if there are any.
        rows: how many images to show: best, median, worst, then random ones.
        seed: chooses the random images.

    Returns:
        The path of the page.
    """
    dataset = usable_masks(dataset)
    manifest = run.manifest()
    final = run.final_masks()
    names = [name for name in dataset.names if name not in manifest.skipped]
    chosen = _choose(dataset, names, {} if final is None else final.masks, rows=rows, seed=seed)
    side = _side(len(chosen))
    stories = [draw_story(run, dataset, name, why, side=side) for name, why in chosen]
    page = _environment().get_template("report.html")
    path = run.path / "report.html"
    with whole_file(path) as file:
        text = page.render(
            title=run.path.resolve().name,
            manifest=manifest,
            num_images=len(dataset.names),
            class_names=dataset.class_names,
            colours=_css_colours(len(dataset.class_names)),
            table=table,
            scores=table.as_dict()["stages"] if table else {},
            bar_rows=_bar_rows(table),
            rounds=rounds.rows if rounds else (),
            round_cells=rounds.cells() if rounds else [],
            strong=[COLUMNS[name][0] for name in ("taught_train", "unary_val")],
            round_curves=_curves(rounds.curves()) if rounds else [],
            columns=_columns(stories),
            stories=stories,
            **_stage_facts(run),
        )
        file.write_text(text, encoding="utf-8")
    return path


def _stage_facts(run: RunFolder) -> dict[str, Any]:
    """What the page says about time, training and choices."""
    stages = run.stage_summaries()
    curves = {stage: _curves(scalars) for stage, scalars in run.curves().items()}
    seconds = [stage.seconds for stage in stages.values()]
    return {
        "stages": stages,
        "precision": next((stage.precision for stage in stages.values() if stage.precision), None),
        "evidence": [stage.evidence for stage in stages.values() if stage.evidence],
        "seconds": sum(seconds),
        "longest": max(seconds, default=0.0),
        "curves": {stage: drawn for stage, drawn in curves.items() if drawn},
        "chart_size": CHART_SIZE,
    }


def _environment() -> Environment:
    loader = PackageLoader("tag2mask.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"value": _value_text, "percent": _percent_text, "duration": _duration_text}
    return environment


def _choose(
    dataset: TagDataset, names: list[str], masks: Mapping[str, PseudoMask | Seeds], *, rows: int, seed: int
) -> list[tuple[str, str]]:
    """(name, why) of the images to show: best, median and worst mask, then random ones."""
    generator = np.random.default_rng(seed)
    names = [names[i] for i in generator.permutation(len(names))]
    ranked = []
    if dataset.has_masks():
        # A pure background says little: the mask of an image without tags is right by construction.
        tagged = [name for name in names if dataset.tags(name).any()] or names
        for name in tagged[:RANKED_IMAGES]:
            score = mean_iou(dataset, name, masks[name].labels) if name in masks else math.nan
            if not math.isnan(score):
                ranked.append((score, name))
    ranked.sort(reverse=True)
    chosen: dict[str, str] = {}
    if ranked:
        for why, position in (("best", 0), ("worst", -1), ("median", (len(ranked) - 1) // 2)):
            chosen.setdefault(ranked[position][1], why)
    for name in names:
        chosen.setdefault(name, "random")
    order = ("best", "median", "worst", "random")
    return sorted(list(chosen.items())[: max(0, rows)], key=lambda item: order.index(item[1]))


def _side(images: int) -> int:
    """Longer side of the pictures, so that all of them together take about the same space."""
    return max(SMALLEST_SIDE, round(SIDE * min(1.0, math.sqrt(ROWS_AT_FULL_SIZE / max(1, images)))))


def _columns(stories: Iterable[Story]) -> list[str]:
    """The stages that any image has a picture of, in pipeline order."""
    longest = sorted((list(story.tiles) for story in stories), key=len, reverse=True)
    found = dict.fromkeys(column for columns in longest for column in columns)
    # The truth comes last, even if the images with a truth lack a stage that others have.
    return sorted(found, key=lambda column: column == "truth")


def _css_colours(num_classes: int) -> list[str]:
    """The colour of the background and of every class."""
    labels = torch.cat([torch.zeros(1, dtype=torch.int64), labels_from_class_ids(torch.arange(num_classes))])
    return ["#" + bytes(colour).hex() for colour in colour_labels(labels.numpy())]


def _bar_rows(table: ScoreTable | None) -> list[tuple[str, list[float]]]:
    """(title, IoU per label) of the stages to compare."""
    if table is None:
        return []
    rows = [row for row in table.rows if row.key in BAR_STAGES] or list(table.rows[:3])
    return [(row.title, row.confusion.iou().tolist()) for row in rows]


def _curves(scalars: dict[str, list[tuple[int, float]]]) -> list[Curve]:
    """Every scalar that has at least two finite values; a loss that equals a term only under the name of the term."""
    terms = {name: points for name, points in scalars.items() if name != "loss"}
    drawn = terms if scalars.get("loss") in terms.values() else scalars
    finite = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in drawn.items()}
    return [_curve(name, points) for name, points in finite.items() if len(points) > 1]


def _curve(name: str, points: list[tuple[int, float]]) -> Curve:
    parts = np.array_split(np.array(points, dtype=np.float64), min(CURVE_POINTS, len(points)))
    x, y = np.array([part.mean(axis=0) for part in parts]).T
    (left, right), (low, high) = (x.min(), x.max()), (y.min(), y.max())
    width, height = CHART_SIZE
    across = (x - left) / (right - left or 1.0) * width
    up = height - (y - low) / (high - low or 1.0) * height
    drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
    return Curve(name, drawn, float(low), float(high), points[0][0], points[-1][0], points[-1][1])


def _value_text(value: Any) -> str:
    """A setting or a cell of a table for people."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() | tuple() if not any(isinstance(part, dict | list | tuple) for part in value):
            return ", ".join(map(_value_text, value))
        case dict() | list() | tuple():
            return json.dumps(value, default=str)
    return str(value)


def _percent_text(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _duration_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
