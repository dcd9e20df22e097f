"""Tiny images through the functions of stages 3 to 5, against the chain of the slow references."""

from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from reference.brute_force_crf import brute_force_crf, gaussian_kernel, lattice_kernel
from reference.dense_walk import dense_walk
from reference.equality import EXACT, LONG, SEEDS, SINGLE, difference, equality
from reference.losses_by_formula import pair_loss_by_formula, pair_loss_slopes_by_formula
from reference.maps_by_pixel import background_by_pixel, shares_by_pixel
from reference.pairs_by_loops import affinity_by_loops, affinity_gradient_by_loops, targets_by_loops
from reference.resize_by_pixel import average_by_cell, resize_by_pixel
from reference.seeds_by_rule import labels_by_pixel, seeds_by_pixel, seeds_of_cells
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity, pair_targets
from tag2mask.ops.crf import CrfSettings
from tag2mask.ops.losses import pair_loss
from tag2mask.ops.windows import Window
from tag2mask.records import Cams, PixelAffinity, SeedScores, TaggedImage
from tag2mask.stages.s3_seed import SeedSettings, image_seeds
from tag2mask.stages.s4_affinity import AffinitySettings, SeedViews
from tag2mask.stages.s5_walk import Walk, image_mask

RADIUS = 3
OFFSETS = half_disc_offsets(RADIUS)
ALPHAS = (4.0, 24.0)
CLASS_IDS = (1, 4)
NO_CRF = CrfSettings(gaussian_weight=0, bilateral_weight=0, iterations=1)
CRF = CrfSettings(
    gaussian_sxy=2, gaussian_weight=1, bilateral_sxy=5, bilateral_srgb=30, bilateral_weight=2, iterations=3
)
IMAGES = {
    "seed": SEEDS,
    "classes": st.integers(0, 2),
    "size": st.tuples(st.integers(1, 11), st.integers(1, 11)),
}


class OneImage(dict):
    """A dataset of an image called "a"."""

    names = ("a",)


def views_of(scores, size, window, stride):
    """Labels of the cells that a window of an image shows, as AffinityNet trains on them."""
    image = TaggedImage("a", torch.zeros(3, *size, dtype=torch.uint8), torch.zeros(6, dtype=torch.bool))
    settings = AffinitySettings(cells=0, output_stride=stride, crop=window.crop // stride, jitter=(0, 0, 0, 0))
    backbone = SimpleNamespace(mean=(0, 0, 0), std=(1, 1, 1))
    runtime = SimpleNamespace(generator=lambda *_: torch.Generator())
    with patch("tag2mask.stages.s4_affinity.random_window", lambda *_: window):
        return SeedViews(OneImage(a=image), {"a": scores}, settings, backbone, runtime)[0, 0][2]


def random_window(seed, size, cells, stride):
    """A window of cells x cells somewhere in an image of this size, or around it if that is smaller."""
    generator = torch.Generator().manual_seed(seed)
    spare = [side - cells * stride for side in size]
    places = [int(torch.randint(min(0, room), max(0, room) + 1, (), generator=generator)) for room in spare]
    return Window(1.0, *places, cells * stride, bool(torch.rand((), generator=generator) < 0.5))


def by_reference(scores, size, labels, window, stride):
    """The seeds of a window's cells."""
    low, high = (resize_by_pixel(maps, *size) for maps in scores)
    place = {"top": window.top, "left": window.left, "mirrored": window.mirrored}
    return seeds_of_cells(low, high, labels, cells=window.crop // stride, stride=stride, **place)


@equality(
    SeedViews.__getitem__,
    seeds_of_cells,
    part="pool, then argmax",
    tolerance=EXACT,
    edges=[
        {"seed": 0, "classes": 0, "size": (1, 1), "cells": 1, "stride": 1, "shrunk": 1},
        {"seed": 0, "classes": 0, "size": (7, 8), "cells": 1, "stride": 8, "shrunk": 1},  # One row lies outside.
        {"seed": 0, "classes": 2, "size": (1, 20), "cells": 2, "stride": 8, "shrunk": 4},
    ],
    seed=SEEDS,
    classes=st.integers(0, 2),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    cells=st.integers(1, 4),
    stride=st.sampled_from([1, 2, 4, 8]),
    shrunk=st.sampled_from([1, 4]),
)
def test_seeds_of_cells_equal_the_rule(seed, classes, size, shrunk, **window):
    generator = torch.Generator().manual_seed(seed)
    kept = [-(-side // shrunk) for side in size]
    # Uneven scores: the mean of a cell often says something else than most of its pixels.
    low, high = (4 * torch.randn(2, 1 + classes, *kept, generator=generator)).softmax(dim=1)
    stride = window["stride"]
    window = random_window(seed, size, **window)
    scores = SeedScores("a", torch.tensor(CLASS_IDS[:classes], dtype=torch.int64), low, high)
    labels = [0, *(class_id + 1 for class_id in CLASS_IDS[:classes])]
    found = views_of(scores, size, window, stride)
    return found, by_reference((low, high), size, labels, window, stride)


def test_scores_are_pooled_before_the_argmax():
    # Three of four pixels are background, but the fourth is so sure that the cell's mean is the class.
    pixels = torch.tensor([[0.9, 0.4], [0.4, 0.4]])
    maps = torch.stack([1 - pixels, pixels])
    scores = SeedScores("a", torch.tensor([1]), maps, maps)
    assert views_of(scores, (2, 2), Window(1.0, 0, 0, 2, False), 1).tolist() == [[2, 0], [0, 0]]
    assert views_of(scores, (2, 2), Window(1.0, 0, 0, 2, False), 2).tolist() == [[2]]


def tiny(seed, classes, size):
    """An image of two colours with noise, maps at half its size, and the labels of their channels."""
    random = np.random.default_rng(seed)
    image = np.tile(random.integers(60, 120, 3), (*size, 1))
    image[size[0] // 3 :, size[1] // 3 :] = random.integers(120, 220, 3)
    pixels = torch.from_numpy(np.clip(image + random.normal(0, 8, image.shape), 0, 255).astype(np.uint8))
    tags = torch.zeros(6, dtype=torch.bool)
    tags[list(CLASS_IDS[:classes])] = True
    height, width = (-(-side // 2) for side in size)
    # Blocks that are sure background, unsure or sure objects, unevenly.
    blocks = random.choice([0.0, 0.15, 1.0], (classes, height, width), p=[0.6, 0.15, 0.25])
    blocks = blocks[:, : -(-height // 2), : -(-width // 2)].repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]
    scores = torch.from_numpy(blocks * random.uniform(0.7, 1, blocks.shape)).float()
    labels = [0, *(class_id + 1 for class_id in CLASS_IDS[:classes])]
    tagged = TaggedImage("a", pixels.permute(2, 0, 1).contiguous(), tags)
    return tagged, Cams("a", tagged.class_ids, scores, size), labels


def random_features(seed, height, width):
    """What AffinityNet would make of the image: (4, h, w)."""
    return torch.randn(4, height, width, generator=torch.Generator().manual_seed(seed))


def crf_by_reference(image, scores, crf):
    """Shares of the scores, refined by mean field; an image without tags needs none."""
    if len(scores) == 1:
        return np.ones_like(scores)
    kernel = lattice_kernel if crf.bilateral_weight else gaussian_kernel
    return brute_force_crf(image.pixels.permute(1, 2, 0).numpy(), shares_by_pixel(scores), crf, kernel)


def with_background_by_reference(maps, alpha):
    return np.concatenate([np.array(background_by_pixel(maps, alpha))[None], maps])


def maps_to_loss(seed, classes, size, crf):
    """Maps -> seeds -> cells -> pairs -> loss and its gradient: ours, and the references'."""
    image, cams, labels = tiny(seed, classes, size)
    window = random_window(seed, size, 4, 2)
    features = random_features(seed, 4, 4)

    kept, seeds, _ = image_seeds(image, cams, ALPHAS, SeedSettings(max_side=0, score_stride=2), crf)
    cells = views_of(kept, size, window, 2)
    leaf = features[None].requires_grad_()
    terms = pair_loss(pair_affinity(leaf, OFFSETS), pair_targets(cells[None], OFFSETS))
    (gradient,) = torch.autograd.grad(sum(terms.values()), leaf)
    found = {"seeds": seeds, "cells": cells, "gradient": gradient[0], **{name: terms[name].detach() for name in terms}}

    large = resize_by_pixel(cams.scores, *size)
    low, high = (crf_by_reference(image, with_background_by_reference(large, alpha), crf) for alpha in ALPHAS)
    small = [average_by_cell(maps, *(-(-side // 2) for side in size)) for maps in (low, high)]
    expected_cells = by_reference(small, size, labels, window, 2)
    sets = targets_by_loops(np.array(expected_cells), RADIUS)
    affinities = affinity_by_loops(features.detach(), RADIUS)
    kinds = [sets.get(pair) for pair in affinities]
    slopes = pair_loss_slopes_by_formula(affinities.values(), kinds)
    expected = {
        "seeds": seeds_by_pixel(low, high, labels),
        "cells": expected_cells,
        "gradient": affinity_gradient_by_loops(features.detach(), RADIUS, dict(zip(affinities, slopes, strict=True))),
        **pair_loss_by_formula(affinities.values(), kinds),
    }
    return found, expected


def maps_to_masks(seed, classes, size, crf):
    """Maps -> cells -> walk -> masks: ours, and the references'."""
    image, cams, labels = tiny(seed, classes, size)
    grid = [-(-side // 3) for side in size]  # Other cells than those of the maps.
    features = random_features(seed, *grid)

    affinity = PixelAffinity(OFFSETS, pair_affinity(features[None], OFFSETS)[0], 3)
    before, mask = image_mask(image, cams, affinity, Walk(16.0, 8.0, 64), max_side=0, crf=crf)
    found = {"before": before, "labels": mask.labels, "confidence": mask.confidence}

    maps = with_background_by_reference(average_by_cell(cams.scores, *grid), 16.0)
    values = np.zeros((len(OFFSETS), *grid))
    for ((y, x), (v, u)), value in affinity_by_loops(features, RADIUS).items():
        values[OFFSETS.index((v - y, u - x)), y, x] = value
    walked = resize_by_pixel(dense_walk(maps, OFFSETS, values, 8.0, 64), *size)
    refined = crf_by_reference(image, walked, crf)
    expected = {
        "before": labels_by_pixel(walked, labels),
        "labels": labels_by_pixel(refined, labels),
        "confidence": refined.max(axis=0),
    }
    return found, expected


@equality(
    "stages 3 and 4: maps, seeds, pairs, loss and its gradient",
    "maps_by_pixel, seeds_by_rule, pairs_by_loops, losses_by_formula",
    tolerance=SINGLE,
    examples=20,
    edges=[{"seed": 0, "classes": 1, "size": (1, 9)}, {"seed": 0, "classes": 0, "size": (1, 1)}],
    **IMAGES,
)
def test_maps_to_loss(**drawn):
    return maps_to_loss(**drawn, crf=NO_CRF)


@equality(
    "stage 5: maps, walk, masks",
    "maps_by_pixel, dense_walk, seeds_by_rule",
    tolerance=LONG,
    edges=[{"seed": 0, "classes": 1, "size": (9, 1)}, {"seed": 0, "classes": 0, "size": (1, 1)}],
    **IMAGES,
)
def test_maps_to_masks(**drawn):
    return maps_to_masks(**drawn, crf=NO_CRF)


@pytest.mark.parametrize("chain", [maps_to_loss, maps_to_masks])
@pytest.mark.parametrize(("seed", "classes"), [(1, 1), (1, 2), (2, 1)])
def test_with_the_dense_crf(chain, seed, classes):
    found, expected = chain(seed, classes, (12, 14), CRF)
    assert difference(found, expected) <= LONG
    assert {0, 2} <= set(np.ravel(expected.get("seeds", expected.get("labels"))).tolist()), "or this shows nothing"
