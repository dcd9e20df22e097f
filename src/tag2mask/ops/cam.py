"""Class activation maps and the background score (Ahn & Kwak, CVPR 2018, section 3.1; Zhou et al., CVPR 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tag2mask.checks import check_number, check_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

_NORMALISER_FLOOR = 1e-5
_HALVINGS = 40  # Of an interval of length 1, to what float32 can tell apart.


def class_activation_maps(features: Tensor, weights: Tensor) -> Tensor:
    """M_c(x) = w_c . f(x), cut off at zero.

    Args:
        features: (B, D, h, w) the feature map in front of global average pooling.
        weights: (C, D) the linear layer that turns pooled features into class logits.

    Returns:
        (B, C, h, w), >= 0.
    """
    known = check_shape("features", features, "B D h w")
    check_shape("weights", weights, "C D", D=known["D"])
    return F.conv2d(features, weights[:, :, None, None]).relu()


def merge_views(views: Sequence[Tensor], mirrored: Sequence[bool], size: tuple[int, int]) -> Tensor:
    """Bring maps of several scales and mirror images of one image to one size and add them up.

    Args:
        views: each (K, h_i, w_i), >= 0.
        mirrored: for each view whether the image was mirrored left to right.
        size: (height, width) of the result.

    Returns:
        (K, height, width), >= 0.
    """
    if not views or len(views) != len(mirrored):
        raise ValueError(
            f"merge_views: expected at least one view and a flag for each, got {len(views)} and {len(mirrored)}."
        )
    merged = views[0].new_zeros((views[0].shape[0], *size))
    if merged.numel() == 0:
        return merged
    for view, flip in zip(views, mirrored, strict=True):
        upright = view.flip(-1) if flip else view
        merged = merged + F.interpolate(upright[None], size, mode="bilinear", align_corners=False)[0]
    return merged


def normalise_maps(maps: Tensor, whole: Tensor | None = None) -> Tensor:
    """Divide each map by its own maximum (+1e-5), so that every class reaches (almost) 1.

    Args:
        maps: (K, h, w), >= 0.
        whole: (K, H, W) the same maps in a finer resolution, whose maxima are taken: coarser maps may miss them.

    Returns:
        (K, h, w) in [0, 1].
    """
    known = check_shape("maps", maps, "K h w")
    if whole is not None:
        check_shape("whole", whole, "K H W", K=known["K"])
    if maps.shape[0] == 0:
        return maps
    peaks = (maps if whole is None else whole).amax(dim=(-2, -1), keepdim=True)
    return (maps / (peaks + _NORMALISER_FLOOR)).clamp(max=1)


def upper_fence(values: Tensor, factor: float) -> float:
    """Above which a value is unlike the others: Q3 + factor (Q3 - Q1), Q1 and Q3 the quartiles (Tukey, 1977).

    Args:
        values: (N,), N at least 1.
        factor: of the distance between the quartiles; usual is 1.5.

    Example:
        >>> upper_fence(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), 1.5)
        7.0
    """
    check_shape("values", values, "N")
    check_number("values: N", len(values), 1)
    # Not torch.quantile, which takes no more than 16 million numbers.
    low, high = (float(np.quantile(values.double().numpy(), share)) for share in (0.25, 0.75))
    return high + factor * (high - low)


def sharpen_diffuse(maps: Tensor, mean: float) -> Tensor:
    """Raise maps whose mean is larger to the power that brings it down to `mean`; their peaks stay at 1.

    Args:
        maps: (K, h, w) in [0, 1].
        mean: above 0. A map that no power up to 2 ** 16 brings there, since it is 1 all over, stays.

    Returns:
        (K, h, w) in [0, 1]; the other maps as they are.

    Example:
        >>> sharpen_diffuse(torch.tensor([[[1.0, 0.5, 0.5, 0.5]]]), mean=0.4375)  # The square.
        tensor([[[1.0000, 0.2500, 0.2500, 0.2500]]])
    """
    check_shape("maps", maps, "K h w")
    check_number("mean", mean, 0, above=True)
    sharpened = maps.clone()
    for index in (maps.mean(dim=(-2, -1)) > mean).nonzero().flatten().tolist():
        wide = maps[index].double()
        low, high = 0.0, 16.0  # The power is 2 to this; the mean falls with it.
        if float((wide ** (2**high)).mean()) > mean:
            continue
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if float((wide ** (2**middle)).mean()) > mean else (low, middle)
        sharpened[index] = wide ** (2**high)
    return sharpened


def background_scores(cams: Tensor, alpha: float) -> Tensor:
    """M_bg(x) = (1 - max_c M_c(x)) ** alpha.

    A larger alpha leaves less background: an object wins where its score beats this one, which for
    alpha 1, 4, 16, 64 happens above scores of 0.5, 0.28, 0.12, 0.05.

    Args:
        cams: (K, H, W) in [0, 1]; K = 0 means that the image shows no class.
        alpha: > 0.

    Returns:
        (H, W) in [0, 1]; all ones if K = 0.

    Example:
        >>> background_scores(torch.tensor([[[0.0, 0.5, 1.0]]]), alpha=2)
        tensor([[1.0000, 0.2500, 0.0000]])
    """
    check_shape("cams", cams, "K H W")
    if not alpha > 0:
        raise ValueError(f"alpha: expected a number above 0, got {alpha}.")
    if cams.shape[0] == 0:
        return cams.new_ones(cams.shape[1:])
    return (1 - cams.amax(dim=0)).clamp(min=0) ** alpha


def with_background(cams: Tensor, alpha: float) -> Tensor:
    """Put the background score in front of the class maps.

    Args:
        cams: (K, H, W) in [0, 1].
        alpha: see `background_scores`.

    Returns:
        (1 + K, H, W) in [0, 1]; channel 0 is the background.
    """
    return torch.cat([background_scores(cams, alpha)[None], cams])


def as_probabilities(scores: Tensor) -> Tensor:
    """Scores as shares of their sum over the channels, as the dense CRF wants them.

    Args:
        scores: (1 + K, H, W), >= 0.

    Returns:
        (1 + K, H, W) in [0, 1]; all 0 where every score is 0.
    """
    return (scores / scores.sum(dim=0).clamp(min=1e-12)).clamp(0, 1)


def maps_with_odds(scores: Tensor, alpha: float) -> Tensor:
    """Class maps that score against the background of one alpha as given scores do: what `with_background` undoes.

    With s the highest class score of a pixel and b the background's, the map m solves (1 - m) ** alpha / m = b / s; the
    classes keep their proportions.

    Args:
        scores: (1 + K, H, W), >= 0; channel 0 is the background.
        alpha: > 0; see `background_scores`.

    Returns:
        (K, H, W) in [0, 1]; 0 where every class scores 0.

    Example:
        >>> maps = maps_with_odds(torch.tensor([[[0.2, 0.0]], [[0.6, 0.5]]]), alpha=2)
        >>> background, first = with_background(maps, alpha=2)
        >>> round(float((first / background)[0, 0]), 4), float(maps[0, 0, 1])
        (3.0, 1.0)
    """
    check_shape("scores", scores, "channels H W")
    check_number("alpha", alpha, 0, above=True)
    background, classes = scores[0].double(), scores[1:].double()
    if len(classes) == 0:
        return scores[1:]
    best = classes.amax(dim=0)
    low, high = torch.zeros_like(best), torch.ones_like(best)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = best * (1 - middle) ** alpha > background * middle
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    share = torch.where(best > 0, classes / best.clamp(min=1e-12), 0.0)
    return (high * share).clamp(0, 1).to(scores.dtype)
