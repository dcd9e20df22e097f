"""The "auto" of alpha, beta and t: found on images whose answer one can see."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tag2mask.auto.choose import (
    ALPHAS,
    ODDS,
    _decide,
    choose_alpha,
    choose_image_odds,
    choose_odds,
    choose_walk,
    sample_names,
)
from tag2mask.auto.judge import MaskJudge
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity
from tag2mask.ops.crf import CrfSettings
from tag2mask.records import Cams, PixelAffinity, SoftMask, TaggedImage
from tag2mask.runtime import Runtime

PLAIN = CrfSettings(gaussian_weight=0, bilateral_weight=0, iterations=0)
SIZE = (24, 32)


class Squares:
    """Images of a red square on green ground; every third one is empty and has no tag."""

    def __init__(self, count=6):
        self.names = tuple(f"s{i}" for i in range(count))

    def inside(self, name):
        mask = torch.zeros(SIZE, dtype=torch.bool)
        if bool(self.tags(name).any()):
            mask[8:18, 10:24] = True
        return mask

    def tags(self, name):
        return torch.tensor([int(name[1:]) % 3 != 2, False])

    def __getitem__(self, name):
        noise = torch.randint(0, 30, (3, *SIZE), generator=torch.Generator().manual_seed(int(name[1:])))
        red, green = torch.tensor([180, 50, 50])[:, None, None], torch.tensor([50, 130, 50])[:, None, None]
        pixels = torch.where(self.inside(name), red, green) + noise
        return TaggedImage(name, pixels.to(torch.uint8), self.tags(name))


class RedSeen(torch.nn.Module):
    """A classifier that is the surer of the first class, the more red it sees; one red square is plenty."""

    def __init__(self):
        super().__init__()
        self.backbone = SimpleNamespace(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))

    def forward(self, pixels):
        red = (pixels[:, 0] - pixels[:, 1]).clamp(min=0).mean(dim=(-2, -1))
        return torch.stack([300 * red - 5, -5 * torch.ones_like(red)], dim=1)


def judge():
    return MaskJudge(RedSeen(), PLAIN, Runtime("cpu", "32"), max_side=0)


def faint(data, body, halo):
    """Maps that are `body` in the square and `halo` around it."""
    return {
        name: Cams(name, torch.tensor([0]), torch.where(data.inside(name), body, halo)[None].float(), SIZE)
        for name in data.names
    }


def test_only_images_with_a_tag_are_looked_at_evenly():
    data = Squares(9)
    assert sample_names(data) == ["s0", "s1", "s3", "s4", "s6", "s7"]
    assert sample_names(data, 3) == ["s0", "s3", "s7"]
    assert len(set(sample_names(data, 4))) == 4


def test_the_true_mask_splits_the_colours_holds_the_evidence_and_is_small():
    data = Squares()
    inside = data.inside("s0").float()
    masks = (inside, inside.roll(5, -1), torch.ones(SIZE), torch.zeros(SIZE))
    found = judge()(data["s0"], [torch.stack([1 - mask, mask]) for mask in masks])
    assert found.shape == (4, 3)
    separate, evidence, share = found.T
    assert separate[0] > 0.9
    assert separate[0] > separate[1] > separate[2] == separate[3] == 0
    assert evidence[0] > 0.8
    assert evidence[0] > evidence[1] > evidence[3]
    assert evidence[3] < 0
    assert share.tolist() == [140 / 768, 140 / 768, 1, 0]


def test_the_classifier_is_left_as_it_was():
    net = RedSeen().train()
    MaskJudge(net, PLAIN, Runtime("cpu", "32"), max_side=0)(Squares()["s0"], [torch.ones(2, *SIZE)])
    assert net.training


def test_alpha_parts_the_square_from_its_halo():
    # An object begins at 0.12 with alpha 16 and at 0.19 with alpha 8: only these part 0.2 and 0.1.
    data = Squares()
    choice = choose_alpha(data, faint(data, 0.22, 0.1), judge())
    assert choice.values["alpha"] in {8.0, 16.0}
    assert len(choice.evidence.rows) == len(ALPHAS)
    assert [row[-1] for row in choice.evidence.rows].count("chosen") == 1
    assert choice.score > 0.6


def test_the_walk_s_values_are_the_best_of_those_offered():
    data = Squares()
    offsets = half_disc_offsets(3)

    def maps_of(name):
        inside = data.inside(name).float()
        maps = inside.clone()
        maps[:, 19:] = 0  # Two thirds of the square are seen.
        affinity = PixelAffinity(offsets, pair_affinity(4 * inside[None, None], offsets)[0], 1)
        return maps[None], affinity

    choice = choose_walk(data, maps_of, judge(), alphas=(16.0,), betas=(0.1, 8.0), steps=(0, 256))
    # Without a step a third is missing; with a weak beta the walk leaks.
    assert choice.values == {"alpha": 16.0, "beta": 8.0, "steps": 256}
    assert len(choice.evidence.rows) == 4
    assert [[f"{number:.3f}" for number in numbers] for numbers in choice.common] == [
        list(choice.evidence.rows[3][3:6])
    ]
    fixed = choose_walk(data, maps_of, judge(), alphas=(4.0,), betas=(2.0,), steps=(16,))
    assert fixed.values == {"alpha": 4.0, "beta": 2.0, "steps": 16}


def test_the_odds_that_part_the_square_from_its_halo():
    # The networks find the square more likely than not, and its halo by half as much: only even odds part them.
    data = Squares()

    def soft_of(name, square=0.6, halo=0.4):
        inside = torch.where(data.inside(name), square, halo if bool(data.tags(name).any()) else 0.0)
        ids = data.tags(name).nonzero().flatten()
        return SoftMask(name, ids, torch.stack([1 - inside, *([inside] if len(ids) else [])]), SIZE)

    choice = choose_odds(data, soft_of, judge())
    assert choice.values == {"odds": 1.0}
    assert len(choice.evidence.rows) == len(choice.common) == len(ODDS)
    assert choose_image_odds(data["s0"], soft_of("s0"), judge(), choice.common) == 1.0
    # Of this image the networks say background too readily.
    shy = soft_of("s0", 0.3, 0.1)
    assert choose_image_odds(data["s0"], shy, judge(), choice.common) in {1 / 4, 1 / 8}


def test_the_choice_is_the_same_every_time():
    data = Squares()
    first, second = (choose_alpha(data, faint(data, 0.3, 0.1), judge()) for _ in range(2))
    assert first.values == second.values
    assert first.score == second.score
    assert first.evidence == second.evidence


def test_of_candidates_that_are_as_good_the_one_that_covers_least_is_chosen():
    found = np.array([[0.5, 0.5, 0.3], [0.5, 0.5, 0.1], [0.5, 0.5, 0.2], [0.1, 0.1, 0.05]])
    words = [[letter] for letter in "abcd"]
    assert _decide("", ["x"], words, found, np.array([1.0, 0.985, 0.99, 0.5]))[0] == 1
    chosen, evidence = _decide("", ["x"], words, found, np.array([1.0, 0.97, 0.99, 0.5]))
    assert chosen == 2
    assert [row[-1] for row in evidence.rows] == ["", "", "chosen", ""]


def test_beta_is_the_one_at_which_images_do_best_at_their_own_alphas():
    # With the second beta no alpha suits both images, but each has one that is better than any of the first beta's.
    numbers = {
        "s0": [[0.6, 1, 0], [0.6, 1, 0], [1.0, 1, 0], [0.1, 1, 0]],
        "s1": [[0.6, 1, 0], [0.6, 1, 0], [0.1, 1, 0], [1.0, 1, 0]],
    }
    names = [name for name in Squares().names if bool(Squares().tags(name).any())]
    offsets = half_disc_offsets(2)
    affinity = PixelAffinity(offsets, torch.ones(len(offsets), *SIZE), 1)

    def told(image, scores):
        assert len(scores) == 4
        return np.array(numbers["s0" if names.index(image.name) % 2 else "s1"])

    walks = {"alphas": (4.0, 16.0), "betas": (8.0, 16.0), "steps": (4,)}
    choice = choose_walk(Squares(), lambda name: (torch.ones(1, *SIZE), affinity), told, **walks)
    assert choice.values["beta"] == 16.0
    assert choice.score == pytest.approx(1.0)
    assert choice.common == ((0.55, 1.0, 0.0), (0.55, 1.0, 0.0))


@pytest.mark.parametrize(("smaller", "beta"), [(0.990, 16.0), (1.010, 8.0)])
def test_of_betas_that_are_nearly_as_good_the_better_one_is_taken(smaller, beta):
    affinity = PixelAffinity(offsets := half_disc_offsets(2), torch.ones(len(offsets), *SIZE), 1)
    walks = {"alphas": (16.0,), "betas": (8.0, 16.0), "steps": (4,)}
    numbers = np.array([[smaller, 1, 0], [0.9**-1.5, 1, 0.1]])
    choice = choose_walk(Squares(), lambda _: (torch.ones(1, *SIZE), affinity), lambda *_: numbers, **walks)
    assert choice.values["beta"] == beta
