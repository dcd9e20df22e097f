"""RunFolder: everything that a run made, and the only way to it.

A run folder holds one folder per stage, and in each a ``stage.json`` with the stage's settings, key, whether
it is finished, and its summary. The key is a digest of the settings, the seed, the precision, the data and the
keys of the stages before it: equal keys mean equal results, so a finished stage with the right key is never run
again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tag2mask.disk import remove_leftovers, write_json
from tag2mask.runs import artefacts
from tag2mask.runs.artefacts import Artefacts
from tag2mask.runs.manifest import MANIFEST, NAMES, read_manifest, read_names, write_manifest
from tag2mask.runs.places import OLD_ROUNDS, ROUND_STAGES, ROUNDS, STAGES, SUPERPIXELS, WALK
from tag2mask.runs.replaced import duration, set_aside, what_changed
from tag2mask.runs.round import Round
from tag2mask.runs.settings import keyed
from tag2mask.runs.stage_folder import (
    STATE,
    WEIGHTS,
    StageFolder,
    Upstream,
    load_weights_file,
    seconds_of,
    state_of,
    summary_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from tag2mask.records import Cams, PseudoMask, Regions, Seeds, SeedScores
    from tag2mask.runs.manifest import ImageNames, Manifest
    from tag2mask.runs.stage_summary import Curves, StageSummary

logger = logging.getLogger(__name__)

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class FinalMasks:
    """The masks that are a run's result.

    Args:
        maker: what made them, for people.
        masks: name -> mask, of every training image.
    """

    maker: str
    masks: Artefacts[PseudoMask] | Artefacts[Seeds]

    @property
    def folder(self) -> Path:
        """Where the masks lie as indexed PNGs."""
        return self.masks.folder


class RunFolder:
    """Everything a run made.

    Args:
        path: the folder; made if missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._read: dict[str, tuple[tuple[object, ...], Any]] = {}

    @classmethod
    def existing(cls, path: str | Path) -> RunFolder:
        """A run that was made before; nothing is made.

        Args:
            path: the folder.

        Raises:
            ValueError: if it holds no run.
        """
        read_manifest(Path(path))
        if (Path(path) / OLD_ROUNDS).is_dir():
            logger.warning(
                "%s: its EM rounds in %s/ are of version 0.1.0 and are left alone. `tag2mask ial %s` makes new ones.",
                path,
                OLD_ROUNDS,
                path,
            )
        return cls(path)

    def has_manifest(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / MANIFEST).is_file()

    def manifest(self) -> Manifest:
        """What this run is: classes, settings, seed, versions, digest of the inputs ...

        Raises:
            ValueError: if there is no ``run.json``, or it is damaged or newer than this package.
        """
        return self._remembered(MANIFEST, read_manifest)

    def write_manifest(self, manifest: Manifest, names: ImageNames | None = None) -> None:
        """Write ``run.json`` anew, and the names of the images if they are given.

        Args:
            manifest: what this run is.
            names: of its images; None: they stay as they are.
        """
        write_manifest(self.path, manifest, names)

    def names(self, split: str = "train") -> tuple[str, ...]:
        """The image names of a split, ``train`` or ``val``, less the skipped ones."""
        names = self._remembered(NAMES, read_names)
        return names.train if split == "train" else names.val

    def class_names(self) -> tuple[str, ...]:
        """C names; the position is the class id."""
        return self.manifest().class_names

    def _remembered(self, file: str, read: Callable[[Path], Value]) -> Value:
        """What a file holds, read once as long as it and the manifest stay the same."""
        stamp = tuple(_stamp(self.path / name) for name in (MANIFEST, file))
        known = self._read.get(file)
        if known is None or known[0] != stamp:
            known = self._read[file] = stamp, read(self.path)
        value: Value = known[1]
        return value

    def open_stage(self, name: str, settings: Any, after: Sequence[str | Upstream] = ()) -> StageFolder:
        """Enter a stage: finished (nothing to do), to be gone on with, or cleared because something changed.

        Args:
            name: one of `STAGES` or a path below the run folder.
            settings: its settings dataclass, or a tuple of those it depends on.
            after: the stages whose results it reads.
        """
        path, manifest = self.path / name, self.manifest()
        sources = [stage if isinstance(stage, Upstream) else Upstream(stage, self.path) for stage in after]
        before = {source.name: source.key for source in sources}
        head: dict[str, Any] = {"settings": keyed(settings), "after": before, "digest": manifest.digest}
        # The device is not among them: a run may go on elsewhere. bfloat16 gives other numbers than float32.
        head |= {"seed": manifest.seed, "precision": manifest.precision}
        text = json.dumps(head, sort_keys=True).encode()
        head["key"] = hashlib.blake2b(text, digest_size=16).hexdigest()
        old = state_of(path)
        if old.get("key") != head["key"]:
            self._replace(name, f"{what_changed(old, head)}; running it again" if old else "its state is gone")
            write_json(path / STATE, {**head, "finished": False})
            old = {}
        elif old["finished"]:
            logger.info("%s: finished before, nothing to do", name)
        else:
            logger.info("%s: going on where it stopped", name)
        remove_leftovers(path)
        return StageFolder(path, name, head["key"], bool(old.get("finished")), head)

    def _replace(self, name: str, why: str) -> None:
        """Set aside what a stage made, and say what that cost."""
        known, seconds = bool(state_of(self.path / name)), seconds_of(self.path / name)
        place = set_aside(self.path / name)
        if place is not None:
            cost = f"{duration(seconds)} of work" if seconds else "What it made"
            why += f". {cost} set aside in {place.name}; delete it when you do not need it"
        if known or place is not None:
            logger.warning("%s: %s", name, why)

    def drop_stage(self, name: str) -> None:
        """Put away what a stage made that settings now do without.

        Args:
            name: of the stage.
        """
        self._replace(name, "the settings do without it")

    def stage_summaries(self) -> dict[str, StageSummary]:
        """Of every finished stage, what it told at its end.

        Raises:
            ValueError: if a stage's state is damaged.
        """
        of_rounds = [f"{ROUNDS}/{number}/{stage}" for number in self._rounds_begun() for stage in ROUND_STAGES]
        names = (*STAGES, SUPERPIXELS, *of_rounds)
        found = {name: summary_of(self.path / name) for name in names}
        return {name: summary for name, summary in found.items() if summary is not None}

    def last_round(self) -> Round | None:
        """The last finished EM round, counted from the first; None without any."""
        count = 0
        while Round(self, count + 1).finished:
            count += 1
        return Round(self, count) if count else None

    def outdated_rounds(self) -> bool:
        """Whether the EM rounds behind the last one that counts are of other images or tags than the run has now."""
        last = self.last_round()
        return Round(self, 1 + (last.number if last else 0)).outdated

    def unfinished_rounds(self) -> list[int]:
        """The numbers of EM rounds that were begun and do not count: not finished, or of other images or tags."""
        last = self.last_round()
        return [number for number in self._rounds_begun() if number > (last.number if last else 0)]

    def final_masks(self) -> FinalMasks | None:
        """Which masks of the training images are this run's result; None if none are finished.

        Those of the last EM round if there are rounds, else those of the random walk. Whoever shows, scores or hands
        over a run's masks asks here.
        """
        if (last := self.last_round()) is not None:
            return FinalMasks(f"round {last.number}", last.taught)
        if WALK in self.stage_summaries():
            return FinalMasks("random walk", self.masks)
        return None

    def _rounds_begun(self) -> list[int]:
        """The numbers of the EM rounds that have a folder."""
        folder = self.path / ROUNDS
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []

    def curves(self) -> dict[str, Curves]:
        """Of every stage that trained: scalar name -> (epoch, value) pairs."""
        return {name: summary.curves for name, summary in self.stage_summaries().items() if summary.curves}

    def weights(self, stage: str) -> dict[str, Tensor]:
        """The trained weights of a stage.

        Raises:
            ValueError: if the file is missing or damaged.
        """
        return load_weights_file(self.path / stage / WEIGHTS)

    def chosen(self, stage: str) -> Mapping[str, float | int | str]:
        """The values that a finished stage used for its settings of "auto"."""
        summary = summary_of(self.path / stage)
        return summary.chosen if summary else {}

    @property
    def cams(self) -> Artefacts[Cams]:
        """Class activation maps of the training images."""
        return Artefacts(artefacts.CAMS, self.path, self)

    @property
    def seeds(self) -> Artefacts[Seeds]:
        """Sure pixels of the training images."""
        return Artefacts(artefacts.SEEDS, self.path, self)

    @property
    def seed_scores(self) -> Artefacts[SeedScores]:
        """CRF-refined maps at both alphas."""
        return Artefacts(artefacts.SEED_SCORES, self.path, self)

    @property
    def cam_crf(self) -> Artefacts[Tensor]:
        """CAM + CRF at the low alpha, (H, W) int64 labels."""
        return Artefacts(artefacts.CAM_CRF, self.path, self)

    @property
    def walks(self) -> Artefacts[Tensor]:
        """The random walk's labels in front of the CRF, (H, W) int64."""
        return Artefacts(artefacts.WALKS, self.path, self)

    @property
    def boundaries(self) -> Artefacts[Tensor]:
        """Learned boundaries, (h, w) float32 in [0, 1]."""
        return Artefacts(artefacts.BOUNDARIES, self.path, self)

    @property
    def masks(self) -> Artefacts[PseudoMask]:
        """The pseudo masks: random walk, then CRF."""
        return Artefacts(artefacts.MASKS, self.path, self)

    @property
    def predictions(self) -> Artefacts[PseudoMask]:
        """What the segmenter says, without looking at tags, of the training and the held-out images."""
        return Artefacts(artefacts.PREDICTIONS, self.path, self)

    @property
    def superpixels(self) -> Artefacts[Regions]:
        """The superpixels of the training images, which all EM rounds share."""
        return Artefacts(artefacts.REGIONS, self.path, self)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Another one, once the file is another one."""
    if not file.is_file():
        return None
    found = file.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
