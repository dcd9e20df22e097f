"""Images and seeds -> AffinityNet weights (Ahn & Kwak, CVPR 2018, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from tag2mask.checks import check_number
from tag2mask.datasets.memory import Kept
from tag2mask.labels import IGNORE
from tag2mask.learning.batches import collate_labelled, epoch_batches
from tag2mask.learning.fit import fit
from tag2mask.learning.schedule import HEAD_FACTOR, NetSettings, epochs_for
from tag2mask.nets.affinity_net import SIDE_CHANNELS, AffinityNet
from tag2mask.nets.backbones import frozen_parameters, level_strides, to_channels_last
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity, pair_targets
from tag2mask.ops.losses import pair_loss
from tag2mask.ops.seeds import seed_labels
from tag2mask.ops.sizes import limit_long_side, working_size
from tag2mask.ops.windows import cut_window, padded_view, random_window
from tag2mask.weights.starting import check_stride, starting_backbone
from tag2mask.weights.trained import load_trained

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.nets.backbones import Backbone
    from tag2mask.records import LabelledBatch, SeedScores
    from tag2mask.runs.artefacts import Artefacts
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Runtime

STAGE = "04_affinity"


VIEWS, FEWEST_EPOCHS, MOST_EPOCHS = 1_200, 3, 8
"""Quick: pairs are plenty in every image, so that few views are enough; 8 epochs are the authors'."""

COARSE = 16
"""AffinityNet does without levels of more pixels per cell: objects would be hardly larger than its cells."""

PAPER_RATES = {"vgg16_dilated": 0.1, "resnet38": 0.01}
"""Learning rate by network, both the authors'."""

PAPER_RATE = 0.01
"""Of any other network: chosen as for the residual one."""


@dataclass(frozen=True)
class AffinitySettings(NetSettings):
    """How AffinityNet is trained, and at which resolution it and the walk work.

    Args:
        output_stride: image pixels per cell (paper: 8).
        cells: cells along an image's longer side; images are enlarged (or shrunk) until they have as many, 0
            keeps their size. A typical object spans a fifth to a quarter of a photograph, so 40 makes it at
            least 8 cells wide; a 500-pixel photograph at stride 8 has 62. With fewer cells an object is hardly
            larger than the reach of its pairs, and the walk leaks.
        radius: pairs are closer than this, in cells (paper: 5).
        border_pairs: every pair that lies inside the map takes part, in training and walk (paper); otherwise those are
            left out that begin less than the radius away from the left, right or bottom border (authors' code).
        crop: cells along the side of a training view (authors: 448 / 8 = 56).
        without_last: how many of the backbone's deepest levels to leave out (paper: 0). At stride 8 the last level
            of a ResNet takes three quarters of the time.
        frozen_levels: feature levels whose weights stay as they are (authors freeze the first ones).
    """

    starts = ("classifier", "imagenet")

    epochs: int = 8
    batch_size: int = 8
    rate: float = 1e-3
    bias_factor: float = 2.0
    output_stride: int = 8
    cells: int = 62
    radius: int = 5
    border_pairs: bool = True
    crop: int = 56
    without_last: int = 0
    frozen_levels: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        # With a radius of 1 a cell has no neighbour, and there would be no pair to learn from.
        for name, low in (("cells", 0), ("radius", 2), ("without_last", 0), ("frozen_levels", 0)):
            check_number(f"AffinitySettings.{name}", getattr(self, name), low)

    def sides(self) -> tuple[float, ...]:
        """Long sides in pixels at which it looks at images; 0 means their own size."""
        return (self.cells * self.output_stride,)

    @property
    def levels_left_out(self) -> int:
        """How many of the backbone's deepest levels it does without."""
        return self.without_last

    def with_backbone(self, name: str) -> AffinitySettings:
        """The same with another backbone, less its coarse levels.

        Args:
            name: of the backbone.

        Raises:
            ValueError: if there is none of this name, or it gives no feature maps.
        """
        strides = level_strides(name, self.output_stride)
        spare = max(0, len(strides) - len(SIDE_CHANNELS))
        left_out = min(spare, max(self.without_last, sum(stride > COARSE for stride in strides)))
        stride = strides[len(strides) - left_out - 1]
        return replace(self, backbone=name, without_last=left_out, output_stride=stride)

    @classmethod
    def paper(cls, backbone: str = "resnet50") -> AffinitySettings:
        """The published recipe; its momentum is the authors' 5e-4, which goes with large rates (PAPERS A8).

        Args:
            backbone: the rate is that of this network.
        """
        rate = PAPER_RATES.get(backbone, PAPER_RATE)
        return cls(backbone=backbone, rate=rate, momentum=5e-4, nesterov=False, fill_last=False, cells=0)

    @classmethod
    def quick(cls, images: int = 400, *, pretrained: bool = False) -> AffinitySettings:
        """A small net that starts from the classifier's weights, on a CPU.

        Args:
            images: how many there are; small sets get more epochs.
            pretrained: the classifier started from ImageNet weights.
        """
        return cls(
            epochs=epochs_for(images, VIEWS, FEWEST_EPOCHS, MOST_EPOCHS),
            rate=3e-4 if pretrained else 1e-3,
            optimizer="adamw",
            weight_decay=0.05,
            new_factor=HEAD_FACTOR if pretrained else 1.0,
            bias_factor=1.0,
            backbone="resnet18",
            start_from="classifier",
            cells=40,
            crop=32,
            without_last=1,
            frozen_levels=0,
        )


class SeedViews(Dataset[tuple[str, "Tensor", "Tensor"]]):
    """Random views of images with the seeds of their cells, looked up by (epoch, index)."""

    def __init__(
        self,
        data: TagDataset,
        scores: Artefacts[SeedScores],
        settings: AffinitySettings,
        backbone: Backbone,
        runtime: Runtime,
    ) -> None:
        self.data, self.settings = data, settings
        self.scores = Kept(scores.__getitem__)
        self.backbone, self.runtime = backbone, runtime

    def __len__(self) -> int:
        return len(self.data.names)

    def __getitem__(self, place: tuple[int, int]) -> tuple[str, Tensor, Tensor]:
        epoch, index = place
        image = self.data[self.data.names[index]]
        scores = self.scores[image.name]
        stride = self.settings.output_stride
        size = working_size(image.image_size, self.settings)
        generator = self.runtime.generator(STAGE, "view", epoch, image.name)
        window = random_window(size, (max(size), max(size)), self.settings.crop * stride, generator)
        window = replace(window, factor=max(size) / max(image.image_size))
        mean, std = self.backbone.mean, self.backbone.std
        pixels = padded_view(
            image.pixels, window, self.settings.jitter, mean, std, generator=generator, size=image.image_size
        )
        both = torch.cat([scores.low, scores.high])
        # Not at the full size of an image that the net sees smaller.
        size = limit_long_side(image.image_size, max(size))
        whole = F.interpolate(both[None], size, mode="bilinear", align_corners=False)[0]
        cells = F.avg_pool2d(cut_window(whole, window, fill=-1.0, size=image.image_size)[None], stride)[0]
        low, high = cells.chunk(2)
        labels = seed_labels(low, high, scores.class_ids)
        # Both maps sum to 1 inside the image; a cell with less has pixels outside it, and is unsure.
        labels[cells.sum(dim=0) < 1.99] = IGNORE
        return image.name, pixels, labels


def build_affinity_net(settings: AffinitySettings, run: RunFolder | None, runtime: Runtime) -> AffinityNet:
    """AffinityNet with the weights that its training starts from; random ones without a run.

    Raises:
        ValueError: if it shall start from a classifier with another backbone.
    """
    left_out = settings.without_last
    with runtime.seeded(STAGE, "weights"):
        backbone = starting_backbone(settings, run, STAGE, weights=settings.weights, without_last=left_out)
        check_stride(backbone, settings.output_stride, left_out)
        net = AffinityNet(backbone)
    to_channels_last(net)
    return net


def train_affinity(
    data: TagDataset,
    scores: Artefacts[SeedScores],
    run: RunFolder,
    settings: AffinitySettings,
    *,
    runtime: Runtime,
) -> AffinityNet:
    """Train AffinityNet on pairs of sure pixels, or load it if this was done before.

    Args:
        data: images.
        scores: CRF-refined maps at both alphas, of `make_seeds`.
        run: where the weights go.
        settings: network, resolution, epochs and rates.
        runtime: device, precision and seed.

    Returns:
        The trained net.
    """
    stage = run.open_stage(STAGE, settings, after=("01_classify", "03_seed"))
    if stage.finished:
        net = build_affinity_net(settings, None, runtime)
        load_trained(net, stage.load_weights(), stage.path)
        return net
    net = build_affinity_net(settings, run, runtime)
    for parameter in frozen_parameters(net.backbone, settings.frozen_levels):
        parameter.requires_grad_(False)
    views = SeedViews(data, scores, settings, net.backbone, runtime)
    batches, steps = epoch_batches(views, collate_labelled, settings, runtime, STAGE)
    offsets = half_disc_offsets(settings.radius)

    def loss(model: nn.Module, batch: LabelledBatch) -> dict[str, Tensor]:
        features = model(batch.pixels.to(runtime.device, memory_format=torch.channels_last))
        targets = pair_targets(batch.labels.to(runtime.device), offsets, border_pairs=settings.border_pairs)
        return pair_loss(pair_affinity(features, offsets), targets)

    fitted = fit(net, loss, batches, settings, runtime, steps_per_epoch=steps, title=STAGE, store=stage)
    stage.save_weights(net.state_dict())
    what = f"{settings.backbone} at stride {settings.output_stride}, {settings.cells or 'own'} cells"
    stage.finish_training(what, fitted.history, epochs=settings.epochs, images=len(data.names))
    return net
