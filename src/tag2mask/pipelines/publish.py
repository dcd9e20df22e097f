"""What a run came to: its scores, ``score.json`` and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tag2mask.datasets.usable_masks import usable_masks
from tag2mask.disk import write_json
from tag2mask.report.page import write_report
from tag2mask.scores.score import score, score_rounds

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.scores.round_table import RoundTable
    from tag2mask.scores.score_table import ScoreTable


@dataclass(frozen=True, eq=False)
class Results:
    """The scores of a run.

    Args:
        stages: a row per stage of AffinityNet; None without ground truth, or without such a stage.
        rounds: a row per EM round of IAL; None without rounds.
    """

    stages: ScoreTable | None
    rounds: RoundTable | None


def score_all(run: RunFolder, data: TagDataset, *, needed: bool = False) -> Results:
    """Score every stage and every EM round that a run has finished.

    Args:
        run: the run folder.
        data: images, and true masks if there are any.
        needed: nothing to score, neither truth nor rounds, is an error.

    Raises:
        ValueError: if a mask of a finished round has been deleted, or see `needed`.
    """
    data = usable_masks(data)
    rounds = score_rounds(run, data)
    stages = score(run, data) if data.has_masks() or (needed and not rounds.rows) else None
    if needed and stages is not None and not stages.rows and data.bad:
        raise ValueError(f"expected true masks to score with, found none that can be used: {data.first_bad()}")
    return Results(stages if stages and stages.rows else None, rounds if rounds.rows else None)


def write_scores(run: RunFolder, results: Results) -> Path | None:
    """Write ``score.json`` into the run folder: ``{"stages": {...}, "rounds": [...]}``, null where a number is missing.

    Args:
        run: the run folder.
        results: of `score_all`.

    Returns:
        Its path; None, and nothing written, if there is nothing to tell.
    """
    tables = [table.as_dict() for table in (results.stages, results.rounds) if table is not None]
    if not tables:
        return None
    path = run.path / "score.json"
    write_json(path, {key: value for table in tables for key, value in table.items()})
    return path


def publish(run: RunFolder, data: TagDataset) -> Results:
    """Score a run, and write ``score.json`` (if there is anything to tell) and ``report.html`` into its folder.

    Args:
        run: the run folder.
        data: its images.
    """
    data = usable_masks(data)
    results = score_all(run, data)
    write_scores(run, results)
    write_report(run, data, results.stages, results.rounds)
    return results
