"""StageFolder: one stage's folder in a run: its state, its checkpoint and the files it makes."""

from __future__ import annotations

import json
import logging
import shutil
import time
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from tag2mask.runs.artefacts import write_weights
from tag2mask.disk import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

logger = logging.getLogger(__name__)


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

    def file(self, name: str, suffix: str) -> Path:
        """Where the file of an image lies; image names may hold slashes."""
        return self.path / f"{name}{suffix}"

    def missing(self, names: Sequence[str], suffix: str) -> list[str]:
        """The images whose file is not there yet."""
        return [name for name in names if not self.file(name, suffix).is_file()]

    def summary(self) -> dict[str, Any]:
        """What `finish` was told, and the seconds."""
        return dict(state_of(self.path).get("summary", {}))

    def note(self, **facts: Any) -> None:
        """Keep facts of an unfinished stage (seconds spent so far, choices made) for a later start."""
        state = state_of(self.path)
        state.setdefault("notes", {}).update(facts)
        write_json(self.path / "stage.json", state)

    def notes(self) -> dict[str, Any]:
        """What `note` kept."""
        return dict(state_of(self.path).get("notes", {}))

    def finish(self, line: str, items: int, **facts: Any) -> None:
        """Mark the stage as done.

        Args:
            line: the result in one line.
            items: how many images it went through.
            facts: more for the report: ``curves``, ``evidence``, ``chosen`` ...
        """
        seconds = self._seconds()
        summary = {"line": line, "items": items, "seconds": round(seconds, 2), **facts}
        write_json(self.path / "stage.json", {**self._head, "finished": True, "summary": summary})
        (self.path / "checkpoint.safetensors").unlink(missing_ok=True)
        self.finished = True
        logger.info("%s: %s (%.1f s)", self.name, line, seconds)

    def finish_training(
        self, what: str, curves: Mapping[str, Any], *, epochs: int, images: int, more: str = ""
    ) -> None:
        """Mark a stage that trained a network as done.

        Args:
            what: the network in a few words.
            curves: scalar name -> (epoch, value) pairs, the ``loss`` among them.
            epochs: how many.
            images: how many an epoch goes through.
            more: what the line shall end with.
        """
        line = f"{what}, {epochs} epochs, loss {curves['loss'][-1][1]:.4f}{more}"
        self.finish(line, items=images * epochs, curves=curves)

    def load_weights(self) -> dict[str, Tensor]:
        """The trained weights.

        Raises:
            ValueError: if the file is missing or damaged.
        """
        return load_weights_file(self.path / "weights.safetensors")

    def save_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep trained weights."""
        write_weights(self.path / "weights.safetensors", tensors)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state of a training that was stopped, if there is any."""
        path = self.path / "checkpoint.safetensors"
        if not path.is_file():
            return None
        with safe_open(str(path), framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
        self._seconds_before = float(state.pop("seconds", 0.0))
        logger.info("%s: going on after epoch %s", self.name, state["epoch"])
        return tensors, state

    def save_checkpoint(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Keep the state of a training and the seconds spent."""
        whole = json.dumps({**state, "seconds": self._seconds()})
        write_weights(self.path / "checkpoint.safetensors", tensors, {"state": whole})

    def _seconds(self) -> float:
        """Time spent on this stage, by a training that was stopped too."""
        return time.monotonic() - self._started + self._seconds_before


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
    file = path / "stage.json"
    if not file.is_file():
        return {}
    state: dict[str, Any] = read_json(file)
    return state


def clear_stage(path: Path) -> None:
    """Delete a stage's folder, its state first: a killed clearing must not look like a finished stage."""
    (path / "stage.json").unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
