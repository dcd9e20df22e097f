"""What limits each stage of a finished run, and its automatic choices against every fixed one, by the ground truth.

    python benchmarks/limits.py runs/demo [--images 100] [--published] [--true-seeds] [--supervised]

RUN must be finished and have masks; nothing in it is changed. All numbers are mean IoU x 100 over the same training
images, spread evenly over those with masks; the ground truth only scores. "<" marks the run's own choice (its common
one, if every image has an alpha of its own), "*" the best fixed one. "An alpha for each image by the truth" is that
with the highest mean IoU of the image alone: about what the best choice for each image could reach.

    --published   seeds, AffinityNet without border pairs, walk and CRF anew with the published constants
    --true-seeds  AffinityNet anew on the true masks in the place of seeds: what the walk could do with these maps
    --supervised  the run's segmenter anew on the true masks, scored on the held-out images
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer

from demo_seeds import supervised as full_supervision
from tag2mask.datasets.dataset import without
from tag2mask.labels import IGNORE, labels_from_class_ids
from tag2mask.learning.learned_pairs import LearnedPairs
from tag2mask.ops.cam import as_probabilities, background_scores
from tag2mask.ops.crf import CrfSettings, DenseCrf
from tag2mask.ops.random_walk import random_walks
from tag2mask.ops.refine import image_for_crf
from tag2mask.ops.seeds import labels_of_scores
from tag2mask.ops.sizes import resize_labels, size_of
from tag2mask.parallel import map_images
from tag2mask.pipelines.affinitynet import settings_of
from tag2mask.pipelines.prepare import data_of, runtime_of, working_copies
from tag2mask.progress import track
from tag2mask.records import Seeds
from tag2mask.runs.run_folder import RunFolder
from tag2mask.scores.confusion import Confusion, ThresholdSweep
from tag2mask.stages.s3_seed import SeedSettings, given_scores, make_seeds, refined_scores
from tag2mask.stages.s4_affinity import build_affinity_net, train_affinity
from tag2mask.stages.s5_walk import Walk, cell_maps, image_mask

if TYPE_CHECKING:
    from torch import Tensor

    Key = tuple[float, str]  # Of a cell: its row, an alpha, and its column.

ALPHAS = (1.5, 2.0, 3.0, 4.0, 4.5, 6.0, 8.0, 12.0, 16.0)
WEIGHTS = (3.0, 5.0, 10.0)
BETAS = (8.0, 16.0, 32.0)
STEPS = (16, 64, 256)
PUBLISHED_WALK = Walk(alpha=16.0, beta=8.0, steps=256)


@dataclass(frozen=True)
class Grid:
    """Confusion matrices of the same images, (alpha, column) -> one for each; columns are values of the unit."""

    title: str
    unit: str
    cells: dict[Key, list[Confusion]]

    def mean_iou(self, key: Key) -> float:
        """Of one fixed choice, x 100."""
        return mean_iou(self.cells[key])

    def best(self) -> Key:
        """The best fixed choice."""
        return max(self.cells, key=self.mean_iou)

    def by_truth(self, column: str) -> float:
        """Mean IoU if every image takes the alpha that is best for itself."""
        rows = [found for (_, name), found in self.cells.items() if name == column]
        return mean_iou([max(image, key=Confusion.mean_iou) for image in zip(*rows, strict=True)])

    def show(self, own: Key) -> None:
        """Print it, an alpha in each row."""
        alphas = list(dict.fromkeys(alpha for alpha, _ in self.cells))
        columns = list(dict.fromkeys(column for _, column in self.cells))
        best = self.best()
        print(f"\n{self.title}; columns: {self.unit}\n{'alpha':>7}" + "".join(f"{column:>9}" for column in columns))
        for alpha in alphas:
            words = [f"{self.mean_iou((alpha, column)):.1f}" for column in columns]
            marks = ["<" * ((alpha, column) == own) + "*" * ((alpha, column) == best) for column in columns]
            print(f"{alpha:7g}" + "".join(f"{word:>7}{mark:2}" for word, mark in zip(words, marks, strict=True)))


class Bench:
    """One finished run, and how to make and score its masks with other values."""

    def __init__(self, path: Path, images: int) -> None:
        self.run = RunFolder.existing(path)
        self.settings, self.runtime = settings_of(self.run), runtime_of(self.run)
        self.data = data = working_copies(without(data_of(self.run), self.run.manifest().skipped), self.settings)
        self.classes = len(data.class_names)
        self.scored = [name for name in data.names if data.mask(name) is not None]
        if not self.scored:
            raise typer.BadParameter(f"{path}: expected a run of images with true masks, found none.")
        places = np.linspace(0, len(self.scored) - 1, min(images, len(self.scored))).round().astype(int)
        self.names = [self.scored[place] for place in places]
        crf = self.settings.crf
        self.walk_crf = replace(crf, bilateral_weight=crf.bilateral_weight * self.settings.walk.bilateral_factor)

    def truth(self, name: str) -> Tensor:
        """(H, W) true labels."""
        truth = self.data.mask(name)
        assert truth is not None
        return truth

    def confusion(self, truth: Tensor, labels: Tensor) -> Confusion:
        """Of one image; its labels may be of another size."""
        return Confusion.of(truth, resize_labels(labels, size_of(truth)), self.classes)

    def made(self, labels_of: Callable[[str], Tensor], names: Sequence[str]) -> float:
        """Mean IoU of label maps that the run made."""
        return mean_iou([self.confusion(self.truth(name), labels_of(name)) for name in track(names, "the run's own")])

    def constant(self) -> tuple[float, float]:
        """The best constant background of the maps as they are, and its mean IoU."""
        sweep = ThresholdSweep(self.classes)
        for name in track(self.names, "maps"):
            truth, cams = self.truth(name), self.run.cams[name]
            scores = cams.scores.new_zeros((0, *truth.shape))
            if len(cams.class_ids):
                scores = F.interpolate(cams.scores[None], size_of(truth), mode="bilinear", align_corners=False)[0]
            sweep.add(truth, scores, cams.class_ids)
        constant, confusion = sweep.best()
        return constant, 100 * confusion.mean_iou()

    def grid(
        self, title: str, unit: str, keys: Sequence[Key], cells_of: Callable[[str], Iterator[tuple[Key, Tensor]]]
    ) -> Grid:
        """Every choice on every image; images without tags are background, whatever is chosen."""

        def work(name: str) -> dict[Key, Confusion]:
            truth, class_ids = self.truth(name), self.run.cams[name].class_ids
            if len(class_ids) == 0:
                return dict.fromkeys(keys, self.confusion(truth, torch.zeros_like(truth)))
            return {key: self.confusion(truth, labels_of_scores(found, class_ids)) for key, found in cells_of(name)}

        found = map_images(work, self.names, title)
        return Grid(title, unit, {key: [image[key] for image in found] for key in keys})

    def maps(self) -> tuple[Grid, Key]:
        """CAM + CRF for every alpha and weight of colours, and the run's own choice."""
        crf = self.settings.crf
        own = float(self.run.chosen("03_seed")["alpha_object"]), f"{crf.bilateral_weight:g}"
        alphas, weights = sorted({*ALPHAS, own[0]}), sorted({*WEIGHTS, crf.bilateral_weight})

        def cells_of(name: str) -> Iterator[tuple[Key, Tensor]]:
            small = image_for_crf(self.data[name], self.settings.seed.max_side)
            for weight in weights:
                field = DenseCrf(small, replace(crf, bilateral_weight=weight), threads=1)
                for alpha in alphas:
                    yield (alpha, f"{weight:g}"), refined_scores(field, self.run.cams[name], alpha, field.size)

        keys = [(alpha, f"{weight:g}") for alpha in alphas for weight in weights]
        return self.grid("CAM + CRF", "weight", keys, cells_of), own

    def learned(self) -> LearnedPairs:
        """The run's own AffinityNet."""
        net = build_affinity_net(self.settings.affinity, None, self.runtime)
        net.load_state_dict(self.run.weights("04_affinity"))
        return LearnedPairs(net, self.settings.affinity, self.runtime)

    def walks(self, pairs: LearnedPairs, whose: str, betas: Sequence[float], steps: Sequence[int]) -> tuple[Grid, Key]:
        """Walk + CRF for every alpha, beta and t and the run's own, and what that is (of alphas the common one)."""
        chosen = self.run.chosen("05_walk")
        own = float(chosen["alpha"]), f"{float(chosen['beta']):g}/{int(chosen['steps'])}"
        alphas = sorted({*ALPHAS, own[0]})
        betas, steps = sorted({*betas, float(chosen["beta"])}), sorted({*steps, int(chosen["steps"])})

        def cells_of(name: str) -> Iterator[tuple[Key, Tensor]]:
            small = image_for_crf(self.data[name], self.settings.walk.max_side)
            field = DenseCrf(small, self.walk_crf, threads=1)
            affinity = pairs.walked(pairs.affinity(self.data[name]))
            maps = cell_maps(self.run.cams[name], size_of(affinity.values))
            # The walk is linear: all backgrounds walk along in one go.
            start = torch.cat([maps, *(background_scores(maps, alpha)[None] for alpha in alphas)])
            for beta in betas:
                for count, walked in random_walks(start, affinity, beta=beta, steps=steps):
                    large = F.interpolate(walked[None], field.size, mode="bilinear", align_corners=False)[0]
                    for alpha, background in zip(alphas, large[len(maps) :], strict=True):
                        scores = as_probabilities(torch.cat([background[None], large[: len(maps)]]))
                        yield (alpha, f"{beta:g}/{count}"), torch.from_numpy(field.refine(scores.numpy()))

        keys = [(alpha, f"{beta:g}/{count}") for alpha in alphas for beta in betas for count in steps]
        return self.grid(f"Walk + CRF, {whose}", "beta/t", keys, cells_of), own

    @contextmanager
    def scratch(self) -> Iterator[RunFolder]:
        """A copy of the run up to its maps, for as long as the block runs."""
        with TemporaryDirectory() as folder:
            copy = RunFolder(folder)
            for part in ("run.json", "names.json", "01_classify", "02_localize"):
                copy_part = shutil.copytree if (self.run.path / part).is_dir() else shutil.copy
                copy_part(self.run.path / part, copy.path / part)
            yield copy

    def published(self) -> dict[str, float]:
        """Walk + CRF of seeds and AffinityNet made anew with the published constants: by the CRF behind the walk."""
        paper = SeedSettings.paper()
        seed = replace(self.settings.seed, alpha_object=paper.alpha_object, alpha_background=paper.alpha_background)
        affinity = replace(self.settings.affinity, border_pairs=False)
        with self.scratch() as copy:
            scores = make_seeds(self.data, copy.cams, copy, seed, crf=CrfSettings.paper())
            net = train_affinity(self.data, scores, copy, affinity, runtime=self.runtime)
            learned = LearnedPairs(net, affinity, self.runtime)
            side, found = self.settings.walk.max_side, {}
            for words, crf in {"published": CrfSettings.paper(), "the run's": self.walk_crf}.items():

                def work(name: str, crf: CrfSettings = crf) -> Confusion:
                    image = self.data[name]
                    pairs = learned.walked(learned.affinity(image))
                    _, mask = image_mask(image, self.run.cams[name], pairs, PUBLISHED_WALK, max_side=side, crf=crf)
                    return self.confusion(self.truth(name), mask.labels)

                found[words] = mean_iou(map_images(work, self.names, f"published constants, {words} CRF"))
        return found

    def taught_by_truth(self) -> LearnedPairs:
        """AffinityNet trained on the true masks; classes without a tag are unsure."""
        data = without(self.data, set(self.data.names) - set(self.scored))
        with self.scratch() as copy:
            for name in track(data.names, "true seeds"):
                scores = self.run.seed_scores[name]
                if len(scores.class_ids):
                    truth = self.truth(name)
                    known = torch.cat([truth.new_zeros(1), labels_from_class_ids(scores.class_ids)])
                    scores = given_scores(Seeds(name, truth.where(torch.isin(truth, known), IGNORE)), scores)
                copy.seed_scores.write(name, scores)
            net = train_affinity(data, copy.seed_scores, copy, self.settings.affinity, runtime=self.runtime)
        return LearnedPairs(net, self.settings.affinity, self.runtime)


def mean_iou(images: Sequence[Confusion]) -> float:
    """Of all images together, x 100."""
    return 100 * sum(images[1:], images[0]).mean_iou()


def tell(words: str, score: float, own: float | None = None) -> None:
    """One line, and how far it is above the run's own."""
    print(f"  {words:<66}{score:5.1f}" + ("" if own is None else f"  {score - own:+5.1f}"), flush=True)


def compare(grid: Grid, own: Key, words: str, score: float) -> None:
    """Print a grid and what it says of the run's own choice."""
    grid.show(own)
    best = grid.best()
    tell(f"{words}, {grid.unit} {own[1]}", score)
    tell(f"best fixed: alpha {best[0]:g}, {grid.unit} {best[1]}", grid.mean_iou(best), score)
    tell(f"an alpha for each image by the truth, {grid.unit} {own[1]}", grid.by_truth(own[1]), score)


def main(
    run: Path,
    images: Annotated[int, typer.Option(help="How many images to score.")] = 100,
    *,
    published: Annotated[bool, typer.Option("--published", help="Train with the published constants, too.")] = False,
    true_seeds: Annotated[bool, typer.Option("--true-seeds", help="Train AffinityNet on true masks, too.")] = False,
    supervised: Annotated[bool, typer.Option("--supervised", help="Train the segmenter on true masks, too.")] = False,
) -> None:
    bench = Bench(run, images)
    if supervised and not bench.data.val_names:
        raise typer.BadParameter(f"--supervised: expected a run with held-out images, {run} has none.")
    print(f"{run}: mean IoU x 100 of {len(bench.names)} training images\n\nMaps")
    constant, score = bench.constant()
    tell(f"CAM at the best constant background, {constant:.2f}", score)
    grid, own = bench.maps()
    compare(grid, own, f"the run's own: alpha {own[0]:g}", bench.made(bench.run.cam_crf.__getitem__, bench.names))
    walked = bench.made(lambda name: bench.run.masks[name].labels, bench.names)
    grid, own = bench.walks(bench.learned(), "the run's AffinityNet", BETAS, STEPS)
    compare(grid, own, f"the run's own: alpha {bench.run.chosen('05_walk')['alphas']}", walked)
    if published:
        print("\nPublished constants, seeds to CRF: walk + CRF, and how far above the run's own")
        for words, score in bench.published().items():
            tell(f"CRF behind the walk: {words}", score, walked)
    if true_seeds:
        grid, own = bench.walks(bench.taught_by_truth(), "AffinityNet taught by the truth", (), ())
        compare(grid, own, f"the run's values: alpha {own[0]:g}", grid.mean_iou(own))
        tell("the same values, against the run's own walk + CRF", grid.mean_iou(own), walked)
    if supervised:
        held_out = bench.made(lambda name: bench.run.predictions[name].labels, bench.data.val_names)
        full = 100 * full_supervision(bench.run)[0]
        print("\nSegmenter, on held-out images")
        tell("the run's", held_out)
        tell(
            f"the same with full supervision, of which that is {100 * held_out / max(full, 1e-9):.0f}%", full, held_out
        )


if __name__ == "__main__":
    typer.run(main)
