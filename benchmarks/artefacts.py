"""Bytes on disk of an image's class activation maps and seeds, ours against the authors', and what that costs in score.

    python benchmarks/artefacts.py
    python benchmarks/artefacts.py --run runs/photographs --data FOLDER

The authors' code keeps three dictionaries of float32 arrays as large as the image in files of numpy: the maps of the
tags' classes, and two CRF-refined ones (alpha 4 and 32) that have the background, too. Ours are the four files of
stages 2 and 3: the maps at a stride in float16, the refined ones in steps of 1/255, and as PNG the labels of seeds and
of CAM + CRF.

Mean IoU is that of maps merged and kept at full size in float32; behind it, by how many points ours differs, after
writing and reading. "Cells" are the labels of 8 x 8 pixels that AffinityNet learns from, made of the refined maps.
Dense CRF, seeds and counting are the same for both. "Peak" is the largest factor by which the mean of a map of ours is
above that of the other one.

Without a run the images are the built-in scenes in the format of the row, and their maps are made from true masks: high
at one part of the object, blurred, with noise, in the cells of the eight views that a network of stride 16 sees. Such
maps are better than a network's, and more depends on where exactly they end. With a finished run they are those of its
classifier.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.scenes.scenes import make_scenes
from tag2mask.disk import read_labels, write_labels
from tag2mask.labels import labels_from_class_ids
from tag2mask.ops.cam import merge_views, normalise_maps
from tag2mask.ops.crf import CrfSettings
from tag2mask.ops.seeds import seed_labels
from tag2mask.ops.sizes import resize_image
from tag2mask.pipelines.affinitynet import settings_of
from tag2mask.records import Cams, SeedScores, TaggedImage
from tag2mask.runs.encodings import read_cams, read_scores, write_cams, write_scores
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runtime import Runtime
from tag2mask.scores.confusion import Confusion, ThresholdSweep
from tag2mask.stages.s1_classify import build_classifier
from tag2mask.stages.s2_localize import LocalizeSettings, image_cams
from tag2mask.stages.s3_seed import SeedSettings, image_seeds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

ALPHAS = 4.0, 32.0
NET_STRIDE = 16
CELL = 8
FILES = "maps.npz", "scores.npz", "seeds.png", "crf.png"
SCORED = "CAM", "CAM + CRF", "seeds", "cells"


@dataclass(frozen=True)
class Row:
    """How images are treated."""

    name: str
    localize: LocalizeSettings
    seed: SeedSettings
    crf: CrfSettings


@dataclass(frozen=True, eq=False)
class Example:
    """An image, its true labels (H, W), and its maps in float32: at full size, and as large as we keep them."""

    image: TaggedImage
    truth: Tensor
    full: Cams
    small: Cams


SIZES = {(height, width): max(height, width) for height, width in ((144, 144), (240, 320))}
DRAWN = {
    size: Row(f"{size[1]}x{size[0]}", LocalizeSettings.quick(side), SeedSettings.quick(side), CrfSettings.quick(side))
    for size, side in SIZES.items()
} | {(375, 500): Row("500x375", LocalizeSettings(), SeedSettings(), CrfSettings())}


def draw_views(
    truth: Tensor, class_ids: Tensor, scales: tuple[float, ...], random: np.random.Generator
) -> list[Tensor]:
    """What a network could say of each view and its mirror image: (K, h, w) float32 each, >= 0."""
    masks = (truth == labels_from_class_ids(class_ids)[:, None, None]).float()
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in truth.shape), indexing="ij")
    for index, mask in enumerate(masks):
        # Networks look at a part of the object, and less and less at what is further from it.
        row, column = random.choice(mask.nonzero().numpy())
        masks[index] = mask * (-((rows - row) ** 2 + (columns - column) ** 2) / (2 * mask.sum())).exp()
    views = []
    for scale in scales:
        size = tuple(math.ceil(side * scale / NET_STRIDE) for side in truth.shape)
        for mirrored in (False, True):
            cells = F.interpolate((masks.flip(-1) if mirrored else masks)[None], size, mode="area")[0].numpy()
            noise = gaussian_filter(random.normal(size=cells.shape), (0, 0.7, 0.7)) * 0.3
            views.append(torch.from_numpy((gaussian_filter(cells, (0, 1, 1)) * 3 + noise).clip(0)).float())
    return views


def drawn_examples(size: tuple[int, int], count: int) -> Iterator[Example]:
    """Scenes with tags, squeezed into a format, and drawn maps."""
    settings = DRAWN[size].localize
    scenes = make_scenes(2 * count, max(size), seed=7)
    for index, name in enumerate([name for name in scenes.names if bool(scenes.tags(name).any())][:count]):
        image, mask = scenes[name], scenes.mask(name)
        truth = F.interpolate(mask[None, None].float(), size, mode="nearest-exact")[0, 0].long()
        image = TaggedImage(name, resize_image(image.pixels, size), image.tags)
        views = draw_views(truth, image.class_ids, settings.scales, np.random.default_rng(index))
        kept = tuple(math.ceil(side / settings.map_stride) for side in size)
        whole, small = (merge_views(views, [False, True] * 4, (height, width)) for height, width in (size, kept))
        maps = [Cams(name, image.class_ids, normalise_maps(each, whole), size) for each in (whole, small)]
        yield Example(image, truth, *maps)


def examples_of(run: RunFolder, data_folder: Path, count: int) -> Iterator[Example]:
    """Images of a finished run and the maps of its classifier."""
    settings, data, runtime = settings_of(run), open_folder(data_folder), Runtime()
    known = [name for name in run.names() if bool(data.tags(name).any()) and data.mask(name) is not None]
    classifier = build_classifier(
        replace(settings.classify, start_from="scratch", weights=""), len(data.class_names), runtime
    )
    classifier.load_state_dict(run.weights("01_classify"))
    with runtime.inference(classifier):
        for name in known[:: max(1, len(known) // count)][:count]:
            image, truth = data[name], data.mask(name)
            assert truth is not None  # Only such names are known.
            full, small = (
                image_cams(image, classifier, replace(settings.localize, map_stride=stride), runtime)
                for stride in (1, settings.localize.map_stride)
            )
            yield Example(image, truth, full, small)


class Scores:
    """The mean IoU of each thing that is scored, over the images of a row."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.sweep = ThresholdSweep(classes)
        self.counts = {name: Confusion.empty(classes) for name in SCORED[1:]}

    def add(self, truth: Tensor, cams: Cams, scores: SeedScores, seeds: Tensor, refined: Tensor) -> None:
        """Count one image."""
        whole = F.interpolate(cams.scores[None], cams.image_size, mode="bilinear", align_corners=False)[0]
        self.sweep.add(truth, whole, cams.class_ids)
        self.counts["CAM + CRF"] += Confusion.of(truth, refined, self.classes)
        self.counts["seeds"] += Confusion.of(truth, seeds, self.classes, decided_only=True)
        both = torch.cat([scores.low, scores.high])[None]
        both = F.interpolate(both, cams.image_size, mode="bilinear", align_corners=False)
        low, high = F.avg_pool2d(both, CELL)[0].chunk(2)
        cells = seed_labels(low, high, scores.class_ids)
        middle = truth[CELL // 2 :: CELL, CELL // 2 :: CELL][: cells.shape[0], : cells.shape[1]].contiguous()
        self.counts["cells"] += Confusion.of(middle, cells, self.classes, decided_only=True)

    def means(self) -> list[float]:
        """In points, in the order of `SCORED`; CAM at its best constant background."""
        return [100 * each.mean_iou() for each in (self.sweep.best()[1], *self.counts.values())]


def authors_bytes(folder: Path, cams: Cams, scores: SeedScores) -> int:
    """Write the maps and the refined ones as the authors' code does; how many bytes that takes."""
    labels = [0, *labels_from_class_ids(cams.class_ids).tolist()]
    parts = ((cams.class_ids.tolist(), cams.scores), (labels, scores.low), (labels, scores.high))
    for number, (keys, maps) in enumerate(parts):
        np.save(folder / f"{number}.npy", dict(zip(keys, maps.numpy(), strict=True)))  # type: ignore[arg-type]
    return sum((folder / f"{number}.npy").stat().st_size for number in range(len(parts)))


def written_and_read(folder: Path, example: Example, row: Row, classes: int) -> tuple[Cams, SeedScores, Tensor, Tensor]:
    """Maps, refined maps, seeds and CAM + CRF labels as the stages write and read them."""
    name, (maps, refined, seeds, crf) = example.image.name, (folder / file for file in FILES)
    write_cams(maps, example.small)
    cams = read_cams(maps, name)
    found = image_seeds(example.image, cams, ALPHAS, row.seed, row.crf)
    write_scores(refined, found[0])
    write_labels(seeds, found[1], classes)
    write_labels(crf, found[2], classes)
    return cams, read_scores(refined, name), read_labels(seeds), read_labels(crf)


def measure(row: Row, examples: Iterable[Example], classes: int) -> str:
    """One line of the table."""
    full, ours = Scores(classes), Scores(classes)
    images, authors, peak, sizes = 0, 0, 1.0, Counter[str]()
    for example in examples:
        whole = image_seeds(example.image, example.full, ALPHAS, replace(row.seed, score_stride=1), row.crf)
        full.add(example.truth, example.full, *whole)
        with tempfile.TemporaryDirectory() as name:
            ours.add(example.truth, *written_and_read(Path(name), example, row, classes))
            sizes += Counter({file: (Path(name) / file).stat().st_size for file in FILES})
            authors += authors_bytes(Path(name), example.full, whole[0])
        larger = example.small.scores.mean(dim=(-2, -1)) / example.full.scores.mean(dim=(-2, -1)).clamp(min=1e-6)
        peak = max(peak, float(larger.max()))
        images += 1
    parts = " | ".join(f"{sizes[file] / images / 1e3:.1f}" for file in FILES)
    bytes_in_all = f"{authors / images / 1e3:.0f} | {sizes.total() / images / 1e3:.1f} | {authors / sizes.total():.0f}x"
    means = zip(full.means(), ours.means(), strict=True)
    scores = " | ".join(f"{before:.2f} {after - before:+.2f}" for before, after in means)
    return f"| {row.name} | {images} | {bytes_in_all} | {parts} | {scores} | {peak:.3f} |"


def main() -> None:
    """Print one row per size of images, or one per run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40, help="in each row")
    parser.add_argument("--run", type=Path, help="a finished run instead of drawn maps")
    parser.add_argument("--data", type=Path, help="the tagged folder with masks/ that it was made of")
    options = parser.parse_args()
    heads = ["images", "number", "authors, KB per image", "ours", "ratio", *FILES, *SCORED, "peak"]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    if options.run and options.data:
        run = RunFolder(options.run)
        settings = settings_of(run)
        row = Row(options.run.name, settings.localize, settings.seed, settings.crf)
        print(measure(row, examples_of(run, options.data, options.images), len(run.class_names())))
        return
    classes = len(make_scenes(0).class_names)
    for size, row in DRAWN.items():
        print(measure(row, drawn_examples(size, options.images), classes), flush=True)


if __name__ == "__main__":
    main()
