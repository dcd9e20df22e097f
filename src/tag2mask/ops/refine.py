"""Score maps refined by the dense CRF, and labels of what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from tag2mask.ops.cam import as_probabilities
from tag2mask.ops.crf import CrfSettings, dense_crf
from tag2mask.ops.seeds import labels_of_scores
from tag2mask.ops.sizes import limit_long_side, resize_image, resize_labels

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from tag2mask.records import SoftMask, TaggedImage

_SMALLEST = 1e-6
"""Sum that probabilities are divided by at least."""


def image_for_crf(image: TaggedImage, max_side: int) -> np.ndarray:
    """(H, W, 3) uint8 at the size at which the CRF works."""
    small = resize_image(image.pixels, limit_long_side(image.image_size, max_side))
    return small.permute(1, 2, 0).contiguous().numpy()


def crf_probabilities(image: TaggedImage, scores: Tensor, max_side: int, crf: CrfSettings) -> tuple[Tensor, Tensor]:
    """Score maps of any size, enlarged to where the CRF works, and refined there.

    Args:
        image: its pixels guide the CRF.
        scores: (1 + K, h, w), channel 0 the background.
        max_side: the CRF works at no longer side than this; 0 means at the image's own.
        crf: its kernels.

    Returns:
        The scores before and after, both (1 + K, H, W) float32.
    """
    small = image_for_crf(image, max_side)
    before = F.interpolate(scores[None], small.shape[:2], mode="bilinear", align_corners=False)[0]
    return before, torch.from_numpy(dense_crf(small, as_probabilities(before).numpy(), settings=crf, threads=1))


def soft_labels(soft: SoftMask) -> Tensor:
    """The likeliest labels of an image's probabilities, (H, W) int64: 0, 1..C.

    Args:
        soft: alpha_u or alpha_p; enlarged to the image first.
    """
    whole = F.interpolate(soft.probabilities[None], soft.image_size, mode="bilinear", align_corners=False)[0]
    return labels_of_scores(whole, soft.class_ids)


def with_odds(probabilities: Tensor, odds: float) -> Tensor:
    """Probabilities whose odds of the background are multiplied; they still sum to 1.

    Args:
        probabilities: (1 + K, ...), channel 0 the background.
        odds: the factor, above 0; 1 changes nothing.

    Example:
        >>> with_odds(torch.tensor([0.5, 0.25, 0.25]), 2.0).tolist()
        [0.6666666865348816, 0.1666666716337204, 0.1666666716337204]
    """
    if odds == 1:
        return probabilities
    weighted = torch.cat([odds * probabilities[:1], probabilities[1:]])
    return weighted / weighted.sum(dim=0, keepdim=True).clamp(min=_SMALLEST)


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
        return torch.zeros(image.image_size, dtype=torch.int64)
    _, refined = crf_probabilities(image, with_odds(soft.probabilities, odds), max_side, crf)
    return resize_labels(labels_of_scores(refined, soft.class_ids), image.image_size)
