"""What flows between stages: frozen records, checked once when built. Shapes live here, words in `tag2mask.labels`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tag2mask.checks import check_dtype, check_number, check_range, check_shape

PHOTO_SIDE = 200
"""Images of this long side in pixels or more are photographs to the quick preset, smaller ones are drawings."""


@dataclass(frozen=True, slots=True, eq=False)
class TaggedImage:
    """One photograph and what it shows. Holds no mask: training code cannot reach the ground truth.

    Args:
        name: unique in its dataset; the path below the image folder without the suffix.
        pixels: (3, h, w) uint8, RGB: the image, or a smaller copy of it where nothing needs more.
        tags: (C,) bool; all False for an image of pure background.
        full_size: (H, W) of the image itself; None: that of `pixels`.
    """

    name: str
    pixels: Tensor
    tags: Tensor
    full_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check_shape(f"{self.name}: pixels", self.pixels, "3 H W")
        check_dtype(f"{self.name}: pixels", self.pixels, torch.uint8)
        check_shape(f"{self.name}: tags", self.tags, "C")
        check_dtype(f"{self.name}: tags", self.tags, torch.bool)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the image itself in pixels, which its masks have."""
        return self.full_size or (int(self.pixels.shape[-2]), int(self.pixels.shape[-1]))

    @property
    def class_ids(self) -> Tensor:
        """(K,) int64, ascending: the classes among the tags."""
        return self.tags.nonzero().flatten()


@dataclass(frozen=True, slots=True, eq=False)
class TaggedBatch:
    """What the classifier trains on.

    Args:
        names: B image names.
        pixels: (B, 3, H, W) float32, normalised with the backbone's mean and deviation.
        tags: (B, C) bool.
    """

    names: tuple[str, ...]
    pixels: Tensor
    tags: Tensor

    def __post_init__(self) -> None:
        check_shape("pixels", self.pixels, "B 3 H W", B=len(self.names))
        check_shape("tags", self.tags, "B C", B=len(self.names))


@dataclass(frozen=True, slots=True, eq=False)
class LabelledBatch:
    """What AffinityNet (labels at its stride) and the segmenter (labels at full size) train on.

    Args:
        names: B image names.
        pixels: (B, 3, H, W) float32, normalised.
        labels: (B, h, w) int64: 0, 1..C, IGNORE.
    """

    names: tuple[str, ...]
    pixels: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        check_shape("pixels", self.pixels, "B 3 H W", B=len(self.names))
        check_shape("labels", self.labels, "B h w", B=len(self.names))


@dataclass(frozen=True, slots=True, eq=False)
class Cams:
    """Class activation maps of one image, only of the classes among its tags.

    Args:
        name: the image's name.
        class_ids: (K,) int64, ascending; K = 0 for an image without tags.
        scores: (K, h, w) float32 in [0, 1], each divided by its own maximum.
        image_size: (height, width) of the image in pixels; the maps may be smaller.
        outside: another method made them, and they need not reach 1.
    """

    name: str
    class_ids: Tensor
    scores: Tensor
    image_size: tuple[int, int]
    outside: bool = False

    def __post_init__(self) -> None:
        known = check_shape(f"{self.name}: class_ids", self.class_ids, "K")
        check_shape(f"{self.name}: scores", self.scores, "K h w", **known)
        check_range(f"{self.name}: scores", self.scores, 0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class SeedScores:
    """CRF-refined maps of one image at the low and the high alpha; seeds come from both.

    Args:
        name: the image's name.
        class_ids: (K,) int64, ascending.
        low: (1 + K, h, w) float32 in [0, 1], channel 0 is the background, at the low alpha (sure objects).
        high: likewise, at the high alpha (sure background).
    """

    name: str
    class_ids: Tensor
    low: Tensor
    high: Tensor

    def __post_init__(self) -> None:
        known = check_shape(f"{self.name}: low", self.low, "channels h w", channels=len(self.class_ids) + 1)
        check_shape(f"{self.name}: high", self.high, "channels h w", **known)
        check_range(f"{self.name}: low", self.low, 0.0, 1.0)
        check_range(f"{self.name}: high", self.high, 0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Seeds:
    """Pixels that are sure enough to learn from.

    Args:
        name: the image's name.
        labels: (H, W) int64: 0 = sure background, 1..C = sure object, IGNORE = unsure.
    """

    name: str
    labels: Tensor

    def __post_init__(self) -> None:
        check_shape(f"{self.name}: labels", self.labels, "H W")
        check_dtype(f"{self.name}: labels", self.labels, torch.int64)


@dataclass(frozen=True, slots=True, eq=False)
class PairTargets:
    """What AffinityNet should say about each (pixel, neighbour) pair; all (B, P, h, w) bool.

    A pair that leaves the image or has an unsure end is in none of the three.
    """

    same_background: Tensor
    same_object: Tensor
    different: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class PixelAffinity:
    """How alike each pixel is to its neighbours within a radius; symmetric, so half of the pairs is kept.

    Args:
        offsets: P pairs (rows down, columns right) of `tag2mask.ops.affinity.half_disc_offsets`.
        values: (P, h, w) float32 in [0, 1]; ``values[p, y, x]`` belongs to the pair of (y, x) and
            (y + offsets[p][0], x + offsets[p][1]); 0 where the second one lies outside.
        stride: image pixels per cell of the map, for people who look at it.
    """

    offsets: tuple[tuple[int, int], ...]
    values: Tensor
    stride: int

    def __post_init__(self) -> None:
        check_shape("affinity values", self.values, "P h w", P=len(self.offsets))
        check_range("affinity values", self.values, 0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class SoftMask:
    """Probabilities of the background and of the classes among an image's tags, at the size of a network's maps.

    Args:
        name: the image's name.
        class_ids: (K,) int64, ascending; K = 0 for an image without tags.
        probabilities: (1 + K, h, w) float32 in [0, 1], sum 1; channel 0 is the background.
        image_size: (height, width) of the image in pixels.
    """

    name: str
    class_ids: Tensor
    probabilities: Tensor
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        check_shape(f"{self.name}: class_ids", self.class_ids, "K")
        check_shape(f"{self.name}: probabilities", self.probabilities, "channels h w", channels=len(self.class_ids) + 1)
        check_range(f"{self.name}: probabilities", self.probabilities, 0.0, 1.0)

    def spread(self, num_classes: int) -> Tensor:
        """(1 + C, h, w): with the classes that the image has no tag of, at probability 0.

        Args:
            num_classes: C.
        """
        whole = self.probabilities.new_zeros((1 + num_classes, *self.probabilities.shape[-2:]))
        whole[0] = self.probabilities[0]
        whole[1 + self.class_ids] = self.probabilities[1:]
        return whole


@dataclass(frozen=True, slots=True, eq=False)
class PseudoMask:
    """A mask made from tags, or predicted by the segmenter.

    Args:
        name: the image's name.
        labels: (H, W) int64: 0, 1..C.
        confidence: (H, W) float32 in [0, 1]: probability of the chosen label.
    """

    name: str
    labels: Tensor
    confidence: Tensor

    def __post_init__(self) -> None:
        known = check_shape(f"{self.name}: labels", self.labels, "H W")
        check_dtype(f"{self.name}: labels", self.labels, torch.int64)
        check_shape(f"{self.name}: confidence", self.confidence, "H W", **known)
        check_range(f"{self.name}: confidence", self.confidence, 0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Superpixels of one image: every pixel lies in exactly one of R regions.

    Args:
        ids: (H, W) int64 in 0..R-1, and every one of these occurs.
        count: R, at least 1.
    """

    ids: Tensor
    count: int

    def __post_init__(self) -> None:
        check_shape("region ids", self.ids, "H W")
        check_dtype("region ids", self.ids, torch.int64)
        check_number("region count", self.count, 1)
        check_range("region ids", self.ids, 0, self.count - 1)
        absent = torch.bincount(self.ids.flatten(), minlength=self.count) == 0
        if bool(absent.any()):
            some = ", ".join(map(str, absent.nonzero().flatten()[:5].tolist()))
            raise ValueError(
                f"region ids: expected every id of 0..{self.count - 1}, {int(absent.sum())} do not occur ({some}). "
                "Number the regions without gaps (torch.unique with return_inverse)."
            )


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why values were chosen: a table for people.

    Args:
        title: above it.
        columns: headings.
        rows: as many cells as there are columns, in each.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
