"""How good a mask is, without any ground truth: by the image's colours, the classifier and the mask's size.

Not published; `tag2mask.auto.choose` says why these three.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from tag2mask.nets.looking import looking_copy
from tag2mask.ops.cam import as_probabilities
from tag2mask.ops.crf import CrfSettings, DenseCrf
from tag2mask.ops.separability import colour_bins, colour_separability
from tag2mask.ops.sizes import limit_long_side, resize_image
from tag2mask.ops.windows import normalise
from tag2mask.parallel import Turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from tag2mask.nets.classifier import CamClassifier
    from tag2mask.records import TaggedImage
    from tag2mask.runtime import Runtime

_SIDE = 160
"""Long side in pixels at which masks are made and colours compared: choosing needs no more."""

_SEEN_AT = 0.75
"""Size at which the classifier looks, relative to the image: within what it was trained on, and cheaper."""


class MaskJudge:
    """Judges candidate masks of images by colours, classifier and size.

    Args:
        classifier: of the run; None: masks are judged by colours and size alone.
        crf: kernels at the images' own size; they are scaled along with it.
        runtime: where the classifier runs.
        max_side: images with a longer side are shrunk to it first; 0 means never.
    """

    def __init__(self, classifier: CamClassifier | None, crf: CrfSettings, runtime: Runtime, max_side: int) -> None:
        self._classifier, self._crf, self._runtime, self._max_side = classifier, crf, runtime, max_side
        self._turns = Turns(runtime.device, max_side)

    @cached_property
    def _eval_net(self) -> CamClassifier | None:
        """Made when it is first asked: a run that is finished judges nothing."""
        return None if self._classifier is None else looking_copy(self._classifier, self._runtime)

    def __call__(self, image: TaggedImage, candidates: Iterable[Tensor]) -> np.ndarray:
        """Judge the masks that several score maps of one image give.

        Args:
            image: with its tags.
            candidates: each (1 + K, h, w) scores, channel 0 the background.

        Returns:
            (candidates, 3): separability, evidence kept less left (1 without a classifier), share of the image.
        """
        full = limit_long_side(image.image_size, self._max_side)
        size = limit_long_side(full, _SIDE)
        small = resize_image(image.pixels, size).permute(1, 2, 0).contiguous().numpy()
        factor = max(size) / max(full)
        scaled = replace(
            self._crf,
            gaussian_sxy=self._crf.gaussian_sxy * factor,
            bilateral_sxy=self._crf.bilateral_sxy * factor,
            iterations=min(5, self._crf.iterations),
        )
        field, bins = DenseCrf(small, scaled, threads=1), colour_bins(small)
        masks = [_refined(scores, field, size) for scores in candidates]
        separate = [colour_separability(mask, bins) for mask in masks]
        shares = [float(mask.mean()) for mask in masks]
        return np.array([separate, self._evidence(image, masks, full), shares]).T

    def _evidence(self, image: TaggedImage, masks: Sequence[np.ndarray], full: tuple[int, int]) -> list[float]:
        """How much more the classifier sees of the tags inside each mask than outside it."""
        net = self._eval_net
        if net is None:
            return [1.0] * len(masks)
        size = max(1, round(full[0] * _SEEN_AT)), max(1, round(full[1] * _SEEN_AT))
        # Painted over with the mean colour, which is 0 once normalised.
        pixels = normalise(resize_image(image.pixels, size), net.backbone.mean, net.backbone.std)
        stack = torch.from_numpy(np.stack(masks))[:, None].float()
        inside = F.interpolate(stack, size, mode="bilinear", align_corners=False)
        found = []
        with self._turns.take(), self._runtime.inference(net):
            for part in torch.split(inside, 16):
                views = torch.cat([pixels * part, pixels * (1 - part)])
                logits = net(views.to(self._runtime.device, memory_format=torch.channels_last))
                seen = logits.float().sigmoid()[:, image.class_ids].mean(dim=1).cpu()
                found += (seen[: len(part)] - seen[len(part) :]).tolist()
        return found


def _refined(scores: Tensor, field: DenseCrf, size: tuple[int, int]) -> np.ndarray:
    """(1 + K, h, w) scores -> (H, W) bool: where the CRF sees an object."""
    large = F.interpolate(scores[None], size, mode="bilinear", align_corners=False)[0]
    return np.asarray(field.refine(as_probabilities(large).numpy()).argmax(axis=0) > 0)
