"""Images and classifier -> class activation maps (Ahn & Kwak, CVPR 2018, section 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from tag2mask.checks import check_number
from tag2mask.learning.schedule import TUNED_SIDE
from tag2mask.nets.looking import looking_copy, whole_view
from tag2mask.ops.cam import merge_views, normalise_maps, sharpen_diffuse, upper_fence
from tag2mask.ops.sizes import limit_long_side
from tag2mask.parallel import Turns, map_images
from tag2mask.records import Cams
from tag2mask.runs.places import LOCALIZE as STAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.datasets.outside_maps import OutsideMaps
    from tag2mask.nets.classifier import CamClassifier
    from tag2mask.records import TaggedImage
    from tag2mask.runs.artefacts import Artefacts
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runs.stage_folder import StageFolder
    from tag2mask.runtime import Runtime

TUNED_SCALES = (1.0, 1.5, 2.0)
"""Quick, with ImageNet weights: sizes of the views relative to the image, or to `TUNED_SIDE` if it is smaller."""

ABOVE = 1.001
"""Times the fence, a mean is above it: kept maps are rounded, so that a sharpened one may come out a little higher."""


@dataclass(frozen=True)
class LocalizeSettings:
    """How class activation maps are made.

    Args:
        scales: sizes of the views relative to the image, each also mirrored (paper: 1, 0.5, 1.5, 2).
        max_side: images with a longer side are shrunk to it first; 0 means never. Bounds time and memory.
        map_stride: image pixels per cell of the kept maps; the maps are smooth, so 2 loses nothing.
        fence: a map whose mean is above the upper fence of all maps' means, Q3 + `fence` (Q3 - Q1), is sharpened until
            it is at the fence; 0 means never (paper). Where a classifier hardly finds a class that the image has, the
            map says a little everywhere, and divided by its maximum it would cover the whole image.
    """

    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    max_side: int = 1024
    map_stride: int = 2
    fence: float = 1.5

    def __post_init__(self) -> None:
        if not self.scales:
            raise ValueError(
                "LocalizeSettings.scales: expected at least one scale, got none. 1 is the image's own size."
            )
        for scale in self.scales:
            check_number("LocalizeSettings.scales", scale, 0, above=True)
        check_number("LocalizeSettings.max_side", self.max_side, 0)
        check_number("LocalizeSettings.map_stride", self.map_stride, 1)
        check_number("LocalizeSettings.fence", self.fence, 0)

    def sides(self) -> tuple[float, ...]:
        """Long sides in pixels at which it looks at images; 0 means their own size."""
        return (self.max_side * max(self.scales),)

    @classmethod
    def paper(cls) -> LocalizeSettings:
        """The published views; the maps are kept at full size."""
        return cls(max_side=0, map_stride=1, fence=0.0)

    @classmethod
    def quick(cls, image_side: int = 320, *, pretrained: bool = False) -> LocalizeSettings:
        """For a CPU.

        Args:
            image_side: typical long side of the images in pixels.
            pretrained: the classifier started from ImageNet weights, so that it sees parts at larger sizes, too.
        """
        if pretrained:
            enlarged = max(1.0, TUNED_SIDE / image_side)
            return cls(tuple(scale * enlarged for scale in TUNED_SCALES), max_side=image_side)
        return cls(max_side=image_side)


def make_cams(
    data: TagDataset,
    classifier: CamClassifier | None,
    run: RunFolder,
    settings: LocalizeSettings,
    *,
    runtime: Runtime,
    outside: OutsideMaps | None = None,
) -> Artefacts[Cams]:
    """Make the maps of every image, or find them made.

    Args:
        data: tagged images.
        classifier: of `train_classifier`; None if no image with a tag needs it.
        run: where the maps go.
        settings: scales, size and stride of the maps.
        runtime: device, precision and seed.
        outside: maps that another method made, which stand for the classifier's; of these only size and tags change.

    Returns:
        The maps, read from disk when asked for.
    """
    keyed = settings if outside is None else (settings, MadeOutside(outside.digest))
    stage = run.open_stage(STAGE, keyed, after=() if classifier is None else ("01_classify",))
    cams = run.cams
    if stage.finished:
        return cams
    turns = Turns(runtime.device, settings.max_side)
    net = None if classifier is None else looking_copy(classifier, runtime)

    def work(name: str) -> None:
        image = data[name]
        if outside is not None and name in outside:
            maps = outside.cams(image, kept_size(image, settings))
        elif net is None or not bool(image.tags.any()):
            maps = Cams(name, image.class_ids, torch.zeros((0, *kept_size(image, settings))), image.image_size)
        else:
            with turns.take(), runtime.inference(net):
                maps = image_cams(image, net, settings, runtime)
        cams.write(name, maps)

    map_images(work, cams.missing(data.names), STAGE)
    own = [name for name in data.names if outside is None or name not in outside]
    line = f"maps of {len(own)} images at {len(settings.scales)} scales"
    if settings.fence and net is not None:
        line += f", {_sharpen_diffuse(own, cams, stage, settings.fence)} diffuse ones sharpened"
    if outside is not None:
        line = f"outside maps of {len(data.names) - len(own)} images" + f"; {line}" * bool(net and own)
    stage.finish(line, items=len(data.names))
    return cams


@dataclass(frozen=True)
class MadeOutside:
    """What maps that another method made add to the settings that results depend on.

    Args:
        outside_maps: digest of the files.
    """

    outside_maps: str


def kept_size(image: TaggedImage, settings: LocalizeSettings) -> tuple[int, int]:
    """(height, width) of the maps of an image that are kept.

    Args:
        image: any size.
        settings: largest side, and stride of the maps.
    """
    height, width = limit_long_side(image.image_size, settings.max_side)
    return math.ceil(height / settings.map_stride), math.ceil(width / settings.map_stride)


@dataclass(frozen=True)
class Fence:
    """How far maps of these images spread.

    Args:
        height: a map with a larger mean is diffuse.
        diffuse: how many are.
    """

    height: float
    diffuse: int


def _sharpen_diffuse(names: Sequence[str], cams: Artefacts[Cams], stage: StageFolder, factor: float) -> int:
    """Sharpen the maps that spread further than maps of these images do; how many.

    The fence is kept first, so that a stage that was stopped here ends with the same maps.
    """
    fence = stage.noted("fence", Fence)
    if fence is None:
        means = torch.cat([cams[name].scores.mean(dim=(-2, -1)) for name in names])
        height = upper_fence(means, factor) if len(means) else 1.0
        fence = Fence(height, int((means > ABOVE * height).sum()))
        stage.note("fence", fence)
    for name in names if fence.diffuse and fence.height > 0 else ():
        maps = cams[name]
        if bool((maps.scores.mean(dim=(-2, -1)) > ABOVE * fence.height).any()):
            cams.write(name, replace(maps, scores=sharpen_diffuse(maps.scores, fence.height)))
    return fence.diffuse


def image_cams(image: TaggedImage, classifier: CamClassifier, settings: LocalizeSettings, runtime: Runtime) -> Cams:
    """The maps of one image; call inside ``runtime.inference(classifier)``.

    Args:
        image: with its tags.
        classifier: in evaluation mode.
        settings: scales, size and stride of the maps.
        runtime: device, precision and seed.
    """
    size = limit_long_side(image.image_size, settings.max_side)
    kept = kept_size(image, settings)
    class_ids = image.class_ids
    if len(class_ids) == 0:
        return Cams(image.name, class_ids, torch.zeros((0, *kept)), image.image_size)
    views: list[Tensor] = []
    for scale in settings.scales:
        scaled = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        both = whole_view(image.pixels, scaled, classifier.backbone, runtime, mirrored=True)
        views += list(classifier.cams(both)[:, class_ids].float().cpu())
    mirrored = [False, True] * len(settings.scales)
    whole = merge_views(views, mirrored, size)
    maps = whole if kept == size else merge_views(views, mirrored, kept)
    return Cams(image.name, class_ids, normalise_maps(maps, whole), image.image_size)
