"""How networks learn: the settings that all trainings share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from tag2mask.checks import check_choice, check_number
from tag2mask.nets.backbones import level_strides
from tag2mask.runs.settings import weights_file

StartFrom = Literal["classifier", "imagenet", "scratch"]
"""Weights that a network begins with: those of the run's classifier, those of ImageNet, or random ones."""

Jitter = tuple[float, float, float, float]
"""Brightness, contrast, saturation and hue: how much they change, at most."""

HEAD_FACTOR = 10.0
"""What is new learns so many times faster than a backbone that starts from weights of others (authors' code)."""

TUNED_BACKBONE = "tf_efficientnet_lite0"
"""Quick, with ImageNet weights: the network whose weights can be installed."""

TUNED_SIDE = 224
"""Side in pixels at which a quick network with ImageNet weights sees images: that of its own training. Smaller images
are enlarged to it."""

CROP_SHARE, CROP_MULTIPLE, SMALLEST_CROP = 0.75, 16, 64
"""Of a quick training view: its side as a share of the image's long side, what it is a multiple of, the least."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network learns.

    Args:
        epochs: passes over the images.
        batch_size: images per step.
        rate: learning rate at the start; falls polynomially to 0.
        optimizer: ``sgd`` or ``adamw``.
        momentum: of SGD. The authors' code has 5e-4 by mistake; with 0.9 a rate ten times smaller is right.
        nesterov: of SGD with momentum: look ahead (not in the authors' code).
        weight_decay: on weights; none on biases and normalisation.
        power: exponent of the fall (DeepLab and the authors: 0.9).
        warmup: share of the steps over which the rate rises first.
        new_factor: rate factor of layers that do not come from the backbone (authors: 10).
        bias_factor: rate factor of biases on top (authors: 2).
        clip: largest norm of the gradient; 0 means no limit.
        fill_last: fill up a last small batch from the start of the epoch's order; otherwise it is left out (authors'
            code), unless it is the only one.
    """

    epochs: int
    batch_size: int
    rate: float
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    power: float = 0.9
    warmup: float = 0.0
    new_factor: float = 1.0
    bias_factor: float = 1.0
    clip: float = 0.0
    fill_last: bool = True

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for name in ("epochs", "batch_size"):
            check_number(f"{kind}.{name}", getattr(self, name), 1)
        check_number(f"{kind}.rate", self.rate, 0, above=True)
        for name in ("weight_decay", "power", "new_factor", "bias_factor", "clip"):
            check_number(f"{kind}.{name}", getattr(self, name), 0)
        for name in ("momentum", "warmup"):
            check_number(f"{kind}.{name}", getattr(self, name), 0, 1)
        check_choice(f"{kind}.optimizer", self.optimizer, ("sgd", "adamw"))

    def factor(self, step: int, steps: int) -> float:
        """Rate at a step, relative to `rate`."""
        rising = min(1.0, (step + 1) / (self.warmup * steps)) if self.warmup > 0 else 1.0
        return float(rising * max(0.0, 1 - step / steps) ** self.power)


@dataclass(frozen=True)
class NetSettings(Schedule):
    """How a network with a backbone is built and trained: what all five have in common.

    Args:
        new_factor: rate factor of layers that do not come from the backbone (authors: 10).
        backbone: any timm name, or ``resnet38`` or ``vgg16_dilated`` (authors).
        start_from: weights to begin with; `starts` are the ones that this network can have.
        weights: a file with what ``imagenet`` stands for; without it, timm's weights.
        output_stride: image pixels per cell of the backbone's last level.
        crop: side of a training view, in pixels if the class says nothing else.
        jitter: brightness, contrast, saturation, hue (authors: .3, .3, .3, .1).
    """

    starts: ClassVar[tuple[StartFrom, ...]] = ("classifier", "imagenet", "scratch")

    new_factor: float = HEAD_FACTOR
    backbone: str = "resnet50"
    start_from: StartFrom = "imagenet"
    weights: str = weights_file()
    output_stride: int = 16
    crop: int = 448
    jitter: Jitter = (0.3, 0.3, 0.3, 0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = type(self).__name__
        check_choice(f"{kind}.start_from", self.start_from, self.starts)
        if self.weights and self.start_from != "imagenet":
            raise ValueError(
                f"{kind}.weights: expected start_from 'imagenet' beside a file of weights, got {self.start_from!r}. "
                "Set both, or neither."
            )
        check_number(f"{kind}.output_stride", self.output_stride, 1)
        check_number(f"{kind}.crop", self.crop, 1)
        for amount in self.jitter:
            check_number(f"{kind}.jitter", amount, 0)
        if self.jitter[-1] > 0.5:
            raise ValueError(f"{kind}.jitter: expected a hue of at most 0.5, half a turn, got {self.jitter[-1]!r}.")

    @property
    def is_used(self) -> bool:
        """Whether there is such a network at all."""
        return True

    @property
    def levels_left_out(self) -> int:
        """How many of the backbone's deepest levels it does without."""
        return 0

    def with_backbone(self, name: str) -> Self:
        """The same with another backbone, which has the output stride nearest to what it can.

        Args:
            name: of the backbone.

        Raises:
            ValueError: if there is none of this name, or it gives no feature maps.
        """
        return replace(self, backbone=name, output_stride=level_strides(name, self.output_stride)[-1])

    def with_weights(self, weights: str) -> Self:
        """The same, starting from weights of others, if it does not start from the classifier.

        Its backbone then learns at a tenth of the rate of what is new.

        Args:
            weights: a file; empty: timm's.
        """
        begun = self if self.start_from == "classifier" else replace(self, start_from="imagenet", weights=weights)
        if begun.new_factor >= HEAD_FACTOR:
            return begun
        return replace(begun, rate=begun.rate * begun.new_factor / HEAD_FACTOR, new_factor=HEAD_FACTOR)


def check_long_side(kind: str, long_side: tuple[int, int]) -> None:
    """Require the smallest and the largest long side of training views.

    Raises:
        ValueError: if one is below 1, or the largest is below the smallest.
    """
    check_number(f"{kind}.long_side, the smallest", long_side[0], 1)
    check_number(f"{kind}.long_side, the largest", long_side[1], long_side[0])


def epochs_for(images: int, views: int, fewest: int, most: int) -> int:
    """Epochs in which a network sees about so many views: small sets get more epochs.

    Args:
        images: how many there are.
        views: that it shall see in all.
        fewest: epochs at least.
        most: epochs at most.

    Example:
        >>> epochs_for(220, 17_000, 10, 70), epochs_for(3, 17_000, 10, 70), epochs_for(10_000, 17_000, 10, 70)
        (70, 70, 10)
    """
    return max(fewest, min(most, round(views / max(1, images))))


def view_sides(image_side: int, smallest: float, largest: float) -> tuple[int, int]:
    """The long sides of quick training views, as shares of the image's."""
    return round(image_side * smallest), round(image_side * largest)


def crop_side(image_side: int) -> int:
    """The side of a quick training view in pixels."""
    return max(SMALLEST_CROP, round(image_side * CROP_SHARE / CROP_MULTIPLE) * CROP_MULTIPLE)
