"""A panel of lines in log-log axes, drawn with Pillow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

PANEL = (1120, 800)
"""Width and height of a panel in pixels; to be shown at half of that."""

INSIDE = (110, 90, 830, 710)
"""Left, top, right and bottom of a panel's axes."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#785ef0")
"""Of the lines in their order; told apart by people who see few colours, too (Okabe & Ito)."""

GREY, FAINT = "#888888", "#dddddd"


class Axes:
    """Where sizes and values lie in a panel; a whole number of decades upwards.

    Args:
        sizes: ascending.
        values: every one that is drawn, above 0.
    """

    def __init__(self, sizes: Sequence[float], values: Sequence[float]) -> None:
        self.first, self.last = math.log10(sizes[0]), math.log10(sizes[-1])
        self.low = math.floor(math.log10(min(values)))
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)

    def place(self, size: float, value: float) -> tuple[float, float]:
        """(x, y) in pixels."""
        left, top, right, bottom = INSIDE
        across = (math.log10(size) - self.first) / (self.last - self.first)
        up = (math.log10(value) - self.low) / (self.high - self.low)
        return left + across * (right - left), bottom - up * (bottom - top)


def draw_panel(title: str, sizes: Sequence[float], lines: dict[str, Sequence[float]]) -> Image.Image:
    """Lines with their names at their ends; the grey diagonals are growth in proportion.

    Args:
        title: above the panel.
        sizes: along x, ascending.
        lines: name -> values at the sizes; those at the last sizes may be missing.
    """
    panel = Image.new("RGB", PANEL, "white")
    draw = ImageDraw.Draw(panel)
    axes = Axes(sizes, [value for values in lines.values() for value in values])
    _draw_frame(draw, axes, title, sizes)
    font, free = ImageFont.load_default(size=26), INSIDE[3] + 40.0
    colours = dict(zip(lines, COLOURS, strict=False))
    for name, values in sorted(lines.items(), key=lambda line: line[1][-1]):
        points = [axes.place(size, value) for size, value in zip(sizes, values, strict=False)]
        draw.line(points, fill=colours[name], width=5, joint="curve")
        for x, y in points:
            draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=colours[name])
        free = min(points[-1][1], free - 30)  # Names do not lie over each other.
        draw.text((INSIDE[2] + 20, free), name, fill=colours[name], font=font, anchor="lm")
    return panel


def _draw_frame(draw: ImageDraw.ImageDraw, axes: Axes, title: str, sizes: Sequence[float]) -> None:
    """Diagonals, box, ticks and title."""
    left, top, _, bottom = INSIDE
    font, decades = ImageFont.load_default(size=26), axes.last - axes.first
    for decade in range(axes.low - math.ceil(decades), axes.high):
        ends = axes.place(sizes[0], 10.0**decade), axes.place(sizes[-1], 10.0 ** (decade + decades))
        draw.line(ends, fill=FAINT, width=2)
    # What sticks out of the box is painted over.
    draw.rectangle((0, bottom, *PANEL), fill="white")
    draw.rectangle((0, 0, PANEL[0], top), fill="white")
    draw.rectangle(INSIDE, outline=GREY, width=2)
    for decade in range(axes.low, axes.high + 1):
        _, y = axes.place(sizes[0], 10.0**decade)
        draw.line((left - 8, y, left, y), fill=GREY, width=2)
        draw.text((left - 14, y), f"{10.0**decade:g}", fill="black", font=font, anchor="rm")
    for size in sizes:
        x, _ = axes.place(size, 10.0**axes.low)
        draw.line((x, bottom, x, bottom + 8), fill=GREY, width=2)
        draw.text((x, bottom + 14), f"{size:g}", fill="black", font=font, anchor="mt")
    draw.text((left, top - 20), title, fill="black", font=ImageFont.load_default(size=30), anchor="ls")


def stack(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Panels side by side and rows below each other, at half the size, so that lines are smooth."""
    canvas = Image.new("RGB", (len(rows[0]) * PANEL[0], len(rows) * PANEL[1]), "white")
    for down, row in enumerate(rows):
        for across, panel in enumerate(row):
            canvas.paste(panel, (across * PANEL[0], down * PANEL[1]))
    return canvas.resize((canvas.width // 2, canvas.height // 2), Image.Resampling.LANCZOS)
