"""Pictures of masks, maps and boundaries: pure drawing, arrays in, (H, W, 3) uint8 RGB out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tag2mask.checks import check_choice, check_dtype, check_range, check_shape
from tag2mask.labels import BACKGROUND, IGNORE
from tag2mask.ops.colours import colour_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tag2mask.ops.colours import Labels, Picture

    Flags = np.ndarray[Any, np.dtype[np.bool_]]
    Scores = np.ndarray[Any, np.dtype[np.floating[Any]]]

HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""From cold to hot, evenly spaced: dark to light as well, so that it reads in grey, too."""

BACKGROUND_SHARE = 0.7
"""How much of an overlay's opacity the background gets: less, so that one still sees what is there."""

CAPTION_SHARE = 0.07
"""Height of a caption's letters, as a share of the height of a strip's pictures."""

GAP_SHARE = 0.03
"""Space between the pictures of a strip, as a share of their height."""

WIDEST = 3.0
"""A picture in a strip is at most this many times as wide as high."""


def overlay(pixels: Picture, labels: Labels, opacity: float = 0.5) -> Picture:
    """A mask over its photograph: objects in their colours with a light contour, background darkened.

    Pixels that are IGNORE show the photograph as it is.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        labels: (H, W) integers: 0, 1..C, IGNORE.
        opacity: share of the label's colour, 0 to 1.
    """
    check_shape("labels", labels, "H W", **_photograph(pixels))
    check_range("opacity", np.asarray(opacity), 0.0, 1.0)
    share = np.where(labels == BACKGROUND, BACKGROUND_SHARE, np.where(labels == IGNORE, 0.0, 1.0))[..., None]
    share = share * opacity
    mixed = pixels * (1.0 - share) + colour_labels(labels) * share
    mixed[_contours(labels)] = 255.0
    return mixed.round().astype(np.uint8)


def heatmap(pixels: Picture, scores: Scores) -> Picture:
    """Scores over their photograph, in grey: the hotter, the less of the photograph is left.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        scores: (h, w) or (K, h, w) in [0, 1], enlarged to the photograph; of several maps the highest
            score counts. K = 0 leaves the photograph cold.
    """
    size = _photograph(pixels)
    maps = np.asarray(scores, dtype=np.float32)
    check_shape("scores", maps, "h w" if maps.ndim == 2 else "K h w")
    check_range("scores", maps, 0.0, 1.0)
    if maps.ndim == 3:
        maps = maps.max(axis=0, initial=0.0)
    heat = np.asarray(Image.fromarray(maps).resize((size["W"], size["H"]), Image.Resampling.BILINEAR))
    grey = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    share = 0.25 + 0.6 * heat[..., None]
    mixed: Picture = (grey * (1.0 - share) + _heat_colours(heat) * share).round().astype(np.uint8)
    return mixed


def boundary_picture(strength: Scores) -> Picture:
    """Learned boundaries, bright on dark.

    Args:
        strength: (h, w) in [0, 1]; 1 = neighbours surely belong to different things.
    """
    check_shape("strength", strength, "h w")
    check_range("strength", strength, 0.0, 1.0)
    return _heat_colours(np.asarray(strength, dtype=np.float32)).round().astype(np.uint8)


def strip(pictures: Sequence[Picture], height: int, captions: Sequence[str] = ()) -> Picture:
    """Lay pictures side by side on white, with a caption above each.

    Args:
        pictures: each (H, W, 3) uint8 RGB, of any size.
        height: of every picture in the result; very wide ones become lower than this.
        captions: one per picture, or none at all.
    """
    check_choice("number of captions", len(captions), {0, len(pictures)})
    resized = [_fit(picture, height) for picture in pictures]
    gap, letters = max(2, round(GAP_SHARE * height)), max(9, round(CAPTION_SHARE * height))
    font = ImageFont.load_default(size=letters)
    top = 2 * gap + round(1.25 * letters) if captions else gap
    widths = [
        max(picture.width, round(font.getlength(caption)))
        for picture, caption in zip(resized, captions or [""] * len(resized), strict=True)
    ]
    canvas = Image.new("RGB", (sum(widths) + gap * (len(widths) + 1), top + height + gap), "white")
    draw = ImageDraw.Draw(canvas)
    left = gap
    for i, (picture, width) in enumerate(zip(resized, widths, strict=True)):
        canvas.paste(picture, (left + (width - picture.width) // 2, top + (height - picture.height) // 2))
        if captions:
            middle = left + width / 2
            draw.text((middle, gap + letters), captions[i], fill=(40, 44, 52), font=font, anchor="ms")
        left += width + gap
    return np.asarray(canvas)


def _photograph(pixels: Picture) -> dict[str, int]:
    check_dtype("pixels", pixels, np.dtype(np.uint8))
    return check_shape("pixels", pixels, "H W 3")


def _contours(labels: Labels) -> Flags:
    """(H, W) bool: object pixels that touch another label; the image's own border is no contour."""
    edge: Flags = np.zeros(labels.shape, dtype=bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    edge &= (labels != BACKGROUND) & (labels != IGNORE)
    return edge


def _heat_colours(heat: Scores) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(H, W) in [0, 1] to (H, W, 3) in [0, 255]."""
    stops = np.linspace(0.0, 1.0, len(HEAT))
    return np.stack([np.interp(heat, stops, channel) for channel in np.array(HEAT, dtype=float).T], axis=-1)


def _fit(picture: Picture, height: int) -> Image.Image:
    """Scale to the height, or to the widest width if that is smaller."""
    check_shape("picture", picture, "H W 3")
    tall, wide = picture.shape[:2]
    scale = min(height / tall, WIDEST * height / wide)
    size = max(1, round(wide * scale)), max(1, round(tall * scale))
    return Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.LANCZOS)
