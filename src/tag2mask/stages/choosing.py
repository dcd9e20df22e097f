"""The "auto" of alpha, beta and t: chosen from the training images, without any ground truth.

Not published. Every candidate makes masks of some training images, the dense CRF refines them, and
`tag2mask.ops.separability` scores them by how well they split each image's colours. The candidate with the highest
mean wins. ``benchmarks/auto_choice.py`` compares its choices with the best fixed ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from tag2mask.data.transforms import limit_long_side, resize_image
from tag2mask.ops.cam import background_scores
from tag2mask.ops.crf import CrfSettings, DenseCrf
from tag2mask.ops.random_walk import random_walks
from tag2mask.ops.separability import colour_bins, colour_separability
from tag2mask.parallel import map_images

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from tag2mask.data.dataset import TagDataset
    from tag2mask.records import Cams, PixelAffinity, TaggedImage

logger = logging.getLogger(__name__)

ALPHAS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Candidates for alpha: an object begins at a score of 0.50, 0.38, 0.28, 0.19, 0.12, 0.07, 0.05, 0.03."""

BETAS = (2.0, 4.0, 8.0, 16.0, 32.0)
"""Candidates for beta."""

STEPS = (16, 64, 256)
"""Candidates for t."""

IMAGES = 48
"""How many training images are looked at."""

_SIDE = 160
"""Their long side in pixels: choosing needs no more."""


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why.

    Args:
        values: name -> chosen value.
        score: mean separability of the winner, in [0, 1].
        evidence: a table for the report: ``title``, ``columns``, ``rows``.
    """

    values: Mapping[str, float]
    score: float
    evidence: dict[str, Any]


def sample_names(data: TagDataset, count: int = IMAGES) -> list[str]:
    """Training images with a tag, spread evenly over the set."""
    tagged = [name for name in data.names if bool(data.tags(name).any())]
    picks = np.linspace(0, len(tagged) - 1, min(count, len(tagged))).round().astype(int)
    return [tagged[index] for index in dict.fromkeys(picks.tolist())]


class MaskJudge:
    """Scores masks of one image, made from maps and a background.

    Args:
        image: the image.
        crf: kernels at the image's own size; they are scaled along with it.
    """

    def __init__(self, image: TaggedImage, crf: CrfSettings) -> None:
        self.size = limit_long_side(image.size, _SIDE)
        small = resize_image(image.pixels, self.size).permute(1, 2, 0).contiguous().numpy()
        factor = max(self.size) / max(image.size)
        scaled = replace(
            crf, gaussian_sxy=crf.gaussian_sxy * factor, bilateral_sxy=crf.bilateral_sxy * factor, iterations=5
        )
        self._field = DenseCrf(small, scaled, threads=1)
        self._bins = colour_bins(small)

    def score(self, scores: Tensor) -> float:
        """Separability of the CRF-refined mask of (1 + K, h, w) scores, channel 0 the background."""
        large = F.interpolate(scores[None], self.size, mode="bilinear", align_corners=False)[0]
        probabilities = (large / large.sum(dim=0).clamp(min=1e-12)).clamp(0, 1)
        refined = self._field.refine(probabilities.numpy())
        return colour_separability(refined.argmax(axis=0) > 0, self._bins)


def choose_alpha(data: TagDataset, cams: Mapping[str, Cams], crf: CrfSettings) -> Choice:
    """The alpha at which CRF-refined maps split the colours best.

    Args:
        data: images.
        cams: their maps.
        crf: kernels of the dense CRF.

    Returns:
        With the value ``alpha``.
    """
    names = sample_names(data)

    def judged(name: str) -> list[float]:
        judge, maps = MaskJudge(data[name], crf), cams[name].scores
        return [judge.score(torch.cat([background_scores(maps, alpha)[None], maps])) for alpha in ALPHAS]

    found = np.mean(map_images(judged, names, "choosing alpha"), axis=0)
    best = int(found.argmax())
    rows = [[f"{alpha:g}", f"{score:.3f}", "chosen" if index == best else ""]
            for index, (alpha, score) in enumerate(zip(ALPHAS, found, strict=True))]  # fmt: skip
    title = f"CAM + CRF: how well the masks split the colours of {len(names)} images"
    _tell(title, ["alpha", "separability", ""], rows)
    return Choice(
        {"alpha": ALPHAS[best]},
        float(found[best]),
        {"title": title, "columns": ["alpha", "separability", ""], "rows": rows},
    )


def choose_walk(
    data: TagDataset,
    maps_of: Callable[[str], tuple[Tensor, PixelAffinity]],
    crf: CrfSettings,
    *,
    alphas: Sequence[float] = ALPHAS,
    betas: Sequence[float] = BETAS,
    steps: Sequence[int] = STEPS,
) -> Choice:
    """The alpha, beta and t at which walked and CRF-refined maps split the colours best.

    Args:
        data: images.
        maps_of: name -> maps (K, h, w) averaged over the cells of the affinity, and that affinity.
        crf: kernels of the dense CRF.
        alphas: candidates.
        betas: candidates.
        steps: candidates, ascending.

    Returns:
        With the values ``alpha``, ``beta`` and ``steps``.
    """
    names = sample_names(data)

    def judged(name: str) -> list[list[list[float]]]:
        judge = MaskJudge(data[name], crf)
        maps, affinity = maps_of(name)
        # The walk is linear: all backgrounds walk along in one go.
        start = torch.cat([maps, *(background_scores(maps, alpha)[None] for alpha in alphas)])
        return [
            [
                [judge.score(torch.cat([background[None], walked[: len(maps)]])) for background in walked[len(maps) :]]
                for _, walked in random_walks(start, affinity, beta=beta, steps=steps)
            ]
            for beta in betas
        ]

    found = np.mean(map_images(judged, names, "choosing alpha, beta and t"), axis=0)
    best = tuple(int(place) for place in np.unravel_index(int(found.argmax()), found.shape))
    values = {"alpha": alphas[best[2]], "beta": betas[best[0]], "steps": steps[best[1]]}
    columns = ["beta", "t", *(f"alpha {alpha:g}" for alpha in alphas)]
    rows = [
        [f"{beta:g}", str(step), *(f"{score:.3f}" for score in found[i, j])]
        for i, beta in enumerate(betas)
        for j, step in enumerate(steps)
    ]
    title = (
        f"walk + CRF: how well the masks split the colours of {len(names)} images; "
        f"best {found.max():.3f} at alpha {values['alpha']:g}, beta {values['beta']:g}, t {values['steps']}"
    )
    _tell(title, columns, rows)
    return Choice(values, float(found.max()), {"title": title, "columns": columns, "rows": rows})


def _tell(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Log a table in aligned columns."""
    widths = [max(len(line[i]) for line in [columns, *rows]) for i in range(len(columns))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in [columns, *rows]
    ]
    logger.info("%s\n%s", title, "\n".join(lines))
