"""make_scenes: the built-in demo photos, drawn by code, with exact masks.

Each scene shows zero to three objects in front of textured backgrounds, among clutter. The classes share
their bodies and differ in their heads, which take less than a third of the object: the real difficulty
of learning masks from tags.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from tag2mask.datasets.scenes.drawing import (
    Bools,
    Floats,
    Stamp,
    draw_background,
    draw_clutter,
    noise,
    paste,
    window,
)
from tag2mask.datasets.scenes.objects import HEADS, draw_object
from tag2mask.ops.sizes import shrink
from tag2mask.records import TaggedImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

CLASS_NAMES = tuple(HEADS)
"""The classes of the scenes, in the order of their ids."""

_SMALLEST, _LARGEST = 48, 512
_OBJECTS_PER_SCENE = (0,) * 4 + (1,) * 25 + (2,) * 15 + (3,) * 6
"""How many objects the scenes of a deck hold: 8%, 50%, 30%, 12%."""


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """pixels (n, n, 3) uint8 and labels (n, n) uint8."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def make_scenes(count: int = 300, size: int = 144, seed: int = 0, *, val_count: int = 0) -> SceneDataset:
    """Draw the built-in demo photos: same arguments, same pixels; scene i does not depend on `count`.

    Args:
        count: scenes to make masks for and to train on, named scene_0000 and so on.
        size: height and width in pixels, 48 to 512.
        seed: another seed gives another set of the same kind, >= 0.
        val_count: held-out scenes, named val_0000 and so on.

    Returns:
        A `TagDataset` that draws a scene when it is first asked for, and keeps it.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> scenes = make_scenes(count=3, size=64, seed=1)
        >>> scenes.names
        ('scene_0000', 'scene_0001', 'scene_0002')
        >>> scenes["scene_0000"].pixels.shape, scenes.mask("scene_0000").shape
        (torch.Size([3, 64, 64]), torch.Size([64, 64]))
    """
    for name, value, low in (("count", count, 0), ("val_count", val_count, 0), ("seed", seed, 0)):
        if value < low:
            raise ValueError(f"{name}: expected at least {low}, got {value}.")
    if not _SMALLEST <= size <= _LARGEST:
        raise ValueError(f"size: expected {_SMALLEST} to {_LARGEST} pixels, got {size}.")
    return SceneDataset(count, size, seed, val_count)


class SceneDataset:
    """The scenes of `make_scenes`; a `TagDataset`. Drawn when first asked for, then kept."""

    def __init__(self, count: int, size: int, seed: int, val_count: int) -> None:
        self._size, self._seed = size, seed
        self._names = tuple(f"scene_{i:04d}" for i in range(count))
        self._val_names = tuple(f"val_{i:04d}" for i in range(val_count))
        splits = enumerate((self._names, self._val_names))
        self._places = {name: (split, i) for split, names in splits for i, name in enumerate(names)}
        self._drawn: dict[str, _Scene] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the C classes."""
        return CLASS_NAMES

    @property
    def names(self) -> tuple[str, ...]:
        """The scenes to train on."""
        return self._names

    @property
    def val_names(self) -> tuple[str, ...]:
        """The held-out scenes."""
        return self._val_names

    def __getitem__(self, name: str) -> TaggedImage:
        """One scene: pixels (3, size, size) uint8."""
        pixels = torch.from_numpy(self._scene(name).pixels).permute(2, 0, 1).contiguous()
        return TaggedImage(name, pixels, self.tags(name))

    def shrunk(self, name: str, side: int) -> TaggedImage:
        """One scene, no larger than `side` pixels."""
        return shrink(self[name], side)

    def tags(self, name: str) -> Tensor:
        """(C,) bool: exactly the classes that its mask shows."""
        tags = torch.zeros(len(CLASS_NAMES), dtype=torch.bool)
        labels = np.unique(self._scene(name).labels)
        tags[torch.from_numpy(labels[labels > 0].astype(np.int64)) - 1] = True
        return tags

    def mask(self, name: str) -> Tensor:
        """The exact ground truth: (size, size) int64, 0 and 1..C."""
        return torch.from_numpy(self._scene(name).labels.astype(np.int64))

    def has_masks(self) -> bool:
        """Every scene has one."""
        return True

    def digest(self) -> str:
        """Hex digest of names, class names and all pixels and masks; draws what is not yet drawn."""
        digest = hashlib.sha256(repr((CLASS_NAMES, self._names, self._val_names)).encode())
        for name in self._places:
            scene = self._scene(name)
            digest.update(scene.pixels.tobytes())
            digest.update(scene.labels.tobytes())
        return digest.hexdigest()

    def _scene(self, name: str) -> _Scene:
        if name not in self._drawn:
            split, index = self._places[name]
            self._drawn[name] = _draw_scene(self._seed, split, index, self._size)
        return self._drawn[name]


@lru_cache(maxsize=64)
def _deck(seed: int, split: int, number: int) -> tuple[tuple[int, ...], ...]:
    """The class ids of 50 scenes in a row: shuffled, so that every set has nearly the same of each class."""
    rng = np.random.default_rng((seed, split, number, 1))
    counts = rng.permutation(_OBJECTS_PER_SCENE)
    total = int(counts.sum())
    class_ids = iter(rng.permutation((np.arange(total) + number * total) % len(CLASS_NAMES)).tolist())
    return tuple(tuple(next(class_ids) for _ in range(count)) for count in counts)


@dataclass(slots=True, eq=False)
class _Placed:
    """An object on the picture: which pixels of it and of its head are still to be seen, (n, n) bool."""

    label: int
    visible: Bools
    head: Bools
    area: int
    head_area: int

    def stays_clear(self, cover: Bools, *, body: float = 0.5, head: float = 0.6) -> bool:
        """Whether enough of it stays in sight when `cover` (n, n) lies over it."""
        seen, head_seen = (self.visible & ~cover).sum(), (self.head & ~cover).sum()
        return bool(seen >= body * self.area and head_seen >= head * self.head_area)

    def hide(self, cover: Bools) -> None:
        """Take the covered pixels away."""
        self.visible, self.head = self.visible & ~cover, self.head & ~cover


def _draw_scene(seed: int, split: int, index: int, n: int) -> _Scene:
    rng = np.random.default_rng((seed, split, index, 0))
    number, position = divmod(index, len(_OBJECTS_PER_SCENE))
    class_ids = _deck(seed, split, number)[position]
    picture = draw_background(rng, n)
    for _ in range(rng.integers(3, 10)):
        _put(picture, rng, draw_clutter(rng, n), _anywhere(rng, n))
    placed: list[_Placed] = []
    for class_id in class_ids:
        _add_object(picture, rng, class_id, placed, len(class_ids))
    for thing in placed:
        if rng.random() < 0.5:
            _add_in_front(picture, rng, thing, placed)
    labels = np.zeros((n, n), np.uint8)
    for thing in placed:
        labels[thing.visible] = thing.label
    return _Scene(_photograph(picture, rng), labels)


def _anywhere(rng: Generator, n: int, margin: float = 0.0) -> tuple[int, int]:
    row, col = rng.uniform(margin, 1 - margin, 2) * n
    return int(row), int(col)


def _put(picture: Floats, rng: Generator, stamp: Stamp, centre: tuple[int, int]) -> None:
    """Paint a stamp and, before it, its soft shadow on the ground."""
    reach = stamp.alpha.shape[0] * 0.06
    shadow = ndimage.uniform_filter(stamp.alpha, max(3, int(reach * 1.5)), mode="constant")
    there, piece = window(picture.shape, shadow.shape, (centre[0] + round(reach), centre[1]))
    picture[there] *= 1 - np.float32(rng.uniform(0.2, 0.5)) * shadow[piece][..., None]
    paste(picture, stamp, centre)


def _on_canvas(flags: Bools, centre: tuple[int, int], n: int) -> Bools:
    canvas = np.zeros((n, n), np.bool_)
    there, piece = window(canvas.shape, flags.shape, centre)
    canvas[there] = flags[piece]
    return canvas


def _add_object(picture: Floats, rng: Generator, class_id: int, placed: list[_Placed], count: int) -> None:
    """Draw an object and paint it where it and those behind it can be seen well enough."""
    n = len(picture)
    scale = n * rng.uniform(0.3, 0.56) * (1.0, 0.95, 0.85)[count - 1]
    stamp = draw_object(rng, CLASS_NAMES[class_id], scale, picture.mean((0, 1)))
    area, head_area = int(stamp.mask.sum()), int(stamp.part.sum())
    nothing = np.zeros((n, n), np.bool_)
    for centre in _positions(rng, n, scale, placed):
        cover, head = (_on_canvas(flags, centre, n) for flags in (stamp.mask, stamp.part))
        new = _Placed(class_id + 1, cover, head, area, head_area)
        if new.stays_clear(nothing, body=0.65, head=0.75) and all(thing.stays_clear(cover) for thing in placed):
            _put(picture, rng, stamp, centre)
            for thing in placed:
                thing.hide(cover)
            placed.append(new)
            return


def _positions(rng: Generator, n: int, scale: float, placed: list[_Placed]) -> Iterator[tuple[int, int]]:
    """Places to try: some beside an object that is there already, so that the two touch."""
    for _ in range(40):
        if placed and rng.random() < 0.4:
            rows, cols = np.nonzero(placed[-1].visible)
            angle, reach = rng.uniform(0, 2 * np.pi), scale * rng.uniform(0.4, 0.9)
            yield int(rows.mean() + reach * np.sin(angle)), int(cols.mean() + reach * np.cos(angle))
        else:
            yield _anywhere(rng, n, 0.12)


def _add_in_front(picture: Floats, rng: Generator, thing: _Placed, placed: list[_Placed]) -> None:
    """Lay slim clutter over an object, unless that would hide too much."""
    n = len(picture)
    rows, cols = np.nonzero(thing.visible)
    pick = int(rng.random() * len(rows))
    stamp, centre = draw_clutter(rng, n, front=True), (int(rows[pick]), int(cols[pick]))
    cover = _on_canvas(stamp.mask, centre, n)
    if all(other.stays_clear(cover, body=0.45) for other in placed):
        paste(picture, stamp, centre)
        for other in placed:
            other.hide(cover)


def _photograph(picture: Floats, rng: Generator) -> NDArray[np.uint8]:
    """Light, lens and sensor: exposure, tint, a light from one side, slight blur, noise."""
    n = len(picture)
    tint = rng.uniform(0.92, 1.08, 3).astype(np.float32) * np.float32(rng.uniform(0.75, 1.2))
    glow = 1 + np.float32(rng.uniform(0, 0.5)) * (noise(rng, (n, n), (1, 1)) - 0.5)
    picture = np.clip(picture * tint * glow[..., None], 0, 1) ** np.float32(rng.uniform(0.85, 1.2))
    blur = rng.uniform(0.25, 0.7) * n / 144
    picture = ndimage.gaussian_filter(picture, (blur, blur, 0))
    grain = rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(0.01, 0.03))
    return np.asarray(np.clip((picture + grain) * 255 + 0.5, 0, 255), np.uint8)
