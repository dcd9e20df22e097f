"""IAL, E-step: unary network -> alpha_u, tags applied (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tag2mask.learning.segmenting import image_probabilities, mask_of
from tag2mask.nets.looking import looking_copy
from tag2mask.ops.soft_masks import soft_mask, with_tags
from tag2mask.parallel import Turns, map_images
from tag2mask.runs.places import ESTIMATE, UNARY

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.segmenting import SegmentSettings
    from tag2mask.nets.segmenter import DeepLab
    from tag2mask.runs.round import Round
    from tag2mask.runtime import Runtime


@dataclass(frozen=True)
class EstimateSettings:
    """What the estimates of a round depend on besides the networks.

    Args:
        max_side: images with a longer side are shrunk to it.
        stride: image pixels per cell of the kept probabilities.
    """

    max_side: int
    stride: int


def estimate_unary(
    data: TagDataset, net: DeepLab, em_round: Round, settings: SegmentSettings, *, stride: int, runtime: Runtime
) -> None:
    """alpha_u of every training image, its tags applied, and the plain masks of held-out ones; or find it done.

    Args:
        data: images and tags.
        net: the unary network of the round.
        em_round: the round; ``soft/`` and ``masks/`` go there.
        settings: how the net was trained.
        stride: image pixels per cell of the kept probabilities.
        runtime: device, precision and seed.
    """
    title = f"{em_round.folder}/{ESTIMATE}"
    stage = em_round.run.open_stage(title, EstimateSettings(settings.max_side, stride), (f"{em_round.folder}/{UNARY}",))
    if stage.finished:
        return
    names, train = (*data.names, *data.val_names), set(data.names)
    turns, eval_net = Turns(runtime.device, settings.max_side), looking_copy(net, runtime)
    softs, masks = em_round.soft, em_round.unary

    def work(name: str) -> None:
        image = data[name]
        with turns.take(), runtime.inference(eval_net):
            probabilities = image_probabilities(image.pixels, eval_net, settings, runtime)
        if name in train:
            softs.write(name, soft_mask(image, probabilities, stride))
            probabilities = with_tags(probabilities, image.tags)
        # Last, because these say that the image is done.
        masks.write(name, mask_of(name, probabilities, image.image_size).labels)

    map_images(work, masks.missing(names), title)
    stage.finish(f"alpha_u of {len(names)} images", items=len(names))
