"""Artefacts and ground truth -> the score table: how good the masks of every stage are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from tag2mask.datasets.usable_masks import usable_masks
from tag2mask.labels import IGNORE
from tag2mask.progress import track
from tag2mask.records import PseudoMask
from tag2mask.runs.places import REFINE
from tag2mask.runs.round import Round
from tag2mask.scores.confusion import Confusion, ThresholdSweep, decided_share
from tag2mask.scores.round_table import RoundScore, RoundTable
from tag2mask.scores.score_table import ScoreRow, ScoreTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.runs.run_folder import RunFolder


def score(run: RunFolder, data: TagDataset) -> ScoreTable:
    """Score every stage that a run has finished.

    Args:
        run: the run folder.
        data: with ground-truth masks; images without one are passed over, and so are masks that cannot be used,
            with a warning.

    Returns:
        Rows: CAM at its best constant background (maps of another method likewise), CAM + CRF, seeds, walk, walk + CRF,
        segmenter on the training and on the held-out images.

    Raises:
        ValueError: if no image has a mask.
    """
    if not data.has_masks():
        raise ValueError(
            "no ground truth: expected masks/ with an indexed PNG per image beside images/, found none. "
            "Scores need truth; masks and the report do not."
        )
    known = {*data.names, *data.val_names}
    data = usable_masks(data)
    truth = _Truths(data)
    train, val = ([name for name in run.names(s) if name in known and truth.has(name)] for s in ("train", "val"))
    seeded, walked = run.chosen("03_seed"), run.chosen("05_walk")
    crf_note = f"alpha {float(seeded['alpha_object']):g}" if seeded else ""
    walk_note = f"alpha {walked['alphas']}, beta {float(walked['beta']):g}, t {walked['steps']}" if walked else ""
    rows = [
        *_map_rows(run, train, truth),
        _mask_row("cam_crf", "CAM + CRF", train, run.cam_crf, truth, note=crf_note),
        _seed_row(run, train, truth),
        _mask_row("walk", "walk", train, run.walks, truth, note=walk_note),
        _mask_row("walk_crf", "walk + CRF", train, run.masks, truth),
        _mask_row("segmenter_train", "segmenter, train", train, run.predictions, truth),
        _mask_row("segmenter_val", "segmenter, val", val, run.predictions, truth),
    ]
    data.tell()
    return ScoreTable(data.class_names, tuple(row for row in rows if row is not None))


def score_rounds(run: RunFolder, data: TagDataset) -> RoundTable:
    """Score every finished EM round.

    Args:
        run: the run folder.
        data: images; ground-truth masks are used where there are any, and only for this. Those that cannot be used
            are passed over with a warning.

    Returns:
        One row per round; none without rounds. Without truth only agreement, coverage, energies and seconds are known.

    Raises:
        ValueError: if a mask of a finished round has been deleted.
    """
    data = usable_masks(data)
    truth = _Truths(data)
    last = run.last_round()
    rounds = [Round(run, number) for number in range(1, last.number + 1)] if last else []
    table = RoundTable(tuple(_score_round(em_round, data, truth) for em_round in rounds))
    data.tell()
    return table


def _score_round(em_round: Round, data: TagDataset, truth: _Truths) -> RoundScore:
    em_round.check_whole(masks_only=True)
    train, val = _names_of(em_round, data, truth)
    taught, classes = em_round.taught, truth.classes
    totals = {key: Confusion.empty(classes) for key in ("unary", "refined", "taught", "mined", "val", "refined_val")}
    agreeing = covered = pixels = 0
    for name in track(train, f"scoring round {em_round.number}"):
        unary, refined, mined = em_round.unary[name], em_round.masks[name].labels, em_round.mined[name].labels
        sure = mined != IGNORE
        covered += int(sure.sum())
        pixels += sure.numel()
        agreeing += int((sure & (unary == mined) & (refined == mined)).sum())
        if truth.has(name):
            true = truth[name]
            totals["unary"] += Confusion.of(true, unary, classes)
            totals["refined"] += Confusion.of(true, refined, classes)
            totals["taught"] += Confusion.of(true, taught[name].labels, classes)
            totals["mined"] += Confusion.of(true, mined, classes, decided_only=True)
    for name in track(val, f"scoring round {em_round.number}, held-out"):
        totals["val"] += Confusion.of(truth[name], em_round.unary[name], classes)
        totals["refined_val"] += Confusion.of(truth[name], em_round.masks[name].labels, classes)
    summaries = em_round.summaries()
    energy = summaries[REFINE].energy
    return RoundScore(
        number=em_round.number,
        unary_train=_mean_iou(totals["unary"]),
        refined_train=_mean_iou(totals["refined"]),
        taught_train=_mean_iou(totals["taught"]),
        unary_val=_mean_iou(totals["val"]),
        refined_val=_mean_iou(totals["refined_val"]),
        coverage=covered / max(1, pixels),
        precision=float(totals["mined"].precision().nanmean()),
        unary_precision=float(totals["unary"].precision().nanmean()),
        agreement=agreeing / covered if covered else math.nan,
        energy=energy.get("unary", math.nan),
        energy_mined=energy.get("mined", math.nan),
        energy_refined=energy.get("refined", math.nan),
        seconds=sum(summary.seconds for summary in summaries.values()),
    )


def _mean_iou(total: Confusion) -> float:
    """NaN where no true mask shows an object: a mean over the background alone would look like a perfect score."""
    return total.mean_iou() if total.has_objects() else math.nan


def _names_of(em_round: Round, data: TagDataset, truth: _Truths) -> tuple[list[str], list[str]]:
    """The training images of the run, and its held-out images that have a mask."""
    known = {*data.names, *data.val_names}
    train = [name for name in em_round.run.names() if name in known]
    return train, [name for name in em_round.run.names("val") if name in known and truth.has(name)]


class _Truths:
    """Ground truth by name, checked for existence without keeping it."""

    def __init__(self, data: TagDataset) -> None:
        self._data = data
        self.classes = len(data.class_names)
        self._there: dict[str, bool] = {}

    def has(self, name: str) -> bool:
        if name not in self._there:
            self._there[name] = self._data.mask(name) is not None
        return self._there[name]

    def __getitem__(self, name: str) -> Tensor:
        mask = self._data.mask(name)
        if mask is None:
            raise KeyError(name)
        return mask


def _mask_row(
    key: str,
    title: str,
    names: Sequence[str],
    masks: Mapping[str, Tensor | PseudoMask],
    truth: _Truths,
    *,
    note: str = "",
) -> ScoreRow | None:
    """None if a mask is not there."""
    if not names or any(name not in masks for name in names):
        return None
    total = Confusion.empty(truth.classes)
    for name in track(names, f"scoring {title}"):
        made = masks[name]
        total += Confusion.of(truth[name], made.labels if isinstance(made, PseudoMask) else made, truth.classes)
    return ScoreRow(key, title, total, note)


def _map_rows(run: RunFolder, names: Sequence[str], truth: _Truths) -> list[ScoreRow]:
    """Maps of the classifier and maps from outside, each at its best constant background."""
    if not names or any(name not in run.cams for name in names):
        return []
    constants = torch.cat([torch.arange(0, 0.1, 0.01), torch.arange(0.1, 1.001, 0.02)])
    sweeps = {outside: ThresholdSweep(truth.classes, constants) for outside in (True, False)}
    tagged = dict.fromkeys(sweeps, 0)
    for name in track(names, "scoring CAM"):
        cams, mask = run.cams[name], truth[name]
        size = (int(mask.shape[0]), int(mask.shape[1]))
        scores = cams.scores.new_zeros((0, *size))
        if len(cams.class_ids):
            scores = F.interpolate(cams.scores[None], size, mode="bilinear", align_corners=False)[0]
            tagged[cams.outside] += 1
        # Images without tags, which need no maps, count in both rows.
        for outside in (cams.outside,) if len(cams.class_ids) else sweeps:
            sweeps[outside].add(mask, scores, cams.class_ids)
    rows = []
    for outside, key, title in ((True, "outside", "outside maps"), (False, "cam", "CAM")):
        if tagged[outside] or not (outside or tagged[True]):
            constant, confusion = sweeps[outside].best()
            note = f"best constant background {constant:.2f}"
            note += f", the {tagged[outside]} images with such maps" * bool(tagged[True] and tagged[False])
            rows.append(ScoreRow(key, title, confusion, note))
    return rows


def _seed_row(run: RunFolder, names: Sequence[str], truth: _Truths) -> ScoreRow | None:
    if not names or any(name not in run.seeds for name in names):
        return None
    total = Confusion.empty(truth.classes)
    for name in track(names, "scoring seeds"):
        total += Confusion.of(truth[name], run.seeds[name].labels, truth.classes, decided_only=True)
    covered = decided_share(run.seeds[name].labels for name in names)
    chosen = run.chosen("03_seed")
    strengths = [f"{float(chosen[key]):g}" for key in ("alpha_object", "alpha_background") if key in chosen]
    note = f"alpha {' / '.join(strengths)}" if strengths else ""
    return ScoreRow("seeds", "seeds", total, note, coverage=covered)
