"""pixel_checks: what a person should know of image files that can be read: pages, few grey values, size, channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tag2mask.datasets.image_files import SHRUNK_SIDE
from tag2mask.datasets.images import image_size
from tag2mask.datasets.problem import Problem
from tag2mask.datasets.raw_files import count_pages, raw_image
from tag2mask.datasets.raw_pixels import without_data
from tag2mask.parallel import map_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tag2mask.datasets.raw_pixels import RawImage

FEWEST_GREYS = 16
"""A stretched image with fewer grey values has lost what could be seen in it."""


def pixel_problems(paths: Mapping[str, Path], channels: Sequence[int] = ()) -> list[Problem]:
    """Look at the pixels of image files, several at a time; only those of deep images are decoded.

    Args:
        paths: the file of each image.
        channels: numbers of the channels that are used; none: the images' own colours.

    Returns:
        Warnings, in the order of the paths. Files that cannot be read have none: others tell of them.
    """
    found = map_images(lambda name: problems_of_image(paths[name], channels), list(paths), "looking at pixels")
    return [problem for problems in found for problem in problems]


def problems_of_image(path: Path, channels: Sequence[int] = ()) -> list[Problem]:
    """What a person should know of one image file.

    Args:
        path: the file.
        channels: see `pixel_problems`.
    """
    try:
        height, width = image_size(path)
        pages = count_pages(path)
        raw = raw_image(path, channels)
    except ValueError:
        return []
    problems = []
    if Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS:
        message = f"{height} x {width} pixels take much time and memory"
        problems.append(_warning("huge image", path, message, f"Shrink it to {SHRUNK_SIDE} pixels on its longer side."))
    if pages > 1 and not channels:
        remedy = "Save each page as a file; or, where pages are channels, choose them: --channels 3,2,1."
        problems.append(_warning("several pages", path, f"{pages} pages, the first is used", remedy))
    if raw is not None:
        problems += _of_raw(path, raw, channels)
    return problems


def _of_raw(path: Path, raw: RawImage, channels: Sequence[int]) -> list[Problem]:
    problems = []
    shown = raw.values.shape[2]
    if not channels and raw.alpha is None and raw.channels > shown:
        used = "the first is used" if shown == 1 else f"the first {shown} are used"
        message = f"{raw.channels} channels, {used}"
        problems.append(_warning("unused channels", path, message, "Choose others with --channels, as 4,3,2."))
    if raw.values.dtype != np.uint8 and (message := _few_greys(raw)):
        remedy = "Mark the value of pixels without data (gdal_edit.py -a_nodata VALUE), or save the image as 8 bits."
        problems.append(_warning("few grey values", path, message, remedy))
    return problems


def _few_greys(raw: RawImage) -> str:
    """What is the matter where stretching leaves few grey values of many; empty where it does not."""
    empty = np.broadcast_to(without_data(raw), raw.values.shape)
    kept = raw.values[~empty]
    greys = len(np.unique(raw.colours()[..., : raw.values.shape[2]][~empty]))
    values, counts = np.unique(kept, return_counts=True)
    if greys >= FEWEST_GREYS or len(values) < 2 * FEWEST_GREYS:
        return ""
    most = int(counts.argmax())
    return (
        f"{greys} grey values are left of {len(values)}: the values reach from {values[0]:g} to {values[-1]:g}, "
        f"{100 * counts[most] / kept.size:.0f} % of them are {values[most]:g}"
    )


def _warning(kind: str, path: Path, message: str, remedy: str) -> Problem:
    return Problem(kind, str(path), message, remedy, "warning")
