"""Numbers that a stage counts image by image, kept so that a stopped stage goes on counting."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tag2mask.runs.artefacts import Artefacts
    from tag2mask.runs.stage_folder import StageFolder

TALLY_SECONDS = 20.0
"""The numbers of a stage's images are kept so often; a stop loses those of the last seconds."""


class Tally:
    """Numbers of every image that a stage goes through; a stopped stage finds those that it kept.

    Args:
        stage: an unfinished stage; the numbers stand in its notes.
        key: under which they stand there.
    """

    def __init__(self, stage: StageFolder, key: str = "tally") -> None:
        self._stage, self._key = stage, key
        self._kept: dict[str, dict[str, float]] = stage.noted(key, dict[str, dict[str, float]]) or {}
        self._saved_at = time.monotonic()
        self._turns = Lock()

    def missing(self, made: Artefacts[Any], names: Sequence[str], counted: Sequence[str]) -> list[str]:
        """The images that are not done: they lack what is made of them, or their numbers were lost by a stop.

        Args:
            made: what the stage makes of an image at last.
            names: of all images.
            counted: of the images that have numbers.
        """
        to_do = {name for name in counted if name not in self._kept}.union(made.missing(names))
        return [name for name in names if name in to_do]

    def add(self, name: str, numbers: dict[str, float]) -> None:
        """Note the numbers of an image; several threads may do so."""
        with self._turns:
            self._kept[name] = numbers
            if time.monotonic() - self._saved_at > TALLY_SECONDS:
                self._stage.note(self._key, self._kept)
                self._saved_at = time.monotonic()

    def sums(self, names: Sequence[str]) -> dict[str, float]:
        """Every number, added up over images in the given order: a sum of floats depends on it."""
        total: dict[str, float] = {}
        for name in names:
            for key, number in self._kept[name].items():
                total[key] = total.get(key, 0) + number
        return total

    def counts(self, key: str, names: Sequence[str]) -> dict[float, int]:
        """How many images have which value of a number, from the smallest value to the largest."""
        found = [self._kept[name][key] for name in names]
        return {value: found.count(value) for value in sorted(set(found))}
