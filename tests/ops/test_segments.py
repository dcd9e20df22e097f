"""Segments as superpixels: the smaller lies on top, gaps are filled, every pixel is in one region."""

import pytest
import torch

from tag2mask.ops.segments import fill_gaps, paint_segments
from tag2mask.records import Regions


def never():
    raise AssertionError("there is no gap")


def test_the_smallest_segment_of_each_pixel_by_looking_at_each():
    generator = torch.Generator().manual_seed(0)
    segments = [torch.rand((9, 7), generator=generator) < share for share in (0.2, 0.7, 0.4, 0.9)]
    kept = [segment.clone() for segment in segments]
    ids = paint_segments(segments)
    for row in range(9):
        for column in range(7):
            there = [place for place, segment in enumerate(segments) if segment[row, column]]
            smallest = min(there, key=lambda place: int(segments[place].sum()), default=-1)
            assert ids[row, column] == smallest
    assert all(one.equal(other) for one, other in zip(segments, kept, strict=True))


def test_gaps_are_filled_with_the_parts_of_other_regions_that_lie_there():
    ids = torch.tensor([[0, 0, -1], [4, -1, -1]])
    other = Regions(torch.tensor([[0, 1, 1], [0, 0, 2]]), 3)
    assert fill_gaps(ids, lambda: other).ids.tolist() == [[0, 0, 3], [1, 2, 4]]
    assert fill_gaps(ids, lambda: other).count == 5


def test_without_gaps_nothing_is_asked_for():
    found = fill_gaps(torch.tensor([[3, 3, 8]]), never)
    assert (found.ids.tolist(), found.count) == ([[0, 0, 1]], 2)


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="at least one segment"):
        paint_segments([])
    with pytest.raises(ValueError, match=r"segments\[1\]: expected shape"):
        paint_segments([torch.zeros(2, 2, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool)])
    with pytest.raises(ValueError, match=r"segments\[0\]: expected torch.bool"):
        paint_segments([torch.zeros(2, 2)])
    with pytest.raises(ValueError, match="filling: expected shape"):
        fill_gaps(torch.tensor([[-1, 0]]), lambda: Regions(torch.tensor([[0]]), 1))
