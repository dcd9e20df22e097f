"""Maps and dense CRF -> seeds: sure object, sure background, unsure (Ahn & Kwak, CVPR 2018, section 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F

from tag2mask.auto.choose import Choice, choose_alpha
from tag2mask.ops.cam import as_probabilities, with_background
from tag2mask.ops.crf import CrfSettings, DenseCrf
from tag2mask.ops.refine import image_for_crf
from tag2mask.ops.seeds import labels_of_scores, scores_of_seeds, seed_labels
from tag2mask.ops.sizes import resize_labels, size_of
from tag2mask.parallel import map_images
from tag2mask.records import Seeds, SeedScores
from tag2mask.runs.places import SEED as STAGE

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.auto.judge import MaskJudge
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.datasets.outside_maps import OutsideMaps
    from tag2mask.records import Cams, Evidence, TaggedImage
    from tag2mask.runs.artefacts import Artefacts
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runs.stage_folder import StageFolder

HIGH_OVER_LOW = 6.0
"""The high alpha over the low one, as published (24 and 4), where "auto" chooses the low one."""


@dataclass(frozen=True)
class SeedSettings:
    """Which pixels become seeds. The background score is (1 - max CAM) ** alpha.

    Args:
        alpha_object: an object must beat the background at this exponent (paper and authors: 4); "auto" chooses
            it from the images, see `tag2mask.auto.choose`.
        alpha_background: the background must beat every object even at this one (paper: 24, authors: 32).
        max_side: images with a longer side are shrunk to it for the CRF; 0 means never. Bounds time and memory.
        score_stride: image pixels per cell of the kept score maps.
    """

    alpha_object: float | Literal["auto"] = "auto"
    alpha_background: float | Literal["auto"] = "auto"
    max_side: int = 1024
    score_stride: int = 2

    def sides(self) -> tuple[float, ...]:
        """Long sides in pixels at which it looks at images; 0 means their own size."""
        return (self.max_side,)

    @classmethod
    def paper(cls) -> SeedSettings:
        """The published exponents, at full size."""
        return cls(alpha_object=4.0, alpha_background=24.0, max_side=0, score_stride=1)

    @classmethod
    def quick(cls, image_side: int = 320) -> SeedSettings:
        """For a CPU.

        Args:
            image_side: typical long side of the images in pixels.
        """
        return cls(max_side=image_side)


def refined_scores(crf: DenseCrf, cams: Cams, alpha: float, size: tuple[int, int]) -> Tensor:
    """Maps with a background at one alpha, refined by the CRF: (1 + K, H, W) float32 in [0, 1]."""
    maps = F.interpolate(cams.scores[None], size, mode="bilinear", align_corners=False)[0]
    return torch.from_numpy(crf.refine(as_probabilities(with_background(maps, alpha)).numpy()))


def image_seeds(
    image: TaggedImage, cams: Cams, alphas: tuple[float, float], settings: SeedSettings, crf: CrfSettings
) -> tuple[SeedScores, Tensor, Tensor]:
    """One image: kept scores, seeds (H, W) and CAM + CRF labels (H, W), both int64."""
    if len(cams.class_ids) == 0:
        kept = tuple(math.ceil(side / settings.score_stride) for side in image.image_size)
        blank = torch.ones((1, *kept))
        background = torch.zeros(image.image_size, dtype=torch.int64)
        return SeedScores(image.name, cams.class_ids, blank, blank), background, background
    small = image_for_crf(image, settings.max_side)
    size = (small.shape[0], small.shape[1])
    field = DenseCrf(small, crf, threads=1)
    low, high = (refined_scores(field, cams, alpha, size) for alpha in alphas)
    seeds = seed_labels(low, high, cams.class_ids)
    refined = labels_of_scores(low, cams.class_ids)
    kept = tuple(math.ceil(side / settings.score_stride) for side in size)
    pooled = (F.interpolate(maps[None], kept, mode="area")[0].clamp(0, 1) for maps in (low, high))
    full = [resize_labels(labels, image.image_size) for labels in (seeds, refined)]
    return SeedScores(image.name, cams.class_ids, *pooled), full[0], full[1]


def given_scores(seeds: Seeds, scores: SeedScores) -> SeedScores:
    """Scores that give the seeds of another method, at the size of the maps that they replace.

    Args:
        seeds: at the image's size.
        scores: of the same image's maps.
    """
    both = scores_of_seeds(seeds.labels, scores.class_ids)
    low, high = (F.interpolate(one[None], size_of(scores.low), mode="area")[0].clamp(0, 1) for one in both)
    return SeedScores(seeds.name, scores.class_ids, low, high)


def make_seeds(
    data: TagDataset,
    cams: Artefacts[Cams],
    run: RunFolder,
    settings: SeedSettings,
    *,
    crf: CrfSettings,
    judge: MaskJudge | None = None,
    outside: OutsideMaps | None = None,
) -> Artefacts[SeedScores]:
    """Make the seeds of every image, or find them made.

    Args:
        data: images.
        cams: of `make_cams`.
        run: where the seeds go.
        settings: the two exponents, and the size at which the CRF works.
        crf: kernels of the dense CRF.
        judge: chooses an alpha of "auto"; not needed with fixed ones.
        outside: where seeds of another method are; the stage before depends on them, too.

    Returns:
        The CRF-refined maps at both alphas, read from disk when asked for; ``run.seeds`` has the labels.
    """
    stage = run.open_stage(STAGE, (settings, crf), after=("02_localize",))
    if stage.finished:
        return run.seed_scores
    all_scores, all_seeds, all_refined = run.seed_scores, run.seeds, run.cam_crf
    alphas, evidence = _alphas(data, cams, stage, settings, judge)

    def work(name: str) -> None:
        image = data[name]
        scores, seeds, refined = image_seeds(image, cams[name], alphas, settings, crf)
        if outside is not None and (given := outside.seeds(image)) is not None:
            seeds, scores = given.labels, given_scores(given, scores)
        all_seeds.write(name, Seeds(name, seeds))
        all_refined.write(name, refined)
        # Last, because these say that the image is done.
        all_scores.write(name, scores)

    map_images(work, all_scores.missing(data.names), STAGE)
    stage.finish(
        f"seeds of {len(data.names)} images, alpha {alphas[0]:g} and {alphas[1]:g}",
        items=len(data.names),
        chosen={"alpha_object": alphas[0], "alpha_background": alphas[1]},
        evidence=evidence,
    )
    return all_scores


def _alphas(
    data: TagDataset, cams: Artefacts[Cams], stage: StageFolder, settings: SeedSettings, judge: MaskJudge | None
) -> tuple[tuple[float, float], Evidence | None]:
    """The two exponents, and why, if they were chosen; an earlier start of this stage may have chosen already."""
    low, high = settings.alpha_object, settings.alpha_background
    if low != "auto" and high != "auto":
        return (float(low), float(high)), None
    choice = stage.noted("choice", Choice)
    if choice is None:
        if judge is None:
            raise ValueError(f"{STAGE}: alpha is 'auto', which needs a judge of masks. Give one, or fixed alphas.")
        choice = choose_alpha(data, cams, judge)
        stage.note("choice", choice)
    best = choice.values["alpha"]
    return (
        best if low == "auto" else float(low),
        HIGH_OVER_LOW * best if high == "auto" else float(high),
    ), choice.evidence
