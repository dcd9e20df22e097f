"""Masks that teach the next round: alpha_p after a dense CRF, the background weighed image by image."""

import numpy as np
import torch

from painted import run_by_hand
from tag2mask.auto.choose import ODDS
from tag2mask.ops.refine import sharpened_labels
from tag2mask.runs.places import SHARPEN
from tag2mask.runs.round import Round
from tag2mask.stages.r5_sharpen import SharpenSettings, sharpen_masks
from tiny import tiny_rounds

SETTINGS = tiny_rounds()


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
