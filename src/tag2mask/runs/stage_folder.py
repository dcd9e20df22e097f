"""StageFolder: one stage's folder in a run: its state, its checkpoint and the files it makes."""

from __future__ import annotations

import json
import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from pydantic_core import to_jsonable_python
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from tag2mask.disk import read_json, write_json
from tag2mask.runs.encodings import write_weights
from tag2mask.runs.settings import Settings, settings_from
from tag2mask.runs.stage_summary import StageSummary, TrainingState
from tag2mask.runs.typed import typed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Unpack

    from torch import Tensor

    from tag2mask.records import Evidence
    from tag2mask.runs.stage_summary import Curves, TagPrecision

logger = logging.getLogger(__name__)

STATE, WEIGHTS, CHECKPOINT = "stage.json", "weights.safetensors", "checkpoint.safetensors"
"""The files of a stage beside its artefacts."""

Value = TypeVar("Value")

_KINDS: Mapping[str, type] = {
    "settings": dict,
    "after": dict,
    "summary": dict,
    "notes": dict,
    "key": str,
    "digest": str,
}
"""What a stage's state may hold beside ``finished``."""


class Told(TypedDict, total=False):
    """What a stage may tell at its end, see `StageSummary`."""

    curves: Curves
    evidence: Evidence | None
    chosen: Mapping[str, float | int | str]
    energy: Mapping[str, float]
    odds: Mapping[str, int]
    sharpened: bool
    segmenter: str
    precision: TagPrecision | None


class StageFolder:
    """One stage's folder: its state, its checkpoint and the files it makes.

    Args:
        path: the folder.
        name: of the stage, below the run folder.
        key: digest of everything the results depend on.
        finished: whether the results are complete for this key.
    """

    def __init__(self, path: Path, name: str, key: str, finished: bool, head: Mapping[str, Any]) -> None:
        self.path, self.name, self.key, self.finished = path, name, key, finished
        self._head = dict(head)
        self._started = time.monotonic()
        self._seconds_before = 0.0

    def summary(self) -> StageSummary:
        """What `finish` was told, and the seconds.

        Raises:
            ValueError: if the stage is not finished, or its state is damaged.
        """
        return typed(StageSummary, state_of(self.path).get("summary"), str(self.path / STATE))

    def note(self, key: str, value: object) -> None:
        """Keep something of an unfinished stage (numbers of images, choices made) for a later start.

        Args:
            key: what it is.
            value: a dataclass, or JSON values.
        """
        state = state_of(self.path)
        state.setdefault("notes", {})[key] = to_jsonable_python(value)
        write_json(self.path / STATE, state)

    def noted(self, key: str, kind: type[Value]) -> Value | None:
        """What `note` kept; None if nothing.

        Args:
            key: what it is.
            kind: its type, a dataclass or a type of JSON values.

        Raises:
            ValueError: if it is of another type.
        """
        notes = state_of(self.path).get("notes", {})
        return typed(kind, notes[key], f"{self.path / STATE}: {key}") if key in notes else None

    def finish(self, line: str, items: int, **told: Unpack[Told]) -> None:
        """Mark the stage as done.

        Args:
            line: the result in one line.
            items: how many images it went through.
            told: more for the report, see `StageSummary`.
        """
        seconds = self._seconds()
        summary = to_jsonable_python(StageSummary(line, items, round(seconds, 2), **told))
        # What was not told is left out: a file is read by people, too.
        summary = {key: value for key, value in summary.items() if value or key in {"line", "items", "seconds"}}
        write_json(self.path / STATE, {**self._head, "finished": True, "summary": summary})
        (self.path / CHECKPOINT).unlink(missing_ok=True)
        self.finished = True
        logger.info("%s: %s (%.1f s)", self.name, line, seconds)

    def finish_training(
        self,
        what: str,
        curves: Curves,
        *,
        epochs: int,
        images: int,
        more: str = "",
        segmenter: str = "",
        precision: TagPrecision | None = None,
    ) -> None:
        """Mark a stage that trained a network as done.

        Args:
            what: the network in a few words.
            curves: of the training, the ``loss`` among them.
            epochs: how many.
            images: how many an epoch goes through.
            more: what the line shall end with.
            segmenter: what it is called, if it was given.
            precision: of a classifier: how well it finds each class.
        """
        times = "1 epoch" if epochs == 1 else f"{epochs} epochs"
        line = f"{what}, {times}, loss {curves['loss'][-1][1]:.4f}{more}"
        self.finish(line, items=images * epochs, curves=curves, segmenter=segmenter, precision=precision)

    def load_weights(self) -> dict[str, Tensor]:
        """The trained weights.

        Raises:
            ValueError: if the file is missing or damaged.
        """
        return load_weights_file(self.path / WEIGHTS)

    def save_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep trained weights."""
        write_weights(self.path / WEIGHTS, tensors)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], TrainingState] | None:
        """The state of a training that was stopped, if there is any."""
        path = self.path / CHECKPOINT
        if not path.is_file():
            return None
        with _checkpoint(path) as (file, content):
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        self._seconds_before = float(content.pop("seconds", 0.0))
        state = typed(TrainingState, content, str(path))
        logger.info("%s: going on after epoch %s", self.name, state.epoch)
        return tensors, state

    def save_checkpoint(self, tensors: Mapping[str, Tensor], state: TrainingState) -> None:
        """Keep the state of a training and the seconds spent."""
        whole = json.dumps({**to_jsonable_python(state), "seconds": self._seconds()})
        write_weights(self.path / CHECKPOINT, tensors, {"state": whole})

    def _seconds(self) -> float:
        """Time spent on this stage, by a training that was stopped too."""
        return time.monotonic() - self._started + self._seconds_before


@dataclass(frozen=True)
class Upstream:
    """A stage of another run that a stage depends on. Where that run lies is no part of the key: runs may move.

    Args:
        name: of the stage.
        run: the folder of the run.
    """

    name: str
    run: Path

    @property
    def key(self) -> str:
        """The key of the stage as it is now; empty if it was never begun."""
        return str(state_of(self.run / self.name).get("key", ""))


def check_weights(stage: Path) -> None:
    """Require that a finished stage's weights are there.

    Raises:
        ValueError: if not; it says what to do.
    """
    if not (stage / WEIGHTS).is_file():
        raise ValueError(
            f"{stage / WEIGHTS}: expected a file of a finished stage, found nothing (1 missing). Delete {stage} and "
            "run again: the stage will be made anew."
        )


def load_weights_file(path: Path) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path}: expected trained weights, found none that can be read ({error}). "
            f"Delete the folder {path.parent} and run again."
        ) from error
    return weights


def state_of(path: Path) -> dict[str, Any]:
    """What a stage's folder says of itself; empty if there is none.

    Raises:
        ValueError: if it is damaged.
    """
    file = path / STATE
    if not file.is_file():
        return {}
    state: Any = read_json(file)
    sound = isinstance(state, dict) and isinstance(state.get("finished"), bool)
    wrong = [name for name, kind in _KINDS.items() if not isinstance(state.get(name, kind()), kind)] if sound else []
    if not sound or wrong:
        found = f"{wrong[0]}: {str(state[wrong[0]])[:60]!r}" if wrong else repr(str(state)[:60])
        raise ValueError(
            f"{file}: expected the state of a stage, with 'finished', found {found}. It is damaged: move the folder "
            f"{path} away, and start again to make it anew."
        )
    return {"settings": {}, "after": {}, **state}


def summary_of(path: Path) -> StageSummary | None:
    """What a finished stage told at its end; None if it is not finished.

    Raises:
        ValueError: if its state is damaged.
    """
    state = state_of(path)
    return typed(StageSummary, state.get("summary"), str(path / STATE)) if state.get("finished") else None


def seconds_of(path: Path) -> float:
    """The time that a stage took, as far as its folder says: finished, or until its last checkpoint."""
    if told := state_of(path).get("summary"):
        return typed(float, told.get("seconds", 0.0), f"{path / STATE}: seconds")
    checkpoint = path / CHECKPOINT
    if not checkpoint.is_file():
        return 0.0
    with _checkpoint(checkpoint) as (_, content):
        return float(content.get("seconds", 0.0))


def settings_made_with(path: Path, kind: type[Settings], *, complete: bool = True) -> Settings:
    """The settings that a stage was made with, which ``run.json`` may have newer ones of.

    Args:
        path: the stage's folder.
        kind: their class.
        complete: see `tag2mask.runs.settings.settings_from`.

    Raises:
        ValueError: if they are damaged.
    """
    kept: dict[str, Any] = state_of(path).get("settings", {})
    own = {name: kept[name] for name in (field.name for field in fields(kind)) if name in kept}
    return settings_from(kind, own, str(path / STATE), complete=complete)


@contextmanager
def _checkpoint(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A checkpoint's tensors, by a file of safetensors, and its state."""
    try:
        with safe_open(str(path), framework="pt") as file:
            yield file, json.loads(file.metadata()["state"])
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: expected the checkpoint of a training, found none that can be read ({error}). Delete it: the "
            "training begins anew."
        ) from error
