"""The pictures of one image on its way from tags to mask, for the report."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from tag2mask.report import pictures
from tag2mask.runs.round import Round
from tag2mask.scores.confusion import Confusion
from tag2mask.scores.score_table import percent

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.ops.colours import Picture
    from tag2mask.runs.run_folder import RunFolder

JPEG_QUALITY = 82

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


def mean_iou(dataset: TagDataset, name: str, labels: Tensor) -> float:
    """Of one image, over the labels that occur in it.

    Args:
        dataset: with the true mask, if there is any.
        name: of the image.
        labels: (H, W) int64: 0, 1..C, IGNORE where undecided.

    Returns:
        NaN without a true mask.
    """
    truth = dataset.mask(name)
    if truth is None:
        return math.nan
    return Confusion.of(truth, labels, len(dataset.class_names), decided_only=True).mean_iou()


def draw_story(run: RunFolder, dataset: TagDataset, name: str, why: str, *, side: int) -> Story:
    """Draw everything there is of one image.

    Args:
        run: what the stages made.
        dataset: the image, and its true mask if there is any.
        name: of the image.
        why: it is shown: best, median, worst or random.
        side: pixels of the longer side of a picture.
    """
    image = dataset[name]
    pixels = _fit(image.pixels.permute(1, 2, 0).numpy(), side)
    tiles = {"image": _tile(pixels)}
    if (cams := run.cams.get(name)) is not None:
        tiles["activation map"] = _tile(pictures.heatmap(pixels, cams.scores.float().numpy()))
    seeds, mask, prediction = run.seeds.get(name), run.masks.get(name), run.predictions.get(name)
    if seeds is not None:
        tiles["seeds"] = _tile(_overlay(pixels, seeds.labels))
    if (boundaries := run.boundaries.get(name)) is not None:
        drawn = Image.fromarray(pictures.boundary_picture(boundaries.float().numpy()))
        tiles["learned boundaries"] = _tile(np.asarray(drawn.resize((pixels.shape[1], pixels.shape[0]))))
    masks = {
        "random walk": run.walks.get(name),
        "pseudo mask": mask.labels if mask else None,
        "segmenter": prediction.labels if prediction else None,
    }
    for column, labels in masks.items():
        if labels is not None:
            tiles[column] = _mask_tile(dataset, name, pixels, labels)
    tiles |= _round_tiles(run, dataset, name, pixels)
    if (truth := dataset.mask(name)) is not None:
        tiles["truth"] = _tile(_overlay(pixels, truth))
    return Story(name, why, tuple(image.class_ids.tolist()), tiles)


def _round_tiles(run: RunFolder, dataset: TagDataset, name: str, pixels: Picture) -> dict[str, Tile]:
    """What the first and the last EM round made of one image; a file that is gone has no tile."""
    tiles = {}
    last = run.last_round()
    for number in sorted({1, last.number}) if last else ():
        em_round = Round(run, number)
        if last and number == last.number and (mined := em_round.mined.get(name)) is not None:
            tiles[f"confident, round {number}"] = _tile(_overlay(pixels, mined.labels))
        if (mask := em_round.taught.get(name)) is not None:
            tiles[f"round {number}"] = _mask_tile(dataset, name, pixels, mask.labels)
    return tiles


def _mask_tile(dataset: TagDataset, name: str, pixels: Picture, labels: Tensor) -> Tile:
    """Labels over the image, with their score if it has a true mask."""
    score = mean_iou(dataset, name, labels)
    return _tile(_overlay(pixels, labels), "" if math.isnan(score) else f"IoU {percent(score)}")


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
