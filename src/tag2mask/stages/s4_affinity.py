"""Images and seeds -> AffinityNet weights (Ahn & Kwak, CVPR 2018, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from tag2mask.checks import check_choice, check_number
from tag2mask.datasets.memory import Kept
from tag2mask.learning.batches import collate_labelled, epoch_batches
from tag2mask.learning.fit import Schedule, fit
from tag2mask.learning.views import check_jitter
from tag2mask.nets.affinity_net import AffinityNet
from tag2mask.nets.backbones import frozen_parameters, to_channels_last
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity, pair_targets
from tag2mask.ops.losses import pair_loss
from tag2mask.ops.seeds import seed_labels
from tag2mask.ops.sizes import limit_long_side, working_size
from tag2mask.ops.windows import cut_window, padded_view, random_window
from tag2mask.records import IGNORE, LabelledBatch
from tag2mask.runs.settings import weights_file
from tag2mask.weights.starting import check_stride, starting_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.nets.backbones import Backbone
    from tag2mask.records import SeedScores
    from tag2mask.runs.artefacts import Artefacts
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Runtime

STAGE = "04_affinity"


@dataclass(frozen=True)
class AffinitySettings(Schedule):
    """How AffinityNet is trained, and at which resolution it and the walk work.

    Args:
        backbone: any timm name, or ``resnet38`` or ``vgg16_dilated`` (authors).
        start_from: weights to begin with: ``imagenet`` (paper) or those of the ``classifier``, which must then
            have the same backbone.
        weights: a file with what ``imagenet`` stands for; without it, timm's weights.
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
        jitter: brightness, contrast, saturation, hue (authors: .3, .3, .3, .1).
    """

    epochs: int = 8
    batch_size: int = 8
    rate: float = 1e-3
    new_factor: float = 10.0
    bias_factor: float = 2.0
    backbone: str = "resnet50"
    start_from: Literal["classifier", "imagenet"] = "imagenet"
    weights: str = weights_file()
    output_stride: int = 8
    cells: int = 62
    radius: int = 5
    border_pairs: bool = True
    crop: int = 56
    without_last: int = 0
    frozen_levels: int = 2
    jitter: tuple[float, float, float, float] = (0.3, 0.3, 0.3, 0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("AffinitySettings.start_from", self.start_from, ("classifier", "imagenet"))
        # With a radius of 1 a cell has no neighbour, and there would be no pair to learn from.
        for name, low in (("output_stride", 1), ("cells", 0), ("radius", 2), ("crop", 1)):
            check_number(f"AffinitySettings.{name}", getattr(self, name), low)
        for name in ("without_last", "frozen_levels"):
            check_number(f"AffinitySettings.{name}", getattr(self, name), 0)
        check_jitter("AffinitySettings", self.jitter)

    @classmethod
    def paper(cls) -> AffinitySettings:
        """The published recipe; its momentum is the authors' 5e-4, which goes with a rate of 0.01 (PAPERS A8)."""
        return cls(rate=0.01, momentum=5e-4, cells=0)

    @classmethod
    def quick(cls, images: int = 400) -> AffinitySettings:
        """A small net that starts from the classifier's weights, on a CPU.

        Args:
            images: how many there are; small sets get more epochs.
        """
        return cls(
            epochs=max(3, min(8, round(1200 / max(1, images)))),
            rate=1e-3,
            optimizer="adamw",
            weight_decay=0.05,
            new_factor=1.0,
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
        size = working_size(image.size, self.settings)
        generator = self.runtime.generator(STAGE, "view", epoch, image.name)
        window = random_window(size, (max(size), max(size)), self.settings.crop * stride, generator)
        window = replace(window, factor=max(size) / max(image.size))
        mean, std = self.backbone.mean, self.backbone.std
        pixels = padded_view(
            image.pixels, window, self.settings.jitter, mean, std, generator=generator, size=image.size
        )
        both = torch.cat([scores.low, scores.high])
        # Not at the full size of an image that the net sees smaller.
        size = limit_long_side(image.size, max(size))
        whole = F.interpolate(both[None], size, mode="bilinear", align_corners=False)[0]
        cells = F.avg_pool2d(cut_window(whole, window, fill=-1.0, size=image.size)[None], stride)[0]
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
        settings: how.
        runtime: where.

    Returns:
        The trained net.
    """
    stage = run.open_stage(STAGE, settings, after=("01_classify", "03_seed"))
    if stage.finished:
        net = build_affinity_net(settings, None, runtime)
        net.load_state_dict(stage.load_weights())
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
