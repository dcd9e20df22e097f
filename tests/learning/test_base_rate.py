"""What guessing costs, and what is found by chance."""

import math

import pytest
import torch

from tag2mask.learning.base_rate import guessing_loss, ranks_by_chance
from tag2mask.ops.losses import tag_loss, tag_weights

TAGS = torch.zeros(40, 3, dtype=torch.bool)
TAGS[:4, 0] = TAGS[:20, 1] = TAGS[10:, 2] = True


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_no_constant_answer_costs_less_than_guessing(balance):
    weights = tag_weights(TAGS, balance) if balance else None
    guess = guessing_loss(TAGS, weights)
    share = TAGS.double().mean(dim=0)
    present = share if weights is None else share * weights
    best = (present / (1 - share)).log().expand(40, 3)
    assert float(tag_loss(best, TAGS, weights)) == pytest.approx(guess, rel=1e-5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = best + 0.5 * torch.randn(3, generator=generator)
        assert float(tag_loss(other, TAGS, weights)) >= guess - 1e-6


def test_guessing_by_hand():
    assert guessing_loss(torch.tensor([[True], [False], [False], [False]])) == pytest.approx(
        -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    )
    assert guessing_loss(torch.zeros(5, 2, dtype=torch.bool)) == pytest.approx(0, abs=1e-6)


def test_noise_ranks_by_chance_and_knowledge_does_not():
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(40, 3, generator=generator)
    assert ranks_by_chance(noise, TAGS)
    assert not ranks_by_chance(noise + 2 * TAGS, TAGS)
    assert ranks_by_chance(torch.zeros(40, 3), TAGS[torch.randperm(40, generator=generator)])
