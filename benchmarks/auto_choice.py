"""How good is "auto"? Its alpha, beta and t against every fixed choice, scored with the ground truth.

    python benchmarks/auto_choice.py runs/demo [--images 100] [--seed-alphas 4,24 --seed-alphas 16,64]

RUN must be finished and have masks. For each pair of seed alphas AffinityNet is trained anew (in a copy beside the
run, removed afterwards); then every (alpha, beta, t) makes masks of the same images. "Auto" is beta and t in common
and an alpha for each image; the common alpha is printed. The ground truth is used here only to score the masks.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer

from tag2mask.auto.choose import choose_image_alpha, choose_walk
from tag2mask.auto.judge import MaskJudge
from tag2mask.datasets.source import open_source
from tag2mask.learning.learned_pairs import image_affinity
from tag2mask.ops.cam import as_probabilities, background_scores
from tag2mask.ops.crf import DenseCrf
from tag2mask.ops.random_walk import random_walks
from tag2mask.ops.refine import image_for_crf
from tag2mask.ops.seeds import labels_of_scores
from tag2mask.ops.sizes import resize_labels
from tag2mask.parallel import map_images
from tag2mask.pipelines.affinitynet import settings_of
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runtime import Runtime
from tag2mask.scores.confusion import Confusion
from tag2mask.stages.s1_classify import train_classifier
from tag2mask.stages.s3_seed import make_seeds
from tag2mask.stages.s4_affinity import train_affinity
from tag2mask.stages.s5_walk import cell_maps

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.records import PixelAffinity

    Triple = tuple[float, float, int]

PUBLISHED = (16.0, 8.0, 256)
ALPHAS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
BETAS = (2.0, 4.0, 8.0, 16.0, 32.0)
STEPS = (16, 64, 256)


class Bench:
    """One finished run, and how to make and score its masks with other values."""

    def __init__(self, run: Path, images: int) -> None:
        self.source = RunFolder(run)
        manifest = self.source.manifest()
        self.data: TagDataset = open_source(manifest.origin.source)
        self.settings = settings_of(self.source)
        self.runtime = Runtime(seed=manifest.seed)
        classifier = train_classifier(self.data, self.source, self.settings.classify, runtime=self.runtime)
        self.judge = MaskJudge(classifier, self.settings.crf, self.runtime, self.settings.localize.max_side)
        scored = [name for name in self.data.names if self.data.mask(name) is not None]
        places = np.linspace(0, len(scored) - 1, min(images, len(scored))).round().astype(int)
        self.names = [scored[place] for place in places]

    def compare(self, pair: tuple[float, float] | None) -> tuple[str, Triple, float, dict[Triple, float]]:
        """Seeds with a pair of alphas (None: the run's own): their name, what auto picks, its score, and all others."""
        folder = RunFolder(self.source.path.parent / f"{self.source.path.name}_auto_choice")
        try:
            parts = ["run.json", "01_classify", "02_localize", *(["03_seed", "04_affinity"] if pair is None else [])]
            for part in parts:
                copy = shutil.copytree if (self.source.path / part).is_dir() else shutil.copy
                copy(self.source.path / part, folder.path / part)
            seed = self.settings.seed
            if pair is not None:
                seed = replace(seed, alpha_object=pair[0], alpha_background=pair[1])
            scores = make_seeds(self.data, folder.cams, folder, seed, crf=self.settings.crf, judge=self.judge)
            net = train_affinity(self.data, scores, folder, self.settings.affinity, runtime=self.runtime)

            def maps_of(name: str) -> tuple[Tensor, PixelAffinity]:
                with self.runtime.inference(net):
                    affinity = image_affinity(self.data[name], net, self.settings.affinity, self.runtime)
                height, width = affinity.values.shape[-2:]
                return cell_maps(folder.cams[name], (height, width)), affinity

            counts = map_images(
                lambda name: self.score_image(name, folder, *maps_of(name)), self.names, "scoring", workers=2
            )
            table = {key: _mean_iou([one[key] for one in counts]) for key in counts[0]}
            choice = choose_walk(self.data, maps_of, self.judge)
            alpha, beta, steps = choice.values["alpha"], choice.values["beta"], int(choice.values["steps"])

            def alpha_of(name: str) -> float:
                maps, affinity = maps_of(name)
                if len(maps) == 0:
                    return alpha
                image = self.data[name]
                common = choice.common
                return choose_image_alpha(image, maps, affinity, self.judge, beta=beta, steps=steps, common=common)

            auto = _mean_iou([one[alpha_of(name), beta, steps] for name, one in zip(self.names, counts, strict=True)])
            chosen = folder.chosen("03_seed")
            title = "{alpha_object:g} / {alpha_background:g}".format(**chosen) + (" (auto)" if pair is None else "")
            return title, (alpha, beta, steps), auto, table
        finally:
            shutil.rmtree(folder.path, ignore_errors=True)

    def score_image(self, name: str, folder: RunFolder, maps: Tensor, affinity: PixelAffinity) -> dict[Triple, Tensor]:
        """(alpha, beta, t) -> (C + 1, C + 1) counts of one image."""
        truth, classes = self.data.mask(name), len(self.data.class_names)
        assert truth is not None
        small = image_for_crf(self.data[name], self.settings.walk.max_side)
        field = DenseCrf(small, self.settings.crf, threads=1)
        start = torch.cat([maps, *(background_scores(maps, alpha)[None] for alpha in ALPHAS)])
        counts = {}
        for beta in BETAS:
            for steps, walked in random_walks(start, affinity, beta=beta, steps=STEPS):
                large = F.interpolate(walked[None], small.shape[:2], mode="bilinear", align_corners=False)[0]
                for alpha, background in zip(ALPHAS, large[len(maps) :], strict=True):
                    scores = torch.cat([background[None], large[: len(maps)]])
                    refined = torch.from_numpy(field.refine(as_probabilities(scores).numpy()))
                    labels = labels_of_scores(refined, folder.cams[name].class_ids)
                    full = resize_labels(labels, (int(truth.shape[0]), int(truth.shape[1])))
                    counts[alpha, beta, steps] = Confusion.of(truth, full, classes).counts
        return counts


def _mean_iou(counts: list[Tensor]) -> float:
    """Of the counts of every image."""
    return Confusion(torch.stack(counts).sum(dim=0)).mean_iou()


def main(
    run: Path,
    images: Annotated[int, typer.Option(help="How many images to score.")] = 100,
    seed_alphas: Annotated[list[str] | None, typer.Option(help="Low and high alpha, as 4,24.")] = None,
) -> None:
    bench = Bench(run, images)
    pairs: list[tuple[float, float] | None] = [None]
    for text in seed_alphas or ():
        low, high = text.split(",")
        pairs.append((float(low), float(high)))
    print(f"{'seeds':>20}  {'common alpha, beta, t':>22}  score  auto  {'best fixed':>22}  score  published")
    tops = []
    for pair in pairs:
        title, common, auto, table = bench.compare(pair)
        best = max(table, key=lambda key: table[key])
        tops.append(table[best])
        print(
            f"{title:>20}  {common!s:>22}  {100 * table[common]:5.1f}  {100 * auto:4.1f}  {best!s:>22}  "
            f"{100 * table[best]:5.1f}  "
            f"{100 * table[PUBLISHED]:9.1f}",
            flush=True,
        )
    print(f"best of all fixed choices: {100 * max(tops):.1f}")


if __name__ == "__main__":
    typer.run(main)
