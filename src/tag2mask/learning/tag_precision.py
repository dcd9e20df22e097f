"""tag_precision: which classes a trained classifier finds, class by class."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from tag2mask.checks import check_shape, some
from tag2mask.learning.base_rate import LOOKED_AT, SHUFFLES, SURE, TagSettings, tag_logits, tags_of
from tag2mask.ops.ranking import average_precision
from tag2mask.runs.stage_summary import ClassPrecision, TagPrecision

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.nets.classifier import CamClassifier
    from tag2mask.runtime import Runtime

logger = logging.getLogger(__name__)

REMEDY = (
    "Their maps are worth nothing: add images of them and images without them, look at their tags, or give the "
    "classifier more epochs (--set classify.epochs=...) and ImageNet weights (--pretrained)."
)
"""What to do about classes that were not learned."""

OF_EACH_CLASS = 10
"""Of many training images, at least so many of each class are looked at; fewer of very many classes."""


def tag_precision(data: TagDataset, net: CamClassifier, settings: TagSettings, runtime: Runtime) -> TagPrecision:
    """Average precision of every class: on the held-out images, or where none has tags on training images.

    The network has seen the tags of training images: what it finds there says at most how much it learned. A class that
    it does not even find there was not learned.

    Args:
        data: images and tags.
        net: the trained classifier; left as it is.
        settings: of its training.
        runtime: device, precision and seed.
    """
    held_out = [name for name in data.val_names if bool(data.tags(name).any())]
    names = held_out or _some_of_each(data)
    scores, tags = tag_logits(data, names, net, settings, runtime), tags_of(data, names)
    found = class_precisions(scores, tags, data.class_names)
    return TagPrecision(bool(held_out), len(names), found)


def class_precisions(scores: Tensor, tags: Tensor, class_names: tuple[str, ...]) -> tuple[ClassPrecision, ...]:
    """Average precision of every class, beside that of shuffled tags.

    Args:
        scores: (N, C) logits of N images.
        tags: (N, C) bool.
        class_names: C names.

    Returns:
        C of them, in the order of the names.
    """
    check_shape("tags", tags, "N C", **check_shape("scores", scores, "N C", C=len(class_names)))
    generator = torch.Generator().manual_seed(0)
    shuffles = torch.rand(SHUFFLES, len(tags), generator=generator).argsort(dim=1)
    made = []
    for class_id, name in enumerate(class_names):
        hits = tags[:, class_id]
        count = int(hits.sum())
        if count in (0, len(hits)):  # Nothing to tell apart.
            made.append(ClassPrecision(name, count))
            continue
        ordered = hits[scores[:, class_id].argsort(descending=True, stable=True)]
        found = float(average_precision(ordered))
        by_chance = average_precision(hits[shuffles])
        limit = float(by_chance.mean()) + SURE * float(by_chance.std())
        made.append(ClassPrecision(name, count, found, float(by_chance.mean()), learned=found > min(limit, 1 - 1e-9)))
    return tuple(made)


def tell_not_learned(stage: str, precision: TagPrecision) -> None:
    """Warn of the classes that a classifier finds no better than by chance.

    Args:
        stage: whose classifier it is.
        precision: of `tag_precision`.
    """
    lost = precision.not_learned
    if lost:
        told = some(
            f"{one.name} (AP {100 * one.average:.1f}, by chance {100 * one.by_chance:.1f}, {one.images} images)"
            for one in lost
            if one.average is not None and one.by_chance is not None
        )
        logger.warning("%s: not learned, %s: %s. %s", stage, precision.where, told, REMEDY)


def _some_of_each(data: TagDataset) -> list[str]:
    """Training images at even distances, and the first of every class: all of a small set."""
    chosen = set(data.names[:: max(1, len(data.names) // LOOKED_AT)])
    classes = len(data.class_names)
    left = [max(1, min(OF_EACH_CLASS, 2 * LOOKED_AT // max(1, classes)))] * classes
    for name in data.names:
        class_ids = data.tags(name).nonzero().flatten().tolist()
        if any(left[class_id] > 0 for class_id in class_ids):
            chosen.add(name)
            for class_id in class_ids:
                left[class_id] -= 1
    return [name for name in data.names if name in chosen]
