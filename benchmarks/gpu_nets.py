"""What `gpu.py` compares of networks: trainings as the stages do them, and trained ones that look at images.

Both sides start from the same random weights, which are drawn on the CPU from the seed.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_checks import FEW, STRIDE, Check, Scenes, Work
from tag2mask.auto.judge import MaskJudge
from tag2mask.learning.base_rate import tag_logits
from tag2mask.learning.batches import epoch_batches
from tag2mask.learning.fit import fit
from tag2mask.learning.learned_pairs import LearnedPairs
from tag2mask.learning.pairwise import PairwiseSettings, apply_pairwise, build_pairwise
from tag2mask.learning.region_views import RegionBatch
from tag2mask.learning.schedule import Schedule
from tag2mask.learning.segmenter import looking_segmenter, module_of
from tag2mask.learning.segmenting import SegmentSettings, build_segmenter, image_probabilities, learn_masks, mask_of
from tag2mask.nets import backbones
from tag2mask.nets.looking import looking_copy
from tag2mask.nets.region_net import RegionNet
from tag2mask.ops import affinity, cam, losses, mining
from tag2mask.ops import superpixels as regional
from tag2mask.ops.crf import CrfSettings
from tag2mask.parallel import Turns, map_images
from tag2mask.stages.r3_mine import region_loss
from tag2mask.stages.r4_pairwise import PairwiseBatch, pairwise_loss
from tag2mask.stages.s1_classify import STAGE as CLASSIFY
from tag2mask.stages.s1_classify import ClassifySettings, TaggedViews, build_classifier, collate_tagged
from tag2mask.stages.s2_localize import LocalizeSettings, image_cams
from tag2mask.stages.s4_affinity import AffinitySettings, build_affinity_net

if TYPE_CHECKING:
    from tag2mask.runs.stage_summary import TrainingState
    from tag2mask.runtime import Runtime

Batches = Callable[[int], Iterable[Any]]
Loss = Callable[[nn.Module, Any], Mapping[str, Tensor]]

STEPS = 4
"""Of a training, in epochs of two."""

LAST = torch.channels_last


def trained(net: nn.Module, loss: Loss, batches: Batches, schedule: Schedule, runtime: Runtime) -> list[Tensor]:
    """[the loss of every step]; the steps are all in epochs of two."""
    found: list[Tensor] = []

    def noted(model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        terms = loss(model, batch)
        found.append(torch.stack([term.detach().float() for term in terms.values()]).sum())
        return terms

    few = replace(schedule, epochs=STEPS // 2, warmup=0.0)
    fit(net, noted, batches, few, runtime, steps_per_epoch=2, title="gpu")
    return [torch.stack(found)]


def fit_classifier(scenes: Scenes, runtime: Runtime) -> Work:
    """As stage 1: views from loading processes."""
    settings = replace(ClassifySettings.quick(scenes.side), batch_size=len(scenes.data.names) // 2)
    net = build_classifier(settings, scenes.classes, runtime)
    views = TaggedViews(scenes.data, settings, net.backbone, runtime)
    batches, _ = epoch_batches(views, collate_tagged, settings, runtime, CLASSIFY)

    def loss(model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        logits = model(batch.pixels.to(runtime.device, memory_format=LAST))
        return {"tags": losses.tag_loss(logits, batch.tags.to(runtime.device))}

    return lambda: trained(net, loss, batches, settings, runtime)


def fit_segmenter(scenes: Scenes, runtime: Runtime, *, weights: bool = False) -> Work:
    """As stage 6, on true masks: the losses, or what the weights are at the end."""
    settings = replace(SegmentSettings.quick(scenes.side), epochs=2, batch_size=len(scenes.data.names) // 2)
    net = build_segmenter(settings, scenes.classes, None, runtime)

    def work() -> list[Tensor]:
        history = learn_masks(net, scenes.data, scenes, settings, runtime=runtime).history
        return list(net.parameters()) if weights else [torch.tensor([loss for _, loss in history["loss"]])]

    return work


def fit_affinity(scenes: Scenes, runtime: Runtime) -> Work:
    """As stage 4, on true masks."""
    settings, offsets = AffinitySettings.quick(), affinity.half_disc_offsets()
    net, pixels = build_affinity_net(settings, None, runtime), scenes.pixels()
    labels = scenes.labels()[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]

    def loss(model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        features = model(batch.to(runtime.device, memory_format=LAST))
        targets = affinity.pair_targets(labels.to(runtime.device), offsets)
        return losses.pair_loss(affinity.pair_affinity(features, offsets), targets)

    return lambda: trained(net, loss, lambda _: [pixels, pixels], settings, runtime)


def fit_pairwise(scenes: Scenes, runtime: Runtime) -> Work:
    """As the pairwise stage of a round: true labels are what was mined."""
    settings = PairwiseSettings.quick(scenes.side)
    net: Any = build_pairwise(settings, scenes.classes, None, runtime)
    regions, cells = scenes.regions(), (math.ceil(scenes.side / settings.stride),) * 2
    ids, count = regional.join_regions([one.ids for one in regions], [one.count for one in regions])
    ids, labels = regional.resize_regions(ids, cells), regional.resize_regions(scenes.labels(), cells)
    batch = PairwiseBatch(scenes.pixels(), F.interpolate(scenes.soft(), cells, mode="area"), labels, ids, count)

    def loss(model: Any, batch: Any) -> Mapping[str, Tensor]:
        return pairwise_loss(model, batch, runtime, smoothness=settings.smoothness)

    return lambda: trained(net, loss, lambda _: [batch, batch], settings, runtime)


def fit_regions(scenes: Scenes, runtime: Runtime) -> Work:
    """As the region classifier of a round, on true masks, without dropout, which is drawn on the device."""
    with runtime.seeded("regions"):
        net = RegionNet(backbones.Backbone("resnet18"), scenes.classes, dropout=0.0)
    backbones.to_channels_last(net)
    regions = scenes.regions()
    ids, _ = regional.join_regions([one.ids for one in regions], [one.count for one in regions])
    pairs = list(zip(scenes.few, regions, strict=True))
    labels = [mining.region_samples(scenes[name].labels, one, 1 + scenes.classes) for name, one in pairs]
    allowed = [mining.allowed_labels(scenes.data.tags(name)).expand(one.count, -1) for name, one in pairs]
    batch = RegionBatch(scenes.pixels(), ids, torch.cat(labels), torch.cat(allowed))

    def loss(model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        pixels = batch.pixels.to(runtime.device, memory_format=LAST)
        logits = model(pixels, batch.ids.to(runtime.device), len(batch.labels))
        return region_loss(logits, batch.labels.to(runtime.device), batch.allowed.to(runtime.device))

    schedule = Schedule(epochs=2, batch_size=FEW, rate=5e-4, optimizer="adamw")
    return lambda: trained(net, loss, lambda _: [batch, batch], schedule, runtime)


class Checkpoints:
    """A `CheckpointStore` in memory, on the CPU as files are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: tuple[dict[str, Tensor], TrainingState] | None = None

    def load_checkpoint(self) -> tuple[dict[str, Tensor], TrainingState] | None:
        """The last one."""
        return self.kept

    def save_checkpoint(self, tensors: Mapping[str, Tensor], state: TrainingState) -> None:
        """Keep a copy."""
        copies = {name: value.detach().cpu().clone() for name, value in tensors.items()}
        curves = {name: list(curve) for name, curve in state.history.items()}
        self.kept = copies, replace(state, history=curves)


def resume(scenes: Scenes, runtime: Runtime) -> Work:
    """A training that is stopped in its second epoch of three, and begun again by a new network."""
    settings = replace(AffinitySettings.quick(), epochs=3)
    pixels, wanted = scenes.pixels(), 0.5

    def loss(model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        features = model(batch.to(runtime.device, memory_format=LAST))
        return {"far": (features.mean(dim=(-2, -1)) - wanted).square().mean()}

    def stopping(epoch: int) -> list[Tensor]:
        if epoch == 1:
            raise InterruptedError
        return [pixels]

    def work() -> list[Tensor]:
        with tempfile.TemporaryDirectory() as folder:
            store = Checkpoints(Path(folder))
            go = partial(fit, runtime=runtime, steps_per_epoch=1, title="gpu", store=store, checkpoint_seconds=0)
            for batches in (stopping, lambda _: [pixels]):
                try:
                    done = go(build_affinity_net(settings, None, runtime), loss, batches, settings)
                except InterruptedError:
                    continue
        return [torch.tensor([value for _, value in done.history["loss"]])]

    return work


def loading(scenes: Scenes, runtime: Runtime) -> Work:
    """Views of an epoch, made by loading processes beside the device and in threads beside the CPU."""
    settings = replace(ClassifySettings.quick(scenes.side), batch_size=FEW)
    net = build_classifier(settings, scenes.classes, runtime)
    views = TaggedViews(scenes.data, settings, net.backbone, runtime)
    batches, _ = epoch_batches(views, collate_tagged, settings, runtime, CLASSIFY)
    return lambda: [torch.cat([batch.pixels for batch in batches(0)])]


def maps(scenes: Scenes, runtime: Runtime) -> Work:
    """As stage 2: the maps of images, several at a time, and the classifier's logits of them."""
    settings = LocalizeSettings.quick(scenes.side)
    classify = ClassifySettings.quick(scenes.side)
    net = looking_copy(build_classifier(classify, scenes.classes, runtime), runtime)
    turns = Turns(runtime.device, scenes.side)

    def one(name: str) -> Tensor:
        with turns.take(), runtime.inference(net):
            return image_cams(scenes.data[name], net, settings, runtime).scores

    def work() -> list[Tensor]:
        logits = tag_logits(scenes.data, scenes.few, net, classify, runtime)
        return [*map_images(one, scenes.few, "maps"), logits]

    return work


def judge(scenes: Scenes, runtime: Runtime) -> Work:
    """What the classifier sees inside and outside of masks: how alpha, beta and t are chosen."""
    net = build_classifier(ClassifySettings.quick(scenes.side), scenes.classes, runtime)
    judging = MaskJudge(net, CrfSettings.quick(scenes.side), runtime, scenes.side)
    asked = [
        (scenes.data[name], [cam.with_background(scenes.maps(name), alpha) for alpha in (2, 8)]) for name in scenes.few
    ]
    return lambda: [torch.from_numpy(judging(image, candidates)) for image, candidates in asked]


def pairs(scenes: Scenes, runtime: Runtime) -> Work:
    """As in front of a walk: the learned affinities of images."""
    settings = AffinitySettings.quick()
    learned = LearnedPairs(build_affinity_net(settings, None, runtime), settings, runtime)
    return lambda: [learned.affinity(scenes.data[name]).values for name in scenes.few]


def predict(scenes: Scenes, runtime: Runtime) -> Work:
    """As stage 6 and `tag2mask predict --refine`: probabilities, refined ones, and the masks of both."""
    settings, pairwise = SegmentSettings.quick(scenes.side), PairwiseSettings.quick(scenes.side)
    net = looking_segmenter(build_segmenter(settings, scenes.classes, None, runtime), runtime)
    refining = looking_copy(build_pairwise(pairwise, scenes.classes, None, runtime), runtime)
    turns = Turns(runtime.device, scenes.side)

    def one(name: str) -> list[Tensor]:
        image = scenes.data[name]
        with turns.take(), runtime.inference(module_of(net)), runtime.inference(refining):
            found = image_probabilities(image.pixels, net, settings, runtime)
            [refined] = apply_pairwise(image.pixels, found, refining, pairwise, runtime)
        masks = [mask_of(name, one, image.image_size) for one in (found, refined)]
        return [found, refined, *(mask.labels for mask in masks), *(mask.confidence for mask in masks)]

    return lambda: [part for parts in map_images(one, scenes.few, "predict") for part in parts]


NETS = (
    Check("loading processes", "views of an epoch", 0.0, loading, "CPU"),
    Check("fit, classifier", "losses of 4 steps", 0.01, fit_classifier),
    Check("fit, classifier, bf16", "losses of 4 steps, finite", 0.2, fit_classifier, precision="bf16"),
    Check("fit, AffinityNet", "losses of 4 steps", 0.01, fit_affinity),
    Check("fit, segmenter", "losses of 2 epochs", 0.01, fit_segmenter),
    Check("fit, pairwise network", "losses of 4 steps", 0.01, fit_pairwise),
    Check("fit, region classifier", "losses of 4 steps", 0.01, fit_regions),
    Check("fit, stopped and resumed", "losses of 3 epochs", 0.01, resume),
    Check("maps", "maps and logits of images", 1e-3, maps),
    Check("judge", "separability, evidence, share", 1e-3, judge),
    Check("learned affinities", "of images", 1e-3, pairs),
    Check("predict", "probabilities, masks, refined", 1e-3, predict),
    Check("the same seed twice", "weights after 4 steps", 0.0, partial(fit_segmenter, weights=True), itself=True),
)
