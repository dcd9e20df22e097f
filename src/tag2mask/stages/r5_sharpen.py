"""IAL, masks that end at the edges of the image: probabilities after a dense CRF, the background weighed by image.

Not published. AffinityNet's walk ends with a dense CRF; without one the rounds feed on their own blobs. And what the
networks call background is right for all images together, seldom for one: see `tag2mask.auto.choose`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tag2mask.auto.choose import choose_image_odds, choose_odds
from tag2mask.ops.refine import sharpened_labels
from tag2mask.parallel import map_images
from tag2mask.records import Seeds
from tag2mask.runs.image_numbers import Tally
from tag2mask.runs.places import CLASSIFY, REFINE, SHARPEN

if TYPE_CHECKING:
    from tag2mask.auto.judge import MaskJudge
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.ops.crf import CrfSettings
    from tag2mask.runs.round import Round
    from tag2mask.runs.stage_folder import Upstream


@dataclass(frozen=True)
class SharpenSettings:
    """What sharpened masks depend on besides the CRF and the judge.

    Args:
        max_side: the CRF works at no longer side than this; 0: at the image's size.
        averaged: the mean of alpha_p over the rounds so far is sharpened, instead of that of this round alone.
    """

    max_side: int
    averaged: bool


def sharpen_masks(
    data: TagDataset, em_round: Round, settings: SharpenSettings, *, crf: CrfSettings, judge: MaskJudge | None
) -> None:
    """The masks of alpha_p of every training image after the dense CRF, which teach the next round; or find it done.

    Args:
        data: images and tags.
        em_round: the round, with alpha_p; the masks go there.
        settings: at which size, and what of.
        crf: kernels of the dense CRF.
        judge: weighs background against objects in every image; None: as the networks do.
    """
    title = f"{em_round.folder}/{SHARPEN}"
    after: list[str | Upstream] = [f"{em_round.folder}/{REFINE}"]
    if judge is not None:
        after.append(em_round.of_start(CLASSIFY))
    stage = em_round.run.open_stage(title, (settings, crf), after)
    if stage.finished:
        return
    softs = em_round.mean_refined_soft if settings.averaged else em_round.refined_soft
    tally, sharpened = Tally(stage, "odds"), em_round.sharpened
    missing = tally.missing(sharpened, data.names, data.names)
    common = None
    if missing and judge is not None and any(bool(data.tags(name).any()) for name in data.names):
        # The same for what is missing after a stop: it follows from the probabilities alone.
        common = choose_odds(data, softs.__getitem__, judge).common

    def work(name: str) -> None:
        image, soft = data[name], softs[name]
        odds = 1.0
        if judge is not None and common is not None and len(soft.class_ids) > 0:
            odds = choose_image_odds(image, soft, judge, common)
        tally.add(name, {"odds": odds})
        sharpened.write(name, Seeds(name, sharpened_labels(image, soft, settings.max_side, crf, odds)))

    map_images(work, missing, title)
    odds = {f"{value:g}": count for value, count in tally.counts("odds", data.names).items()}
    stage.finish(f"sharpened masks of {len(data.names)} images", items=len(data.names), odds=odds)
