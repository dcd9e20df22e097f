"""IAL: unary masks -> confident regions, by a region classifier on superpixels (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from tag2mask.checks import check_number
from tag2mask.labels import BACKGROUND, IGNORE, channels_from_labels
from tag2mask.learning.batches import epoch_batches
from tag2mask.learning.fit import fit
from tag2mask.learning.region_views import RegionBatch, RegionViews, collate_regions, region_probabilities
from tag2mask.learning.schedule import NetSettings, check_long_side, crop_side, epochs_for, view_sides
from tag2mask.nets.backbones import to_channels_last
from tag2mask.nets.looking import looking_copy
from tag2mask.nets.region_net import FINE_STRIDE, RegionNet
from tag2mask.ops.mining import confident_regions, mask_logits, region_labels_to_pixels, region_samples
from tag2mask.ops.refine import sharpened_labels, soft_labels
from tag2mask.parallel import Turns, map_images
from tag2mask.records import Seeds
from tag2mask.runs.image_numbers import Tally
from tag2mask.runs.places import ESTIMATE, MINE, SUPERPIXELS
from tag2mask.runs.round import Round
from tag2mask.runs.stage_summary import Curves
from tag2mask.weights.starting import starting_backbone
from tag2mask.weights.trained import load_trained

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.ops.crf import CrfSettings
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runs.stage_folder import StageFolder, Upstream
    from tag2mask.runtime import Runtime


VIEWS, FEWEST_EPOCHS, MOST_EPOCHS = 1_000, 2, 6
"""Quick: every view shows a hundred samples, so that few views are enough."""

SMALLEST_VIEW, LARGEST_VIEW = 0.8, 1.2
"""Quick: long sides of training views, as shares of the image's."""


@dataclass(frozen=True)
class MineSettings(NetSettings):
    """How confident regions are found; the paper publishes the share and the kind of classifier only.

    Args:
        share: a superpixel of which at least this share of the pixels has one label is a sample of it (paper: 0.8).
        threshold: a sample is kept if the classifier gives its label at least this probability.
        hidden: width of the two fully connected layers.
        dropout: after each of them.
        long_side: smallest and largest long side of a training view in pixels.
        max_side: images with a longer side are shrunk to it when regions are judged; 0 means never.
        context: the classifier sees the surroundings of a region too, on the backbone's last level.
        sharpen: samples are taken from alpha_u after a dense CRF, whose edges are those of the image (not published).
        averaged: samples are taken from the mean of alpha_u over the rounds so far, and regions are judged by the mean
            of the classifiers' scores since the second round, instead of by those of this round alone (not published).
        enabled: without mining, every pixel of the unary output is taken as confident (for comparison).
    """

    starts = ("classifier", "imagenet")

    epochs: int = 4
    batch_size: int = 8
    rate: float = 0.005
    share: float = 0.8
    threshold: float = 0.7
    hidden: int = 1024
    dropout: float = 0.5
    long_side: tuple[int, int] = (320, 640)
    max_side: int = 1024
    context: bool = True
    sharpen: bool = True
    averaged: bool = True
    enabled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        # At a half or less two labels could hold the same region.
        check_number("MineSettings.share", self.share, 0.5, above=True)
        check_number("MineSettings.threshold", self.threshold, 0.0)
        for name in ("share", "threshold"):
            if getattr(self, name) > 1:
                raise ValueError(f"MineSettings.{name}: expected at most 1, got {getattr(self, name)!r}.")
        for name, low in (("hidden", 1), ("max_side", 0)):
            check_number(f"MineSettings.{name}", getattr(self, name), low)
        check_number("MineSettings.dropout", self.dropout, 0, 1)
        check_long_side("MineSettings", self.long_side)

    @property
    def is_used(self) -> bool:
        """Whether there is such a network at all."""
        return self.enabled

    def sides(self) -> tuple[float, ...]:
        """Long sides in pixels at which it looks at images; 0 means their own size."""
        return self.long_side[1], self.max_side

    @classmethod
    def quick(cls, image_side: int = 320, images: int = 400) -> MineSettings:
        """A small net that starts from the classifier's weights, on a CPU.

        Args:
            image_side: typical long side of the images in pixels.
            images: how many there are; small sets get more epochs.
        """
        return cls(
            epochs=epochs_for(images, VIEWS, FEWEST_EPOCHS, MOST_EPOCHS),
            rate=5e-4,
            optimizer="adamw",
            weight_decay=0.05,
            new_factor=4.0,
            backbone="resnet18",
            start_from="classifier",
            hidden=256,
            long_side=view_sides(image_side, SMALLEST_VIEW, LARGEST_VIEW),
            crop=crop_side(image_side),
            max_side=image_side,
            context=False,
        )


def region_loss(logits: Tensor, labels: Tensor, allowed: Tensor) -> dict[str, Tensor]:
    """Cross-entropy of the samples: the mean over background and the mean over objects, half each.

    Nine of ten samples are background; counted alike, the classifier would call everything that.

    Args:
        logits: (R, 1 + C).
        labels: (R,) int64: 0, 1..C, IGNORE.
        allowed: (R, 1 + C) bool; the label of a sample is among them.
    """
    channels = channels_from_labels(labels)
    losses = F.cross_entropy(mask_logits(logits.float(), allowed), channels, ignore_index=-1, reduction="none")
    terms = {}
    for name, chosen in (("background", channels == BACKGROUND), ("object", channels > BACKGROUND)):
        terms[name] = losses[chosen].sum() / chosen.sum().clamp(min=1) / 2
    return terms


def mine_regions(
    data: TagDataset, em_round: Round, settings: MineSettings, *, crf: CrfSettings, runtime: Runtime
) -> None:
    """Mark the confident pixels of every training image: ``mined/NAME.png``; or find it done.

    Args:
        data: images and tags.
        em_round: the round, with the unary network's masks; its run has the superpixels.
        settings: samples and threshold; network, epochs and rates.
        crf: kernels of the dense CRF, if samples are sharpened.
        runtime: device, precision and seed.

    Raises:
        ValueError: if no superpixel of any image is a sample.
    """
    title = f"{em_round.folder}/{MINE}"
    after: list[str | Upstream] = [SUPERPIXELS, f"{em_round.folder}/{ESTIMATE}"]
    if settings.start_from == "classifier":
        after.append(em_round.of_start("01_classify"))
    stage = em_round.run.open_stage(title, (settings, crf) if settings.sharpen else settings, after=after)
    if stage.finished:
        return
    if not settings.enabled:
        for name in data.names:
            em_round.mined.write(name, Seeds(name, em_round.unary[name]))
        stage.finish("no mining: every pixel is taken", items=len(data.names))
        return
    samples = _samples(data, em_round, settings, crf)
    net = _train(data, em_round, samples, settings, stage=stage, runtime=runtime)
    tally = _judge(data, em_round, samples, net, settings, stage=stage, runtime=runtime)
    counts = tally.sums(data.names)
    kept, dropped, unknown = (100 * counts[key] / sum(counts.values()) for key in ("kept", "dropped", "unknown"))
    stage.finish(
        f"{kept:.0f} % of the regions kept, {dropped:.0f} % dropped, {unknown:.0f} % unknown",
        items=len(data.names),
        curves=stage.noted("curves", Curves) or {},
    )


def _samples(data: TagDataset, em_round: Round, settings: MineSettings, crf: CrfSettings) -> dict[str, Tensor]:
    """The sample labels of every image's regions."""
    title, regions = f"{em_round.folder}/{MINE}", em_round.run.superpixels
    softs = em_round.mean_soft if settings.averaged else em_round.soft

    def work(name: str) -> Tensor:
        if settings.sharpen:
            labels = sharpened_labels(data[name], softs[name], settings.max_side, crf)
        else:
            labels = soft_labels(softs[name]) if settings.averaged else em_round.unary[name]
        return region_samples(labels, regions[name], 1 + len(data.class_names), settings.share)

    samples = dict(zip(data.names, map_images(work, data.names, f"{title} samples"), strict=True))
    if all(bool((labels == IGNORE).all()) for labels in samples.values()):
        raise ValueError(
            f"{title}: no superpixel has one label on {settings.share:.0%} of its pixels. "
            "Take more and smaller superpixels (superpixels.count), or a smaller mine.share."
        )
    return samples


def _train(
    data: TagDataset,
    em_round: Round,
    samples: Mapping[str, Tensor],
    settings: MineSettings,
    *,
    stage: StageFolder,
    runtime: Runtime,
) -> RegionNet:
    """The region classifier of the round, trained now or before the stage was stopped."""
    title, classes = f"{em_round.folder}/{MINE}", len(data.class_names)
    if stage.noted("curves", Curves) is not None:
        net = _build(settings, classes, None, runtime, title)
        load_trained(net, stage.load_weights(), stage.path)
        return net
    net = _build(settings, classes, em_round.start, runtime, title)
    views = RegionViews(data, samples, em_round, settings, backbone=net.backbone, runtime=runtime)
    batches, steps = epoch_batches(views, collate_regions, settings, runtime, title)

    def loss(model: nn.Module, batch: RegionBatch) -> dict[str, Tensor]:
        pixels = batch.pixels.to(runtime.device, memory_format=torch.channels_last)
        logits = model(pixels, batch.ids.to(runtime.device), len(batch.labels))
        return region_loss(logits, batch.labels.to(runtime.device), batch.allowed.to(runtime.device))

    fitted = fit(net, loss, batches, settings, runtime, steps_per_epoch=steps, title=title, store=stage)
    stage.save_weights(net.state_dict())
    stage.note("curves", fitted.history)
    return net


def _build(settings: MineSettings, classes: int, start: RunFolder | None, runtime: Runtime, title: str) -> RegionNet:
    """The region classifier with the weights that its training starts from; random ones without a run."""
    with runtime.seeded(title, "weights"):
        backbone = starting_backbone(
            settings, start, title, until_stride=0 if settings.context else FINE_STRIDE, weights=settings.weights
        )
        net = RegionNet(backbone, classes, settings.hidden, settings.dropout)
    to_channels_last(net)
    return net


def _judge(
    data: TagDataset,
    em_round: Round,
    samples: Mapping[str, Tensor],
    net: RegionNet,
    settings: MineSettings,
    *,
    stage: StageFolder,
    runtime: Runtime,
) -> Tally:
    """Write the labels of the regions that are kept; how many regions of each image are kept, dropped and unknown."""
    tally = Tally(stage)
    turns, eval_net = Turns(runtime.device, settings.max_side), looking_copy(net, runtime)

    superpixels, all_scores, all_mined = em_round.run.superpixels, em_round.region_scores, em_round.mined

    def work(name: str) -> None:
        image, regions = data[name], superpixels[name]
        with turns.take(), runtime.inference(eval_net):
            probabilities = region_probabilities(image, regions, eval_net, settings, runtime)
        if settings.averaged:
            probabilities = _averaged(probabilities, em_round, name)
            all_scores.write(name, probabilities)
        mined = confident_regions(samples[name], probabilities, settings.threshold)
        all_mined.write(name, Seeds(name, region_labels_to_pixels(mined.labels, regions)))
        groups = {"kept": mined.kept, "dropped": mined.dropped, "unknown": mined.unknown}
        tally.add(name, {group: int(chosen.sum()) for group, chosen in groups.items()})

    map_images(work, tally.missing(all_mined, data.names, data.names), f"{em_round.folder}/{MINE} judge")
    return tally


def _averaged(probabilities: Tensor, em_round: Round, name: str) -> Tensor:
    """The mean of an image's scores over the rounds since the second; the first learned from seeds, which are fewer."""
    if em_round.number <= 2:
        return probabilities
    before = Round(em_round.run, em_round.number - 1, em_round.start).region_scores[name]
    return (before + (probabilities - before) / (em_round.number - 1)).clamp(0, 1)
