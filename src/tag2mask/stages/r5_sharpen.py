"""IAL, masks that end at the edges of the image: probabilities after a dense CRF, the background weighed by image.

Not published. AffinityNet's walk ends with a dense CRF; without one the rounds feed on their own blobs. And what the
networks call background is right for all images together, seldom for one: see `tag2mask.auto.choose`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.auto.choose import choose_image_odds, choose_odds
from tag2mask.disk import write_labels
from tag2mask.ops.refine import sharpened_labels
from tag2mask.parallel import map_images
from tag2mask.runs.image_numbers import Tally

if TYPE_CHECKING:
    from tag2mask.auto.judge import MaskJudge
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.ops.crf import CrfSettings
    from tag2mask.records import SoftMask
    from tag2mask.runs.run_folder import Artefacts
    from tag2mask.runs.stage_folder import StageFolder


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
