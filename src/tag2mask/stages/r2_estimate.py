"""IAL, E-step: unary network -> alpha_u, tags applied (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tag2mask.disk import write_labels
from tag2mask.learning.segmenting import image_probabilities, mask_of
from tag2mask.nets.looking import fused_on
from tag2mask.ops.soft_masks import soft_mask, with_tags
from tag2mask.parallel import Turns, map_images
from tag2mask.runs.artefacts import write_soft_mask
from tag2mask.runs.round import ESTIMATE, UNARY

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.segmenting import SegmentSettings
    from tag2mask.nets.segmenter import Segmenter
    from tag2mask.runs.round import Round
    from tag2mask.runtime import Runtime


@dataclass(frozen=True)
class EstimateSettings:
    """What the estimates of a round depend on besides the networks.

    Args:
        max_side: images with a longer side are shrunk to it.
        stride: image pixels per cell of the kept probabilities.
        refined: whether there is a pairwise network.
        averaged: whether masks are sharpened from the mean of alpha_p over the rounds so far.
    """

    max_side: int
    stride: int
    refined: bool = True
    averaged: bool = False


def estimate_unary(
    data: TagDataset, net: Segmenter, this: Round, settings: SegmentSettings, *, stride: int, runtime: Runtime
) -> None:
    """alpha_u of every training image, its tags applied, and the plain masks of held-out ones; or find it done.

    Args:
        data: images and tags.
        net: the unary network of the round.
        this: the round; ``soft/`` and ``masks/`` go there.
        settings: how the net was trained.
        stride: image pixels per cell of the kept probabilities.
        runtime: where.
    """
    title = f"{this.folder}/{ESTIMATE}"
    stage = this.run.open_stage(title, EstimateSettings(settings.max_side, stride), (f"{this.folder}/{UNARY}",))
    if stage.finished:
        return
    classes = len(data.class_names)
    names = [f"masks/{name}" for name in (*data.names, *data.val_names)]
    train = set(data.names)
    turns, looking = Turns(runtime.device, settings.max_side), fused_on(net, runtime)

    def work(path: str) -> None:
        image = data[path.removeprefix("masks/")]
        with turns.take(), runtime.inference(looking):
            probabilities = image_probabilities(image.pixels, looking, settings, runtime)
        if image.name in train:
            soft = soft_mask(image, probabilities, stride)
            write_soft_mask(stage.file(f"soft/{image.name}", ".npz"), soft)
            probabilities = with_tags(probabilities, image.tags)
        mask = mask_of(image.name, probabilities, image.size)
        # Last, because this file says that the image is done.
        write_labels(stage.file(path, ".png"), mask.labels, classes)

    map_images(work, stage.missing(names, ".png"), title)
    stage.finish(f"alpha_u of {len(names)} images", items=len(names))
