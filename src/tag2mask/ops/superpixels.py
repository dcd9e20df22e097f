"""Superpixels: groups of neighbouring pixels of like colour, and sums, means and majorities over them.

IAL (Wang et al., IJCV 2020) mines whole superpixels and asks for affinities that are even within each, but names no
algorithm and no count. What is per image takes a `Regions`. Sums, means and pooling also serve training views, whose
regions are cut off at the border, and batches: they take ids of any shape and a count, where an id may be absent and
-1 stands for a pixel of no region (outside the image).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from skimage.segmentation import felzenszwalb, slic
from torch import Tensor

from tag2mask.checks import check_choice, check_dtype, check_number, check_range, check_shape
from tag2mask.labels import IGNORE, channels_from_labels, labels_from_channels
from tag2mask.records import Regions

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class SuperpixelSettings:
    """How an image is split. Not published; the defaults were chosen on the 40 built-in scenes of seed 0.

    With a count of 100, 200, 400, 800 there, 78, 83, 89, 91% of the object pixels lie in regions of which at least 80%
    are that object, and the best label for each region has a mean IoU of 0.85, 0.87, 0.91, 0.93. More regions follow
    borders better, but each shows a classifier less.

    Args:
        algorithm: ``slic`` (Achanta et al., TPAMI 2012: like sizes, follows the count), or ``felzenszwalb``
            (Felzenszwalb & Huttenlocher, IJCV 2004: large regions on even ground, small ones on details).
        count: how many regions about; an image with fewer pixels gets at most one for each of them.
        compactness: slic only; larger makes squares, smaller follows colours (Achanta: 10; there 88%, 20: 89%).
        scale: felzenszwalb only; larger makes larger regions (paper: 300 on photographs; there 38%, 20: 81%).
        sigma: felzenszwalb only; smoothing before the split, in pixels (paper: 0.8).
        min_share: a region smaller than this share of the mean size, pixels / count, joins a neighbour
            (scikit-image's slic: 0.5, which swallows thin parts; there 86%, 0.25: 89%).
    """

    algorithm: Literal["slic", "felzenszwalb"] = "slic"
    count: int = 400
    compactness: float = 20.0
    scale: float = 20.0
    sigma: float = 0.8
    min_share: float = 0.25

    def __post_init__(self) -> None:
        check_choice("SuperpixelSettings.algorithm", self.algorithm, ("slic", "felzenszwalb"))
        check_number("SuperpixelSettings.count", self.count, 1)
        for name in ("compactness", "scale"):
            check_number(f"SuperpixelSettings.{name}", getattr(self, name), 0, above=True)
        for name in ("sigma", "min_share"):
            check_number(f"SuperpixelSettings.{name}", getattr(self, name), 0)


def superpixels(pixels: Tensor, settings: SuperpixelSettings = SuperpixelSettings()) -> Regions:
    """Split an image into regions of like colour.

    Args:
        pixels: (3, H, W) uint8, RGB, at least one pixel.
        settings: how. An image of one colour becomes squares with slic and one region with felzenszwalb.

    Returns:
        Regions of (H, W); about `settings.count` of them with slic.

    Raises:
        ValueError: for another shape or type, or an image without pixels.

    Example:
        >>> pixels = torch.zeros(3, 4, 8, dtype=torch.uint8)
        >>> pixels[:, :, 4:] = 255
        >>> superpixels(pixels, SuperpixelSettings(count=2)).ids[0].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """
    size = check_shape("pixels", pixels, "3 H W")
    check_dtype("pixels", pixels, torch.uint8)
    total = size["H"] * size["W"]
    check_number("pixels: height x width", total, 1)
    image = np.ascontiguousarray(pixels.detach().cpu().permute(1, 2, 0).numpy())
    count = min(settings.count, total)
    if settings.algorithm == "slic":
        found = slic(image, count, settings.compactness, min_size_factor=settings.min_share, start_label=0)
    else:
        smallest = max(1, round(settings.min_share * total / count))
        found = felzenszwalb(image, settings.scale, settings.sigma, smallest)
    # Both may leave numbers out where they join small regions. Counted, not sorted: that is linear in the pixels.
    there = np.bincount(found.ravel()) > 0
    ids = (np.cumsum(there) - 1)[found]
    return Regions(torch.from_numpy(ids.astype(np.int64)).to(pixels.device), int(there.sum()))


def region_sizes(ids: Tensor, count: int) -> Tensor:
    """How many pixels each region has.

    Args:
        ids: any shape, int64 in -1..count - 1; -1: in no region.
        count: R.

    Returns:
        (R,) int64; 0 for a region that does not occur.

    Raises:
        ValueError: for another type, or ids out of range.

    Example:
        >>> region_sizes(torch.tensor([[0, 0, 2], [2, -1, 0]]), 3).tolist()
        [3, 0, 2]
    """
    _check_ids(ids, count)
    return torch.bincount(ids.flatten() + 1, minlength=count + 1)[1:]


def region_sums(maps: Tensor, ids: Tensor, count: int) -> Tensor:
    """Add up maps over each region. Differentiable in the maps.

    Args:
        maps: (..., *S), float or bool, for ids of shape S: (D, H, W) for an image; (D, B, H, W), channels first, for
            a batch joined by `join_regions`.
        ids: (*S) int64 in -1..count - 1; -1: in no region.
        count: R.

    Returns:
        (..., R), at least float32; 0 for a region that does not occur.

    Raises:
        ValueError: for shapes that do not fit, or ids out of range.

    Example:
        >>> region_sums(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0, 0, 1]]), 2).tolist()
        [3.0, 4.0]
    """
    _check_ids(ids, count)
    check_shape("maps", maps, " ".join(["...", *map(str, ids.shape)]))
    before = maps.shape[: maps.ndim - ids.ndim]
    flat = _wide(maps).reshape(math.prod(before), ids.numel())
    places = (ids.flatten() + 1).expand_as(flat)
    sums = flat.new_zeros((len(flat), count + 1)).scatter_add(1, places, flat)
    return sums[:, 1:].reshape(*before, count)


def region_mean(maps: Tensor, ids: Tensor, count: int) -> Tensor:
    """Average maps over each region: shapes and errors as `region_sums`, and differentiable too.

    Returns:
        (..., R), at least float32; 0 for a region that does not occur (see `region_sizes`).

    Example:
        >>> region_mean(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0, 0, 2]]), 3).tolist()
        [1.5, 0.0, 4.0]
    """
    return region_sums(maps, ids, count) / region_sizes(ids, count).clamp(min=1)


def region_majority(labels: Tensor, regions: Regions, num_labels: int) -> tuple[Tensor, Tensor]:
    """The label that most pixels of each region have, and the share of its pixels that have it.

    Unsure pixels count towards a region's size, but for no label.

    Args:
        labels: (H, W) int64: 0, 1..C, IGNORE.
        regions: of the same size.
        num_labels: 1 + C.

    Returns:
        labels (R,) int64, the lowest of equally frequent ones, IGNORE if every pixel is unsure; share (R,) float64
        in [0, 1], so that 4 of 5 pixels are exactly 0.8.

    Raises:
        ValueError: for another shape or type, or a label that no class has.

    Example:
        >>> regions = Regions(torch.tensor([[0, 0, 0, 1]]), 2)
        >>> labels, share = region_majority(torch.tensor([[2, 2, 0, 255]]), regions, num_labels=3)
        >>> labels.tolist(), share.tolist()
        ([2, 255], [0.6666666666666666, 0.0])
    """
    height, width = regions.ids.shape
    check_shape("labels", labels, "H W", H=height, W=width)
    check_dtype("labels", labels, torch.int64)
    check_range(f"labels other than {IGNORE}", channels_from_labels(labels, ignored=0), 0, num_labels - 1)
    # The unsure pixels are counted in a column of their own, which takes no part.
    places = regions.ids * (num_labels + 1) + channels_from_labels(labels, ignored=num_labels)
    counts = torch.bincount(places.flatten(), minlength=regions.count * (num_labels + 1))
    counts = counts.view(regions.count, num_labels + 1)[:, :num_labels]
    most, best = counts.max(dim=1)
    share = most.double() / region_sizes(regions.ids, regions.count)
    return torch.where(most > 0, labels_from_channels(best), IGNORE), share


def join_regions(ids: Sequence[Tensor] | Tensor, counts: Sequence[int]) -> tuple[Tensor, int]:
    """Number the regions of several images through, so that no two images share one.

    Region r of image b becomes r + counts[0] + ... + counts[b - 1], so per-region values of the images, one after the
    other (`torch.cat`), belong to the joined ids.

    Args:
        ids: B times (h, w) int64 in -1..counts[b] - 1; ids may be absent (training views). -1 stays -1.
        counts: B numbers of regions.

    Returns:
        ids (B, h, w) int64, and the total count.

    Raises:
        ValueError: for unlike shapes, or ids out of range.

    Example:
        >>> ids, count = join_regions([torch.tensor([[0, 1]]), torch.tensor([[-1, 0]])], [2, 1])
        >>> ids.tolist(), count
        ([[[0, 1]], [[-1, 2]]], 3)
    """
    if not len(ids) or len(ids) != len(counts):
        raise ValueError(f"join_regions: expected id maps and a count for each, got {len(ids)} and {len(counts)}.")
    joined, start = [], 0
    for one, count in zip(ids, counts, strict=True):
        check_shape("ids", one, "h w", h=ids[0].shape[-2], w=ids[0].shape[-1])
        _check_ids(one, count)
        joined.append(torch.where(one >= 0, one + start, -1))
        start += count
    return torch.stack(joined), start


def resize_regions(ids: Tensor, size: tuple[int, int]) -> Tensor:
    """Region ids at another resolution: each pixel takes the id at its centre. Small regions may vanish.

    Args:
        ids: (..., H, W).
        size: (h, w), at least 1 each.

    Returns:
        (..., h, w); the count stays, and `region_sizes` is 0 for what vanished.

    Example:
        >>> resize_regions(torch.tensor([[0, 1, 2, 2]]), (1, 2)).tolist()
        [[1, 2]]
    """
    check_shape("ids", ids, "... H W")
    # Whole numbers, which do not round where a centre falls on an edge.
    rows, columns = (
        (2 * torch.arange(wanted, device=ids.device) + 1) * length // (2 * wanted)
        for length, wanted in zip(ids.shape[-2:], size, strict=True)
    )
    return ids[..., rows[:, None], columns]


def mask_pool(features: Tensor, ids: Tensor, count: int) -> Tensor:
    """Average features over the exact pixels of each region.

    As if each cell were repeated over its pixels (nearest neighbour) and `region_mean` taken of that, but nothing of
    that size exists: only how many pixels each region shares with each cell is counted. Differentiable in the features.

    Args:
        features: (B, D, h, w).
        ids: (B, H, W) int64 of `join_regions`, at any resolution, usually the image's.
        count: R, over the whole batch.

    Returns:
        (R, D), at least float32; 0 for a region that does not occur.

    Raises:
        ValueError: for shapes that do not fit, or ids out of range.

    Example:
        >>> features = torch.tensor([[[[2.0, 8.0]]]])  # One channel of 1 x 2 cells, each two pixels wide.
        >>> mask_pool(features, torch.tensor([[[0, 1, 1, 1]]]), 2).tolist()
        [[2.0], [6.0]]
    """
    known = check_shape("features", features, "B D h w")
    check_shape("ids", ids, "B H W", B=known["B"])
    sizes = region_sizes(ids, count)
    total = known["B"] * known["h"] * known["w"]
    cells = torch.arange(total, device=ids.device).view(known["B"], known["h"], known["w"])
    cells = resize_regions(cells, (ids.shape[-2], ids.shape[-1]))  # (B, H, W): the cell of each pixel
    pairs, pixels = torch.unique((ids * total + cells)[ids >= 0], return_counts=True)
    flat = _wide(features).permute(0, 2, 3, 1).reshape(total, known["D"])
    shares = pixels.to(flat.dtype) / sizes[pairs // total]
    matrix = torch.sparse_coo_tensor(
        torch.stack([pairs // total, pairs % total]), shares, (count, total), is_coalesced=True, check_invariants=False
    )
    # Mixed precision would take the sparse product to half precision, which it does not know.
    with torch.autocast(features.device.type, enabled=False):
        pooled: Tensor = torch.sparse.mm(matrix, flat)
    return pooled


def _wide(maps: Tensor) -> Tensor:
    """At least float32: sums over many pixels in bfloat16 would lose the small ones."""
    return maps if maps.dtype == torch.float64 else maps.float()


def _check_ids(ids: Tensor, count: int) -> None:
    check_number("count", count, 1)
    check_dtype("ids", ids, torch.int64)
    check_range("ids", ids, -1, count - 1)
