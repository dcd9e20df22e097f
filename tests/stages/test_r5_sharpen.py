"""Masks that teach the next round: alpha_p after a dense CRF, the background weighed image by image."""

import numpy as np
import torch

from painted import run_by_hand
from tag2mask.auto.choose import ODDS
from tag2mask.ops.crf import CrfSettings
from tag2mask.ops.refine import sharpened_labels, with_odds
from tag2mask.records import SoftMask, TaggedImage
from tag2mask.runs.places import SHARPEN
from tag2mask.runs.round import Round
from tag2mask.stages.r5_sharpen import SharpenSettings, sharpen_masks
from tiny import tiny_rounds

SETTINGS = tiny_rounds()


def test_sharpened_labels_end_at_the_edge_of_the_image():
    pixels = torch.full((3, 40, 60), 30, dtype=torch.uint8)
    pixels[:, :, 30:] = 220
    # alpha_u knows the half with the object only roughly: it says so from column 18 on.
    alpha = torch.full((40, 60), 0.3)
    alpha[:, 18:] = 0.7
    alpha[:, 40:] = 0.95
    alpha[:, :10] = 0.05
    image = TaggedImage("a", pixels, torch.tensor([False, True]))
    soft = SoftMask("a", torch.tensor([1]), torch.stack([1 - alpha, alpha]), image.size)
    labels = sharpened_labels(image, soft, 0, CrfSettings())
    assert labels.equal(torch.where(torch.arange(60) >= 30, 2, 0).expand(40, 60))
    nothing = SoftMask("a", torch.zeros(0, dtype=torch.int64), torch.ones(1, 20, 30), image.size)
    assert sharpened_labels(image, nothing, 0, CrfSettings()).equal(torch.zeros(40, 60, dtype=torch.int64))


def test_the_odds_of_the_background_move_the_border_between_the_labels():
    alpha = torch.linspace(0.05, 0.95, 40).expand(20, 40)
    image = TaggedImage("a", torch.full((3, 20, 40), 90, dtype=torch.uint8), torch.tensor([True]))
    soft = SoftMask("a", torch.tensor([0]), torch.stack([1 - alpha, alpha]), image.size)
    plain = CrfSettings(gaussian_weight=0, bilateral_weight=0)
    found = [int(sharpened_labels(image, soft, 0, plain, odds)[0].sum()) for odds in (1 / 4, 1.0, 4.0)]
    assert found == [int((alpha[0] > share).sum()) for share in (1 / 5, 1 / 2, 4 / 5)]


def test_masks_that_teach_are_those_of_alpha_p_after_the_crf(scenes, rounds):
    side, taken = SETTINGS.pairwise.max_side, 0
    for number in (1, 2):
        em_round = Round(rounds, number)
        assert em_round.is_sharpened
        changed = 0
        for name in scenes.names:
            found, soft = em_round.sharpened[name].labels, em_round.mean_refined_soft[name]
            offered = [sharpened_labels(scenes[name], soft, side, SETTINGS.crf, odds) for odds in ODDS]
            assert any(found.equal(labels) for labels in offered)
            taken += not found.equal(offered[ODDS.index(1.0)])
            changed += int((found != em_round.masks[name].labels).sum())
        assert changed > 0
        counts = em_round.summaries()[SHARPEN].odds
        assert sum(counts.values()) == len(scenes.names)
        assert {float(odds) for odds in counts} <= set(ODDS)
    assert taken > 0, "no image took other odds, or this test shows nothing"


def test_the_mean_over_the_rounds_so_far(scenes, rounds):
    first, second = Round(rounds, 1), Round(rounds, 2)
    for name in scenes.names:
        for mean, own in (("mean_soft", "soft"), ("mean_refined_soft", "refined_soft")):
            one, other = getattr(first, own)[name].probabilities, getattr(second, own)[name].probabilities
            assert getattr(first, mean)[name].probabilities.equal(one)
            assert torch.allclose(getattr(second, mean)[name].probabilities, (one + other) / 2)
    assert tuple(second.mean_soft) == scenes.names


class LikesSmall:
    """A judge for whom a mask is the better, the less it covers."""

    def __call__(self, image, candidates):
        shares = [float((scores.argmax(dim=0) > 0).float().mean()) for scores in candidates]
        return np.array([[1 - share, 1.0, 0.0] for share in shares])


def test_the_judge_has_its_way_in_the_images_with_tags(scenes, rounds, tmp_path):
    covered = {}
    for which, judge in (("judged", LikesSmall()), ("plain", None)):
        em_round = Round(run_by_hand(tmp_path / which, scenes), 1)
        for name, soft in Round(rounds, 1).refined_soft.items():
            em_round.refined_soft.write(name, soft)
        sharpen_masks(scenes, em_round, SharpenSettings(48, averaged=False), crf=SETTINGS.crf, judge=judge)
        odds = em_round.summaries()[SHARPEN].odds
        assert sum(odds.values()) == len(scenes.names)
        covered[which] = {name: int((mask.labels > 0).sum()) for name, mask in em_round.sharpened.items()}
        assert judge is not None or odds == {"1": len(scenes.names)}
    assert all(covered["judged"][name] <= covered["plain"][name] for name in scenes.names)
    assert sum(covered["judged"].values()) < sum(covered["plain"].values())


def test_weighed_probabilities_still_sum_to_one():
    probabilities = torch.rand(3, 4, 5).softmax(dim=0)
    for odds in ODDS:
        weighed = with_odds(probabilities, odds)
        assert torch.allclose(weighed.sum(dim=0), torch.ones(4, 5))
        before, after = (maps[0] / maps[1:].sum(dim=0) for maps in (probabilities, weighed))
        assert torch.allclose(after / before, torch.full((4, 5), odds), rtol=1e-4)
