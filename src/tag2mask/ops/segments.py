"""Segments without classes, which may overlap and leave gaps, as superpixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tag2mask.checks import check_dtype, check_shape
from tag2mask.records import Regions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def paint_segments(segments: Sequence[Tensor]) -> Tensor:
    """Lay segments of an image over each other, the smaller ones on top.

    Args:
        segments: at least one, each (H, W) bool.

    Returns:
        (H, W) int64: the place of the segment on top, -1 where there is none.

    Raises:
        ValueError: for no segment, another type, or unlike sizes.

    Example:
        >>> whole, part = torch.tensor([[True, True, False]]), torch.tensor([[False, True, False]])
        >>> paint_segments([part, whole]).tolist()
        [[1, 0, -1]]
    """
    if not segments:
        raise ValueError("paint_segments: expected at least one segment, got none.")
    known = check_shape("segments[0]", segments[0], "H W")
    for place, segment in enumerate(segments):
        check_shape(f"segments[{place}]", segment, "H W", **known)
        check_dtype(f"segments[{place}]", segment, torch.bool)
    ids = torch.full(segments[0].shape, -1, dtype=torch.int64)
    for place in sorted(range(len(segments)), key=lambda place: -int(segments[place].sum())):
        ids[segments[place]] = place
    return ids


def fill_gaps(ids: Tensor, filling: Callable[[], Regions]) -> Regions:
    """Regions of segments, and where there is none, of other regions.

    Args:
        ids: (H, W) int64; -1 where there is no segment.
        filling: regions of the same size; asked for only if there is a gap.

    Example:
        >>> fill_gaps(torch.tensor([[7, -1, -1]]), lambda: Regions(torch.tensor([[0, 0, 1]]), 2)).ids.tolist()
        [[0, 1, 2]]
    """
    whole = ids
    if bool((ids < 0).any()):
        other = filling().ids
        check_shape("filling", other, "H W", H=ids.shape[0], W=ids.shape[1])
        whole = torch.where(ids >= 0, ids, other + ids.max() + 1)
    found, numbers = torch.unique(whole, return_inverse=True)
    return Regions(numbers, len(found))
