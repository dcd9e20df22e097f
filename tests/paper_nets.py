"""What the tests of the papers' networks share: nets without memory, whole ones, and pixels for them."""

from __future__ import annotations

from functools import cache

import torch


def shadow(kind, **changes):
    """A net without memory, for shapes and names."""
    with torch.device("meta"):
        return kind(**changes)


@cache
def whole(kind):
    """The net with random weights, in evaluation mode; made once, to be left as it is."""
    torch.manual_seed(0)
    return kind().eval()


def pixels(*size, count=1):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))
