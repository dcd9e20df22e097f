"""The EM rounds of a run: where their artefacts lie, how far they are, and with which settings they were made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from tag2mask.runs import artefacts
from tag2mask.runs.artefacts import Artefacts, Kind, MeanSoftMasks
from tag2mask.runs.places import (
    ESTIMATE,
    MINE,
    OPTIONAL,
    PAIRWISE,
    REFINE,
    ROUND_STAGES,
    ROUNDS,
    SHARPEN,
    SUPERPIXELS,
    UNARY,
)
from tag2mask.runs.stage_folder import (
    WEIGHTS,
    Upstream,
    check_weights,
    load_weights_file,
    settings_made_with,
    state_of,
    summary_of,
)

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.records import PseudoMask, Seeds, SoftMask
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runs.settings import Settings
    from tag2mask.runs.stage_summary import StageSummary

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
        self.folder = f"{ROUNDS}/{number}"
        self.path = run.path / self.folder

    @property
    def finished(self) -> bool:
        """Whether every stage is complete, and made from what the round's other stages hold now.

        A round that was begun anew with other settings and then stopped is not: it is half of the old ones.
        """
        states = {stage: state_of(self.path / stage) for stage in ROUND_STAGES}
        # Settings can do without some of them; whether masks will be sharpened, the stage before says.
        spare = {stage for stage in OPTIONAL if not states[stage]}
        if states[REFINE].get("summary", {}).get("sharpened", False):
            spare.discard(SHARPEN)
        needed = [state for stage, state in states.items() if stage not in spare]
        digest = self.run.manifest().digest if any(needed) else ""
        return all(state.get("finished", False) and self._is_current(state, digest) for state in needed)

    @property
    def outdated(self) -> bool:
        """Whether it was made from other images or tags than the run has now."""
        digest = self.run.manifest().digest
        return any(state_of(self.path / stage).get("digest", digest) != digest for stage in ROUND_STAGES)

    def _is_current(self, state: dict[str, Any], digest: str) -> bool:
        if state.get("digest", digest) != digest:
            return False
        after = {
            stage: key
            for stage, key in state["after"].items()
            if stage.startswith(f"{ROUNDS}/") and stage != SUPERPIXELS
        }
        return all(state_of(self.run.path / stage).get("key", "") == key for stage, key in after.items())

    def of_start(self, stage: str) -> str | Upstream:
        """A stage of the start as seen from the run: in the same folder, or in another one."""
        if self.start.path.resolve() == self.run.path.resolve():
            return stage
        return Upstream(stage, self.start.path)

    @property
    def before(self) -> str:
        """The folder of the round before, below the run's."""
        return f"{ROUNDS}/{self.number - 1}"

    def summaries(self) -> dict[str, StageSummary]:
        """Of every finished stage, what it told at its end."""
        found = {name: summary_of(self.path / name) for name in ROUND_STAGES}
        return {name: summary for name, summary in found.items() if summary is not None}

    def settings(self, stage: str, kind: type[Settings]) -> Settings:
        """The settings that a stage was made with, which ``run.json`` may have newer ones of.

        Args:
            stage: one that was begun.
            kind: their class.
        """
        return settings_made_with(self.path / stage, kind)

    def weights(self, stage: str) -> dict[str, Tensor]:
        """The trained weights of one of its stages.

        Raises:
            ValueError: if the file is missing or damaged.
        """
        return load_weights_file(self.path / stage / WEIGHTS)

    @property
    def soft(self) -> Artefacts[SoftMask]:
        """alpha_u of the training images."""
        return self._artefacts(artefacts.UNARY_SOFT)

    @property
    def unary(self) -> Artefacts[Tensor]:
        """The unary network's labels, (H, W) int64: of training images among their tags, of held-out ones among all."""
        return self._artefacts(artefacts.UNARY_MASKS)

    @property
    def mean_soft(self) -> MeanSoftMasks:
        """The mean of alpha_u of the training images over all rounds up to this one."""
        return MeanSoftMasks([em_round.soft for em_round in self._so_far()])

    @property
    def mean_refined_soft(self) -> MeanSoftMasks:
        """The mean of alpha_p of the training images over all rounds up to this one."""
        return MeanSoftMasks([em_round.refined_soft for em_round in self._so_far()])

    def _so_far(self) -> list[Round]:
        return [Round(self.run, number, self.start) for number in range(1, self.number)] + [self]

    @property
    def mined(self) -> Artefacts[Seeds]:
        """Labels of the confident regions of the training images."""
        return self._artefacts(artefacts.MINED)

    @property
    def region_scores(self) -> Artefacts[Tensor]:
        """(R, 1 + C) float32: what the superpixels of the training images are, by the rounds since the second."""
        return self._artefacts(artefacts.REGION_SCORES)

    @property
    def refined_soft(self) -> Artefacts[SoftMask]:
        """alpha_p of the training images."""
        return self._artefacts(artefacts.REFINED_SOFT)

    @property
    def masks(self) -> Artefacts[PseudoMask]:
        """The masks of alpha_p; those of training images teach the next round, if they were not sharpened."""
        return self._artefacts(artefacts.REFINED_MASKS)

    @property
    def sharpened(self) -> Artefacts[Seeds]:
        """The masks of alpha_p of the training images after the dense CRF; they teach the next round."""
        return self._artefacts(artefacts.SHARPENED)

    @property
    def taught(self) -> Artefacts[Seeds] | Artefacts[PseudoMask]:
        """The round's best masks of the training images: the sharpened ones if there are any."""
        return self.sharpened if self.is_sharpened else self.masks

    @property
    def is_sharpened(self) -> bool:
        """Whether there are `sharpened` masks."""
        return SHARPEN in self.summaries()

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
            REFINE: [self.masks],
            SHARPEN: [self.sharpened],
        }
        if not masks_only:
            made[ESTIMATE].append(self.soft)
            made[REFINE].append(self.refined_soft)
            if self.region_scores.folder.is_dir():
                made[MINE].append(self.region_scores)
        digest = self.run.manifest().digest
        for stage in self.summaries():
            if state_of(self.path / stage).get("digest", digest) != digest:
                continue  # It will be made anew, or passed over; it need not have files of images that are new.
            for found in made.get(stage, []):
                found.check()
            if stage in {UNARY, PAIRWISE} and not masks_only:
                check_weights(self.path / stage)

    def _artefacts(self, kind: Kind[Record]) -> Artefacts[Record]:
        return Artefacts(kind, self.path, self.run)
