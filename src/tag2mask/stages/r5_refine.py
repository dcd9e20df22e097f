"""IAL, E-step: unary network -> alpha_u -> pairwise network -> alpha_p, tags applied (Wang et al., IJCV 2020)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from tag2mask.disk import write_labels, write_unit
from tag2mask.learning.pairwise import apply_pairwise
from tag2mask.learning.segmenting import image_probabilities, mask_of
from tag2mask.nets.looking import fused_on
from tag2mask.nets.spn import resize_maps
from tag2mask.ops.energy import smoothness_energy
from tag2mask.ops.sizes import size_of
from tag2mask.ops.soft_masks import soft_mask, with_tags
from tag2mask.ops.superpixels import resize_regions
from tag2mask.parallel import Turns, map_images
from tag2mask.runs.artefacts import write_soft_mask
from tag2mask.runs.image_numbers import Tally
from tag2mask.runs.round import ESTIMATE, MINE, PAIRWISE, REFINE
from tag2mask.stages.r2_estimate import EstimateSettings
from tag2mask.stages.r5_sharpen import sharpen_masks

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.auto.judge import MaskJudge
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.pairwise import PairwiseSettings
    from tag2mask.learning.segmenting import SegmentSettings
    from tag2mask.nets.segmenter import Segmenter
    from tag2mask.nets.spn import PairwiseNetwork
    from tag2mask.ops.crf import CrfSettings
    from tag2mask.records import TaggedImage
    from tag2mask.runs.round import Round
    from tag2mask.runs.stage_folder import StageFolder
    from tag2mask.runtime import Runtime


def refine_masks(
    data: TagDataset,
    this: Round,
    unary: Segmenter,
    pairwise: PairwiseNetwork | None,
    *,
    settings: SegmentSettings,
    how: PairwiseSettings,
    crf: CrfSettings | None,
    judge: MaskJudge | None,
    averaged: bool,
    runtime: Runtime,
) -> None:
    """alpha_p = G alpha_u: the masks of the next round, and the energies; or find it done.

    Args:
        data: images and tags.
        this: the round, with alpha_u and the mined labels; ``soft/``, ``masks/``, ``confidence/`` and
            ``sharpened/`` go there.
        unary: for alpha_u of the held-out images.
        pairwise: gives G; None: alpha_p is alpha_u.
        settings: how the unary network was trained.
        how: the pairwise network.
        crf: kernels of the dense CRF that sharpens the masks of training images; None: they are not sharpened.
        judge: weighs background against objects in every image that is sharpened; None: as the networks do.
        averaged: the mean of alpha_p over the rounds so far is sharpened, instead of that of this round alone.
        runtime: where.
    """
    title = f"{this.folder}/{REFINE}"
    after = tuple(f"{this.folder}/{name}" for name in (ESTIMATE, MINE, PAIRWISE))
    if judge is not None:
        after += (this.of_start("01_classify"),)
    estimate = EstimateSettings(how.max_side, how.stride, pairwise is not None, averaged and crf is not None)
    stage = this.run.open_stage(title, estimate if crf is None else (estimate, crf), after)
    if stage.finished:
        return
    names, train = (*data.names, *data.val_names), set(data.names)
    tally, turns = Tally(stage), Turns(runtime.device, how.max_side)
    unary = fused_on(unary, runtime)
    pairwise = None if pairwise is None else fused_on(pairwise, runtime)

    def work(name: str) -> None:
        image = data[name]
        with turns.take(), runtime.inference(unary), nullcontext() if pairwise is None else runtime.inference(pairwise):
            if name in train:
                refined = _refine_training(image, this, pairwise, how, stage=stage, tally=tally, runtime=runtime)
            if name not in train or pairwise is None:
                # Of training images alpha_u is kept at cells; where nothing refines it, the mask is the unary one.
                alpha = image_probabilities(image.pixels, unary, settings, runtime)
                [refined] = apply_pairwise(image.pixels, alpha, pairwise, how, runtime)
        mask = mask_of(name, with_tags(refined, image.tags) if name in train else refined, image.size)
        write_unit(stage.file(f"confidence/{name}", ".png"), mask.confidence)
        # Last, because this file says that the image is done.
        write_labels(stage.file(f"masks/{name}", ".png"), mask.labels, len(data.class_names))

    map_images(work, tally.missing("masks", ".png", names, counted=data.names), title)
    softs = this.mean_refined_soft if averaged else this.refined_soft
    odds = {} if crf is None else sharpen_masks(data, softs, stage, max_side=how.max_side, crf=crf, judge=judge)
    energy = {key: total / len(data.names) for key, total in tally.sums(data.names).items()}
    unrefined, mined, refined_to = (f"{1e6 * energy[key]:.1f}" for key in ("unary", "mined", "refined"))
    stage.finish(
        f"masks of {len(names)} images, energy in millionths {unrefined} -> {refined_to}, with mined labels {mined}",
        items=len(names),
        energy=energy,
        sharpened=crf is not None,
        odds=odds,
    )


def _refine_training(
    image: TaggedImage,
    this: Round,
    pairwise: PairwiseNetwork | None,
    how: PairwiseSettings,
    *,
    stage: StageFolder,
    tally: Tally,
    runtime: Runtime,
) -> Tensor:
    """alpha_p of a training image, (1 + C, h, w) at the network's cells; its soft mask and its energies are kept."""
    alpha = this.soft[image.name].spread(len(image.tags))
    refined, again = apply_pairwise(image.pixels, alpha, pairwise, how, runtime, times=2)
    tally.add(image.name, _energies(alpha, refined, again, this.mined[image.name].labels))
    write_soft_mask(stage.file(f"soft/{image.name}", ".npz"), soft_mask(image, refined, 1))
    return refined


def _energies(alpha: Tensor, refined: Tensor, again: Tensor, mined: Tensor) -> dict[str, float]:
    """Of one image: J of alpha_u, Y^T L alpha_u with the mined labels Y, and J of alpha_p."""
    size = size_of(refined)
    # L alpha = alpha - G alpha needs both of the same alpha.
    alpha = resize_maps(alpha[None], size)[0]
    target = resize_regions(mined, size)
    return {
        "unary": float(smoothness_energy(alpha[None], refined[None])),
        "mined": float(smoothness_energy(alpha[None], refined[None], target[None])),
        "refined": float(smoothness_energy(refined[None], again[None])),
    }
