"""Stage 3: seeds of the tagged classes only, sure background for images without tags."""

import numpy as np
import torch

from tag2mask.labels import IGNORE, labels_from_class_ids
from tag2mask.ops.crf import CrfSettings
from tag2mask.records import Cams, TaggedImage
from tag2mask.stages.s3_seed import SeedSettings, image_seeds
from tiny import tiny_settings

CRF = CrfSettings(gaussian_sxy=1, bilateral_sxy=4)


def square(size=(20, 24), class_ids=(4,)):
    """A bright square, and a map that is sure about it and half sure about a frame around it."""
    pixels = torch.full((3, *size), 40, dtype=torch.uint8)
    pixels[:, 6:14, 8:16] = 220
    scores = torch.zeros(len(class_ids), *size)
    scores[:, 6:14, 8:16] = 1.0
    tags = torch.zeros(6, dtype=torch.bool)
    tags[list(class_ids)] = True
    return TaggedImage("a", pixels, tags), Cams("a", tags.nonzero().flatten(), scores, size)


def test_a_clear_map_gives_its_square_and_the_rest_background():
    image, cams = square()
    scores, seeds, refined = image_seeds(image, cams, (4.0, 32.0), SeedSettings(), CRF)
    expected = torch.zeros(20, 24, dtype=torch.int64)
    expected[6:14, 8:16] = 5
    assert seeds.equal(expected)
    assert refined.equal(expected)
    assert scores.low.shape == (2, 10, 12)


def test_what_only_the_high_alpha_calls_an_object_is_unsure():
    image, cams = square()
    faint = Cams("a", cams.class_ids, cams.scores * 0.15, (20, 24))  # Below 0.28, above 0.07.
    plain = CrfSettings(gaussian_weight=0, bilateral_weight=0)
    _, seeds, refined = image_seeds(image, faint, (4.0, 32.0), SeedSettings(), plain)
    assert seeds[8, 10] == IGNORE
    assert seeds[0, 0] == 0
    assert refined.unique().tolist() == [0]


def test_an_image_without_tags_is_background():
    image, cams = square(class_ids=())
    scores, seeds, refined = image_seeds(image, cams, (4.0, 32.0), SeedSettings(), CRF)
    assert seeds.unique().tolist() == refined.unique().tolist() == [0]
    assert scores.low.unique().tolist() == [1.0]


def test_scores_sum_to_one():
    image, cams = square(class_ids=(1, 3))
    scores, _, _ = image_seeds(image, cams, (4.0, 32.0), SeedSettings(score_stride=2), CRF)
    for maps in (scores.low, scores.high):
        np.testing.assert_allclose(maps.sum(dim=0).numpy(), 1, atol=1e-5)


def test_a_large_image_is_refined_small_and_its_seeds_are_large():
    image, cams = square()
    scores, seeds, refined = image_seeds(image, cams, (4.0, 32.0), SeedSettings(max_side=12, score_stride=2), CRF)
    assert seeds.shape == refined.shape == (20, 24)
    assert scores.low.shape == (2, 5, 6)
    assert set(seeds.unique().tolist()) <= {0, 5, IGNORE}


def test_seeds_of_the_run_hold_only_tags(scenes, finished):
    for name in scenes.names:
        labels = labels_from_class_ids(finished.cams[name].class_ids).tolist()
        assert set(finished.seeds[name].labels.unique().tolist()) <= {0, IGNORE, *labels}
        assert set(finished.cam_crf[name].unique().tolist()) <= {0, *labels}
        assert finished.seeds[name].labels.shape == (48, 48)
    chosen = finished.chosen("03_seed")
    assert chosen == {"alpha_object": tiny_settings().seed.alpha_object, "alpha_background": 16.0}


def test_paper_alphas():
    assert (SeedSettings.paper().alpha_object, SeedSettings.paper().alpha_background) == (4.0, 24.0)
