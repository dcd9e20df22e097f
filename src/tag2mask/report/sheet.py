"""A picture of a run: a few images from tags to mask, for a first look and for the README."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tag2mask.datasets.usable_masks import usable_masks
from tag2mask.disk import whole_file
from tag2mask.report.pictures import boundary_picture, heatmap, overlay, strip
from tag2mask.scores.confusion import Confusion

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.ops.colours import Picture
    from tag2mask.records import PseudoMask, Seeds
    from tag2mask.runs.run_folder import RunFolder

    Masks = Mapping[str, PseudoMask | Seeds]

HEIGHT = 176
"""Pixels of a picture's height."""

_CANDIDATES = 200


def write_sheet(run: RunFolder, data: TagDataset, *, rows: int = 3) -> Path:
    """Write ``picture.png`` into the run folder: image, map, boundaries, walk, mask and truth, one image a row.

    Args:
        run: with finished masks.
        data: its images.
        rows: how many images. With ground truth, those between the best and the median; else the first ones.

    Returns:
        The path of the picture.
    """
    final = run.final_masks()
    if final is None:
        raise ValueError(f"{run.path}: expected finished masks to draw, found none. Start the run again to finish.")
    data = usable_masks(data)
    names = _choose(run, data, final.masks, rows)
    strips = [_row(run, data, name, final.masks, with_captions=index == 0) for index, name in enumerate(names)]
    width = min(picture.shape[1] for picture in strips)
    path = run.path / "picture.png"
    with whole_file(path) as temporary:
        Image.fromarray(np.concatenate([picture[:, :width] for picture in strips])).save(temporary, format="PNG")
    return path


def _choose(run: RunFolder, data: TagDataset, masks: Masks, rows: int) -> list[str]:
    tagged = [name for name in run.names() if bool(data.tags(name).any()) and name in masks][:_CANDIDATES]
    if not tagged:
        raise ValueError(f"{run.path}: expected finished masks of images with tags, found none.")
    ranked: list[tuple[float, str]] = []
    for name in tagged:
        truth = data.mask(name)
        if truth is not None:
            confusion = Confusion.of(truth, masks[name].labels, len(data.class_names))
            ranked.append((confusion.mean_iou(), name))
    if len(ranked) < len(tagged):
        return tagged[:rows]
    ranked.sort(reverse=True)
    places = np.linspace(0, 0.5, rows + 2)[1:-1]
    return [ranked[int(place * len(ranked))][1] for place in places]


def _row(run: RunFolder, data: TagDataset, name: str, masks: Masks, *, with_captions: bool) -> Picture:
    image = data[name]
    pixels = image.pixels.permute(1, 2, 0).numpy()
    boundaries = Image.fromarray(boundary_picture(run.boundaries[name].numpy()))
    shown = {
        "tags: " + ", ".join(data.class_names[index] for index in image.class_ids.tolist()): pixels,
        "activation map": heatmap(pixels, run.cams[name].scores.numpy()),
        "learned boundaries": np.asarray(boundaries.resize((pixels.shape[1], pixels.shape[0]))),
        "random walk": overlay(pixels, run.walks[name].numpy()),
        "mask": overlay(pixels, masks[name].labels.numpy()),
    }
    truth = data.mask(name)
    if truth is not None:
        shown["truth (not used)"] = overlay(pixels, truth.numpy())
    captions = list(shown) if with_captions else [next(iter(shown)), *("" for _ in range(len(shown) - 1))]
    return strip(list(shown.values()), HEIGHT, captions)
