"""Artefacts and ground truth -> the score table: how good the masks of every stage are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from tag2mask.evaluation import Confusion, ScoreRow, ScoreTable, ThresholdSweep, decided_share
from tag2mask.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from tag2mask.data.dataset import TagDataset
    from tag2mask.data.store import RunFolder


def score_run(run: RunFolder, data: TagDataset) -> ScoreTable:
    """Score every stage that a run has finished.

    Args:
        run: the run folder.
        data: with ground-truth masks; images without one are passed over.

    Returns:
        Rows: CAM at its best constant background, CAM + CRF, seeds, walk, walk + CRF, segmenter on the training
        and on the held-out images.

    Raises:
        ValueError: if no image has a mask, or masks do not fit the images.
    """
    if not data.has_masks():
        raise ValueError(
            "no ground truth: expected masks/ with an indexed PNG per image beside images/, found none. "
            "Scores need truth; masks and the report do not."
        )
    known = {*data.names, *data.val_names}
    truth = _Truths(data)
    train = [name for name in run.names() if name in known and truth.has(name)]
    val = [name for name in run.names("val") if name in known and truth.has(name)]
    classes = len(data.class_names)
    rows = [row for row in (_cam_row(run, train, truth, classes),) if row is not None]

    def add(
        key: str,
        title: str,
        names: Sequence[str],
        labels: Callable[[str], Tensor],
        there: Callable[[str], bool],
        *,
        note: str = "",
    ) -> None:
        if names and all(there(name) for name in names):
            total = Confusion.empty(classes)
            for name in track(names, f"scoring {title}"):
                total += Confusion.of(truth[name], labels(name), classes)
            rows.append(ScoreRow(key, title, total, note))

    seeded, walked = run.chosen("03_seed"), run.chosen("05_walk")
    note = f"alpha {seeded['alpha_object']:g}" if seeded else ""
    add("cam_crf", "CAM + CRF", train, lambda name: run.cam_crf[name], lambda name: name in run.cam_crf, note=note)
    rows += [row for row in (_seed_row(run, train, truth, classes),) if row is not None]
    note = "alpha {alpha:g}, beta {beta:g}, t {steps}".format(**walked) if walked else ""
    add("walk", "walk", train, lambda name: run.walks[name], lambda name: name in run.walks, note=note)
    add("walk_crf", "walk + CRF", train, lambda name: run.masks[name].labels, lambda name: name in run.masks)
    for split, names in (("train", train), ("val", val)):
        add(
            f"segmenter_{split}",
            f"segmenter, {split}",
            names,
            lambda name: run.predictions[name].labels,
            lambda name: name in run.predictions,
        )
    return ScoreTable(data.class_names, tuple(rows))


class _Truths:
    """Ground truth by name, checked for existence without keeping it."""

    def __init__(self, data: TagDataset) -> None:
        self._data = data
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


def _cam_row(run: RunFolder, names: Sequence[str], truth: _Truths, classes: int) -> ScoreRow | None:
    if not names or any(name not in run.cams for name in names):
        return None
    sweep = ThresholdSweep(classes, torch.cat([torch.arange(0, 0.1, 0.01), torch.arange(0.1, 1.001, 0.02)]))
    for name in track(names, "scoring CAM"):
        cams = run.cams[name]
        mask = truth[name]
        size = (int(mask.shape[0]), int(mask.shape[1]))
        scores = cams.scores.new_zeros((0, *size))
        if len(cams.class_ids):
            scores = F.interpolate(cams.scores[None], size, mode="bilinear", align_corners=False)[0]
        sweep.add(mask, scores, cams.class_ids)
    constant, confusion = sweep.best()
    return ScoreRow("cam", "CAM", confusion, f"best constant background {constant:.2f}")


def _seed_row(run: RunFolder, names: Sequence[str], truth: _Truths, classes: int) -> ScoreRow | None:
    if not names or any(name not in run.seeds for name in names):
        return None
    total = Confusion.empty(classes)
    for name in track(names, "scoring seeds"):
        total += Confusion.of(truth[name], run.seeds[name].labels, classes, decided_only=True)
    covered = decided_share(run.seeds[name].labels for name in names)
    chosen = run.chosen("03_seed")
    note = "alpha {alpha_object:g} / {alpha_background:g}".format(**chosen) if chosen else ""
    return ScoreRow("seeds", "seeds", total, note, coverage=covered)
