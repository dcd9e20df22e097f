"""How good is "auto"? Its alpha, beta and t against every fixed choice, scored with the ground truth.

    python benchmarks/auto_choice.py runs/demo [--images 100] [--seed-alphas 4,24 --seed-alphas 16,64]

RUN must be finished and have masks. For each pair of seed alphas AffinityNet is trained anew (in a copy beside the
run, removed afterwards); then every (alpha, beta, t) makes masks of the same images. The ground truth is used here
only to score them.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer

from tag2mask import open_folder
from tag2mask.data.store import RunFolder
from tag2mask.evaluation import Confusion
from tag2mask.ops.cam import background_scores
from tag2mask.ops.crf import DenseCrf
from tag2mask.ops.random_walk import random_walks
from tag2mask.ops.seeds import labels_of_scores
from tag2mask.parallel import map_images
from tag2mask.pipelines.affinitynet import settings_of
from tag2mask.stages.choosing import ALPHAS, BETAS, STEPS, choose_walk
from tag2mask.stages.s3_seed import image_for_crf, make_seeds
from tag2mask.stages.s4_affinity import train_affinity
from tag2mask.stages.s5_walk import cell_maps, image_affinity
from tag2mask.training import Runtime

PUBLISHED = (16.0, 8.0, 256)


def main(
    run: Path,
    images: Annotated[int, typer.Option(help="How many images to score.")] = 100,
    seed_alphas: Annotated[list[str] | None, typer.Option(help="Low and high alpha, as 4,24.")] = None,
) -> None:
    source = RunFolder(run)
    record = source.record()
    data = open_folder(record["source"]["path"], val_fraction=record["source"]["val_fraction"])
    settings = settings_of(source)
    runtime = Runtime(seed=record["seed"])
    pairs: list[tuple[float, float] | None] = [None]
    for pair in seed_alphas or ():
        low, high = pair.split(",")
        pairs.append((float(low), float(high)))
    print(f"{'seeds':>14}  {'auto picks (alpha, beta, t)':>28}  auto  best fixed (alpha, beta, t)    best  published")
    everything: list[float] = []
    for pair in pairs:
        folder = RunFolder(run.parent / f"{run.name}_auto_choice")
        try:
            for part in ("run.json", "01_classify", "02_localize", *(("03_seed", "04_affinity") if pair is None else ())):
                copy = shutil.copytree if (run / part).is_dir() else shutil.copy
                copy(run / part, folder.path / part)
            seed = settings.seed if pair is None else replace(settings.seed, alpha_object=pair[0], alpha_background=pair[1])
            scores = make_seeds(data, folder.cams, folder, seed, crf=settings.crf)
            net = train_affinity(data, scores, folder, settings.affinity, runtime=runtime)
            tagged = [name for name in data.names if data.mask(name) is not None]
            names = [tagged[i] for i in np.linspace(0, len(tagged) - 1, min(images, len(tagged))).round().astype(int)]

            def maps_of(name: str):  # noqa: ANN202
                with runtime.inference(net):
                    affinity = image_affinity(data[name], net, settings.affinity, runtime)
                return cell_maps(folder.cams[name], tuple(affinity.values.shape[-2:])), affinity

            def scored(name: str) -> dict[tuple[float, float, int], torch.Tensor]:
                return score_all(name, data, folder, *maps_of(name), settings)

            found = map_images(scored, names, "scoring", workers=2)
            table = {key: Confusion(sum(one[key] for one in found)).mean_iou() for key in found[0]}
            picked = choose_walk(data, maps_of, settings.crf).values
            auto = (picked["alpha"], picked["beta"], picked["steps"])
            best = max(table, key=table.__getitem__)
            everything.append(table[best])
            title = "auto" if pair is None else f"{pair[0]:g} / {pair[1]:g}"
            chosen = folder.chosen("03_seed")
            title += f" ({chosen['alpha_object']:g}/{chosen['alpha_background']:g})" if pair is None else ""
            print(
                f"{title:>14}  {auto!s:>28}  {100 * table[auto]:.1f}  {best!s:>28}  {100 * table[best]:.1f}  "
                f"{100 * table[PUBLISHED]:.1f}",
                flush=True,
            )
        finally:
            shutil.rmtree(folder.path, ignore_errors=True)
    print(f"best of all: {100 * max(everything):.1f}")


def score_all(name, data, folder, maps, affinity, settings):  # noqa: ANN001, ANN201
    """(alpha, beta, t) -> (C + 1, C + 1) counts of one image."""
    image, truth, classes = data[name], data.mask(name), len(data.class_names)
    class_ids = folder.cams[name].class_ids
    small = image_for_crf(image, settings.walk.max_side)
    field = DenseCrf(small, settings.crf, threads=1)
    start = torch.cat([maps, *(background_scores(maps, alpha)[None] for alpha in ALPHAS)])
    counts = {}
    for beta in BETAS:
        for steps, walked in random_walks(start, affinity, beta=beta, steps=STEPS):
            large = F.interpolate(walked[None], small.shape[:2], mode="bilinear", align_corners=False)[0]
            for alpha, background in zip(ALPHAS, large[len(maps) :], strict=True):
                scores = torch.cat([background[None], large[: len(maps)]])
                labels = torch.zeros(small.shape[:2], dtype=torch.int64)
                if len(class_ids):
                    shares = (scores / scores.sum(dim=0).clamp(min=1e-12)).clamp(0, 1)
                    labels = labels_of_scores(torch.from_numpy(field.refine(shares.numpy())), class_ids)
                labels = F.interpolate(labels[None, None].float(), truth.shape, mode="nearest-exact")[0, 0].long()
                counts[alpha, beta, steps] = Confusion.of(truth, labels, classes).counts
    return counts


if __name__ == "__main__":
    typer.run(main)
