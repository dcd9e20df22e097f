"""Average precision by class: what was learned and what was not."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from tag2mask.learning import tag_precision as module
from tag2mask.learning.tag_precision import class_precisions, tag_precision, tell_not_learned
from tag2mask.ops.ranking import average_precision, mean_average_precision
from tag2mask.runs.stage_summary import ClassPrecision, TagPrecision
from tiny import Slashed, tiny_runtime, tiny_settings

TAGS = torch.zeros(60, 4, dtype=torch.bool)
TAGS[:20, 0] = TAGS[30:36, 1] = TAGS[:, 2] = True


def test_knowledge_noise_and_classes_in_which_there_is_nothing_to_find():
    noise = torch.randn(60, 4, generator=torch.Generator().manual_seed(3))
    scores = noise + torch.tensor([6.0, 0, 0, 0]) * TAGS
    known, unknown, every, none = class_precisions(scores, TAGS, ("ox", "bee", "sky", "yak"))
    assert known.average == pytest.approx(1.0, abs=1e-3)
    assert known.by_chance == pytest.approx(20 / 60, abs=0.08)
    assert (known.learned, unknown.learned) == (True, False)
    assert (every, none) == (ClassPrecision("sky", 60), ClassPrecision("yak", 0))
    pair = mean_average_precision(scores[:, :2], TAGS[:, :2])
    assert TagPrecision(True, 60, (known, unknown, every, none)).mean == pytest.approx(pair)


def test_average_precision_by_hand():
    hits = torch.tensor([[True, True, False, False], [False, True, False, True]])
    assert average_precision(hits).tolist() == pytest.approx([1.0, (1 / 2 + 2 / 4) / 2])


def test_classes_that_were_not_learned_are_named(caplog):
    classes = (ClassPrecision("ox", 3, 0.2, 0.19, learned=False), ClassPrecision("bee", 9, 0.9, 0.3))
    with caplog.at_level(logging.WARNING):
        tell_not_learned("01_classify", TagPrecision(False, 12, classes))
    assert "not learned" in caplog.text
    assert "ox (AP 20.0, by chance 19.0, 3 images)" in caplog.text
    assert "bee" not in caplog.text
    assert "training images" in caplog.text
    caplog.clear()
    tell_not_learned("01_classify", TagPrecision(True, 12, classes[1:]))
    assert not caplog.text


class Knows(nn.Module):
    """Stands for a classifier; `tag_logits` is replaced."""


@pytest.mark.parametrize("val_count", [0, 4])
def test_held_out_images_count_where_there_are_any(val_count, monkeypatch):
    data = Slashed(8, val_count)
    asked = []

    def logits(_data, names, *_):
        asked.extend(names)
        return torch.stack([data.tags(name).float() for name in names])

    monkeypatch.setattr(module, "tag_logits", logits)
    found = tag_precision(data, Knows(), tiny_settings().classify, tiny_runtime())
    tagged = [name for name in data.val_names if bool(data.tags(name).any())]
    assert found.held_out == bool(tagged)
    assert asked == (tagged or list(data.names))
    assert found.images == len(asked)
    assert all(one.average == 1.0 for one in found.classes if one.average is not None)


def test_of_many_images_rare_classes_are_looked_at(monkeypatch):
    monkeypatch.setattr(module, "LOOKED_AT", 4)
    monkeypatch.setattr(module, "OF_EACH_CLASS", 1)
    data = Slashed(24, 0)
    monkeypatch.setattr(module, "tag_logits", lambda _data, names, *_: torch.zeros(len(names), 6))
    found = tag_precision(data, Knows(), tiny_settings().classify, tiny_runtime())
    there = torch.stack([data.tags(name) for name in data.names]).any(dim=0)
    assert found.images < 24
    assert [one.images > 0 for one in found.classes] == there.tolist()
