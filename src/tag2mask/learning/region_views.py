"""IAL: views of images with their superpixels, on which the region classifier trains (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.utils.data import Dataset

from tag2mask.checks import check_shape
from tag2mask.datasets.memory import Kept
from tag2mask.labels import IGNORE
from tag2mask.learning.views import random_view
from tag2mask.nets.looking import whole_view
from tag2mask.ops.mining import allowed_labels, mask_logits
from tag2mask.ops.sizes import limit_long_side
from tag2mask.ops.superpixels import join_regions, region_sizes
from tag2mask.ops.windows import cut_window
from tag2mask.runs.places import MINE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.learning.views import ViewSettings
    from tag2mask.nets.backbones import Backbone
    from tag2mask.nets.region_net import RegionNet
    from tag2mask.records import Regions, TaggedImage
    from tag2mask.runs.round import Round
    from tag2mask.runtime import Runtime


@dataclass(frozen=True, slots=True, eq=False)
class RegionBatch:
    """What the region classifier trains on.

    Args:
        pixels: (B, 3, H, W) float32, normalised.
        ids: (B, H, W) int64, numbered through the batch; -1 outside of the images.
        labels: (R,) int64: the sample's label, IGNORE for regions that are no sample or not in view.
        allowed: (R, 1 + C) bool: the background and the tags of the region's image.
    """

    pixels: Tensor
    ids: Tensor
    labels: Tensor
    allowed: Tensor

    def __post_init__(self) -> None:
        known = check_shape("pixels", self.pixels, "B 3 H W")
        check_shape("ids", self.ids, "B H W", **known)
        check_shape("allowed", self.allowed, "R channels", **check_shape("labels", self.labels, "R"))


class RegionViews(Dataset["tuple[Tensor, Tensor, Tensor, Tensor]"]):
    """Random views of images with their superpixels and samples, looked up by (epoch, index)."""

    def __init__(
        self,
        data: TagDataset,
        samples: Mapping[str, Tensor],
        em_round: Round,
        settings: ViewSettings,
        *,
        backbone: Backbone,
        runtime: Runtime,
    ) -> None:
        self.data, self.samples, self.em_round, self.settings = data, samples, em_round, settings
        self.regions = Kept(em_round.run.superpixels.__getitem__)
        self.backbone, self.runtime = backbone, runtime

    def __len__(self) -> int:
        return len(self.data.names)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        epoch, index = place
        image = self.data[self.data.names[index]]
        regions = self.regions[image.name]
        window, pixels = random_view(
            image, epoch, self.settings, self.backbone, self.runtime, self.em_round.folder, MINE
        )
        ids = cut_window(regions.ids[None].int(), window, fill=-1, nearest=True, size=image.image_size)[0].long()
        seen = region_sizes(ids, regions.count) > 0
        labels = torch.where(seen, self.samples[image.name], IGNORE)
        return pixels, ids, labels, allowed_labels(image.tags).expand(regions.count, -1)


def collate_regions(items: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> RegionBatch:
    """Stack views into a batch, their regions numbered through."""
    pixels, ids, labels, allowed = zip(*items, strict=True)
    joined, _ = join_regions(list(ids), [len(one) for one in labels])
    return RegionBatch(torch.stack(pixels), joined, torch.cat(labels), torch.cat(allowed))


class JudgeSettings(Protocol):
    """At which size regions are judged."""

    @property
    def max_side(self) -> int: ...


def region_probabilities(
    image: TaggedImage, regions: Regions, net: RegionNet, settings: JudgeSettings, runtime: Runtime
) -> Tensor:
    """(R, 1 + C): what each region of an image is, among its tags; call inside ``runtime.inference(net)``.

    Args:
        image: with its tags.
        regions: its superpixels.
        net: trained.
        settings: how it was trained.
        runtime: device, precision and seed.
    """
    size = limit_long_side(image.image_size, settings.max_side)
    both = whole_view(image.pixels, size, net.backbone, runtime, mirrored=True)
    ids, count = join_regions([regions.ids, regions.ids.flip(-1)], [regions.count] * 2)
    logits = net(both, ids.to(runtime.device), count).float().cpu()
    allowed = mask_logits(logits, allowed_labels(image.tags))
    upright, mirrored = allowed.softmax(dim=1).chunk(2)
    return (upright + mirrored) / 2
