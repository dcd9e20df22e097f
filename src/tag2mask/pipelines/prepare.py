"""How large the images have to be that the stages of a pipeline work on."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from tag2mask.datasets.working_copies import WorkingCopies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tag2mask.datasets.dataset import TagDataset


def working_copies(data: TagDataset, *settings: Any) -> TagDataset:
    """Images no larger than any stage needs, decoded once as far as they fit into memory.

    Args:
        data: images of any size.
        settings: of pipelines: dataclasses that hold the settings of stages.
    """
    return WorkingCopies(data, working_side(*settings))


def working_side(*settings: Any) -> int:
    """The longest side in pixels at which any stage looks at an image; 0 if one of them has no limit.

    Args:
        settings: of pipelines.
    """
    parts = (getattr(whole, part.name) for whole in settings for part in fields(whole))
    sides = [side for part in parts for side in _sides(part)]
    return math.ceil(max(sides)) if min(sides, default=0) > 0 else 0


def _sides(stage: Any) -> Iterator[float]:
    """The sides at which one stage looks at images; 0 means the image's own size."""
    if hasattr(stage, "long_side"):  # Of training views.
        yield stage.long_side[1]
    if hasattr(stage, "max_side"):
        yield stage.max_side * max(getattr(stage, "scales", (1,)))
    if hasattr(stage, "cells"):
        yield stage.cells * stage.output_stride
