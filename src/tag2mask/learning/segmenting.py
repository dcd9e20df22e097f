"""Train and apply any segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from tag2mask.checks import check_number
from tag2mask.datasets.memory import Kept
from tag2mask.labels import IGNORE, labels_from_channels
from tag2mask.learning.batches import collate_labelled, epoch_batches
from tag2mask.learning.fit import fit
from tag2mask.learning.schedule import HEAD_FACTOR, NetSettings, check_long_side, crop_side, epochs_for, view_sides
from tag2mask.learning.segmenter import Segmenter, module_of
from tag2mask.learning.views import random_view
from tag2mask.nets.backbones import to_channels_last
from tag2mask.nets.looking import Normalisation, Normalised, whole_view
from tag2mask.nets.segmenter import DeepLab
from tag2mask.ops.losses import label_loss, object_weight
from tag2mask.ops.sizes import limit_long_side, resize_labels, size_of
from tag2mask.ops.windows import cut_window
from tag2mask.records import LabelledBatch, PseudoMask, Seeds
from tag2mask.weights.starting import starting_backbone

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.fit import CheckpointStore, Fitted
    from tag2mask.records import TaggedImage
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Runtime

STAGE = "06_segment"
"""In the seeds of a segmenter, whatever stage trains it."""


VIEWS, FEWEST_EPOCHS, MOST_EPOCHS = 3_500, 6, 30
"""Quick: a small net that starts from the classifier settles after so many views (docs/results.md)."""

TUNED_VIEWS = 2_000
"""The same where the classifier started from ImageNet weights."""

SMALLEST_VIEW, LARGEST_VIEW = 0.7, 1.2
"""Quick: long sides of training views, as shares of the image's."""

FEWEST_PIXELS = 16
"""Along the side of what a segmenter looks at: of smaller images nothing is left at its stride."""


@dataclass(frozen=True)
class SegmentSettings(NetSettings):
    """How the segmentation network is trained on the pseudo masks.

    Args:
        output_stride: 16 or 8.
        width: channels of the pyramid and the decoder.
        rates: dilations of the pyramid, in cells.
        long_side: smallest and largest long side of a training view in pixels.
        max_side: images with a longer side are shrunk to it for prediction; 0 means never.
        balance: 0 counts every pixel alike, 1 gives all objects together as much weight as the background; see
            `tag2mask.ops.losses.object_weight`.
    """

    epochs: int = 30
    batch_size: int = 16
    rate: float = 0.01
    width: int = 256
    rates: tuple[int, ...] = (6, 12, 18)
    long_side: tuple[int, int] = (320, 640)
    max_side: int = 1024
    balance: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_side:
            check_number("SegmentSettings.max_side, which is not 0,", self.max_side, FEWEST_PIXELS)
        for name, low in (("balance", 0), ("width", 1), ("max_side", 0)):
            check_number(f"SegmentSettings.{name}", getattr(self, name), low)
        for rate in self.rates:
            check_number("SegmentSettings.rates", rate, 1)
        check_long_side("SegmentSettings", self.long_side)

    def sides(self) -> tuple[float, ...]:
        """Long sides in pixels at which it looks at images; 0 means their own size."""
        return self.long_side[1], self.max_side

    @classmethod
    def paper(cls) -> SegmentSettings:
        """The paper leaves the network open; this is DeepLab's recipe at stride 8, where its dilations double."""
        return cls(nesterov=False, fill_last=False, output_stride=8, rates=(12, 24, 36), max_side=0)

    @classmethod
    def quick(cls, image_side: int = 320, images: int = 400, *, pretrained: bool = False) -> SegmentSettings:
        """A small net that starts from the classifier's weights, on a CPU.

        Args:
            image_side: typical long side of the images in pixels.
            images: how many there are; small sets get more epochs.
            pretrained: the classifier started from ImageNet weights.
        """
        return cls(
            epochs=epochs_for(images, TUNED_VIEWS if pretrained else VIEWS, FEWEST_EPOCHS, MOST_EPOCHS),
            batch_size=8,
            rate=3e-4 if pretrained else 1e-3,
            optimizer="adamw",
            weight_decay=0.05,
            warmup=0.05,
            new_factor=HEAD_FACTOR if pretrained else 1.0,
            backbone="resnet18",
            start_from="classifier",
            width=96,
            rates=(2, 4, 6),
            long_side=view_sides(image_side, SMALLEST_VIEW, LARGEST_VIEW),
            crop=crop_side(image_side),
            max_side=max(image_side, FEWEST_PIXELS),
            balance=0.5,
        )


class LabelSource(Protocol):
    """Where training labels come from: pseudo masks, seeds, or anything else with a label map per name."""

    def __getitem__(self, name: str) -> PseudoMask | Seeds: ...


class LabelledViews(Dataset[tuple[str, "Tensor", "Tensor"]]):
    """Random views of images and their masks, looked up by (epoch, index)."""

    def __init__(
        self,
        data: TagDataset,
        masks: LabelSource,
        settings: SegmentSettings,
        net: Normalised,
        *,
        runtime: Runtime,
        title: str = STAGE,
    ) -> None:
        self.data, self.masks, self.settings = data, masks, settings
        self.runtime, self.title = runtime, title
        # Not the network itself: views may be made in another process.
        self.pixels = Normalisation(tuple(net.mean), tuple(net.std))
        self._labels = Kept(self._narrow_labels)

    def __len__(self) -> int:
        return len(self.data.names)

    def __getitem__(self, place: tuple[int, int]) -> tuple[str, Tensor, Tensor]:
        epoch, index = place
        image = self.data[self.data.names[index]]
        labels = self._labels[image.name]
        window, pixels = random_view(image, epoch, self.settings, self.pixels, self.runtime, self.title)
        cut = cut_window(labels[None].int(), window, fill=IGNORE, nearest=True, size=image.image_size)[0]
        return image.name, pixels, cut.long()

    def _narrow_labels(self, name: str) -> Tensor:
        """(h, w) int16 labels of an image, in the resolution of its pixels."""
        return resize_labels(self.masks[name].labels, size_of(self.data[name].pixels)).short()


def build_segmenter(settings: SegmentSettings, num_classes: int, run: RunFolder | None, runtime: Runtime) -> DeepLab:
    """The segmenter with the weights that its training starts from; random ones without a run."""
    with runtime.seeded(STAGE, "weights"):
        backbone = starting_backbone(settings, run, STAGE, weights=settings.weights)
        net = DeepLab(backbone, num_classes, settings.width, settings.rates)
    to_channels_last(net)
    return net


def learn_masks(
    net: Segmenter,
    data: TagDataset,
    masks: LabelSource,
    settings: SegmentSettings,
    *,
    runtime: Runtime,
    store: CheckpointStore | None = None,
    title: str = STAGE,
) -> Fitted:
    """Train a segmenter in place on any label maps.

    Args:
        net: of `build_segmenter`.
        data: images.
        masks: name -> labels.
        settings: epochs, rates and views.
        runtime: device, precision and seed.
        store: keeps checkpoints.
        title: beside the progress bar, and part of the seed.
    """
    views = LabelledViews(data, masks, settings, net, runtime=runtime, title=title)
    batches, steps = epoch_batches(views, collate_labelled, settings, runtime, title)
    weight = object_weight((masks[name].labels for name in data.names), settings.balance)

    def loss(model: nn.Module, batch: LabelledBatch) -> dict[str, Tensor]:
        logits = model(batch.pixels.to(runtime.device, memory_format=torch.channels_last))
        return {"labels": label_loss(logits, batch.labels.to(runtime.device), weight)}

    return fit(module_of(net), loss, batches, settings, runtime, steps_per_epoch=steps, title=title, store=store)


def image_probabilities(pixels: Tensor, net: Segmenter, settings: SegmentSettings, runtime: Runtime) -> Tensor:
    """What the segmenter thinks of one image, no tags needed; call inside ``runtime.inference(net)``.

    The image and its mirror image are averaged.

    Args:
        pixels: (3, H, W) uint8.
        net: trained.
        settings: how it was trained.
        runtime: device, precision and seed.

    Returns:
        (1 + C, h, w) float32 probabilities, at the image's size or shrunk to `settings.max_side`.
    """
    size = limit_long_side(size_of(pixels), settings.max_side)
    logits: Tensor = net(whole_view(pixels, size, net, runtime, mirrored=True))
    probabilities = logits.float().softmax(dim=1)
    return ((probabilities[0] + probabilities[1].flip(-1)) / 2).cpu()


def mask_of(name: str, probabilities: Tensor, size: tuple[int, int]) -> PseudoMask:
    """The most probable labels at the size of the image.

    Args:
        name: of the image.
        probabilities: (1 + C, h, w).
        size: (height, width) of the image.
    """
    if size_of(probabilities) != size:
        probabilities = F.interpolate(probabilities[None], size, mode="bilinear", align_corners=False)[0]
    confidence, channels = probabilities.max(dim=0)
    return PseudoMask(name, labels_from_channels(channels), confidence.clamp(0, 1))


def predict_mask(image: TaggedImage, net: Segmenter, settings: SegmentSettings, runtime: Runtime) -> PseudoMask:
    """The segmenter's mask of one image, of the image's size; call inside ``runtime.inference(net)``.

    Args:
        image: its tags are not looked at.
        net: trained.
        settings: how it was trained.
        runtime: device, precision and seed.
    """
    return mask_of(image.name, image_probabilities(image.pixels, net, settings, runtime), image.image_size)
