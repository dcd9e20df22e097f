"""The pairwise network: its settings, where it starts from, and images of any size refined with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tag2mask.learning.pairwise import PairwiseSettings, apply_pairwise, build_pairwise
from tag2mask.weights.matching import in_own_names
from tiny import tiny_rounds, tiny_runtime, with_changes

SETTINGS = tiny_rounds()


def probabilities(classes, *size, seed=0):
    return torch.randn(1 + classes, *size, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(dim=0)


@pytest.mark.parametrize("size", [(48, 48), (33, 71), (1, 1), (200, 10)])
@pytest.mark.parametrize("change", [{}, {"merge": "max", "signed": True, "edges": False, "hidden": 8, "passes": 2}])
def test_images_of_any_size_are_refined(size, change):
    settings, runtime = replace(SETTINGS.pairwise, **change), tiny_runtime()
    net = build_pairwise(settings, 6, None, runtime)
    with runtime.inference(net):
        once, twice = apply_pairwise(
            torch.zeros(3, *size, dtype=torch.uint8), probabilities(6, *size), net, settings, runtime, times=2
        )
    assert once.shape == twice.shape
    assert max(once.shape[1:]) <= 32
    assert_close(once.sum(dim=0), torch.ones(once.shape[1:]))
    assert float(once.min()) >= 0


def test_without_a_pairwise_network_alpha_p_is_alpha_u():
    alpha = probabilities(2, 8, 8)
    once, twice = apply_pairwise(
        torch.zeros(3, 8, 8, dtype=torch.uint8), alpha, None, SETTINGS.pairwise, tiny_runtime(), times=2
    )
    assert once is alpha
    assert twice is alpha


def test_it_starts_from_the_classifier(finished):
    net = build_pairwise(tiny_rounds().pairwise, 6, finished, tiny_runtime())
    # The classifier's backbone is a network as a whole, this one is feature maps.
    start = in_own_names(finished.weights("01_classify"), [f"backbone.{name}" for name in net.backbone.state_dict()])
    assert all(value.equal(start[f"backbone.{name}"]) for name, value in net.backbone.state_dict().items())
    other = build_pairwise(tiny_rounds().pairwise, 6, None, tiny_runtime())
    assert any(not value.equal(start[f"backbone.{name}"]) for name, value in other.backbone.state_dict().items())
    assert net.weigh.weight.equal(other.weigh.weight), "the other weights follow from the seed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crop": 63}, r"PairwiseSettings\.crop: expected a multiple of the stride 2, got 63"),
        ({"merge": "sum"}, r"PairwiseSettings\.merge: expected one of mean, gated, max"),
        ({"hidden": -1}, r"PairwiseSettings\.hidden: expected 0 or more"),
        ({"passes": 0}, r"PairwiseSettings\.passes: expected 1 or more"),
        ({"stride": 0}, r"PairwiseSettings\.stride: expected 1 or more"),
        ({"smoothness": -1.0}, r"PairwiseSettings\.smoothness: expected 0 or more"),
        ({"signed": True}, r"PairwiseSettings\.edges: expected false with signed weights"),
        ({"balance": -1.0}, r"PairwiseSettings\.balance: expected 0 or more"),
        ({"start_from": "nowhere"}, r"PairwiseSettings\.start_from: expected one of"),
    ],
)
def test_settings_that_can_not_be_are_told(change, words):
    with pytest.raises(ValueError, match=words):
        with_changes(tiny_rounds(), pairwise=change)


def test_presets():
    paper = PairwiseSettings.paper()
    assert (paper.stride, paper.merge, paper.signed, paper.hidden, paper.passes) == (2, "max", True, 32, 2)
    assert (paper.edges, paper.balance) == (False, 0)
    assert PairwiseSettings.quick(images=100).epochs > PairwiseSettings.quick(images=2000).epochs
    assert PairwiseSettings.quick(144).stride < PairwiseSettings.quick(320).stride
