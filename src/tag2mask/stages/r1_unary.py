"""IAL, M-step: masks of a round -> unary network (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from tag2mask.checks import check_shape
from tag2mask.learning.batches import epoch_batches
from tag2mask.learning.fit import fit
from tag2mask.learning.segmenting import build_segmenter, learn_masks
from tag2mask.learning.views import random_view
from tag2mask.ops.losses import object_weight, soft_label_loss
from tag2mask.ops.seeds import labels_of_scores
from tag2mask.ops.sizes import size_of
from tag2mask.ops.windows import cut_window
from tag2mask.records import SoftMask
from tag2mask.runs.places import UNARY
from tag2mask.weights.trained import load_trained

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.fit import CheckpointStore, Fitted
    from tag2mask.learning.segmenting import LabelSource, SegmentSettings
    from tag2mask.nets.backbones import Backbone
    from tag2mask.nets.segmenter import DeepLab
    from tag2mask.runs.round import Round
    from tag2mask.runs.stage_folder import Upstream
    from tag2mask.runtime import Runtime


@dataclass(frozen=True)
class SoftTargets:
    """Stands beside the settings of a unary network that learns probabilities: they come from the same stage as labels.

    Args:
        soft: always true.
    """

    soft: bool = True


@dataclass(frozen=True)
class Mixing:
    """Stands beside the settings of a unary network that is averaged with the one that it went on from.

    Args:
        share: of the newly learned weights.
    """

    share: float


@dataclass(frozen=True, slots=True, eq=False)
class SoftBatch:
    """What the unary network trains on with soft targets.

    Args:
        pixels: (B, 3, H, W) float32, normalised.
        targets: (B, 1 + C, H, W) probabilities; all 0 outside of the images.
    """

    pixels: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        check_shape("targets", self.targets, "B channels H W", **check_shape("pixels", self.pixels, "B 3 H W"))


class SoftViews(Dataset["tuple[Tensor, Tensor]"]):
    """Random views of images and of their soft masks, looked up by (epoch, index)."""

    def __init__(
        self,
        data: TagDataset,
        masks: Mapping[str, SoftMask],
        settings: SegmentSettings,
        *,
        backbone: Backbone,
        runtime: Runtime,
        title: str,
    ) -> None:
        self.data, self.masks, self.settings = data, masks, settings
        self.backbone, self.runtime, self.title = backbone, runtime, title

    def __len__(self) -> int:
        return len(self.data.names)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = place
        image = self.data[self.data.names[index]]
        soft = self.masks[image.name].spread(len(self.data.class_names))
        window, pixels = random_view(image, epoch, self.settings, self.backbone, self.runtime, self.title)
        whole = F.interpolate(soft[None], size_of(image.pixels), mode="bilinear", align_corners=False)[0]
        return pixels, cut_window(whole, window, fill=0, size=image.image_size)


def collate_soft(items: list[tuple[Tensor, Tensor]]) -> SoftBatch:
    """Stack views into a batch."""
    pixels, targets = zip(*items, strict=True)
    return SoftBatch(torch.stack(pixels), torch.stack(targets))


def learn_unary(
    data: TagDataset,
    masks: LabelSource | Mapping[str, SoftMask],
    em_round: Round,
    settings: SegmentSettings,
    *,
    after: tuple[str | Upstream, ...],
    before: DeepLab | None,
    share: float = 1.0,
    runtime: Runtime,
) -> DeepLab:
    """Train the unary network on the masks of the round, or load it if this was done before.

    Args:
        data: images.
        masks: name -> labels, or soft masks.
        em_round: the round; the weights go there.
        settings: network, epochs, rates and views.
        after: the stages that the masks and the first weights come from.
        before: the unary network of the round before, to go on from; None: start as `settings` says.
        share: of the learned weights in the network's; the rest are those of `before`. In round after round 1/2, 1/3,
            1/4 ... make the mean of all of them.
        runtime: device, precision and seed.
    """
    title, classes = f"{em_round.folder}/{UNARY}", len(data.class_names)
    soft = isinstance(masks[data.names[0]], SoftMask)
    mixed = before is not None and share < 1
    more = (*([SoftTargets()] if soft else []), *([Mixing(share)] if mixed else []))
    stage = em_round.run.open_stage(title, (settings, *more) if more else settings, after=after)
    if stage.finished:
        net = build_segmenter(settings, classes, None, runtime)
        load_trained(net, stage.load_weights(), stage.path)
        return net
    net = build_segmenter(settings, classes, em_round.start if before is None else None, runtime)
    if before is not None:
        net.load_state_dict(before.state_dict())
    learn = _learn_soft if soft else learn_masks
    fitted = learn(net, data, cast("Any", masks), settings, runtime=runtime, store=stage, title=title)
    if before is not None and mixed:
        _mix(net, before, share)
    stage.save_weights(net.state_dict())
    stage.finish_training(settings.backbone, fitted.history, epochs=settings.epochs, images=len(data.names))
    return net


def _mix(net: nn.Module, before: nn.Module, share: float) -> None:
    """Replace the weights and statistics of a network by their weighted mean with those of another one like it."""
    old = before.state_dict()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                value.lerp_(old[name].to(value.device), 1 - share)


def _likeliest(data: TagDataset, masks: Mapping[str, SoftMask]) -> Iterator[Tensor]:
    """The likeliest labels of every training image, at the cells of its soft mask."""
    for name in data.names:
        soft = masks[name]
        yield labels_of_scores(soft.probabilities, soft.class_ids)


def _learn_soft(
    net: DeepLab,
    data: TagDataset,
    masks: Mapping[str, SoftMask],
    settings: SegmentSettings,
    *,
    runtime: Runtime,
    store: CheckpointStore | None,
    title: str,
) -> Fitted:
    views = SoftViews(data, masks, settings, backbone=net.backbone, runtime=runtime, title=title)
    batches, steps = epoch_batches(views, collate_soft, settings, runtime, title)
    weight = object_weight(_likeliest(data, masks), settings.balance)

    def loss(model: nn.Module, batch: SoftBatch) -> dict[str, Tensor]:
        logits = model(batch.pixels.to(runtime.device, memory_format=torch.channels_last))
        return {"labels": soft_label_loss(logits, batch.targets.to(runtime.device), weight)}

    return fit(net, loss, batches, settings, runtime, steps_per_epoch=steps, title=title, store=store)
