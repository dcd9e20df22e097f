"""The "auto" of alpha, beta and t: chosen from the training images, without any ground truth.

Not published. Every candidate makes masks of some training images, which the dense CRF refines. A good mask

- splits the image's colours: `tag2mask.ops.separability`, in [0, 1];
- holds what the classifier sees: the tags' probability with the rest of the image painted over, less their
  probability with the mask painted over, in [-1, 1];
- is no larger than that needs: 1 - the share of the image that it covers.

The largest product of the three means is the best. Each of the three alone errs on a side of its own: colours like the
part that the classifier looks at, the classifier likes everything, size likes nothing. Of the evidence the root is
taken: a classifier that knows its classes well sees ever more of them in ever larger masks, up to what is around them;
and size counts with a power of 1.5. Candidates within 2 % of the largest product are as good; of these the
one that covers least is chosen, since of two masks that do the same the smaller one is right.

One alpha does not suit all images: maps of some are broader than of others. So every image gets its own: its three
numbers are averaged with those of all images, since those of a single one are unsure, and the largest product wins.
beta and t, which all images have in common, are compared by the mean of the images' products, each at its own alpha,
which sees to the size already: here the largest mean is chosen, however near the next one is.
The same is done with the masks of IAL's rounds, whose networks give the odds of the background.
``benchmarks/auto_choice.py`` compares the choices with the best fixed ones.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping  # noqa: TC003  (choices are read by their types)
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from tag2mask.ops.cam import background_scores
from tag2mask.ops.random_walk import random_walk, random_walks
from tag2mask.ops.refine import with_odds
from tag2mask.parallel import map_images
from tag2mask.records import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from tag2mask.auto.judge import MaskJudge
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.records import Cams, PixelAffinity, SoftMask, TaggedImage

logger = logging.getLogger(__name__)

ALPHAS = (2.0, 3.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Candidates for alpha: an object begins at a score of 0.38, 0.32, 0.28, 0.19, 0.12, 0.07, 0.05, 0.03."""

BETAS = (8.0, 16.0, 32.0)
"""Candidates for beta."""

STEPS = (64, 256)
"""Candidates for t."""

ODDS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
"""Candidates for what the odds of the background are multiplied with."""

IMAGES = 48
"""How many training images are looked at."""

WALK_IMAGES = 96
"""The same for beta and t, between which less is at stake, and more chance."""

_POWERS = 0.5, 1.5
"""Powers of the classifier's evidence, and of the share of the image that is not covered."""

_ROUNDS = 0.5, 1.0
"""The same when the masks of IAL's rounds are compared."""

_TIE = 0.02
"""Scores that are lower by no more than this share are as good: the means over the images are no surer."""

_TINY = 1e-6


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why.

    Args:
        values: name -> chosen value.
        score: of the winner.
        evidence: a table for the report.
        common: for every candidate, with the chosen values of the others, the three numbers over all images.
    """

    values: Mapping[str, float]
    score: float
    evidence: Evidence
    common: tuple[tuple[float, float, float], ...]


def sample_names(data: TagDataset, count: int = IMAGES) -> list[str]:
    """Training images with a tag, spread evenly over the set."""
    tagged = [name for name in data.names if bool(data.tags(name).any())]
    picks = np.linspace(0, len(tagged) - 1, min(count, len(tagged))).round().astype(int)
    return [tagged[index] for index in dict.fromkeys(picks.tolist())]


def choose_alpha(data: TagDataset, cams: Mapping[str, Cams], judge: MaskJudge) -> Choice:
    """The alpha at which CRF-refined maps are judged best.

    Args:
        data: images.
        cams: their maps.
        judge: of masks.

    Returns:
        With the value ``alpha``.
    """
    names = sample_names(data)

    def judge_image(name: str) -> np.ndarray:
        maps = cams[name].scores
        return judge(data[name], [torch.cat([background_scores(maps, alpha)[None], maps]) for alpha in ALPHAS])

    found = np.mean(map_images(judge_image, names, "choosing alpha"), axis=0)
    scores = _product(found, _POWERS)
    words = [[f"{alpha:g}"] for alpha in ALPHAS]
    chosen, evidence = _decide(f"Seeds: CAM + CRF on {len(names)} images", ["alpha"], words, found, scores)
    return Choice({"alpha": ALPHAS[chosen]}, float(scores[chosen]), evidence, _numbers(found))


def choose_walk(
    data: TagDataset,
    maps_of: Callable[[str], tuple[Tensor, PixelAffinity]],
    judge: MaskJudge,
    *,
    alphas: Sequence[float] = ALPHAS,
    betas: Sequence[float] = BETAS,
    steps: Sequence[int] = STEPS,
) -> Choice:
    """The beta and t at which walked and CRF-refined maps are judged best, each image at its own alpha.

    Args:
        data: images.
        maps_of: name -> maps (K, h, w) averaged over the cells of the affinity, and that affinity.
        judge: of masks.
        alphas: candidates.
        betas: candidates.
        steps: candidates, ascending.

    Returns:
        With the values ``alpha`` (the best one for all images alike), ``beta`` and ``steps``.
    """
    names = sample_names(data, WALK_IMAGES)

    def judge_image(name: str) -> np.ndarray:
        maps, affinity = maps_of(name)
        # The walk is linear: all backgrounds walk along in one go.
        start = torch.cat([maps, *(background_scores(maps, alpha)[None] for alpha in alphas)])
        walked = [each for beta in betas for _, each in random_walks(start, affinity, beta=beta, steps=steps)]
        return judge(data[name], [scores for each in walked for scores in _with_each_background(each, len(maps))])

    found = np.stack(map_images(judge_image, names, "choosing alpha, beta and t"))
    grids = found.reshape(len(names), -1, len(alphas), 3).swapaxes(0, 1)
    own = np.stack([_each_at_its_own(grid) for grid in grids])
    scores = _product(own, _POWERS).mean(axis=1)
    common = [int(np.argmax(_product(grid.mean(axis=0), _POWERS))) for grid in grids]
    pairs = [(beta, step) for beta in betas for step in steps]
    words = [[f"{beta:g}", str(step), f"{alphas[place]:g}"] for (beta, step), place in zip(pairs, common, strict=True)]
    title = f"Walk: walk + CRF on {len(names)} images, each with its own alpha"
    columns = ["beta", "t", "alpha in common"]
    chosen, evidence = _decide(title, columns, words, own.mean(axis=1), scores, tie=0)
    beta, step = pairs[chosen]
    values = {"alpha": alphas[common[chosen]], "beta": beta, "steps": step}
    return Choice(values, float(scores[chosen]), evidence, _numbers(grids[chosen].mean(axis=0)))


def choose_image_alpha(
    image: TaggedImage,
    maps: Tensor,
    affinity: PixelAffinity,
    judge: MaskJudge,
    *,
    beta: float,
    steps: int,
    common: Sequence[Sequence[float]],
) -> float:
    """The alpha of `ALPHAS` at which the walk of one image is judged best, with what suits all images in mind.

    Args:
        image: with at least one tag.
        maps: (K, h, w) averaged over the cells of the affinity.
        affinity: of the image.
        judge: of masks.
        beta: of the walk.
        steps: of the walk.
        common: `Choice.common` of the walk over all of `ALPHAS`.
    """
    start = torch.cat([maps, *(background_scores(maps, alpha)[None] for alpha in ALPHAS)])
    walked = random_walk(start, affinity, beta=beta, steps=steps)
    own = judge(image, _with_each_background(walked, len(maps)))
    return ALPHAS[_best_with(own, np.asarray(common), _POWERS)]


def choose_odds(data: TagDataset, soft_of: Callable[[str], SoftMask], judge: MaskJudge) -> Choice:
    """What the odds of the background have to be multiplied with for the best CRF-refined masks.

    Args:
        data: images.
        soft_of: name -> probabilities.
        judge: of masks.

    Returns:
        With the value ``odds``.
    """
    names = sample_names(data)

    def judge_image(name: str) -> np.ndarray:
        return judge(data[name], [with_odds(soft_of(name).probabilities, odds) for odds in ODDS])

    found = np.mean(map_images(judge_image, names, "choosing odds"), axis=0)
    words = [[f"{odds:g}"] for odds in ODDS]
    scores = _product(found, _ROUNDS)
    title = f"Rounds: alpha_p + CRF on {len(names)} images"
    chosen, evidence = _decide(title, ["odds of the background"], words, found, scores)
    return Choice({"odds": ODDS[chosen]}, float(scores[chosen]), evidence, _numbers(found))


def choose_image_odds(image: TaggedImage, soft: SoftMask, judge: MaskJudge, common: Sequence[Sequence[float]]) -> float:
    """The factor of `ODDS` at which the masks of one image are judged best, with what suits all images in mind.

    Args:
        image: with at least one tag.
        soft: its probabilities.
        judge: of masks.
        common: `Choice.common` of `choose_odds`.
    """
    own = judge(image, [with_odds(soft.probabilities, odds) for odds in ODDS])
    return ODDS[_best_with(own, np.asarray(common), _ROUNDS)]


def _best_with(own: np.ndarray, common: np.ndarray, powers: tuple[float, float]) -> int:
    """The best candidate by the numbers of one image and of all images in equal parts; of equals the smallest."""
    both = (own + common) / 2
    scores = _product(both, powers)
    return int(np.where(scores >= scores.max(), both[:, 2], np.inf).argmin())


def _each_at_its_own(numbers: np.ndarray) -> np.ndarray:
    """The numbers (N, A, 3) of N images at A candidates -> (N, 3): those of the candidate that each image takes."""
    common = numbers.mean(axis=0)
    return np.stack([own[_best_with(own, common, _POWERS)] for own in numbers])


def _with_each_background(walked: Tensor, classes: int) -> list[Tensor]:
    """(K + A, h, w) maps of K classes and A backgrounds -> A times (1 + K, h, w)."""
    return [torch.cat([background[None], walked[:classes]]) for background in walked[classes:]]


def _numbers(found: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(separate), float(evidence), float(share)) for separate, evidence, share in found)


def _product(found: np.ndarray, powers: tuple[float, float]) -> np.ndarray:
    """The scores (...) of candidates with the numbers (..., 3)."""
    separate, evidence, share = np.moveaxis(found, -1, 0)
    return np.asarray(separate * evidence.clip(min=0) ** powers[0] * (1 - share) ** powers[1])


def _decide(
    title: str, columns: list[str], words: list[list[str]], found: np.ndarray, scores: np.ndarray, *, tie: float = _TIE
) -> tuple[int, Evidence]:
    """The smallest of the best candidates, and the table that shows it; the table is logged, too."""
    shares = found[:, 2]
    as_good = scores >= (1 - tie) * scores.max()
    chosen = int(np.where(as_good, shares, np.inf).argmin())
    columns = [*columns, "splits colours", "kept - left", "share of image", "score", ""]
    rows = [
        [*word, *(f"{value:.3f}" for value in (*three, score)), "chosen" if index == chosen else ""]
        for index, (word, three, score) in enumerate(zip(words, found, scores, strict=True))
    ]
    widths = [max(len(line[i]) for line in [columns, *rows]) for i in range(len(columns))]
    lines = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in [columns, *rows]]
    logger.info("%s\n%s", title, "\n".join("  ".join(line) for line in lines))
    return chosen, Evidence(title, tuple(columns), tuple(map(tuple, rows)))
