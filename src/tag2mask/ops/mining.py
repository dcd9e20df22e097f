"""Mining confident regions: superpixels whose class two opinions agree on (IAL, Wang et al., IJCV 2020).

The segmenter says what a region mostly is (a sample); a region classifier, trained on the samples of all images, says
what it looks like. Where both agree and the classifier is sure, the region is worth learning from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tag2mask.checks import check_dtype, check_number, check_range, check_shape
from tag2mask.labels import IGNORE, channels_from_labels, labels_from_channels
from tag2mask.ops.superpixels import region_majority
from tag2mask.records import Regions  # noqa: TC001  (the examples make some)


@dataclass(frozen=True, slots=True, eq=False)
class MinedRegions:
    """What mining made of each of R regions; exactly one of kept, dropped and unknown is true for each.

    Args:
        labels: (R,) int64: the label of a kept region, IGNORE for the others.
        kept: (R,) bool: both opinions agree, and the classifier is sure.
        dropped: (R,) bool: a sample that the classifier takes for another class.
        unknown: (R,) bool: all the rest.
    """

    labels: Tensor
    kept: Tensor
    dropped: Tensor
    unknown: Tensor

    def __post_init__(self) -> None:
        known = check_shape("labels", self.labels, "R")
        check_dtype("labels", self.labels, torch.int64)
        for name in ("kept", "dropped", "unknown"):
            check_shape(name, getattr(self, name), "R", **known)
            check_dtype(name, getattr(self, name), torch.bool)
        groups = self.kept.long() + self.dropped.long() + self.unknown.long()
        if bool((groups != 1).any()):
            raise ValueError(
                "MinedRegions: expected each region to be either kept, dropped or unknown, "
                f"got {int((groups != 1).sum())} that are in none or in several."
            )
        if not bool(((self.labels != IGNORE) == self.kept).all()):
            raise ValueError(f"MinedRegions: expected a label for kept regions and {IGNORE} for all others.")


def region_samples(labels: Tensor, regions: Regions, num_labels: int, share: float = 0.8) -> Tensor:
    """The label that at least a share of a region's pixels have (Wang et al., 2020, mining, step 2).

    Args:
        labels: (H, W) int64: 0, 1..C, IGNORE: of the segmenter, or seeds. Unsure pixels count towards the size.
        regions: of the same size.
        num_labels: 1 + C.
        share: above 0, at most 1 (paper: 0.8). Up to 0.5 several labels can hold it: the most frequent one is taken,
            the lowest of equally frequent ones.

    Returns:
        (R,) int64; IGNORE where no label holds the share.

    Raises:
        ValueError: for another shape, type or share, or a label that no class has.

    Example:
        >>> regions = Regions(torch.tensor([[0, 0, 0, 0, 0, 1, 1]]), 2)
        >>> region_samples(torch.tensor([[1, 1, 1, 1, 0, 1, 0]]), regions, num_labels=2).tolist()
        [1, 255]
    """
    if not 0 < share <= 1:
        raise ValueError(f"share: expected a number above 0 and at most 1, got {share!r}.")
    best, held = region_majority(labels, regions, num_labels)
    return torch.where(held >= share, best, IGNORE)


def confident_regions(samples: Tensor, probabilities: Tensor, threshold: float) -> MinedRegions:
    """Keep the samples that the region classifier agrees with and is sure of (Wang et al., 2020, mining, step 4).

    A sample that it takes for another class is dropped. A sample of low score, and a region that is no sample, however
    sure the classifier is of it, stay unknown.

    Args:
        samples: (R,) int64 of `region_samples`.
        probabilities: (R, 1 + C) in [0, 1] of the region classifier; channel 0 is the background. The highest one is
            the predicted class, the first of equal ones.
        threshold: smallest probability of the predicted class that counts as sure, 0 to 1 (not published).

    Raises:
        ValueError: for another shape or type, probabilities out of range, or a sample that no class has.

    Example:
        >>> probabilities = torch.tensor([[0.1, 0.9], [0.9, 0.1], [0.4, 0.6], [0.0, 1.0]])
        >>> mined = confident_regions(torch.tensor([1, 1, 1, 255]), probabilities, threshold=0.8)
        >>> mined.labels.tolist(), mined.dropped.tolist()
        ([1, 255, 255, 255], [False, True, False, False])
    """
    known = check_shape("samples", samples, "R")
    check_dtype("samples", samples, torch.int64)
    channels = check_shape("probabilities", probabilities, "R channels", **known)["channels"]
    check_number("probabilities: channels", channels, 1)
    check_range("probabilities", probabilities, 0.0, 1.0)
    check_range(f"samples other than {IGNORE}", channels_from_labels(samples, ignored=0), 0, channels - 1)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: expected a number from 0 to 1, got {threshold!r}.")
    score, best = probabilities.max(dim=1)
    sampled = samples != IGNORE
    agree = sampled & (labels_from_channels(best) == samples)
    kept = agree & (score >= threshold)
    dropped = sampled & ~agree
    return MinedRegions(torch.where(kept, samples, IGNORE), kept, dropped, ~(kept | dropped))


def region_labels_to_pixels(labels: Tensor, regions: Regions) -> Tensor:
    """Give every pixel the label of its region.

    Args:
        labels: (R,) int64: 0, 1..C, IGNORE.
        regions: R of them.

    Returns:
        (H, W) int64.

    Example:
        >>> region_labels_to_pixels(torch.tensor([3, 255]), Regions(torch.tensor([[0, 1, 1]]), 2)).tolist()
        [[3, 255, 255]]
    """
    check_shape("labels", labels, "R", R=regions.count)
    return labels[regions.ids]


def allowed_labels(tags: Tensor) -> Tensor:
    """Which channels an image's tags allow: the background always, and the tagged classes.

    Args:
        tags: (..., C) bool.

    Returns:
        (..., 1 + C) bool; channel 0 is the background. An image without tags is background only.

    Example:
        >>> allowed_labels(torch.tensor([False, True])).tolist()
        [True, False, True]
    """
    check_shape("tags", tags, "... C")
    check_dtype("tags", tags, torch.bool)
    return torch.cat([tags.new_ones((*tags.shape[:-1], 1)), tags], dim=-1)


def mask_logits(logits: Tensor, allowed: Tensor) -> Tensor:
    """Take the logits of classes that an image can not show to minus infinity, so that softmax gives them 0.

    Args:
        logits: (N, 1 + C, ...): of N regions, or (N, 1 + C, H, W) of N images.
        allowed: bool of `allowed_labels`: (1 + C,) for all, or (N, 1 + C).

    Returns:
        As `logits`. Differentiable; what is masked gets no gradient.

    Raises:
        ValueError: for shapes that do not fit, or another type.

    Example:
        >>> mask_logits(torch.tensor([[1.0, 2.0, 1.0]]), torch.tensor([True, False, True])).softmax(dim=1).tolist()
        [[0.5, 0.0, 0.5]]
    """
    if logits.ndim < 2:
        raise ValueError(f"logits: expected shape (N, channels, ...), got {tuple(logits.shape)}.")
    count, channels = logits.shape[:2]
    check_shape("allowed", allowed, "channels" if allowed.ndim == 1 else "N channels", N=count, channels=channels)
    check_dtype("allowed", allowed, torch.bool)
    spread = allowed.expand(count, channels).reshape(count, channels, *[1] * (logits.ndim - 2))
    return logits.masked_fill(~spread, -torch.inf)
