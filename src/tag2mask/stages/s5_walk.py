"""Maps and affinity -> pseudo masks (Ahn & Kwak, CVPR 2018, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F

from tag2mask.auto.choose import ALPHAS, BETAS, STEPS, Choice, choose_image_alpha, choose_walk
from tag2mask.checks import check_number
from tag2mask.ops.affinity import boundary_strength
from tag2mask.ops.cam import with_background
from tag2mask.ops.random_walk import random_walk
from tag2mask.ops.refine import crf_probabilities
from tag2mask.ops.seeds import labels_of_scores
from tag2mask.ops.sizes import resize_labels, size_of
from tag2mask.parallel import map_images
from tag2mask.records import Cams, PixelAffinity, PseudoMask
from tag2mask.runs.image_numbers import Tally
from tag2mask.runs.places import SEED
from tag2mask.runs.places import WALK as STAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from tag2mask.auto.judge import MaskJudge
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.learned_pairs import LearnedPairs
    from tag2mask.ops.crf import CrfSettings
    from tag2mask.records import Evidence, TaggedImage
    from tag2mask.runs.artefacts import Artefacts
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runs.stage_folder import StageFolder

FLATTENED = 1.5
"""Times the alpha of the seeds, of a walk with "seeds"."""

_NO_JUDGE = f"{STAGE}: a value is 'auto', which needs a judge of masks. Give one, or fixed values."


@dataclass(frozen=True)
class WalkSettings:
    """How scores spread, and how the spread scores become masks.

    Args:
        alpha: exponent of the background score that walks along (paper: 16); "auto" chooses this and the next
            two from the images, and then alpha once more for every image, see `tag2mask.auto.choose`; "seeds" takes
            1.5 times the alpha at which stage 3 found objects, since the walk flattens the maps a little.
        beta: sharpening of the affinity (paper: 8).
        steps: length t of the walk (paper: 256).
        max_side: images with a longer side are shrunk to it for the CRF; 0 means never. Bounds time and memory.
        bilateral_factor: times the CRF's weight of colours (paper: 1). What has walked up to borders needs less of it.
    """

    alpha: float | Literal["auto", "seeds"] = "auto"
    beta: float | Literal["auto"] = "auto"
    steps: int | Literal["auto"] = "auto"
    max_side: int = 1024
    bilateral_factor: float = 1.0

    def __post_init__(self) -> None:
        check_number("WalkSettings.bilateral_factor", self.bilateral_factor, 0)

    def sides(self) -> tuple[float, ...]:
        """Long sides in pixels at which it looks at images; 0 means their own size."""
        return (self.max_side,)

    @classmethod
    def paper(cls) -> WalkSettings:
        """The published walk."""
        return cls(alpha=16.0, beta=8.0, steps=256, max_side=0)

    @classmethod
    def quick(cls, image_side: int = 320, *, pretrained: bool = False) -> WalkSettings:
        """For a CPU.

        Args:
            image_side: typical long side of the images in pixels.
            pretrained: the classifier started from ImageNet weights. Then its maps are sure, so that one alpha suits
                all images, while what it sees in ever larger masks misleads the choice. This beta and t are within 1.5
                points of the best of 24 to 81 fixed walks, both on scenes and on photographs; there, half the weight
                of colours is worth 3 points, and on scenes it costs nothing (docs/results.md).
        """
        if pretrained:
            return cls(alpha="seeds", beta=8.0, steps=64, max_side=image_side, bilateral_factor=0.5)
        return cls(max_side=image_side)


@dataclass(frozen=True)
class Walk:
    """The values that a walk is made with.

    Args:
        alpha: of the background.
        beta: of the affinity.
        steps: of the walk.
        common: how every candidate alpha does on all images, where each image takes its own; None: all take `alpha`.
    """

    alpha: float
    beta: float
    steps: int
    common: tuple[tuple[float, float, float], ...] | None = None


def cell_maps(cams: Cams, grid: tuple[int, int]) -> Tensor:
    """Maps averaged over the cells of the affinity map: (K, h, w) float32."""
    return F.interpolate(cams.scores[None], grid, mode="area")[0]


def image_mask(
    image: TaggedImage, cams: Cams, affinity: PixelAffinity, walk: Walk, *, max_side: int, crf: CrfSettings
) -> tuple[Tensor, PseudoMask]:
    """One image: labels of the walk in front of the CRF, (H, W) int64, and the pseudo mask.

    Args:
        image: its pixels guide the CRF.
        cams: its maps.
        affinity: of `image_affinity`.
        walk: how scores spread.
        max_side: the CRF works at no longer side than this.
        crf: its kernels.
    """
    if len(cams.class_ids) == 0:
        background = torch.zeros(image.image_size, dtype=torch.int64)
        return background, PseudoMask(image.name, background, torch.ones(image.image_size))
    maps = with_background(cell_maps(cams, size_of(affinity.values)), walk.alpha)
    walked = random_walk(maps, affinity, beta=walk.beta, steps=walk.steps)
    scores, refined = crf_probabilities(image, walked, max_side, crf)
    before = resize_labels(labels_of_scores(scores, cams.class_ids), image.image_size)
    labels = resize_labels(labels_of_scores(refined, cams.class_ids), image.image_size)
    confidence = F.interpolate(refined.amax(dim=0)[None, None], image.image_size, mode="bilinear", align_corners=False)
    return before, PseudoMask(image.name, labels, confidence[0, 0].clamp(0, 1))


def image_alpha(image: TaggedImage, cams: Cams, affinity: PixelAffinity, walk: Walk, judge: MaskJudge | None) -> float:
    """The alpha that one image's background walks with.

    Args:
        image: any tags.
        cams: its maps.
        affinity: of `image_affinity`.
        walk: with what is known of all images, if each takes its own alpha.
        judge: of masks; not needed if all images take the same.

    Raises:
        ValueError: if a judge is needed and there is none.
    """
    if walk.common is None or len(cams.class_ids) == 0:
        return walk.alpha
    if judge is None:
        raise ValueError(_NO_JUDGE)
    maps = cell_maps(cams, size_of(affinity.values))
    return choose_image_alpha(image, maps, affinity, judge, beta=walk.beta, steps=walk.steps, common=walk.common)


def walk_masks(
    data: TagDataset,
    cams: Artefacts[Cams],
    learned: LearnedPairs,
    run: RunFolder,
    settings: WalkSettings,
    *,
    crf: CrfSettings,
    judge: MaskJudge | None = None,
) -> Artefacts[PseudoMask]:
    """Make the pseudo mask of every image, or find them made.

    Args:
        data: images.
        cams: of `make_cams`.
        learned: which cells belong together.
        run: where the masks go.
        settings: how scores spread.
        crf: kernels of the dense CRF.
        judge: chooses an alpha, beta or t of "auto"; not needed with fixed ones.

    Returns:
        The pseudo masks, read from disk when asked for.
    """
    stage = run.open_stage(STAGE, (settings, crf), after=("02_localize", "04_affinity"))
    masks, walks, boundaries = run.masks, run.walks, run.boundaries
    if stage.finished:
        return masks
    crf = replace(crf, bilateral_weight=crf.bilateral_weight * settings.bilateral_factor)
    if settings.alpha == "seeds":
        settings = replace(settings, alpha=FLATTENED * float(run.chosen(SEED)["alpha_object"]))
    walk, evidence = _walk(data, cams, stage, settings, learned=learned, judge=judge)
    tally = Tally(stage)

    def work(name: str) -> None:
        image = data[name]
        affinity = learned.affinity(image)
        pairs = learned.walked(affinity)
        own = replace(walk, alpha=image_alpha(image, cams[name], pairs, walk, judge))
        tally.add(name, {"alpha": own.alpha})
        before, mask = image_mask(image, cams[name], pairs, own, max_side=settings.max_side, crf=crf)
        boundaries.write(name, boundary_strength(affinity.values, affinity.offsets))
        walks.write(name, before)
        # Last, because the mask says that the image is done.
        masks.write(name, mask)

    map_images(work, tally.missing(masks, data.names, data.names), STAGE)
    _finish(stage, data, walk, tally, evidence)
    return masks


def _finish(stage: StageFolder, data: TagDataset, walk: Walk, tally: Tally, evidence: Evidence | None) -> None:
    """Tell which alphas the images walked with, beside what all have in common."""
    tagged = [name for name in data.names if bool(data.tags(name).any())]
    alphas = {f"{alpha:g}": count for alpha, count in tally.counts("alpha", tagged).items()}
    if evidence and walk.common:
        images = ", ".join(f"{alpha} ({count} images)" for alpha, count in alphas.items())
        evidence = replace(evidence, title=f"{evidence.title}; then alpha for each image: {images}")
    span = _range(list(alphas))
    stage.finish(
        f"masks of {len(data.names)} images, alpha {span}, beta {walk.beta:g}, t {walk.steps}",
        items=len(data.names),
        chosen={"alpha": walk.alpha, "alphas": span, "beta": walk.beta, "steps": walk.steps},
        evidence=evidence,
    )


def _walk(
    data: TagDataset,
    cams: Artefacts[Cams],
    stage: StageFolder,
    settings: WalkSettings,
    *,
    learned: LearnedPairs,
    judge: MaskJudge | None,
) -> tuple[Walk, Evidence | None]:
    """The walk's values, and why, if any was chosen; an earlier start of this stage may have chosen already."""
    alpha, beta, steps = settings.alpha, settings.beta, settings.steps
    if alpha != "auto" and beta != "auto" and steps != "auto":
        return Walk(float(alpha), float(beta), int(steps)), None

    def maps_of(name: str) -> tuple[Tensor, PixelAffinity]:
        affinity = learned.walked(learned.affinity(data[name]))
        return cell_maps(cams[name], size_of(affinity.values)), affinity

    choice = stage.noted("choice", Choice)
    if choice is None:
        if judge is None:
            raise ValueError(_NO_JUDGE)
        choice = choose_walk(
            data,
            maps_of,
            judge,
            alphas=ALPHAS if alpha == "auto" else (float(alpha),),
            betas=BETAS if beta == "auto" else (float(beta),),
            steps=STEPS if steps == "auto" else (int(steps),),
        )
        stage.note("choice", choice)
    chosen = choice.values
    common = choice.common if alpha == "auto" else None
    return Walk(float(chosen["alpha"]), float(chosen["beta"]), int(chosen["steps"]), common), choice.evidence


def _range(values: Sequence[str]) -> str:
    """``4 to 64``; one value alone stands for itself."""
    return " to ".join(dict.fromkeys([values[0], values[-1]])) if values else "-"
