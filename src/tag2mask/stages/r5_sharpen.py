"""IAL, masks that end at the edges of the image: probabilities after a dense CRF, the background weighed by image.

Not published. AffinityNet's walk ends with a dense CRF; without one the rounds feed on their own blobs. And what the
networks call background is right for all images together, seldom for one: see `tag2mask.auto.choose`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from tag2mask.auto.choose import choose_image_odds, choose_odds, with_odds
from tag2mask.ops.seeds import labels_of_scores
from tag2mask.parallel import map_images
from tag2mask.runs.artefacts import write_labels
from tag2mask.runs.image_numbers import Tally
from tag2mask.stages.s3_seed import crf_probabilities, resize_labels

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.auto.judge import MaskJudge
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.ops.crf import CrfSettings
    from tag2mask.records import SoftMask, TaggedImage
    from tag2mask.runs.run_folder import Artefacts
    from tag2mask.runs.stage_folder import StageFolder


def sharpened_labels(image: TaggedImage, soft: SoftMask, max_side: int, crf: CrfSettings, odds: float = 1.0) -> Tensor:
    """Labels of an image's probabilities after the dense CRF: objects end at edges of the image.

    Args:
        image: its pixels guide the CRF.
        soft: alpha_u or alpha_p.
        max_side: the CRF works at no longer side than this; 0: at the image's size.
        crf: its kernels.
        odds: what the odds of the background are multiplied with first.

    Returns:
        (H, W) int64: 0, 1..C.
    """
    if len(soft.class_ids) == 0:
        return torch.zeros(image.size, dtype=torch.int64)
    _, refined = crf_probabilities(image, with_odds(soft.probabilities, odds), max_side, crf)
    return resize_labels(labels_of_scores(refined, soft.class_ids), image.size)


def soft_labels(soft: SoftMask) -> Tensor:
    """The likeliest labels of an image's probabilities, (H, W) int64: 0, 1..C.

    Args:
        soft: alpha_u or alpha_p; enlarged to the image first.
    """
    whole = F.interpolate(soft.probabilities[None], soft.image_size, mode="bilinear", align_corners=False)[0]
    return labels_of_scores(whole, soft.class_ids)


def sharpen_masks(
    data: TagDataset,
    softs: Artefacts[SoftMask],
    stage: StageFolder,
    *,
    max_side: int,
    crf: CrfSettings,
    judge: MaskJudge | None,
) -> dict[str, int]:
    """The sharpened labels of the probabilities of every training image; those that are made already stay.

    Args:
        data: images and tags.
        softs: alpha_p, or its mean over the rounds.
        stage: the unfinished stage; ``sharpened/`` goes there.
        max_side: the CRF works at no longer side than this; 0: at the image's size.
        crf: its kernels.
        judge: chooses the odds of every image; None: they stay as they are.

    Returns:
        How many images got which odds.
    """
    tally, classes = Tally(stage, "odds"), len(data.class_names)
    missing = tally.missing("sharpened", ".png", data.names, data.names)
    common = None
    if missing and judge is not None and any(bool(data.tags(name).any()) for name in data.names):
        # The same for what is missing after a stop: it follows from the probabilities alone.
        common = choose_odds(data, softs.__getitem__, judge).judged

    def work(name: str) -> None:
        image, soft = data[name], softs[name]
        odds = 1.0
        if judge is not None and common is not None and len(soft.class_ids) > 0:
            odds = choose_image_odds(image, soft, judge, common)
        tally.add(name, {"odds": odds})
        write_labels(
            stage.file(f"sharpened/{name}", ".png"), sharpened_labels(image, soft, max_side, crf, odds), classes
        )

    map_images(work, missing, f"{stage.name} sharpen")
    return {f"{odds:g}": count for odds, count in tally.counts("odds", data.names).items()}
