"""What `growth.py` measures: works on one photograph, and works on a whole set of tiny ones.

A work is prepared outside of what is measured, and gives a call without arguments.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dense_crf import draw_image
from tag2mask.auto.choose import sample_names
from tag2mask.datasets.folder import held_out, open_folder
from tag2mask.datasets.problems import find_problems
from tag2mask.disk import write_labels, write_unit
from tag2mask.learning.batches import epoch_batches
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity
from tag2mask.ops.cam import with_background
from tag2mask.ops.crf import DenseCrf
from tag2mask.ops.mining import confident_regions, region_labels_to_pixels, region_samples
from tag2mask.ops.random_walk import random_walk
from tag2mask.ops.superpixels import region_mean, superpixels
from tag2mask.parallel import map_images
from tag2mask.pipelines.affinitynet import AffinityNetSettings
from tag2mask.pipelines.prepare import prepare
from tag2mask.pipelines.publish import score_all
from tag2mask.records import Cams, PixelAffinity, TaggedImage
from tag2mask.report.page import write_report
from tag2mask.runs.encodings import write_cams
from tag2mask.runs.image_numbers import Tally
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.stage_folder import clear_stage
from tag2mask.runtime import Runtime
from tag2mask.stages.s1_classify import ClassifySettings, build_classifier
from tag2mask.stages.s2_localize import LocalizeSettings, image_cams

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STRIDE = 8
"""Of the map that the walk goes over, as in AffinityNet."""


TINY = 32
"""Side in pixels of the pictures in sets."""


@cache
def scene() -> Tensor:
    """(1, 3, 344, 516) float32 in 0..255."""
    return torch.from_numpy(draw_image(344, 516)).permute(2, 0, 1)[None].float()


def photograph(megapixels: float) -> Tensor:
    """The scene at a resolution, with noise in every pixel: (3, H, W) uint8, three wide by two high."""
    height = round((megapixels * 1e6 * 2 / 3) ** 0.5)
    large = F.interpolate(scene(), (height, round(1.5 * height)), mode="bilinear", antialias=True)[0]
    noise = torch.randn(large.shape, generator=torch.Generator().manual_seed(0))
    return large.add_(noise, alpha=4.0).clamp_(0, 255).to(torch.uint8)


def probabilities(labels: int, size: tuple[int, int]) -> Tensor:
    """Smooth and unsure ones, as of enlarged activation maps: (labels, H, W) float32."""
    logits = 3 * torch.randn(1, labels, 8, 10, generator=torch.Generator().manual_seed(1))
    return F.interpolate(logits, size, mode="bilinear").softmax(dim=1)[0]


def size_of(pixels: Tensor) -> tuple[int, int]:
    return int(pixels.shape[1]), int(pixels.shape[2])


def prepare_crf(megapixels: float, labels: int) -> Callable[[], float]:
    pixels = photograph(megapixels)
    given = probabilities(labels, size_of(pixels)).numpy()
    image = pixels.permute(1, 2, 0).contiguous().numpy()

    def call() -> float:
        field = DenseCrf(image, threads=1)
        field.refine(given)
        return float(field._appearance.count)

    return call


def prepare_walk(megapixels: float, labels: int) -> Callable[[], object]:
    pixels = photograph(megapixels)
    height, width = (math.ceil(side / STRIDE) for side in size_of(pixels))
    features = F.interpolate(pixels[None].float() / 64, (height, width), mode="area")
    offsets = half_disc_offsets(5)
    affinity = PixelAffinity(offsets, pair_affinity(features, offsets)[0], STRIDE)
    scores = probabilities(labels, (height, width))
    return lambda: random_walk(scores, affinity, beta=8, steps=256)


def prepare_maps(megapixels: float, labels: int) -> Callable[[], object]:
    """All views and the merging; the image has all classes."""
    runtime = Runtime("cpu")
    net = build_classifier(ClassifySettings.quick(), labels - 1, runtime)
    image = TaggedImage("", photograph(megapixels), torch.ones(labels - 1, dtype=torch.bool))

    def call() -> Tensor:
        with runtime.inference(net):
            return with_background(image_cams(image, net, LocalizeSettings(max_side=0), runtime).scores, alpha=16)

    return call


def prepare_superpixels(megapixels: float, _: int) -> Callable[[], object]:
    pixels = photograph(megapixels)
    return lambda: superpixels(pixels)


def prepare_mining(megapixels: float, labels: int) -> Callable[[], object]:
    """What follows the superpixels; means over the regions stand for the region classifier's opinion."""
    pixels = photograph(megapixels)
    regions, alpha = superpixels(pixels), probabilities(labels, size_of(pixels))
    mask = alpha.argmax(dim=0)

    def call() -> Tensor:
        samples = region_samples(mask, regions, labels, share=0.8)
        opinion = region_mean(alpha, regions.ids, regions.count).T.clamp(0, 1)
        return region_labels_to_pixels(confident_regions(samples, opinion, threshold=0.7).labels, regions)

    return call


def draw_set(root: Path, count: int) -> None:
    """Write a folder of tiny pictures with masks and tags: a square of one of ten classes on ten of eleven."""
    random = np.random.default_rng(0)
    (root / "data" / "images").mkdir(parents=True)
    (root / "data" / "masks").mkdir()
    rows = ["image,tags"]
    for index in range(count):
        label, (top, left) = index % 11, random.integers(0, TINY // 2, 2)
        labels = np.zeros((TINY, TINY), np.uint8)
        labels[top : top + TINY // 2, left : left + TINY // 2] = label
        picture = Image.fromarray(np.repeat(20 * labels[..., None], 3, axis=2) + random.integers(0, 40, 3, np.uint8))
        picture.save(root / "data" / "images" / f"{index:06d}.jpg")
        Image.fromarray(labels).save(root / "data" / "masks" / f"{index:06d}.png")
        rows.append(f"{index:06d},{f'class{label:02d}' if label else ''}")
    (root / "data" / "tags.csv").write_text("\n".join(rows))


def prepare_opening(root: Path) -> Callable[[], object]:
    return lambda: open_folder(root / "data")


def prepare_checking(root: Path) -> Callable[[], object]:
    return lambda: find_problems(root / "data")


def prepare_preparing(root: Path) -> Callable[[], object]:
    """Digest, every image read once, run.json."""
    data, run, runtime = open_folder(root / "data"), RunFolder(root / "run"), Runtime("cpu")

    def call() -> None:
        (run.path / "run.json").unlink(missing_ok=True)
        prepare(replace(data), run, AffinityNetSettings.quick(), runtime, strict=True)  # A copy has no digest yet.

    return call


def prepare_sampling(root: Path) -> Callable[[], object]:
    """Held-out images, those that "auto" looks at, the order and the batches of an epoch."""
    data, settings = open_folder(root / "data"), ClassifySettings.quick()
    batches, _ = epoch_batches(range(len(data.names)), list, settings, Runtime("cpu"), "order")  # type: ignore[arg-type]
    return lambda: (held_out(data.names, 0.1, 0), sample_names(data), batches(0))


def prepare_writing(root: Path) -> Callable[[], object]:
    """The files of an image in stages 2, 3 and 5."""
    data, run = open_folder(root / "data"), RunFolder(root / "run")
    classes, sure = len(data.class_names), torch.ones(TINY, TINY)

    def work(name: str) -> None:
        labels, class_ids = data.mask(name), data[name].class_ids
        maps = torch.full((len(class_ids), TINY // 4, TINY // 4), 0.5)
        write_cams(run.cams.path_of(name), Cams(name, class_ids, maps, (TINY, TINY)))
        for made in (run.seeds, run.cam_crf, run.walks, run.masks):
            write_labels(made.path_of(name), labels, classes)
        write_unit(run.path / "05_walk" / "confidence" / f"{name}.png", sure)

    return lambda: map_images(work, data.names, "writing", workers=1)


def prepare_keeping(root: Path) -> Callable[[], object]:
    """A stage is opened, looks for what is missing, counts image by image, notes that, finishes and is opened again."""
    names, run = open_folder(root / "data").names, RunFolder(root / "run")
    settings = LocalizeSettings()

    def call() -> None:
        clear_stage(run.path / "counted")
        stage = run.open_stage("counted", settings)
        tally = Tally(stage)
        for name in tally.missing("masks", ".png", names, names):
            tally.add(name, {"alpha": 16.0})
        stage.note(tally={name: {"alpha": 16.0} for name in names})  # As a stage does every 20 seconds.
        again = Tally(run.open_stage("counted", settings))
        stage.finish("counted", items=len(names), sums=again.sums(names), counts=again.counts("alpha", names))
        run.open_stage("counted", settings)

    return call


def prepare_scoring(root: Path) -> Callable[[], object]:
    data, run = open_folder(root / "data"), RunFolder(root / "run")
    return lambda: score_all(run, data)


def prepare_reporting(root: Path) -> Callable[[], object]:
    data, run = open_folder(root / "data"), RunFolder(root / "run")
    return lambda: write_report(run, data)


PHOTO_WORKS = {
    "dense CRF": prepare_crf,
    "random walk": prepare_walk,
    "maps": prepare_maps,
    "mining": prepare_mining,
    "superpixels": prepare_superpixels,
}

SET_WORKS = {
    "open_folder": prepare_opening,
    "check": prepare_checking,
    "prepare a run": prepare_preparing,
    "choose names": prepare_sampling,
    "write artefacts": prepare_writing,
    "keep count": prepare_keeping,
    "score": prepare_scoring,
    "report": prepare_reporting,
}
