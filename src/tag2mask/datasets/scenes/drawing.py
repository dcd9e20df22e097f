"""How the built-in scenes paint: noise, colours, stamps, backgrounds and clutter. Knows no class.

A picture in the making is (H, W, 3) float32 in [0, 1]. Lengths are fractions of the picture or of the
thing drawn, so that a scene looks alike at every size.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Capsule = tuple[float, float, float, float, float, float]
"""A limb: from (ax, ay) to (bx, by), with the radius going from ra to rb."""
Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """A thing drawn on its own little canvas.

    Args:
        colour: (h, w, 3) float32 in [0, 1].
        alpha: (h, w) float32 in [0, 1]: how much of the pixel it covers.
        part: (h, w) bool: the pixels that tell its class; all False for clutter.
    """

    colour: Floats
    alpha: Floats
    part: Bools

    @property
    def mask(self) -> Bools:
        """(h, w) bool: the pixels that it covers for the most part."""
        return self.alpha > 0.5


def noise(rng: Generator, shape: tuple[int, int], cells: tuple[float, float], octaves: int = 1) -> Floats:
    """Smooth random values: grids of random numbers, each twice as fine and half as strong as the last.

    Args:
        rng: where the grids come from.
        shape: (height, width) of the result.
        cells: coarsest grid: cells along the height and along the width.
        octaves: how many grids.

    Returns:
        (H, W) float32 in [0, 1], 0.5 on average.
    """
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        rows, cols = (count * 2**octave for count in cells)
        grid = rng.random((int(np.ceil(rows)) + 2, int(np.ceil(cols)) + 2), np.float32)
        row, down = _steps(rng, shape[0], rows)
        col, right = _steps(rng, shape[1], cols)
        lines = grid[row] + (grid[row + 1] - grid[row]) * down[:, None]
        total += (lines[:, col] + (lines[:, col + 1] - lines[:, col]) * right) * 0.5**octave
    return total / np.float32(2 - 0.5 ** (octaves - 1))


def _steps(rng: Generator, length: int, cells: float) -> tuple[NDArray[np.int64], Floats]:
    """The grid line before each of the pixels, and how far it is to the next one, eased; both (length,)."""
    at = np.arange(length) * (cells / length) + rng.random()
    before = at.astype(np.int64)
    t = (at - before).astype(np.float32)
    return before, t * t * (3 - 2 * t)


def hsv(hue: float, saturation: float, value: float) -> Floats:
    """(3,) float32 RGB of a colour; the hue wraps around, the others are clipped to [0, 1]."""
    saturation, value = (min(max(x, 0.0), 1.0) for x in (saturation, value))
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def mix(first: Floats, second: Floats, share: Floats) -> Floats:
    """Blend two colours (3,) or pictures (H, W, 3); `share` (H, W) is how much of the second."""
    return np.asarray(first + (second - first) * share[..., None], np.float32)


def ease(values: Floats, low: float, high: float) -> Floats:
    """A ramp: 0 up to `low`, 1 from `high` on. Same shape."""
    return np.asarray(np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1), np.float32)


def local_grid(half: int, scale: float, angle: float = 0.0, flip: bool = False) -> tuple[Floats, Floats]:
    """Coordinates of a stamp's pixels, (2 * half + 1)**2, in units of the thing: x to its front, y down."""
    at = np.arange(-half, half + 1, dtype=np.float32) / np.float32(scale)
    x, y = (-at if flip else at)[None, :], at[:, None]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def capsule_distance(x: Floats, y: Floats, capsules: list[Capsule]) -> Floats:
    """Distance to the outline of a union of tapered limbs; negative inside. Same shape as x and y."""
    nearest = np.full(x.shape, 1e3, np.float32)
    for ax, ay, bx, by, ra, rb in capsules:
        dx, dy = bx - ax, by - ay
        along = ((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-6)
        along = np.clip(along, 0, 1)
        gap = np.hypot(x - ax - along * dx, y - ay - along * dy) - (ra + along * (rb - ra))
        np.minimum(nearest, gap, out=nearest)
    return nearest


def window(shape: tuple[int, ...], stamp: tuple[int, ...], centre: tuple[int, int]) -> tuple[Window, Window]:
    """Where a stamp lands on a picture, and which piece of the stamp that is; either may be empty."""
    there, piece = [], []
    for size, length, middle in zip(shape, stamp, centre, strict=False):
        start = middle - length // 2
        low = min(max(start, 0), size)
        high = max(min(start + length, size), low)
        there.append(slice(low, high))
        piece.append(slice(low - start, high - start))
    return (there[0], there[1]), (piece[0], piece[1])


def paste(picture: Floats, stamp: Stamp, centre: tuple[int, int]) -> None:
    """Paint a stamp onto a picture, in place; what leaves the frame is lost."""
    there, piece = window(picture.shape, stamp.alpha.shape, centre)
    picture[there] = mix(picture[there], stamp.colour[piece], stamp.alpha[piece])


# Backgrounds: each pattern returns (n, n) float32 in about [0, 1], which runs between two colours.


def _grass(rng: Generator, n: int) -> Floats:
    blades = noise(rng, (n, n), (14, 40), 2)
    return ease(0.6 * blades + 0.4 * noise(rng, (n, n), (3, 4), 2), 0.2, 0.8)


def _sand(rng: Generator, n: int) -> Floats:
    y = np.linspace(0, rng.uniform(6, 14), n, dtype=np.float32)[:, None]
    ripples = np.sin(2 * np.pi * (y + 1.5 * noise(rng, (n, n), (3, 3), 2))) * rng.uniform(0.05, 0.3)
    return np.asarray(0.5 + ripples + 0.6 * (noise(rng, (n, n), (40, 40), 2) - 0.5), np.float32)


def _sky(rng: Generator, n: int) -> Floats:
    return ease(noise(rng, (n, n), (2.5, 2), 4), 0.3, 0.75)


def _wood(rng: Generator, n: int) -> Floats:
    grain = noise(rng, (n, n), (22, 2), 2)
    knots = noise(rng, (n, n), (4, 1.5), 1)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(3, 6) * knots)
    tone = 0.55 * grain + 0.45 * rings
    return np.asarray(tone.T if rng.random() < 0.4 else tone, np.float32)


def _brick(rng: Generator, n: int) -> Floats:
    rows = rng.uniform(6, 11)
    y = np.linspace(0, rows, n, dtype=np.float32)[:, None] + 0 * np.zeros((1, n), np.float32)
    x = np.linspace(0, rows / 2.2, n, dtype=np.float32)[None, :] + 0.5 * (y.astype(np.int64) % 2)
    tones = rng.random((14, 10), np.float32)[y.astype(np.int64), x.astype(np.int64)]
    mortar = np.minimum(np.minimum(x % 1, 1 - x % 1) * 2.2, np.minimum(y % 1, 1 - y % 1)) < 0.09
    tone = 0.15 + 0.35 * tones + 0.4 * noise(rng, (n, n), (24, 24), 2)
    return np.where(mortar, np.float32(1), tone.astype(np.float32))


def _gravel(rng: Generator, n: int) -> Floats:
    ridges = np.abs(noise(rng, (n, n), (16, 18), 1) - 0.5) + np.abs(noise(rng, (n, n), (26, 26), 1) - 0.5)
    return ease(np.asarray(ridges, np.float32), 0.05, 0.55)


def _foliage(rng: Generator, n: int) -> Floats:
    leaves = np.abs(noise(rng, (n, n), (9, 9), 3) - 0.5) * 2
    return ease(0.6 * leaves + 0.5 * noise(rng, (n, n), (3, 3), 2), 0.2, 0.75)


def _water(rng: Generator, n: int) -> Floats:
    warp = noise(rng, (n, n), (10, 3), 2)
    y = np.linspace(0, rng.uniform(5, 9), n, dtype=np.float32)[:, None]
    return np.asarray(0.5 + 0.35 * np.sin(2 * np.pi * (y + 2 * warp)) * noise(rng, (n, n), (8, 4)), np.float32)


Pattern = Callable[[Generator, int], Floats]
# Per kind: the pattern, the range of hues, of saturations, of the dark colour's value and of the step to light.
_KINDS: dict[str, tuple[Pattern, tuple[float, float], tuple[float, float], float, float]] = {
    "grass": (_grass, (0.20, 0.33), (0.35, 0.65), 0.25, 0.35),
    "sand": (_sand, (0.08, 0.14), (0.15, 0.40), 0.55, 0.25),
    "sky": (_sky, (0.53, 0.62), (0.10, 0.50), 0.60, 0.30),
    "wood": (_wood, (0.05, 0.11), (0.30, 0.60), 0.35, 0.30),
    "brick": (_brick, (0.00, 0.08), (0.20, 0.50), 0.35, 0.40),
    "gravel": (_gravel, (0.05, 0.65), (0.02, 0.15), 0.30, 0.40),
    "foliage": (_foliage, (0.22, 0.42), (0.30, 0.60), 0.12, 0.35),
    "water": (_water, (0.45, 0.60), (0.25, 0.55), 0.35, 0.30),
}
_FAR, _NEAR = ("sky", "foliage", "brick", "water"), ("grass", "sand", "gravel", "wood", "water")


def _surface(rng: Generator, n: int, kind: str) -> Floats:
    pattern, hues, saturations, value, step = _KINDS[kind]
    hue, saturation, value = rng.uniform(*hues), rng.uniform(*saturations), value + rng.uniform(-0.1, 0.1)
    dark = hsv(hue, saturation, value)
    light = hsv(hue + rng.uniform(-0.04, 0.04), saturation * rng.uniform(0.5, 0.9), value + step)
    return mix(dark, light, pattern(rng, n))


def draw_background(rng: Generator, n: int) -> Floats:
    """One surface, or a far and a near one that meet at a wavy horizon; with a gradient of light.

    Returns:
        (n, n, 3) float32, about in [0, 1].
    """
    y = np.linspace(0, 1, n, dtype=np.float32)[:, None]
    if rng.random() < 0.5:
        picture = _surface(rng, n, str(rng.choice(list(_KINDS))))
    else:
        wave = 0.15 * (noise(rng, (1, n), (1, 4), 2) - 0.5)
        edge = ease(y - np.float32(rng.uniform(0.2, 0.6)) - wave, 0, 0.02)
        far = _surface(rng, n, str(rng.choice(_FAR)))
        picture = mix(far, _surface(rng, n, str(rng.choice(_NEAR))), edge)
    gradient = 1 + np.float32(rng.uniform(-0.15, 0.25)) * (y - 0.5)
    blotches = 1 + 0.3 * (noise(rng, (n, n), (2, 2), 2) - 0.5)
    return np.asarray(picture * (gradient * blotches)[..., None], np.float32)


# Clutter: background things of other shapes than the objects.


def _stone(rng: Generator, x: Floats, y: Floats) -> Floats:
    wobble = sum(rng.uniform(-0.12, 0.12) * np.cos(k * np.arctan2(y, x) + rng.uniform(0, 6)) for k in (2, 3, 4))
    return np.asarray(np.hypot(x, y * rng.uniform(1, 1.7)) - 0.36 * (1 + wobble), np.float32)


def _leaf(rng: Generator, x: Floats, y: Floats) -> Floats:
    return np.asarray(np.abs(y) - rng.uniform(0.1, 0.22) * (1 - (x / 0.5) ** 2), np.float32)


def _stick(rng: Generator, x: Floats, y: Floats) -> Floats:
    twig = rng.uniform(-0.2, 0.2)
    return capsule_distance(x, y, [(-0.48, 0, 0.48, 0, 0.03, 0.02), (twig, 0, twig + 0.2, 0.15, 0.018, 0.01)])


def _tuft(rng: Generator, x: Floats, y: Floats) -> Floats:
    tips = rng.uniform(-0.4, 0.4, 6)
    return capsule_distance(x, y, [(0.15 * t, 0.4, t, -0.3 - 0.1 * abs(t), 0.035, 0.008) for t in tips])


_CLUTTER = (_stone, _leaf, _stick, _tuft)


def draw_clutter(rng: Generator, n: int, *, front: bool = False) -> Stamp:
    """A stone, leaf, stick or tuft with the hues of backgrounds or any dull one; nothing of a class.

    Args:
        rng: where its looks come from.
        n: height and width of the picture.
        front: only the slim kinds, which may cover an object without hiding it.
    """
    kind = int(rng.integers(1 if front else 0, len(_CLUTTER)))
    scale = n * rng.uniform(0.08, 0.2) * (1.0, 1.0, 2.0, 1.3)[kind]
    half = int(np.ceil(0.55 * scale)) + 1
    x, y = local_grid(half, scale, rng.uniform(-0.3, 0.3) if kind == 3 else rng.uniform(0, 2 * np.pi))
    gap = _CLUTTER[kind](rng, x, y)
    _, hues, saturations, value, _ = _KINDS[str(rng.choice(list(_KINDS)))]
    hue = rng.uniform(*hues) if rng.random() < 0.7 else rng.random()
    base = hsv(hue, rng.uniform(*saturations) + 0.1, value + rng.uniform(-0.15, 0.35))
    tone = 0.6 + 0.5 * noise(rng, x.shape, (6, 6), 2) + 0.3 * ease(-gap, 0, 0.12) - 0.3 * y
    colour = np.clip(base * tone[..., None], 0, 1).astype(np.float32)
    return Stamp(colour, np.clip(0.5 - gap * np.float32(scale), 0, 1), np.zeros(x.shape, np.bool_))
