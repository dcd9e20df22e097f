"""IAL, M-step: alpha_u and confident regions -> pairwise network (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from tag2mask.checks import check_choice, check_number, check_shape
from tag2mask.datasets.memory import Kept
from tag2mask.learning.batches import epoch_batches
from tag2mask.learning.fit import Runtime, Schedule, fit
from tag2mask.learning.views import check_views, crop_side, random_view
from tag2mask.nets.backbones import to_channels_last
from tag2mask.nets.spn import PairwiseNetwork
from tag2mask.ops.losses import confident_region_loss, object_weight, region_smoothness_loss
from tag2mask.ops.propagation import Merge  # noqa: TC001  (settings are read by their types)
from tag2mask.ops.superpixels import join_regions, resize_regions
from tag2mask.ops.windows import cut_window, size_of
from tag2mask.records import IGNORE
from tag2mask.runs.round import PAIRWISE
from tag2mask.runs.settings import weights_file
from tag2mask.runs.stage_folder import clear_stage
from tag2mask.stages.r0_superpixels import kept_regions
from tag2mask.weights.starting import starting_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.nets.backbones import Backbone
    from tag2mask.ops.windows import Window
    from tag2mask.records import TaggedImage
    from tag2mask.runs.round import Round
    from tag2mask.runs.run_folder import RunFolder


@dataclass(frozen=True)
class PairwiseSettings(Schedule):
    """How the pairwise network is built and trained; not published but for the channels, the merging and the passes.

    Args:
        backbone: of the guidance network; any timm name.
        start_from: weights to begin with: ``imagenet``, those of the ``classifier``, or ``scratch``.
        weights: a file with what ``imagenet`` stands for; without it, timm\'s weights.
        output_stride: of the backbone.
        stride: image pixels per cell of the maps that are spread (published: 2).
        width: channels of the guidance network's decoder.
        merge: how the four directions become one (published: ``max``, which is not linear).
        signed: weights of either sign, as published.
        edges: weights fall with the distance of colours and learned features; convex weights only.
        hidden: channels that are spread instead of the probabilities (published: 32); 0: the probabilities.
        passes: how often (published: 2).
        smoothness: weight of the region smoothness L_s beside L_a.
        balance: of L_a: 0 counts every pixel alike, 1 gives all objects together as much weight as the background; see
            `tag2mask.ops.losses.object_weight`.
        long_side: smallest and largest long side of a training view in pixels.
        crop: side of a training view in pixels, a multiple of `stride`.
        jitter: brightness, contrast, saturation, hue.
        max_side: images with a longer side are shrunk to it for estimates; 0 means never.
        enabled: without it, alpha_p is alpha_u (for comparison).
    """

    epochs: int = 8
    batch_size: int = 8
    rate: float = 0.005
    new_factor: float = 10.0
    backbone: str = "resnet50"
    start_from: Literal["classifier", "imagenet", "scratch"] = "imagenet"
    weights: str = weights_file()
    output_stride: int = 16
    stride: int = 4
    width: int = 128
    merge: Merge = "gated"
    signed: bool = False
    edges: bool = True
    hidden: int = 0
    passes: int = 1
    smoothness: float = 0.1
    balance: float = 1.0
    long_side: tuple[int, int] = (320, 640)
    crop: int = 448
    jitter: tuple[float, float, float, float] = (0.3, 0.3, 0.3, 0.1)
    max_side: int = 1024
    enabled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("PairwiseSettings.start_from", self.start_from, ("classifier", "imagenet", "scratch"))
        check_choice("PairwiseSettings.merge", self.merge, ("mean", "gated", "max"))
        for name, low in (("output_stride", 1), ("stride", 1), ("width", 1), ("hidden", 0), ("passes", 1)):
            check_number(f"PairwiseSettings.{name}", getattr(self, name), low)
        check_number("PairwiseSettings.smoothness", self.smoothness, 0)
        check_number("PairwiseSettings.balance", self.balance, 0)
        if self.signed and self.edges:
            raise ValueError("PairwiseSettings.edges: expected false with signed weights, got true.")
        check_number("PairwiseSettings.max_side", self.max_side, 0)
        check_views(self)
        if self.crop % self.stride:
            raise ValueError(
                f"PairwiseSettings.crop: expected a multiple of the stride {self.stride}, got {self.crop!r}."
            )

    @classmethod
    def paper(cls) -> PairwiseSettings:
        """The published network: signed weights, 32 hidden channels at stride 2, maximum, two passes."""
        return cls(stride=2, merge="max", signed=True, edges=False, hidden=32, passes=2, balance=0.0, max_side=0)

    @classmethod
    def quick(cls, image_side: int = 320, images: int = 400) -> PairwiseSettings:
        """A small net that starts from the classifier's weights, on a CPU.

        Args:
            image_side: typical long side of the images in pixels.
            images: how many there are; small sets get more epochs.
        """
        return cls(
            epochs=max(2, min(8, round(1300 / max(1, images)))),
            batch_size=4,
            rate=1e-3,
            optimizer="adamw",
            weight_decay=0.05,
            new_factor=1.0,
            backbone="resnet18",
            start_from="classifier",
            stride=2 if image_side < 200 else 4,
            width=48,
            long_side=(round(image_side * 0.8), round(image_side * 1.2)),
            crop=crop_side(image_side),
            max_side=image_side,
        )


@dataclass(frozen=True, slots=True, eq=False)
class PairwiseBatch:
    """What the pairwise network trains on.

    Args:
        pixels: (B, 3, H, W) float32, normalised.
        probabilities: (B, 1 + C, h, w): alpha_u.
        labels: (B, h, w) int64 of mined cells: 0, 1..C; IGNORE on all others.
        ids: (B, h, w) int64: superpixels, numbered through the batch; -1 outside of the images.
        count: of the superpixels.
    """

    pixels: Tensor
    probabilities: Tensor
    labels: Tensor
    ids: Tensor
    count: int

    def __post_init__(self) -> None:
        known = check_shape("pixels", self.pixels, "B 3 H W")
        cells = check_shape("labels", self.labels, "B h w", B=known["B"])
        check_shape("probabilities", self.probabilities, "B channels h w", **cells)
        check_shape("ids", self.ids, "B h w", **cells)


class PairwiseViews(Dataset["tuple[Tensor, Tensor, Tensor, Tensor, int]"]):
    """Random views of images with alpha_u, mined labels and superpixels, looked up by (epoch, index)."""

    def __init__(
        self, data: TagDataset, this: Round, settings: PairwiseSettings, *, backbone: Backbone, runtime: Runtime
    ) -> None:
        self.data, self.this, self.settings = data, this, settings
        self.regions = kept_regions(this.run)
        self.mined = Kept(self._narrow_labels)
        self.backbone, self.runtime = backbone, runtime

    def __len__(self) -> int:
        return len(self.data.names)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        epoch, index = place
        image = self.data[self.data.names[index]]
        regions = self.regions[image.name]
        window, pixels = random_view(
            image, epoch, self.settings, self.backbone, self.runtime, self.this.folder, PAIRWISE
        )
        labels = self._cells(self.mined[image.name], window, image.size, fill=IGNORE)
        ids = self._cells(regions.ids, window, image.size, fill=-1)
        return pixels, self._probabilities(image, window), labels, ids, regions.count

    def _narrow_labels(self, name: str) -> Tensor:
        """(H, W) int16: the mined labels of an image."""
        return self.this.mined[name].labels.short()

    def _probabilities(self, image: TaggedImage, window: Window) -> Tensor:
        """(1 + C, h, w): alpha_u averaged over what the cells of a window show of the image."""
        alpha = self.this.soft[image.name].spread(len(self.data.class_names))
        alpha = F.interpolate(alpha[None], size_of(image.pixels), mode="bilinear", align_corners=False)[0]
        cells = F.avg_pool2d(cut_window(alpha, window, fill=0, size=image.size)[None], self.settings.stride)[0]
        shown = cells.sum(dim=0)  # Outside of the image all channels are 0.
        cells[0] += shown <= 0
        return cells / cells.sum(dim=0)

    def _cells(self, numbers: Tensor, window: Window, size: tuple[int, int], *, fill: int) -> Tensor:
        """(h, w) int64: what the labels or ids (H, W) are at the centre of a window's cells, as `resize_regions`."""
        side = self.settings.crop // self.settings.stride
        cut = cut_window(numbers[None].int(), window, fill=fill, nearest=True, size=size)[0]
        return resize_regions(cut.long(), (side, side))


def collate_pairwise(items: list[tuple[Tensor, Tensor, Tensor, Tensor, int]]) -> PairwiseBatch:
    """Stack views into a batch, their superpixels numbered through."""
    pixels, probabilities, labels, ids, counts = zip(*items, strict=True)
    joined, count = join_regions(list(ids), list(counts))
    return PairwiseBatch(torch.stack(pixels), torch.stack(probabilities), torch.stack(labels), joined, count)


def build_pairwise(
    settings: PairwiseSettings, classes: int, start: RunFolder | None, runtime: Runtime
) -> PairwiseNetwork:
    """The pairwise network with the weights that its training starts from; random ones without a run.

    Args:
        settings: how.
        classes: C.
        start: the run with the classifier.
        runtime: gives the seed.
    """
    with runtime.seeded(PAIRWISE, "weights"):
        net = PairwiseNetwork(
            starting_backbone(settings, start, PAIRWISE, weights=settings.weights),
            stride=settings.stride,
            width=settings.width,
            merge=settings.merge,
            signed=settings.signed,
            edges=settings.edges,
            hidden=settings.hidden,
            passes=settings.passes,
            num_classes=classes,
        )
    to_channels_last(net)
    return net


def learn_pairwise(
    data: TagDataset,
    this: Round,
    settings: PairwiseSettings,
    *,
    after: tuple[str, ...],
    before: PairwiseNetwork | None,
    runtime: Runtime,
) -> PairwiseNetwork | None:
    """Train the pairwise network on confident regions, or load it if this was done before.

    Args:
        data: images.
        this: the round, with alpha_u and the mined labels; the weights go there.
        settings: how.
        after: the stages that it depends on.
        before: the pairwise network of the round before, to go on from; None: start as `settings` says.
        runtime: where.

    Returns:
        The network; None if the settings do without it: one of other settings is deleted then.
    """
    if not settings.enabled:
        clear_stage(this.path / PAIRWISE)
        return None
    title, classes = f"{this.folder}/{PAIRWISE}", len(data.class_names)
    stage = this.run.open_stage(title, settings, after=after)
    if stage.finished:
        net = build_pairwise(settings, classes, None, runtime)
        net.load_state_dict(stage.load_weights())
        return net
    net = build_pairwise(settings, classes, this.start if before is None else None, runtime)
    if before is not None:
        net.load_state_dict(before.state_dict())
    views = PairwiseViews(data, this, settings, backbone=net.backbone, runtime=runtime)
    batches, steps = epoch_batches(views, collate_pairwise, settings, runtime, title)
    weight = object_weight((this.mined[name].labels for name in data.names), settings.balance)

    def loss(model: nn.Module, batch: PairwiseBatch) -> dict[str, Tensor]:
        assert isinstance(model, PairwiseNetwork)
        return pairwise_loss(model, batch, runtime, smoothness=settings.smoothness, object_weight=weight)

    fitted = fit(net, loss, batches, settings, runtime, steps_per_epoch=steps, title=title, store=stage)
    stage.save_weights(net.state_dict())
    what = f"{settings.backbone} at stride {settings.stride}"
    stage.finish_training(what, fitted.history, epochs=settings.epochs, images=len(data.names))
    return net


def pairwise_loss(
    net: PairwiseNetwork, batch: PairwiseBatch, runtime: Runtime, *, smoothness: float, object_weight: float = 1.0
) -> dict[str, Tensor]:
    """L_a of the confident regions, and L_s of the regions with its weight.

    Args:
        net: in training.
        batch: of `collate_pairwise`.
        runtime: where.
        smoothness: weight of L_s; at 0 it is not computed.
        object_weight: of an object's pixel in L_a.
    """
    guidance = net.guide(batch.pixels.to(runtime.device, memory_format=torch.channels_last))
    refined = net.refine(guidance, batch.probabilities.to(runtime.device))
    terms = {"confident_regions": confident_region_loss(refined, batch.labels.to(runtime.device), object_weight)}
    if smoothness > 0:
        weights = guidance.weights.flatten(1, 2)  # (B, 12, h, w)
        spread = region_smoothness_loss(weights, batch.ids.to(runtime.device), batch.count)
        terms["smoothness"] = smoothness * spread
    return terms
