"""The table of scores: as text, and as JSON without NaN."""

from __future__ import annotations

import json

import pytest
import torch

from tag2mask.scores.confusion import Confusion
from tag2mask.scores.score_table import ScoreRow, ScoreTable


def make_table(num_classes):
    names = tuple(f"class {i}" for i in range(num_classes))
    truth, predicted = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    confusion = Confusion.of(truth, predicted, num_classes)
    rows = (
        ScoreRow("cam", "CAM", confusion, note="constant background 0.24"),
        ScoreRow("seeds", "seeds", confusion, coverage=0.5),
    )
    return ScoreTable(names, rows)


def test_table_as_dict_is_json_without_nan():
    stages = json.loads(json.dumps(make_table(2).as_dict(), allow_nan=False))["stages"]
    assert stages["cam"]["iou"] == {"background": 0.5, "class 0": 0.66667, "class 1": None}
    assert stages["cam"]["mean_iou"] == 0.58333
    assert stages["cam"]["precision"] == 0.83333
    assert stages["cam"]["recall"] == 0.75
    assert (stages["cam"]["coverage"], stages["seeds"]["coverage"]) == (None, 0.5)
    assert stages["cam"]["note"] == "constant background 0.24"


def test_a_class_called_background_does_not_replace_the_background():
    confusion = Confusion.of(torch.tensor([0, 1]), torch.tensor([0, 0]), 1)
    stages = ScoreTable(("background",), (ScoreRow("cam", "CAM", confusion),)).as_dict()["stages"]
    assert stages["cam"]["iou"] == {"background": 0.5}


@pytest.mark.parametrize("num_classes", [1, 12, 13])
def test_plain_table_names_every_class(num_classes):
    text = make_table(num_classes).table()
    assert all(f"class {i}" in text for i in range(num_classes))
    assert "constant background 0.24" in text
    assert "58.3" in text
    assert ("IoU per class" in text) == (num_classes > 12)
    lines = [line for line in text.splitlines() if line.startswith(("CAM", "seeds"))]
    assert len(lines) == 2


def test_table_of_other_classes_is_an_error():
    with pytest.raises(ValueError, match="C = 2"):
        ScoreTable(("cat",), (ScoreRow("cam", "CAM", Confusion.empty(2)),))


def test_over_the_background_alone_there_is_no_mean():
    truth = torch.tensor([0, 0, 0, 255])
    perfect, wrong = (Confusion.of(truth, torch.tensor(labels), 2) for labels in ([0, 0, 0, 0], [0, 2, 2, 2]))
    table = ScoreTable(("cat", "dog"), (ScoreRow("a", "A", perfect, "alpha 4"), ScoreRow("b", "B", wrong)))
    stages = table.as_dict()["stages"]
    for key in ("a", "b"):
        assert [stages[key][name] for name in ("mean_iou", "precision", "recall")] == [None, None, None]
    assert stages["a"]["iou"] == {"background": 1.0, "cat": None, "dog": None}
    assert stages["a"]["note"] == "alpha 4; no mean: no true mask shows an object"
    first = table.table().splitlines()[1]
    assert first.split()[:5] == ["A", "-", "-", "-", "100.0"]
    assert first.endswith("no mean: no true mask shows an object")
    empty = ScoreRow("c", "C", Confusion.empty(2))
    assert empty.remark == "", "nothing was counted at all"
