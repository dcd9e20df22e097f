"""RunFolder: the only code that reads or writes artefacts (npz, png, json, safetensors; never pickles).

Every file is written whole or not at all: first under a temporary name, then renamed.

A run folder holds one folder per stage, and in each a ``stage.json`` with the stage's settings, key, whether
it is finished, and its summary. The key is a digest of the settings, the seed, the precision, the data and the
keys of the stages before it: equal keys mean equal results, so a finished stage with the right key is never run
again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tag2mask.runs.artefacts import read_cams, read_scores
from tag2mask.disk import read_json, read_labels, read_unit, remove_leftovers, write_json
from tag2mask.runs.settings import keyed
from tag2mask.runs.stage_folder import StageFolder, clear_stage, load_weights_file, state_of
from tag2mask.records import Cams, PseudoMask, Seeds, SeedScores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

logger = logging.getLogger(__name__)

STAGES = ("01_classify", "02_localize", "03_seed", "04_affinity", "05_walk", "06_segment")
"""The folders of a run, in pipeline order."""

ROUND_STAGES = ("1_unary", "2_estimate", "3_mine", "4_pairwise", "5_refine")
"""The folders of an EM round, in their order."""

_FACTS_OF_A_KEY = ("seed", "precision")

Record = TypeVar("Record")


class Artefacts(Mapping[str, Record], Generic[Record]):
    """The results of a stage, one per image, read from disk when asked for.

    Args:
        names: gives the image names; asked only by those who go through all of them.
        read: name -> record.
        path_of: name -> the file that has to be there.
    """

    def __init__(
        self, names: Callable[[], Sequence[str]], read: Callable[[str], Record], path_of: Callable[[str], Path]
    ) -> None:
        self._names, self._read, self.path_of = names, read, path_of

    def __getitem__(self, name: str) -> Record:
        path = self.path_of(name)
        if not path.is_file():
            raise KeyError(f"{path}: not there. Expected the result of a finished stage for image {name!r}.")
        return self._read(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.path_of(name).is_file()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


def _record_file(path: Path) -> Path:
    """A run's ``run.json``, which has to be there."""
    file = path / "run.json"
    if not file.is_file():
        raise ValueError(f"{path}: expected a run folder, found no run.json in it. Start with `tag2mask run`.")
    return file


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
        before = {stage: state_of(self.path / stage).get("key", "") for stage in after}
        head: dict[str, Any] = {"settings": keyed(settings), "after": before, "digest": record["digest"]}
        # The device is not among them: a run may go on elsewhere. bfloat16 gives other numbers than float32.
        head.update({fact: record[fact] for fact in _FACTS_OF_A_KEY if fact in record})
        text = json.dumps(head, sort_keys=True).encode()
        head["key"] = hashlib.blake2b(text, digest_size=16).hexdigest()
        old = state_of(path)
        if old and old.get("key") != head["key"]:
            logger.warning("%s: %s; running it again", name, _what_changed(old, head))
            old = {}
        if not old:
            clear_stage(path)
            write_json(path / "stage.json", {**head, "finished": False})
        elif old["finished"]:
            logger.info("%s: finished before, nothing to do", name)
        else:
            logger.info("%s: going on where it stopped", name)
        remove_leftovers(path)
        return StageFolder(path, name, head["key"], bool(old.get("finished")), head)

    def stage_summaries(self) -> dict[str, dict[str, Any]]:
        """Of every finished stage, what it told at its end: seconds, items, line, evidence."""
        rounds = sorted((self.path / "em").glob("round_*"), key=lambda path: int(path.name.partition("_")[2]))
        of_rounds = [f"em/{path.name}/{stage}" for path in rounds for stage in ROUND_STAGES]
        states = {name: state_of(self.path / name) for name in (*STAGES, "em/superpixels", *of_rounds)}
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
        return load_weights_file(self.path / stage / "weights.safetensors")

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
        return self._masks(self.path / "05_walk", self.names)

    @property
    def predictions(self) -> Artefacts[PseudoMask]:
        """What the segmenter says, without looking at tags, of the training and the held-out images."""
        return self._masks(self.path / "06_segment", lambda: self.names() + self.names("val"))

    def _artefacts(
        self,
        folder: Path,
        suffix: str,
        read: Callable[[Path, str], Record],
        names: Callable[[], Sequence[str]] | None = None,
    ) -> Artefacts[Record]:
        def path_of(name: str) -> Path:
            return folder / f"{name}{suffix}"

        return Artefacts(names or self.names, lambda name: read(path_of(name), name), path_of)

    def _masks(self, stage: Path, names: Callable[[], Sequence[str]]) -> Artefacts[PseudoMask]:
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
    keys = dict.fromkeys([*now, *before])
    changed = [f"{key} {before.get(key)!r} -> {now.get(key)!r}" for key in keys if before.get(key) != now.get(key)]
    if changed:
        return "settings changed: " + ", ".join(changed)
    again = [stage for stage in new["after"] if old.get("after", {}).get(stage) != new["after"][stage]]
    return "it depends on " + ", ".join(again) + ", which ran again"
