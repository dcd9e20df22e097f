"""Several images are looked at at a time, also from inside the threads of `map_images`."""

from __future__ import annotations

from threading import Barrier

import pytest
import torch
from torch import nn

from tag2mask.learning import learned_pairs as module
from tag2mask.learning.learned_pairs import LearnedPairs
from tag2mask.parallel import map_images
from tag2mask.runtime import Runtime
from tag2mask.stages.s4_affinity import AffinitySettings


def test_as_many_images_as_there_are_cores_are_looked_at_at_a_time(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    together = Barrier(2, timeout=20)
    monkeypatch.setattr(module, "looking_copy", lambda net, _runtime: net)
    monkeypatch.setattr(module, "image_affinity", lambda *_: together.wait())
    try:
        learned = LearnedPairs(nn.Identity(), AffinitySettings(cells=40, output_stride=8), Runtime("cpu", "32"))
        map_images(learned.affinity, ["one", "two"], "looking", workers=2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("cells", [0, 200])
def test_large_images_are_looked_at_one_at_a_time(cells):
    learned = LearnedPairs(nn.Identity(), AffinitySettings(cells=cells, output_stride=8), Runtime("cpu", "32"))
    assert learned._turns._free._value == 1
