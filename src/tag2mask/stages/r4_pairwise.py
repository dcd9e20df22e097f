"""IAL, M-step: alpha_u and confident regions -> pairwise network (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from tag2mask.checks import check_shape
from tag2mask.datasets.memory import Kept
from tag2mask.labels import IGNORE
from tag2mask.learning.batches import epoch_batches
from tag2mask.learning.fit import fit
from tag2mask.learning.pairwise import PairwiseSettings, build_pairwise
from tag2mask.learning.views import random_view
from tag2mask.ops.losses import confident_region_loss, object_weight, region_smoothness_loss
from tag2mask.ops.sizes import size_of
from tag2mask.ops.superpixels import join_regions, resize_regions
from tag2mask.ops.windows import cut_window
from tag2mask.runs.places import PAIRWISE
from tag2mask.weights.trained import load_trained

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.nets.backbones import Backbone
    from tag2mask.nets.spn import PairwiseNetwork
    from tag2mask.ops.windows import Window
    from tag2mask.records import TaggedImage
    from tag2mask.runs.round import Round
    from tag2mask.runs.stage_folder import Upstream
    from tag2mask.runtime import Runtime


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
        self, data: TagDataset, em_round: Round, settings: PairwiseSettings, *, backbone: Backbone, runtime: Runtime
    ) -> None:
        self.data, self.em_round, self.settings = data, em_round, settings
        self.regions = Kept(em_round.run.superpixels.__getitem__)
        self.mined = Kept(self._narrow_labels)
        self.backbone, self.runtime = backbone, runtime

    def __len__(self) -> int:
        return len(self.data.names)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        epoch, index = place
        image = self.data[self.data.names[index]]
        regions = self.regions[image.name]
        window, pixels = random_view(
            image, epoch, self.settings, self.backbone, self.runtime, self.em_round.folder, PAIRWISE
        )
        labels = self._cells(self.mined[image.name], window, image.image_size, fill=IGNORE)
        ids = self._cells(regions.ids, window, image.image_size, fill=-1)
        return pixels, self._probabilities(image, window), labels, ids, regions.count

    def _narrow_labels(self, name: str) -> Tensor:
        """(H, W) int16: the mined labels of an image."""
        return self.em_round.mined[name].labels.short()

    def _probabilities(self, image: TaggedImage, window: Window) -> Tensor:
        """(1 + C, h, w): alpha_u averaged over what the cells of a window show of the image."""
        alpha = self.em_round.soft[image.name].spread(len(self.data.class_names))
        alpha = F.interpolate(alpha[None], size_of(image.pixels), mode="bilinear", align_corners=False)[0]
        cells = F.avg_pool2d(cut_window(alpha, window, fill=0, size=image.image_size)[None], self.settings.stride)[0]
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


def learn_pairwise(
    data: TagDataset,
    em_round: Round,
    settings: PairwiseSettings,
    *,
    after: tuple[str | Upstream, ...],
    before: PairwiseNetwork | None,
    runtime: Runtime,
) -> PairwiseNetwork | None:
    """Train the pairwise network on confident regions, or load it if this was done before.

    Args:
        data: images.
        em_round: the round, with alpha_u and the mined labels; the weights go there.
        settings: layout of the network, epochs, rates and views.
        after: the stages that it depends on.
        before: the pairwise network of the round before, to go on from; None: start as `settings` says.
        runtime: device, precision and seed.

    Returns:
        The network; None if the settings do without it: one of other settings is deleted then.
    """
    if not settings.enabled:
        em_round.run.drop_stage(f"{em_round.folder}/{PAIRWISE}")
        return None
    title, classes = f"{em_round.folder}/{PAIRWISE}", len(data.class_names)
    stage = em_round.run.open_stage(title, settings, after=after)
    if stage.finished:
        net = build_pairwise(settings, classes, None, runtime)
        load_trained(net, stage.load_weights(), stage.path)
        return net
    net = build_pairwise(settings, classes, em_round.start if before is None else None, runtime)
    if before is not None:
        net.load_state_dict(before.state_dict())
    views = PairwiseViews(data, em_round, settings, backbone=net.backbone, runtime=runtime)
    batches, steps = epoch_batches(views, collate_pairwise, settings, runtime, title)
    weight = object_weight((em_round.mined[name].labels for name in data.names), settings.balance)

    def loss(model: nn.Module, batch: PairwiseBatch) -> dict[str, Tensor]:
        return pairwise_loss(
            cast("PairwiseNetwork", model), batch, runtime, smoothness=settings.smoothness, object_weight=weight
        )

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
        runtime: device, precision and seed.
        smoothness: weight of L_s; at 0 it is not computed.
        object_weight: of an object's pixel in L_a.
    """
    guidance = net.guide(batch.pixels.to(runtime.device, memory_format=torch.channels_last))
    refined = net.refine(guidance, batch.probabilities.to(runtime.device))
    terms = {"confident_regions": confident_region_loss(refined, batch.labels.to(runtime.device), object_weight)}
    if smoothness > 0:
        spread = region_smoothness_loss(guidance.by_image(), batch.ids.to(runtime.device), batch.count)
        terms["smoothness"] = smoothness * spread
    return terms
