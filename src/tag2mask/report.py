"""One self-contained HTML page per run: pictures of every stage, scores, curves, settings, times."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from tag2mask.data import pictures
from tag2mask.data.artefacts import whole_file
from tag2mask.evaluation import Confusion
from tag2mask.records import labels_from_class_ids

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor

    from tag2mask.data.dataset import TagDataset
    from tag2mask.data.pictures import Picture
    from tag2mask.data.store import RunFolder
    from tag2mask.evaluation import ScoreTable

RANKED_IMAGES = 500
"""Best, median and worst are looked for among at most this many images."""

ROWS_AT_FULL_SIZE = 9
"""The pictures of more images than this are made smaller, so that the page stays small."""

SIDE, SMALLEST_SIDE = 320, 120
"""Pixels of the longer side of a picture."""

JPEG_QUALITY = 82

BAR_STAGES = ("cam", "walk_crf", "segmenter_val")
"""The stages that the bars per class compare."""

CURVE_POINTS, CHART_SIZE = 200, (240.0, 96.0)
"""Longer curves are averaged down to this many points; width and height of a drawn curve."""

OPACITY = 0.6
"""Of labels over a photograph."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of one stage: a data URI and a word below it."""

    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    """One image on its way from tags to mask; ``tiles[column]`` exists for the stages that ran."""

    name: str
    why: str
    class_ids: tuple[int, ...]
    tiles: dict[str, Tile]


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
    run: RunFolder, dataset: TagDataset, table: ScoreTable | None = None, *, rows: int = 6, seed: int = 0
) -> Path:
    """Write ``report.html`` into the run folder: one file that needs no network and no JavaScript.

    Args:
        run: what the stages made; those that did not run are left out.
        dataset: the images and, if there are any, their true masks.
        table: the scores, if there are true masks.
        rows: how many images to show: best, median, worst, then random ones.
        seed: chooses the random images.

    Returns:
        The path of the page.
    """
    record = run.record()
    chosen = _choose(run, dataset, set(record.get("skipped", {})), rows, seed)
    stories = [_story(run, dataset, name, why, _side(len(chosen))) for name, why in chosen]
    page = _environment().get_template("report.html")
    path = run.path / "report.html"
    with whole_file(path) as file:
        text = page.render(
            title=run.path.resolve().name,
            record=record,
            num_images=len(dataset.names),
            class_names=dataset.class_names,
            colours=_css_colours(len(dataset.class_names)),
            table=table,
            scores=table.as_dict()["stages"] if table else {},
            bar_rows=_bar_rows(table),
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
    seconds = [float(stage.get("seconds", 0)) for stage in stages.values()]
    return {
        "stages": stages,
        "evidence": [stage["evidence"] for stage in stages.values() if stage.get("evidence")],
        "seconds": sum(seconds),
        "longest": max(seconds, default=0.0),
        "curves": {stage: drawn for stage, drawn in curves.items() if drawn},
        "chart_size": CHART_SIZE,
    }


def _environment() -> Environment:
    loader = PackageLoader("tag2mask")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"value": _value_text, "percent": _percent_text, "duration": _duration_text}
    return environment


def _choose(run: RunFolder, dataset: TagDataset, skipped: set[str], rows: int, seed: int) -> list[tuple[str, str]]:
    """(name, why) of the images to show: best, median and worst pseudo mask, then random ones."""
    generator = np.random.default_rng(seed)
    names = [name for name in dataset.names if name not in skipped]
    names = [names[i] for i in generator.permutation(len(names))]
    ranked = []
    if dataset.has_masks():
        # A pure background says little: the mask of an image without tags is right by construction.
        tagged = [name for name in names if dataset.tags(name).any()] or names
        for name in tagged[:RANKED_IMAGES]:
            mask = run.load_mask(name)
            score = math.nan if mask is None else _mean_iou(dataset, name, mask.labels)
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


def _mean_iou(dataset: TagDataset, name: str, labels: Tensor) -> float:
    """Of one image; NaN without a true mask."""
    truth = dataset.mask(name)
    if truth is None:
        return math.nan
    return Confusion.of(truth, labels, len(dataset.class_names), decided_only=True).mean_iou()


def _side(images: int) -> int:
    """Longer side of the pictures, so that all of them together take about the same space."""
    return max(SMALLEST_SIDE, round(SIDE * min(1.0, math.sqrt(ROWS_AT_FULL_SIZE / max(1, images)))))


def _story(run: RunFolder, dataset: TagDataset, name: str, why: str, side: int) -> Story:
    """Draw everything there is of one image."""
    image = dataset[name]
    pixels = _fit(image.pixels.permute(1, 2, 0).numpy(), side)
    tiles = {"image": _tile(pixels)}
    if (cams := run.load_cams(name)) is not None:
        tiles["activation map"] = _tile(pictures.heatmap(pixels, cams.scores.float().numpy()))
    seeds, mask, prediction = run.load_seeds(name), run.load_mask(name), run.load_prediction(name)
    if seeds is not None:
        tiles["seeds"] = _tile(_overlay(pixels, seeds.labels))
    if (boundaries := run.load_boundaries(name)) is not None:
        drawn = Image.fromarray(pictures.boundary_picture(boundaries.float().numpy()))
        tiles["learned boundaries"] = _tile(np.asarray(drawn.resize((pixels.shape[1], pixels.shape[0]))))
    masks = {
        "random walk": run.load_walk(name),
        "pseudo mask": mask.labels if mask else None,
        "segmenter": prediction.labels if prediction else None,
    }
    for column, labels in masks.items():
        if labels is not None:
            score = _mean_iou(dataset, name, labels)
            note = "" if math.isnan(score) else f"IoU {_percent_text(score)}"
            tiles[column] = _tile(_overlay(pixels, labels), note)
    if (truth := dataset.mask(name)) is not None:
        tiles["truth"] = _tile(_overlay(pixels, truth))
    return Story(name, why, tuple(image.class_ids.tolist()), tiles)


def _columns(stories: Iterable[Story]) -> list[str]:
    """The stages that any image has a picture of, in pipeline order."""
    longest = sorted((list(story.tiles) for story in stories), key=len, reverse=True)
    found = dict.fromkeys(column for columns in longest for column in columns)
    # The truth comes last, even if the images with a truth lack a stage that others have.
    return sorted(found, key=lambda column: column == "truth")


def _fit(picture: Picture, side: int) -> Picture:
    """Scale until the longer side has `side` pixels."""
    scale = side / max(picture.shape[:2])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BICUBIC))


def _overlay(pixels: Picture, labels: Tensor) -> Picture:
    """Labels at the size of the picture, over it."""
    rows = (torch.arange(pixels.shape[0]) + 0.5) * labels.shape[0] / pixels.shape[0]
    columns = (torch.arange(pixels.shape[1]) + 0.5) * labels.shape[1] / pixels.shape[1]
    return pictures.overlay(pixels, labels[rows.long()[:, None], columns.long()].numpy(), OPACITY)


def _tile(picture: Picture, note: str = "") -> Tile:
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return Tile(f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}", note)


def _css_colours(num_classes: int) -> list[str]:
    """The colour of the background and of every class."""
    labels = torch.cat([torch.zeros(1, dtype=torch.int64), labels_from_class_ids(torch.arange(num_classes))])
    return ["#" + bytes(colour).hex() for colour in pictures.colour_labels(labels.numpy())]


def _bar_rows(table: ScoreTable | None) -> list[tuple[str, list[float]]]:
    """(title, IoU per label) of the stages to compare."""
    if table is None:
        return []
    rows = [row for row in table.rows if row.key in BAR_STAGES] or list(table.rows[:3])
    return [(row.title, row.confusion.iou().tolist()) for row in rows]


def _curves(scalars: dict[str, list[tuple[int, float]]]) -> list[Curve]:
    """Every scalar that has at least two finite values."""
    finite = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in scalars.items()}
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
