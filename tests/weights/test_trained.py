"""Trained weights into the network that they were trained in, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tag2mask.weights.trained import load_trained


def test_weights_are_taken_over():
    net, weights = nn.Linear(3, 2), nn.Linear(3, 2).state_dict()
    load_trained(net, weights, Path("run/06_segment"))
    assert net.weight.equal(weights["weight"])


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"weight": torch.zeros(4, 3)}, r"06_segment: .*weight \(4, 3\) instead of \(2, 3\)"),
        ({"bias": None}, "06_segment: .*no bias"),
        ({"scale": torch.zeros(1)}, "06_segment: .*scale, which the network has not"),
    ],
)
def test_weights_of_another_network_are_refused_whole(changes, found):
    net = nn.Linear(3, 2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    weights = {**nn.Linear(3, 2).state_dict(), **changes}
    weights = {name: value for name, value in weights.items() if value is not None}
    with pytest.raises(ValueError, match=found):
        load_trained(net, weights, Path("run/06_segment"))
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
