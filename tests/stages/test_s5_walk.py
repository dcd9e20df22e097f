"""Stage 5: scores walk from the part of an object to its border, and masks hold only tags."""

import pytest
import torch
import torch.nn.functional as F

from tag2mask.auto.choose import ALPHAS
from tag2mask.labels import labels_from_class_ids
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity
from tag2mask.ops.crf import CrfSettings
from tag2mask.records import Cams, PixelAffinity, TaggedImage
from tag2mask.stages.s5_walk import Walk, WalkSettings, image_alpha, image_mask, walk_masks
from tiny import tiny_settings

PLAIN = CrfSettings(gaussian_weight=0, bilateral_weight=0)


def body(class_ids=(4,)):
    """An object of 8 x 10 cells of which the map sees the front six tenths, and an affinity that knows its outline."""
    inside = torch.zeros(16, 20)
    inside[4:12, 5:15] = 1
    seen = torch.zeros(len(class_ids), 16, 20)
    seen[:, 4:12, 5:11] = 1.0
    offsets = half_disc_offsets(5)
    affinity = PixelAffinity(offsets, pair_affinity(5 * inside[None, None], offsets)[0], 4)
    tags = torch.zeros(6, dtype=torch.bool)
    tags[list(class_ids)] = True
    image = TaggedImage("a", (inside * 200).to(torch.uint8).expand(3, 16, 20), tags)
    return image, Cams("a", tags.nonzero().flatten(), seen, (16, 20)), affinity, inside


def test_the_walk_finds_the_body_of_which_the_map_sees_a_part():
    image, cams, affinity, inside = body()
    walk = Walk(alpha=16.0, beta=8.0, steps=256)
    before, mask = image_mask(image, cams, affinity, walk, max_side=0, crf=PLAIN)
    assert (before == 5).float().equal(inside)
    assert mask.labels.equal(before), "a CRF without weights changes nothing"
    seen, _ = image_mask(image, cams, affinity, Walk(16.0, 8.0, 0), max_side=0, crf=PLAIN)
    assert int((seen == 5).sum()) == 48, "without a step, only the part is there"


def test_confidence_is_that_of_the_chosen_label():
    image, cams, affinity, _ = body()
    _, mask = image_mask(image, cams, affinity, Walk(16.0, 8.0, 64), max_side=0, crf=PLAIN)
    assert float(mask.confidence.min()) >= 0.5
    assert float(mask.confidence.max()) <= 1.0


def test_an_image_without_tags_is_background():
    image, cams, affinity, _ = body(class_ids=())
    before, mask = image_mask(image, cams, affinity, Walk(16.0, 8.0, 64), max_side=0, crf=PLAIN)
    assert before.unique().tolist() == mask.labels.unique().tolist() == [0]
    assert mask.confidence.unique().tolist() == [1.0]


def test_masks_of_the_run_hold_only_tags(scenes, finished):
    found = set()
    for name in scenes.names:
        labels = labels_from_class_ids(finished.cams[name].class_ids).tolist()
        mask = finished.masks[name]
        assert set(mask.labels.unique().tolist()) <= {0, *labels}
        assert set(finished.walks[name].unique().tolist()) <= {0, *labels}
        assert mask.labels.shape == mask.confidence.shape == (48, 48)
        assert finished.boundaries[name].shape == (12, 12)
        found |= set(mask.labels.unique().tolist())
    assert {0} < found, "objects and background, or this test shows nothing"
    walk = tiny_settings().walk
    fixed = {"alpha": walk.alpha, "alphas": f"{walk.alpha:g}", "beta": walk.beta, "steps": walk.steps}
    assert finished.chosen("05_walk") == fixed


class ByShare:
    """Likes masks the better, the closer their share of the image is to the one of the object."""

    def __init__(self, share):
        self.share = share

    def __call__(self, image, candidates):
        found = [float((scores.argmax(dim=0) > 0).float().mean()) for scores in candidates]
        return torch.tensor([[1 - abs(share - self.share), 1.0, 0.0] for share in found]).numpy()


def test_each_image_takes_the_alpha_that_suits_it_and_all_images():
    image, cams, affinity, inside = body()
    halo = torch.where(inside > 0, 0.25, 0.15)[None]  # Begins at alpha 8; its halo at alpha 16.
    cams = Cams("a", cams.class_ids, halo, (16, 20))
    known = Walk(128.0, 8.0, 0, tuple((1.0, 1.0, 0.0) for _ in ALPHAS))
    assert image_alpha(image, cams, affinity, known, ByShare(80 / 320)) == 8
    assert image_alpha(image, cams, affinity, known, ByShare(1.0)) == 16
    others = tuple((float(alpha == 64), 1.0, 0.0) for alpha in ALPHAS)
    assert image_alpha(image, cams, affinity, Walk(128.0, 8.0, 0, others), ByShare(80 / 320)) == 64


def test_one_alpha_for_all_asks_no_judge_and_another_one_needs_it():
    image, cams, affinity, _ = body()
    assert image_alpha(image, cams, affinity, Walk(16.0, 8.0, 64), None) == 16
    known = Walk(16.0, 8.0, 64, tuple((1.0, 1.0, 0.0) for _ in ALPHAS))
    with pytest.raises(ValueError, match="needs a judge"):
        image_alpha(image, cams, affinity, known, None)
    image, cams, affinity, _ = body(class_ids=())
    assert image_alpha(image, cams, affinity, known, None) == 16


def test_paper_walk():
    paper = WalkSettings.paper()
    assert (paper.alpha, paper.beta, paper.steps) == (16.0, 8.0, 256)


class LikeColours:
    """Says that cells of like colours belong together."""

    def affinity(self, image):
        offsets = half_disc_offsets(5)
        grey = F.interpolate(image.pixels[None, :1].float() / 255, (12, 12), mode="area")
        return PixelAffinity(offsets, pair_affinity(grey, offsets)[0], 4)

    def walked(self, affinity):
        return affinity


def test_the_crf_behind_the_walk_trusts_colours_by_a_factor(scenes, copied):
    def masks(factor, weight):
        settings = WalkSettings(alpha=4.0, beta=8.0, steps=16, max_side=48, bilateral_factor=factor)
        crf = CrfSettings(bilateral_weight=weight)
        made = walk_masks(scenes, copied.cams, LikeColours(), copied, settings, crf=crf)
        return torch.stack([made[name].confidence for name in scenes.names])

    half = masks(0.5, 8.0)
    assert half.equal(masks(1.0, 4.0))
    assert not half.equal(masks(1.0, 8.0))
    with pytest.raises(ValueError, match="bilateral_factor"):
        WalkSettings(bilateral_factor=-1.0)
