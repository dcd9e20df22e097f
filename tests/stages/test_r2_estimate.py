"""IAL, the estimate: alpha_u, what the unary network says among the tags."""

from __future__ import annotations

import pytest
import torch.nn.functional as F
from torch.testing import assert_close

from tag2mask.labels import labels_from_channels
from tag2mask.learning.pairwise import build_pairwise
from tag2mask.learning.segmenting import build_segmenter, image_probabilities
from tag2mask.ops.soft_masks import with_tags
from tag2mask.runs.round import Round
from tiny import tiny_rounds, tiny_runtime

SETTINGS = tiny_rounds()


@pytest.fixture(scope="module")
def networks(rounds):
    """The two networks of round 1."""
    em_round, runtime = Round(rounds, 1), tiny_runtime()
    unary = build_segmenter(SETTINGS.unary, 6, None, runtime)
    unary.load_state_dict(em_round.weights("1_unary"))
    pairwise = build_pairwise(SETTINGS.pairwise, 6, None, runtime)
    pairwise.load_state_dict(em_round.weights("4_pairwise"))
    return unary, pairwise


def test_alpha_u_is_what_the_unary_network_says_among_the_tags(scenes, rounds, networks):
    em_round, (unary, _), runtime = Round(rounds, 1), networks, tiny_runtime()
    for name in scenes.names[:4]:
        image = scenes[name]
        with runtime.inference(unary):
            whole = with_tags(image_probabilities(image.pixels, unary, SETTINGS.unary, runtime), image.tags)
        assert em_round.unary[name].equal(labels_from_channels(whole.argmax(dim=0)))
        cells = F.avg_pool2d(whole, SETTINGS.pairwise.stride)
        assert_close(em_round.soft[name].spread(6), cells, atol=4 / 255, rtol=0)
