"""RunFolder: the only code that reads or writes artefacts (npz, png, json, safetensors; never pickles).

Every file is written whole or not at all: first under a temporary name, then renamed.

A run folder holds one folder per stage, and in each a ``stage.json`` with the stage's settings, key, whether
it is finished, and its summary. The key is a digest of the settings, the seed, the precision, the data and the
keys of the stages before it: equal keys mean equal results, so a finished stage with the right key is never run
again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from tag2mask.data.artefacts import (
    read_cams,
    read_json,
    read_labels,
    read_scores,
    read_unit,
    remove_leftovers,
    write_json,
    write_weights,
)
from tag2mask.records import Cams, PseudoMask, Seeds, SeedScores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

logger = logging.getLogger(__name__)

STAGES = ("01_classify", "02_localize", "03_seed", "04_affinity", "05_walk", "06_segment")
"""The folders of a run, in pipeline order."""

_FACTS_OF_A_KEY = ("seed", "precision")

Record = TypeVar("Record")


class Artefacts(Mapping[str, Record], Generic[Record]):
    """The results of a stage, one per image, read from disk when asked for.

    Args:
        names: image names.
        read: name -> record.
        path_of: name -> the file that has to be there.
    """

    def __init__(self, names: Sequence[str], read: Callable[[str], Record], path_of: Callable[[str], Path]) -> None:
        self._names, self._read, self._path_of = tuple(names), read, path_of

    def __getitem__(self, name: str) -> Record:
        path = self._path_of(name)
        if not path.is_file():
            raise KeyError(f"{path}: not there. Expected the result of a finished stage for image {name!r}.")
        return self._read(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._path_of(name).is_file()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class StageFolder:
    """One stage's folder: its state, its checkpoint and the files it makes.

    Args:
        path: the folder.
        key: digest of everything the results depend on.
        finished: whether the results are complete for this key.
    """

    def __init__(self, path: Path, key: str, finished: bool, head: Mapping[str, Any]) -> None:
        self.path, self.key, self.finished = path, key, finished
        self.name = path.name
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
        return dict(_state(self.path).get("summary", {}))

    def note(self, **facts: Any) -> None:
        """Keep facts of an unfinished stage (seconds spent so far, choices made) for a later start."""
        state = _state(self.path)
        state.setdefault("notes", {}).update(facts)
        write_json(self.path / "stage.json", state)

    def notes(self) -> dict[str, Any]:
        """What `note` kept."""
        return dict(_state(self.path).get("notes", {}))

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

    def load_weights(self) -> dict[str, Tensor]:
        """The trained weights.

        Raises:
            ValueError: if the file is missing or damaged.
        """
        return _load_weights(self.path / "weights.safetensors")

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


def _load_weights(path: Path) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path}: expected trained weights, found none that can be read ({error}). "
            f"Delete the folder {path.parent} and run again."
        ) from error
    return weights


def _state(path: Path) -> dict[str, Any]:
    file = path / "stage.json"
    if not file.is_file():
        return {}
    state: dict[str, Any] = read_json(file)
    return state


def _record_file(path: Path) -> Path:
    """A run's ``run.json``, which has to be there."""
    file = path / "run.json"
    if not file.is_file():
        raise ValueError(f"{path}: expected a run folder, found no run.json in it. Start with `tag2mask run`.")
    return file


def _clear(path: Path) -> None:
    """Delete a stage's folder, its state first: a killed clearing must not look like a finished stage."""
    (path / "stage.json").unlink(missing_ok=True)
    if path.is_dir():
        shutil.rmtree(path)


def plain(settings: Any) -> Any:
    """Settings (a dataclass, or several) as JSON values."""
    if isinstance(settings, tuple):
        return {key: value for part in settings for key, value in plain(part).items()}
    return json.loads(json.dumps(dataclasses.asdict(settings)))


class RunFolder:
    """Everything a run made.

    Args:
        path: the folder; made if missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """A run that was made before; nothing is made.

        Args:
            path: the folder.

        Raises:
            ValueError: if it holds no run.
        """
        _record_file(Path(path))
        return cls(path)

    def record(self) -> dict[str, Any]:
        """What ``run.json`` holds: class names, image names, settings, seed, versions, digest of the inputs.

        Raises:
            ValueError: if there is none.
        """
        record: dict[str, Any] = read_json(_record_file(self.path))
        return record

    def write_record(self, **facts: Any) -> None:
        """Replace or add facts in ``run.json``."""
        file = self.path / "run.json"
        write_json(file, {**(read_json(file) if file.is_file() else {}), **facts})

    def open_stage(self, name: str, settings: Any, after: Sequence[str] = ()) -> StageFolder:
        """Enter a stage: finished (nothing to do), to be gone on with, or cleared because something changed.

        Args:
            name: one of `STAGES` or a path below the run folder.
            settings: its settings dataclass, or a tuple of those it depends on.
            after: the stages whose results it reads.
        """
        path = self.path / name
        record = self.record()
        before = {stage: _state(self.path / stage).get("key", "") for stage in after}
        head: dict[str, Any] = {"settings": plain(settings), "after": before, "digest": record["digest"]}
        # The device is not among them: a run may go on elsewhere. bfloat16 gives other numbers than float32.
        head.update({fact: record[fact] for fact in _FACTS_OF_A_KEY if fact in record})
        text = json.dumps(head, sort_keys=True).encode()
        head["key"] = hashlib.blake2b(text, digest_size=16).hexdigest()
        old = _state(path)
        if old and old.get("key") != head["key"]:
            logger.warning("%s: %s; running it again", name, _what_changed(old, head))
            old = {}
        if not old:
            _clear(path)
            write_json(path / "stage.json", {**head, "finished": False})
        elif old["finished"]:
            logger.info("%s: finished before, nothing to do", name)
        else:
            logger.info("%s: going on where it stopped", name)
        remove_leftovers(path)
        return StageFolder(path, head["key"], bool(old.get("finished")), head)

    def stage_summaries(self) -> dict[str, dict[str, Any]]:
        """Of every finished stage, what it told at its end: seconds, items, line, evidence."""
        states = {name: _state(self.path / name) for name in STAGES}
        return {name: state["summary"] for name, state in states.items() if state.get("finished")}

    def curves(self) -> dict[str, dict[str, list[tuple[int, float]]]]:
        """Of every stage that trained: scalar name -> (epoch, value) pairs."""
        return {
            name: {key: [(int(x), float(y)) for x, y in points] for key, points in summary["curves"].items()}
            for name, summary in self.stage_summaries().items()
            if "curves" in summary
        }

    def names(self, split: str = "train") -> tuple[str, ...]:
        """The image names of a split, ``train`` or ``val``, less the skipped ones."""
        record = self.record()
        return tuple(record["names" if split == "train" else "val_names"])

    def class_names(self) -> tuple[str, ...]:
        """C names; the position is the class id."""
        return tuple(self.record()["class_names"])

    def weights(self, stage: str) -> dict[str, Tensor]:
        """The trained weights of a stage.

        Raises:
            ValueError: if the file is missing or damaged.
        """
        return _load_weights(self.path / stage / "weights.safetensors")

    def chosen(self, stage: str) -> dict[str, Any]:
        """The values that a finished stage used for its settings of "auto"."""
        return dict(self.stage_summaries().get(stage, {}).get("chosen", {}))

    @property
    def cams(self) -> Artefacts[Cams]:
        """Class activation maps of the training images."""
        folder = self.path / "02_localize" / "maps"
        return self._artefacts(folder, ".npz", read_cams)

    @property
    def seeds(self) -> Artefacts[Seeds]:
        """Sure pixels of the training images."""
        folder = self.path / "03_seed" / "seeds"
        return self._artefacts(folder, ".png", lambda path, name: Seeds(name, read_labels(path)))

    @property
    def seed_scores(self) -> Artefacts[SeedScores]:
        """CRF-refined maps at both alphas."""
        return self._artefacts(self.path / "03_seed" / "scores", ".npz", read_scores)

    @property
    def cam_crf(self) -> Artefacts[Tensor]:
        """CAM + CRF at the low alpha, (H, W) int64 labels."""
        return self._artefacts(self.path / "03_seed" / "crf", ".png", lambda path, _: read_labels(path))

    @property
    def walks(self) -> Artefacts[Tensor]:
        """The random walk's labels in front of the CRF, (H, W) int64."""
        return self._artefacts(self.path / "05_walk" / "walk", ".png", lambda path, _: read_labels(path))

    @property
    def boundaries(self) -> Artefacts[Tensor]:
        """Learned boundaries, (h, w) float32 in [0, 1]."""
        return self._artefacts(self.path / "05_walk" / "boundaries", ".png", lambda path, _: read_unit(path))

    @property
    def masks(self) -> Artefacts[PseudoMask]:
        """The pseudo masks: random walk, then CRF."""
        return self._masks(self.path / "05_walk", self.names())

    @property
    def predictions(self) -> Artefacts[PseudoMask]:
        """What the segmenter says, without looking at tags, of the training and the held-out images."""
        return self._masks(self.path / "06_segment", self.names() + self.names("val"))

    def _artefacts(
        self,
        folder: Path,
        suffix: str,
        read: Callable[[Path, str], Record],
        names: Sequence[str] | None = None,
    ) -> Artefacts[Record]:
        def path_of(name: str) -> Path:
            return folder / f"{name}{suffix}"

        return Artefacts(names if names is not None else self.names(), lambda n: read(path_of(n), n), path_of)

    def _masks(self, stage: Path, names: Sequence[str]) -> Artefacts[PseudoMask]:
        def read(path: Path, name: str) -> PseudoMask:
            return PseudoMask(name, read_labels(path), read_unit(stage / "confidence" / f"{name}.png"))

        return self._artefacts(stage / "masks", ".png", read, names)

    def load_cams(self, name: str) -> Cams | None:
        """Maps of an image; None if the stage did not run for it."""
        return self.cams.get(name)

    def load_seeds(self, name: str) -> Seeds | None:
        """Seeds of an image; None if the stage did not run for it."""
        return self.seeds.get(name)

    def load_boundaries(self, name: str) -> Tensor | None:
        """Learned boundaries of an image; None if the stage did not run for it."""
        return self.boundaries.get(name)

    def load_walk(self, name: str) -> Tensor | None:
        """The walk's labels of an image; None if the stage did not run for it."""
        return self.walks.get(name)

    def load_mask(self, name: str) -> PseudoMask | None:
        """The pseudo mask of an image; None if the stage did not run for it."""
        return self.masks.get(name)

    def load_prediction(self, name: str) -> PseudoMask | None:
        """The segmenter's mask of an image; None if the stage did not run for it."""
        return self.predictions.get(name)


def _what_changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Words for why a stage's key differs."""
    if old.get("digest") != new["digest"]:
        return "the images or tags changed"
    for fact in _FACTS_OF_A_KEY:
        if old.get(fact) != new.get(fact):
            return f"the {fact} changed from {old.get(fact, 'unknown')} to {new.get(fact, 'unknown')}"
    before, now = old.get("settings", {}), new["settings"]
    changed = [f"{key} {before.get(key)!r} -> {now.get(key)!r}" for key in now if before.get(key) != now.get(key)]
    if changed:
        return "settings changed: " + ", ".join(changed)
    again = [stage for stage in new["after"] if old.get("after", {}).get(stage) != new["after"][stage]]
    return "it depends on " + ", ".join(again) + ", which ran again"
