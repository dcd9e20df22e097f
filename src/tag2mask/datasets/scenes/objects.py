"""The objects of the built-in scenes: a body that could be anyone's, and a head that tells the class.

Every class draws its bodies from the same shapes, textures and colours. The head takes a fifth to little
more than a quarter of the object's area, so a class activation map finds the head and the walk has to
find the body.
Lengths are in units of the object's length, x to its front, y down.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tag2mask.datasets.scenes.drawing import (
    Bools,
    Capsule,
    Floats,
    Stamp,
    capsule_distance,
    ease,
    hsv,
    local_grid,
    mix,
    noise,
)

if TYPE_CHECKING:
    from numpy.random import Generator

HEAD_SHARE = (0.2, 0.28)
"""How much of an object's area its head takes."""


@dataclass(frozen=True, slots=True)
class _Body:
    """Limbs, and where the head sits: a point inside the body's end and the direction outward."""

    limbs: list[Capsule]
    neck: tuple[float, float]
    outward: tuple[float, float]


def _walker(rng: Generator) -> _Body:
    fat, legs, lift = rng.uniform(0.14, 0.2), rng.uniform(0.12, 0.24), rng.uniform(-0.14, 0.02)
    limbs = [(-0.28, 0.0, 0.12, 0.0, fat, fat * rng.uniform(0.8, 1.1)), (0.12, 0.0, 0.26, lift, 0.1, 0.08)]
    for hip in (-0.32, -0.2, 0.06, 0.16):
        foot = hip + rng.uniform(-0.1, 0.1)
        limbs.append((hip, fat * 0.5, foot, fat + legs, 0.055, 0.04))
    limbs.append((-0.3, -0.05, -0.48, rng.uniform(-0.3, 0.15), 0.04, 0.025))
    return _Body(limbs, (0.26, lift), (0.9, -0.3 + lift))


def _sitter(rng: Generator) -> _Body:
    fat, slim = rng.uniform(0.2, 0.27), rng.uniform(0.13, 0.18)
    limbs = [(0.0, 0.2, 0.0, -0.12, fat, slim)]
    for side in (-1, 1):
        reach, drop = rng.uniform(0.26, 0.38), rng.uniform(-0.25, 0.2)
        limbs.append((side * 0.1, -0.08, side * reach, drop, 0.055, 0.045))
        limbs.append((side * 0.12, 0.36, side * rng.uniform(0.16, 0.26), 0.46, 0.08, 0.05))
    return _Body(limbs, (0.0, -0.18), (rng.uniform(-0.3, 0.3), -1.0))


def _crawler(rng: Generator) -> _Body:
    bend, fat = rng.uniform(-0.5, 0.5), rng.uniform(0.13, 0.18)
    at = np.linspace(-0.46, 0.22, 6)
    height = bend * (at**2 - 0.05) + 0.04 * np.sin(9 * at + rng.uniform(0, 6))
    girth = fat * (0.62 + 0.38 * np.linspace(0, 1, 6))
    dots = [(float(x), float(y), float(r)) for x, y, r in zip(at, height, girth, strict=True)]
    limbs = [(*a[:2], *b[:2], a[2], b[2]) for a, b in itertools.pairwise(dots)]
    limbs += [(x, y, x + rng.uniform(-0.05, 0.05), y + r + 0.07, 0.03, 0.02) for x, y, r in dots[1:]]
    return _Body(limbs, (dots[-1][0], dots[-1][1]), (1.0, rng.uniform(-0.5, 0.3)))


def _swimmer(rng: Generator) -> _Body:
    fat, fin = rng.uniform(0.19, 0.26), rng.uniform(0.1, 0.2)
    limbs = [(0.06, 0.0, -0.34, 0.0, fat, 0.05)]
    limbs += [(-0.34, 0.0, -0.48, side * fin, 0.04, rng.uniform(0.04, 0.07)) for side in (-1, 1)]
    limbs.append((-0.02, -fat * 0.7, -0.16, -fat - rng.uniform(0.02, 0.1), 0.08, 0.03))
    limbs.append((0.0, fat * 0.7, -0.12, fat + rng.uniform(0.02, 0.1), 0.06, 0.03))
    return _Body(limbs, (0.06 + fat * 0.7, 0.0), (1.0, rng.uniform(-0.3, 0.3)))


def _beetle(rng: Generator) -> _Body:
    fat = rng.uniform(0.17, 0.23)
    limbs = [(-0.2, 0.0, 0.06, 0.0, fat, fat * rng.uniform(0.75, 1.0))]
    for hip in (-0.24, -0.08, 0.08):
        for side in (-1, 1):
            knee = hip + rng.uniform(-0.12, 0.12)
            limbs.append((hip, side * fat * 0.6, knee, side * (fat + rng.uniform(0.08, 0.15)), 0.045, 0.03))
    return _Body(limbs, (0.06 + fat * 0.5, 0.0), (1.0, rng.uniform(-0.2, 0.2)))


_BODIES: tuple[Callable[[Generator], _Body], ...] = (_walker, _sitter, _crawler, _swimmer, _beetle)


def _coat(rng: Generator, x: Floats, y: Floats) -> Floats:
    """The body's texture, one of four that every class wears: (h, w) float32, 0 = dark, 1 = light."""
    shape, kind = x.shape, rng.integers(4)
    if kind == 0:  # fur
        return 0.25 + 0.6 * noise(rng, shape, (14, 40), 2) - 0.15 * noise(rng, shape, (4, 4))
    if kind == 1:  # plates
        rows = y * np.float32(rng.uniform(8, 11))
        cols = x * np.float32(rng.uniform(7, 10)) + 0.5 * (np.floor(rows) % 2)
        bow = (rows % 1) - 1.6 * ((cols % 1) - 0.5) ** 2
        return np.asarray(0.35 + 0.35 * ease(bow, -0.2, 0.7) + 0.2 * noise(rng, shape, (6, 6)), np.float32)
    if kind == 2:  # smooth skin
        return 0.4 + 0.3 * noise(rng, shape, (3, 3), 2)
    return 0.2 + 0.5 * ease(noise(rng, shape, (7, 7), 2), 0.45, 0.6)  # dapples


def _coat_colour(rng: Generator) -> Floats:
    """(3,) one of the shared body colours: rust, rose, violet, slate, teal, cream, charcoal, umber."""
    hue, saturation, value = (
        (0.04, 0.60, 0.75), (0.95, 0.35, 0.80), (0.75, 0.40, 0.65), (0.62, 0.35, 0.60),
        (0.48, 0.40, 0.60), (0.11, 0.25, 0.90), (0.65, 0.10, 0.35), (0.07, 0.50, 0.50),
    )[int(rng.integers(8))]  # fmt: skip
    return hsv(hue + rng.uniform(-0.04, 0.04), saturation + rng.uniform(-0.1, 0.1), value + rng.uniform(-0.1, 0.1))


# Heads: (outline radius, tone in [0, 1] between its two colours), from polar and square coordinates.
Head = tuple[Floats, Floats]


def _teeth(angle: Floats, count: int) -> Floats:
    """A triangle wave around the head: 1 at each of the tips, 0 between them."""
    wave = np.abs((angle * np.float32(count / (2 * np.pi))) % 1 - np.float32(0.5)) * 2
    return np.asarray(wave, np.float32)


def _star(r: Floats, angle: Floats, x: Floats, y: Floats) -> Head:
    outline = 0.42 + 0.58 * _teeth(angle, 5)
    return outline, ease(_teeth(angle, 5) - 0.5, -0.1, 0.1) * ease(r, 0.2, 0.3)


def _ring(r: Floats, angle: Floats, x: Floats, y: Floats) -> Head:
    return np.full_like(r, 0.92), ease(np.cos(r * np.float32(2 * np.pi * 2.2)), -0.3, 0.3)


def _check(r: Floats, angle: Floats, x: Floats, y: Floats) -> Head:
    reach = np.maximum(np.maximum(np.abs(x), np.abs(y)), 1e-3)
    squares = np.sin(x * np.float32(2 * np.pi * 1.2)) * np.sin(y * np.float32(2 * np.pi * 1.2))
    return np.asarray(0.82 * r / reach, np.float32), ease(squares, -0.15, 0.15)


def _spiral(r: Floats, angle: Floats, x: Floats, y: Floats) -> Head:
    return 0.8 + 0.2 * angle / np.float32(np.pi), ease(np.sin(angle - r * np.float32(2 * np.pi * 1.8)), -0.3, 0.3)


def _spike(r: Floats, angle: Floats, x: Floats, y: Floats) -> Head:
    return 0.5 + 0.6 * _teeth(angle, 9) ** 2, ease(r, 0.35, 0.5)


def _stripe(r: Floats, angle: Floats, x: Floats, y: Floats) -> Head:
    third = np.float32(2 * np.pi / 3)
    side = 0.62 / np.cos(np.minimum(angle % third, third - angle % third) - third / 2 + 1e-3)
    return np.minimum(side, 1.1), ease(np.sin(x * np.float32(2 * np.pi * 1.6)), -0.3, 0.3)


_HeadDrawing = Callable[[Floats, Floats, Floats, Floats], Head]
# Per class: outline and pattern, then (hue, saturation, value) of the dark and of the light colour.
HEADS: dict[str, tuple[_HeadDrawing, tuple[float, float, float], tuple[float, float, float]]] = {
    "starhead": (_star, (0.08, 0.9, 0.75), (0.14, 0.8, 1.0)),
    "ringhead": (_ring, (0.99, 0.9, 0.75), (0.05, 0.1, 0.95)),
    "checkhead": (_check, (0.65, 0.7, 0.20), (0.60, 0.1, 0.95)),
    "spiralhead": (_spiral, (0.42, 0.9, 0.45), (0.25, 0.4, 0.95)),
    "spikehead": (_spike, (0.88, 0.5, 0.95), (0.84, 0.9, 0.60)),
    "stripehead": (_stripe, (0.60, 0.9, 0.60), (0.14, 0.7, 0.95)),
}


def _draw_head(x: Floats, y: Floats, body: _Body, *, radius: float, turn: float, drawing: _HeadDrawing) -> Head:
    """(h, w) distance to the head's outline in body units, and its tone."""
    ox, oy = (v / float(np.hypot(*body.outward)) for v in body.outward)
    hx, hy = (
        (x - body.neck[0] - ox * radius * 0.75) / radius,
        (y - body.neck[1] - oy * radius * 0.75) / radius,
    )
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    hx, hy = cos * hx + sin * hy, cos * hy - sin * hx
    r = np.hypot(hx, hy)
    outline, tone = drawing(r, np.arctan2(hy, hx), hx, hy)
    return np.asarray((r - outline) * radius, np.float32), tone


def _fit_head(
    x: Floats, y: Floats, body: _Body, inside: Bools, *, share: float, turn: float, drawing: _HeadDrawing
) -> Head:
    """A head of the given share of the whole object: its radius is corrected by measuring."""
    radius = float(np.sqrt(inside.sum() * share / 2)) * float(np.hypot(x[0, 1] - x[0, 0], y[0, 1] - y[0, 0]))
    for _ in range(3):
        gap, tone = _draw_head(x, y, body, radius=radius, turn=turn, drawing=drawing)
        found = max(int((gap < 0).sum()), 1) / max(int((inside | (gap < 0)).sum()), 1)
        if abs(found - share) < 0.02:
            break
        radius *= float(np.sqrt(share / found))
    return gap, tone


def draw_object(rng: Generator, name: str, scale: float, scenery: Floats) -> Stamp:
    """One object of a class.

    Args:
        rng: where its pose, coat, colours and light come from.
        name: one of `HEADS`.
        scale: length in pixels.
        scenery: (3,) colour of the background: a few objects are close to it.

    Returns:
        The stamp, whose `part` is the head.
    """
    half = int(np.ceil(0.78 * scale)) + 1
    angle = rng.normal(0, 0.35) if rng.random() < 0.75 else rng.uniform(-np.pi, np.pi)
    x, y = local_grid(half, scale, angle, flip=bool(rng.random() < 0.5))
    y = y * np.float32(rng.uniform(0.85, 1.15))
    body = _BODIES[int(rng.integers(len(_BODIES)))](rng)
    rough = np.float32(rng.uniform(0, 0.03)) * (noise(rng, x.shape, (28, 28)) - 0.5)
    body_gap = capsule_distance(x, y, body.limbs) + rough
    drawing, dark, light = HEADS[name]
    share, turn = rng.uniform(*HEAD_SHARE), rng.uniform(-0.5, 0.5)
    gap, tone = _fit_head(x, y, body, body_gap < 0, share=share, turn=turn, drawing=drawing)
    fur = _coat_colour(rng)
    if rng.random() < 0.2:  # A badly lit day: hard to tell from what is behind.
        fur = fur + (scenery - fur) * np.float32(rng.uniform(0.3, 0.6))
    coat = _lit(fur * np.float32(0.55), np.minimum(fur * np.float32(1.25), 1), _coat(rng, x, y), body_gap)
    jitter = rng.uniform(-1, 1, 5) * (0.05, 0.1, 0.1, 0.1, 0.1)
    shades = [hsv(h + jitter[0], s + jitter[1 + i], v + jitter[3 + i]) for i, (h, s, v) in enumerate((dark, light))]
    head = _lit(shades[0], shades[1], tone, gap)
    cover = np.clip(0.5 - gap * np.float32(scale), 0, 1)
    colour = mix(coat, head, cover) * _sunlight(rng, half)[..., None]
    alpha = np.clip(0.5 - np.minimum(gap, body_gap) * np.float32(scale), 0, 1)
    return Stamp(np.clip(colour, 0, 1).astype(np.float32), alpha, cover > 0.5)


def _lit(dark: Floats, light: Floats, tone: Floats, gap: Floats) -> Floats:
    """(h, w, 3) colours between dark and light, darker toward the outline as on a round thing."""
    return mix(dark, light, np.clip(tone, 0, 1)) * (0.6 + 0.4 * ease(-gap, 0, 0.08))[..., None]


def _sunlight(rng: Generator, half: int) -> Floats:
    """(2 * half + 1)**2 float32 around 1: brighter on the side of the light, which is above."""
    at = np.linspace(-1, 1, 2 * half + 1, dtype=np.float32)
    across = np.float32(rng.uniform(-0.25, 0.25))
    return np.asarray(1 + across * at[None, :] - 0.3 * at[:, None], np.float32)
