"""Images and tags -> classifier weights (Ahn & Kwak, CVPR 2018, section 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Dataset

from tag2mask.checks import check_number
from tag2mask.learning.base_rate import tags_of, weights_of
from tag2mask.learning.batches import epoch_batches
from tag2mask.learning.fit import fit
from tag2mask.learning.schedule import (
    HEAD_FACTOR,
    TUNED_BACKBONE,
    TUNED_SIDE,
    NetSettings,
    check_long_side,
    crop_side,
    epochs_for,
    view_sides,
)
from tag2mask.learning.tag_precision import tag_precision, tell_not_learned
from tag2mask.learning.views import random_view
from tag2mask.nets.backbones import to_channels_last
from tag2mask.nets.classifier import CamClassifier
from tag2mask.nets.paper_backbones import PaperBackbone, freeze_first_stages
from tag2mask.ops.losses import tag_loss
from tag2mask.records import PHOTO_SIDE, TaggedBatch
from tag2mask.weights.matching import in_own_names
from tag2mask.weights.starting import loaded_backbone
from tag2mask.weights.trained import load_trained

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.nets.backbones import Backbone
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Runtime

STAGE = "01_classify"


VIEWS, FEWEST_EPOCHS, MOST_EPOCHS = 17_000, 10, 70
"""Quick: a small net from scratch has found the telling parts of objects after so many views (docs/results.md); more
than the most epochs gain nothing on the smallest sets, fewer than the fewest never see an image twice the same way."""

SMALLEST_VIEW, LARGEST_VIEW = 0.7, 1.1
"""Quick: long sides of training views, as shares of the image's."""

TUNED_VIEWS, TUNED_FEWEST, TUNED_MOST = 1_800, 4, 30
"""What a fine-tuning takes."""

PAPER_RATES = {"vgg16_dilated": 0.1, "resnet38": 0.01}
"""Learning rate by network: 0.1 is the authors', for VGG-16; ResNet-38 rises at it, and users of their code report that
0.01 works."""

PAPER_RATE = 0.01
"""Of any other network: chosen as for the residual one."""


@dataclass(frozen=True)
class ClassifySettings(NetSettings):
    """How the multi-label classifier is trained.

    Args:
        output_stride: of the backbone (paper: 8).
        dropout: in front of the linear layer (authors' code: 0.5).
        long_side: smallest and largest long side of a training view in pixels (authors: 256 to 512).
        crop: side of a training view in pixels, zero-padded (authors: 448).
        balance: how much more a rare class that is there counts, see `tag2mask.ops.losses.tag_weights` (published: 0).
    """

    starts = ("imagenet", "scratch")

    epochs: int = 15
    batch_size: int = 16
    rate: float = 0.01
    bias_factor: float = 2.0
    dropout: float = 0.5
    long_side: tuple[int, int] = (256, 512)
    balance: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("ClassifySettings.dropout", self.dropout, 0, 1)
        check_number("ClassifySettings.balance", self.balance, 0)
        check_long_side("ClassifySettings", self.long_side)

    def sides(self) -> tuple[float, ...]:
        """Long sides in pixels at which it looks at images; 0 means their own size."""
        return (self.long_side[1],)

    @classmethod
    def paper(cls, backbone: str = "resnet50") -> ClassifySettings:
        """The published recipe; its momentum is the authors' 5e-4, which goes with large rates (PAPERS A8).

        Args:
            backbone: the rate is that of this network.
        """
        rate = PAPER_RATES.get(backbone, PAPER_RATE)
        return cls(backbone=backbone, rate=rate, momentum=5e-4, nesterov=False, fill_last=False, output_stride=8)

    @classmethod
    def quick(cls, image_side: int = 320, images: int = 400, *, pretrained: bool = False) -> ClassifySettings:
        """A small net on a CPU.

        Args:
            image_side: typical long side of the images in pixels.
            images: how many there are; small sets get more epochs.
            pretrained: it starts from ImageNet weights: a few epochs fine-tune it, at its own stride.
        """
        if pretrained:
            side = max(image_side, TUNED_SIDE)
            return cls(
                epochs=epochs_for(images, TUNED_VIEWS, TUNED_FEWEST, TUNED_MOST),
                rate=5e-4,
                optimizer="adamw",
                weight_decay=0.05,
                warmup=0.18,
                new_factor=HEAD_FACTOR,
                bias_factor=1.0,
                backbone=TUNED_BACKBONE,
                start_from="imagenet",
                output_stride=32,
                dropout=0.0,
                long_side=view_sides(side, SMALLEST_VIEW, LARGEST_VIEW),
                crop=TUNED_SIDE,
                balance=0.5,
            )
        return cls(
            epochs=epochs_for(images, VIEWS, FEWEST_EPOCHS, MOST_EPOCHS),
            rate=2e-3,
            optimizer="adamw",
            weight_decay=0.05,
            warmup=0.1,
            new_factor=1.0,
            bias_factor=1.0,
            backbone="resnet18",
            start_from="scratch",
            output_stride=16,
            # From scratch on small images, dropout only keeps the net longer at calling everything absent; on
            # photographs, of which the features hold more, maps without it are a point worse.
            dropout=0.0 if image_side < PHOTO_SIDE else 0.5,
            long_side=view_sides(image_side, SMALLEST_VIEW, LARGEST_VIEW),
            crop=crop_side(image_side),
        )


class TaggedViews(Dataset[tuple[str, "Tensor", "Tensor"]]):
    """Random views of tagged images, looked up by (epoch, index)."""

    def __init__(self, data: TagDataset, settings: ClassifySettings, backbone: Backbone, runtime: Runtime) -> None:
        self.data, self.settings, self.backbone, self.runtime = data, settings, backbone, runtime

    def __len__(self) -> int:
        return len(self.data.names)

    def __getitem__(self, place: tuple[int, int]) -> tuple[str, Tensor, Tensor]:
        epoch, index = place
        image = self.data[self.data.names[index]]
        _, pixels = random_view(image, epoch, self.settings, self.backbone, self.runtime, STAGE)
        return image.name, pixels, image.tags


def collate_tagged(items: list[tuple[str, Tensor, Tensor]]) -> TaggedBatch:
    """Stack views into a batch."""
    names, pixels, tags = zip(*items, strict=True)
    return TaggedBatch(tuple(names), torch.stack(pixels), torch.stack(tags))


def build_classifier(settings: ClassifySettings, num_classes: int, runtime: Runtime) -> CamClassifier:
    """An untrained classifier; its random weights follow from the seed."""
    with runtime.seeded(STAGE, "weights"):
        backbone = loaded_backbone(
            settings.backbone,
            settings.output_stride,
            weights=settings.weights,
            pretrained=settings.start_from == "imagenet",
            pooled=True,
        )
        net = CamClassifier(backbone, num_classes, settings.dropout)
    to_channels_last(net)
    return net


def load_classifier(run: RunFolder, num_classes: int, settings: ClassifySettings, runtime: Runtime) -> CamClassifier:
    """The classifier that a run trained.

    Args:
        run: with the weights.
        num_classes: C.
        settings: how it was trained.
        runtime: of the run.

    Raises:
        ValueError: if the weights are missing or damaged, or of another network.
    """
    net = build_classifier(replace(settings, start_from="scratch", weights=""), num_classes, runtime)
    load_trained(net, in_own_names(run.weights(STAGE), net.state_dict()), run.path / STAGE)
    return net


def train_classifier(
    data: TagDataset, run: RunFolder, settings: ClassifySettings, *, runtime: Runtime
) -> CamClassifier:
    """Train the classifier, or load it if this was done before.

    Args:
        data: tagged images; images without tags take part as pure background.
        run: where the weights go.
        settings: network, epochs, rates and views.
        runtime: device, precision and seed.

    Returns:
        The trained classifier.
    """
    stage = run.open_stage(STAGE, settings)
    if stage.finished:
        return load_classifier(run, len(data.class_names), settings, runtime)
    net = build_classifier(settings, len(data.class_names), runtime)
    if settings.weights and isinstance(net.backbone.net, PaperBackbone):
        freeze_first_stages(net.backbone.net)
    views = TaggedViews(data, settings, net.backbone, runtime)
    batches, steps = epoch_batches(views, collate_tagged, settings, runtime, STAGE)
    weights = weights_of(tags_of(data, data.names), settings)
    weights = None if weights is None else weights.to(runtime.device)

    def loss(model: nn.Module, batch: TaggedBatch) -> dict[str, Tensor]:
        device = runtime.device
        pixels = batch.pixels.to(device, memory_format=torch.channels_last)
        return {"tags": tag_loss(model(pixels), batch.tags.to(device), weights)}

    fitted = fit(net, loss, batches, settings, runtime, steps_per_epoch=steps, title=STAGE, store=stage)
    stage.save_weights(net.state_dict())
    precision = tag_precision(data, net, settings, runtime)
    where = "held-out" if precision.held_out else "training"
    more = "" if math.isnan(precision.mean) else f", {where} mAP {100 * precision.mean:.1f}"
    images, told = len(data.names), fitted.history
    stage.finish_training(
        settings.backbone, told, epochs=settings.epochs, images=images, more=more, precision=precision
    )
    tell_not_learned(STAGE, precision)
    return net
