"""What `gpu.py` compares between a device and the CPU: scenes, what a check is, and the checks of the maths.

Whatever is random is drawn on the CPU from a seed, so that both sides begin with the same numbers. Images, tags and
masks are drawn scenes; soft maps are their masks, blurred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from tag2mask.nets.looking import Normalisation, whole_view
from tag2mask.ops import affinity, cam, losses, mining, propagation, refine, seeds
from tag2mask.ops import superpixels as regional
from tag2mask.ops.crf import CrfSettings
from tag2mask.ops.energy import smoothness_energy
from tag2mask.ops.random_walk import random_walk
from tag2mask.records import PixelAffinity, PseudoMask, Regions
from tag2mask.runtime import Precision, Runtime
from tag2mask.scores.confusion import Confusion, ThresholdSweep

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset

Work = Callable[[], list[Tensor]]

FEW, STRIDE = 4, 8
"""Images of a batch or to look at; image pixels per cell of maps that walk."""

NORMAL = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""As most networks want pixels."""


@dataclass(frozen=True)
class Scenes:
    """Drawn scenes, on the CPU.

    Args:
        data: images, tags and masks.
        side: of the images in pixels.
    """

    data: TagDataset
    side: int

    @property
    def few(self) -> tuple[str, ...]:
        """Some names."""
        return tuple(self.data.names[:FEW])

    @property
    def classes(self) -> int:
        """C."""
        return len(self.data.class_names)

    def __getitem__(self, name: str) -> PseudoMask:
        """The true mask, as `learn_masks` wants it."""
        labels = self.data.mask(name)
        assert labels is not None
        return PseudoMask(name, labels, labels.new_ones(labels.shape).float())

    def pixels(self) -> Tensor:
        """(FEW, 3, side, side), normalised as most networks want it."""
        size, cpu = (self.side, self.side), Runtime("cpu", "32")
        return torch.cat([whole_view(self.data[name].pixels, size, NORMAL, cpu) for name in self.few])

    def labels(self) -> Tensor:
        """(FEW, side, side) int64."""
        return torch.stack([self[name].labels for name in self.few])

    def soft(self) -> Tensor:
        """(FEW, 1 + C, side, side): the masks, blurred; they sum to 1."""
        sharp = F.one_hot(self.labels(), 1 + self.classes).movedim(-1, 1).float()
        blurred = F.avg_pool2d(sharp, 15, stride=1, padding=7, count_include_pad=False)
        return 0.9 * blurred + 0.1 / (1 + self.classes)

    def maps(self, name: str) -> Tensor:
        """(K, side, side) in [0, 1]: soft maps of the tags of one of the few."""
        return self.soft()[self.few.index(name), 1 + self.data[name].class_ids]

    def regions(self) -> list[Regions]:
        """Superpixels of the few."""
        return [regional.superpixels(self.data[name].pixels) for name in self.few]


@dataclass(frozen=True)
class Check:
    """One comparison.

    Args:
        name: of the row.
        compared: what is compared.
        tolerance: the largest difference allowed; of numbers above 1 relative to the largest of their tensor, of labels
            the share of them that differ.
        prepare: scenes and where -> the work that is timed, which gives what is compared.
        where: ``device``, or ``CPU`` where a compiled loop of the CPU works on what the device made.
        precision: of the device; that of the CPU is always float32.
        itself: the device is compared with itself, and a difference is told, not a fault.
    """

    name: str
    compared: str
    tolerance: float
    prepare: Callable[[Scenes, Runtime], Work]
    where: str = "device"
    precision: Precision = "32"
    itself: bool = False


def drawn(*shape: int, seed: int) -> Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_gradients(function: Callable[..., Tensor], *given: Tensor) -> list[Tensor]:
    """The result, and the gradients of the sum of its squares."""
    leaves = [part.detach().clone().requires_grad_() for part in given]
    result = function(*leaves)
    return [result.detach(), *torch.autograd.grad(result.square().sum(), leaves)]


def map_arithmetic(scenes: Scenes, runtime: Runtime) -> Work:
    """Views merged, normalised and sharpened, the background's scores and back, seeds."""
    given = [scenes.maps(name).to(runtime.device) for name in scenes.few]
    ids = [scenes.data[name].class_ids for name in scenes.few]
    size = (scenes.side, scenes.side)

    def work() -> list[Tensor]:
        found: list[Tensor] = []
        for maps, class_ids in zip(given, ids, strict=True):
            merged = cam.merge_views([maps, maps[..., ::2, ::2].flip(-1)], [False, True], size)
            sharp = cam.sharpen_diffuse(cam.normalise_maps(merged), mean=0.05)
            low, high = (cam.with_background(sharp, alpha) for alpha in (4.0, 32.0))
            found += [cam.maps_with_odds(low, 4.0), cam.as_probabilities(high), seeds.seed_labels(low, high, class_ids)]
        return found

    return work


def dense_crf(scenes: Scenes, runtime: Runtime) -> Work:
    """Probabilities made on the device, refined by the CPU's compiled loops."""
    settings = CrfSettings.quick(scenes.side)
    given = [(scenes.data[name], scenes.maps(name).to(runtime.device)) for name in scenes.few]

    def work() -> list[Tensor]:
        found: list[Tensor] = []
        for image, maps in given:
            found += refine.crf_probabilities(image, cam.with_background(maps, 8.0).cpu(), 0, settings)
        return found

    return work


def walk(scenes: Scenes, runtime: Runtime) -> Work:
    """256 steps along affinities of colours."""
    offsets, device = affinity.half_disc_offsets(), runtime.device
    cells = F.avg_pool2d(scenes.pixels(), STRIDE)
    values = affinity.pair_affinity(cells, offsets)
    scores = F.avg_pool2d(scenes.soft(), STRIDE).to(device)
    along = [PixelAffinity(offsets, each.to(device), STRIDE) for each in values]
    return lambda: [random_walk(each, pairs) for each, pairs in zip(scores, along, strict=True)]


def scan(scenes: Scenes, runtime: Runtime) -> Work:
    """The scan in four directions with each way to merge them, and its gradients."""
    side = scenes.side // 2
    maps = F.avg_pool2d(scenes.soft(), 2).to(runtime.device)
    weights = propagation.convex_weights(drawn(FEW, 12, side, side, seed=0) + 1.1).to(runtime.device)
    gates = drawn(FEW, 4, side, side, seed=1).softmax(dim=1).to(runtime.device)

    def work() -> list[Tensor]:
        found = with_gradients(propagation.propagate, maps, weights, gates)
        mean, largest = (partial(propagation.propagate, merge=merge) for merge in ("mean", "max"))
        found += with_gradients(mean, maps, weights)
        # Where two directions are equal but for rounding, either may take the whole gradient of the largest one.
        found.append(largest(maps, weights))
        return [*found, propagation.neighbour_distances(maps)]

    return work


def pair_maths(scenes: Scenes, runtime: Runtime) -> Work:
    """Affinities of pairs, what they should be, their loss, and the gradient of the features."""
    offsets, cells = affinity.half_disc_offsets(), scenes.side // STRIDE
    features = drawn(FEW, 64, cells, cells, seed=2).to(runtime.device)
    labels = scenes.labels()[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE][:, :cells, :cells].to(runtime.device)

    def work() -> list[Tensor]:
        targets = affinity.pair_targets(labels, offsets, border_pairs=False)
        found = with_gradients(lambda given: affinity.pair_affinity(given, offsets), features)
        terms = losses.pair_loss(found[0], targets)
        strength = affinity.boundary_strength(found[0][0], offsets)
        return [*found, *terms.values(), targets.same_background, targets.same_object, targets.different, strength]

    return work


def region_maths(scenes: Scenes, runtime: Runtime) -> Work:
    """Superpixels, means over them with gradients, samples, and the smoothness of their affinities."""
    device, count = runtime.device, 1 + scenes.classes
    images, labels = [scenes.data[name].pixels.to(device) for name in scenes.few], scenes.labels().to(device)
    coarse = drawn(FEW, 16, scenes.side // 4, scenes.side // 4, seed=3).to(device)
    fine = drawn(FEW, 12, scenes.side, scenes.side, seed=4).to(device)

    def work() -> list[Tensor]:
        regions = [regional.superpixels(image) for image in images]
        ids, total = regional.join_regions([one.ids for one in regions], [one.count for one in regions])
        samples = [mining.region_samples(mask, one, count) for mask, one in zip(labels, regions, strict=True)]
        painted = mining.region_labels_to_pixels(samples[0], regions[0])
        found = with_gradients(lambda maps: regional.mask_pool(maps, ids, total), coarse)
        found += with_gradients(lambda maps: regional.region_mean(maps.transpose(0, 1), ids, total), fine)
        found += with_gradients(lambda maps: losses.region_smoothness_loss(maps, ids, total), fine)
        return [ids, *samples, painted, *found]

    return work


def loss_maths(scenes: Scenes, runtime: Runtime) -> Work:
    """The losses of labels, soft labels, tags and mined regions with their gradients, and the energy."""
    device, count, size = runtime.device, 1 + scenes.classes, (scenes.side, scenes.side)
    logits = drawn(FEW, count, *size, seed=5).to(device)
    soft, labels = scenes.soft().to(device), scenes.labels().to(device)
    tags = torch.stack([scenes.data.tags(name) for name in scenes.few])
    weights = losses.tag_weights(tags, 0.5).to(device)
    tags = tags.to(device)

    def work() -> list[Tensor]:
        found = with_gradients(lambda given: losses.label_loss(given, labels, 2.0), logits)
        found += with_gradients(lambda given: losses.soft_label_loss(given, soft, 2.0), logits)
        found += with_gradients(lambda given: losses.tag_loss(given, tags, weights), logits.mean(dim=(-2, -1))[:, 1:])
        chances = logits.softmax(dim=1)
        found += with_gradients(lambda given: losses.confident_region_loss(given, labels, 2.0), chances)
        return [*found, smoothness_energy(soft, chances, labels)]

    return work


def confusion(scenes: Scenes, runtime: Runtime) -> Work:
    """Counted by the CPU's compiled loops, wherever the labels are."""
    truth = scenes.labels().to(runtime.device)
    given = [(scenes.maps(name).to(runtime.device), scenes.data[name].class_ids) for name in scenes.few]

    def work() -> list[Tensor]:
        counts = Confusion.of(truth, truth.roll(5, dims=-1), scenes.classes).counts
        sweep = ThresholdSweep(scenes.classes)
        for mask, (maps, class_ids) in zip(truth, given, strict=True):
            sweep.add(mask, maps, class_ids)
        return [counts, sweep.best()[1].counts]

    return work


MATHS = (
    Check("arithmetic of maps", "maps and seeds", 1e-4, map_arithmetic),
    Check("dense CRF", "probabilities", 1e-3, dense_crf, "CPU"),
    Check("random walk", "scores after 256 steps", 2e-5, walk),
    Check("propagation", "maps and gradients", 1e-4, scan),
    Check("pairs", "affinities, targets, gradients", 1e-5, pair_maths),
    Check("regions", "means, samples, gradients", 1e-4, region_maths),
    Check("losses", "of labels, tags, regions; gradients", 1e-4, loss_maths),
    Check("confusion", "counts", 0.0, confusion, "CPU"),
)
