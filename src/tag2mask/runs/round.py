"""The EM rounds of a run: where their artefacts lie, how far they are, and with which settings they were made."""

from __future__ import annotations

from tag2mask.records import Regions
from tag2mask.runs.artefacts import read_regions

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from tag2mask.runs.artefacts import read_region_scores, read_soft_mask
from tag2mask.disk import read_labels, read_unit
from tag2mask.runs.settings import Settings, settings_from
from tag2mask.runs.stage_folder import load_weights_file, state_of
from tag2mask.runs.run_folder import ROUND_STAGES, Artefacts
from tag2mask.records import PseudoMask, Seeds, SoftMask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from tag2mask.runs.run_folder import RunFolder

UNARY, ESTIMATE, MINE, PAIRWISE, REFINE = ROUND_STAGES

Record = TypeVar("Record")


class Round:
    """One EM round of a run.

    Args:
        run: the run folder.
        number: 1, 2, ...
        start: the run with the classifier and the seeds; None: the same run.
    """

    def __init__(self, run: RunFolder, number: int, start: RunFolder | None = None) -> None:
        self.run, self.number, self.start = run, number, start or run
        self.folder = f"em/round_{number}"
        self.path = run.path / self.folder

    @property
    def finished(self) -> bool:
        """Whether every stage is complete, and made from what the round's other stages hold now.

        A round that was begun anew with other settings and then stopped is not: it is half of the old ones.
        """
        states = [(stage, state_of(self.path / stage)) for stage in ROUND_STAGES]
        # Without a pairwise network there is no such stage.
        needed = [state for stage, state in states if state or stage != PAIRWISE]
        return all(state.get("finished", False) and self._is_current(state) for state in needed)

    def _is_current(self, state: dict[str, Any]) -> bool:
        after = {stage: key for stage, key in state["after"].items() if stage.startswith("em/round_")}
        return all(state_of(self.run.path / stage).get("key", "") == key for stage, key in after.items())

    def of_start(self, stage: str) -> str:
        """A stage of the start as seen from the run: in the same folder, or in one beside it."""
        start, run = self.start.path.resolve(), self.run.path.resolve()
        return stage if start == run else os.path.relpath(start / stage, run)

    def summaries(self) -> dict[str, dict[str, Any]]:
        """Of every finished stage, what it told at its end: seconds, items, line, curves, energy."""
        states = {name: state_of(self.path / name) for name in ROUND_STAGES}
        return {name: state["summary"] for name, state in states.items() if state.get("finished")}

    def settings(self, stage: str, kind: type[Settings]) -> Settings:
        """The settings that a stage was made with, which ``run.json`` may have newer ones of.

        Args:
            stage: one that was begun.
            kind: their class.
        """
        kept: dict[str, Any] = state_of(self.path / stage)["settings"]
        return settings_from(kind, {name: kept[name] for name in kind.__dataclass_fields__ if name in kept})

    def weights(self, stage: str) -> dict[str, Tensor]:
        """The trained weights of one of its stages.

        Raises:
            ValueError: if the file is missing or damaged.
        """
        return load_weights_file(self.path / stage / "weights.safetensors")

    @property
    def soft(self) -> Artefacts[SoftMask]:
        """alpha_u of the training images."""
        return self._artefacts(f"{ESTIMATE}/soft", ".npz", read_soft_mask)

    @property
    def unary(self) -> Artefacts[Tensor]:
        """The unary network's labels, (H, W) int64: of training images among their tags, of held-out ones among all."""
        return self._artefacts(f"{ESTIMATE}/masks", ".png", lambda path, _: read_labels(path), held_out=True)

    @property
    def mean_soft(self) -> Artefacts[SoftMask]:
        """The mean of alpha_u of the training images over all rounds up to this one."""
        return _mean_of([this.soft for this in self._so_far()])

    @property
    def mean_refined_soft(self) -> Artefacts[SoftMask]:
        """The mean of alpha_p of the training images over all rounds up to this one."""
        return _mean_of([this.refined_soft for this in self._so_far()])

    def _so_far(self) -> list[Round]:
        return [Round(self.run, number, self.start) for number in range(1, self.number)] + [self]

    @property
    def mined(self) -> Artefacts[Seeds]:
        """Labels of the confident regions of the training images."""
        return self._artefacts(f"{MINE}/mined", ".png", lambda path, name: Seeds(name, read_labels(path)))

    @property
    def region_scores(self) -> Artefacts[Tensor]:
        """(R, 1 + C) float32: what the superpixels of the training images are, by the rounds since the second."""
        return self._artefacts(f"{MINE}/scores", ".npz", lambda path, _: read_region_scores(path))

    @property
    def refined_soft(self) -> Artefacts[SoftMask]:
        """alpha_p of the training images."""
        return self._artefacts(f"{REFINE}/soft", ".npz", read_soft_mask)

    @property
    def confidence(self) -> Artefacts[Tensor]:
        """Probability of the labels of `masks`, (H, W) float32 in [0, 1]."""
        return self._artefacts(f"{REFINE}/confidence", ".png", lambda path, _: read_unit(path), held_out=True)

    @property
    def masks(self) -> Artefacts[PseudoMask]:
        """The masks of alpha_p; those of training images teach the next round, if they were not sharpened."""

        def read(path: Path, name: str) -> PseudoMask:
            return PseudoMask(name, read_labels(path), self.confidence[name])

        return self._artefacts(f"{REFINE}/masks", ".png", read, held_out=True)

    @property
    def sharpened(self) -> Artefacts[Seeds]:
        """The masks of alpha_p of the training images after the dense CRF; they teach the next round."""
        return self._artefacts(f"{REFINE}/sharpened", ".png", lambda path, name: Seeds(name, read_labels(path)))

    @property
    def taught(self) -> Artefacts[Seeds] | Artefacts[PseudoMask]:
        """The round's best masks of the training images: the sharpened ones if there are any."""
        return self.sharpened if self.is_sharpened else self.masks

    @property
    def is_sharpened(self) -> bool:
        """Whether there are `sharpened` masks."""
        state = state_of(self.path / REFINE)
        return bool(state.get("finished") and state["summary"].get("sharpened", False))

    def check_whole(self, *, masks_only: bool = False) -> None:
        """Require that nothing of a finished stage has been deleted.

        Args:
            masks_only: only what scores and pictures are made of; not the weights and the probabilities.

        Raises:
            ValueError: naming the missing file, and what to do.
        """
        made: dict[str, list[Artefacts[Any]]] = {
            ESTIMATE: [self.unary],
            MINE: [self.mined],
            REFINE: [self.masks, self.confidence, *([self.sharpened] if self.is_sharpened else [])],
        }
        if not masks_only:
            made[ESTIMATE].append(self.soft)
            made[REFINE].append(self.refined_soft)
            if (self.path / MINE / "scores").is_dir():
                made[MINE].append(self.region_scores)
        for stage in self.summaries():
            files = [found.path_of(name) for found in made.get(stage, []) for name in found]
            if stage in {UNARY, PAIRWISE} and not masks_only:
                files.append(self.path / stage / "weights.safetensors")
            if missing := [file for file in files if not file.is_file()]:
                raise ValueError(
                    f"{missing[0]}: expected a file of a finished stage, found nothing ({len(missing)} missing). "
                    f"Delete {self.path / stage} and run again: the stage will be made anew."
                )

    def _artefacts(
        self, place: str, suffix: str, read: Callable[[Path, str], Record], *, held_out: bool = False
    ) -> Artefacts[Record]:
        def names() -> tuple[str, ...]:
            return self.run.names() + (self.run.names("val") if held_out else ())

        def path_of(name: str) -> Path:
            return self.path / place / f"{name}{suffix}"

        return Artefacts(names, lambda name: read(path_of(name), name), path_of)


def _mean_of(rounds: Sequence[Artefacts[SoftMask]]) -> Artefacts[SoftMask]:
    """The mean of each image's soft masks; nothing of it is kept on disk."""

    def read(name: str) -> SoftMask:
        softs = [found[name] for found in rounds]
        return replace(softs[-1], probabilities=torch.stack([soft.probabilities for soft in softs]).mean(dim=0))

    return Artefacts(lambda: tuple(rounds[-1]), read, rounds[-1].path_of)


def finished_rounds(run: RunFolder) -> int:
    """How many rounds of a run are finished, counted from the first."""
    count = 0
    while Round(run, count + 1).finished:
        count += 1
    return count


SUPERPIXELS = "em/superpixels"


def regions_of(run: RunFolder, name: str) -> Regions:
    """The superpixels of a training image.

    Args:
        run: with finished superpixels.
        name: of the image.

    Raises:
        ValueError: if they are not there.
    """
    path = run.path / SUPERPIXELS / "regions" / f"{name}.npz"
    if not path.is_file():
        raise ValueError(f"{path}: expected superpixels, found nothing. Delete {run.path / SUPERPIXELS} and run again.")
    return read_regions(path)
