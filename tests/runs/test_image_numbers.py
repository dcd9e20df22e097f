"""Numbers counted image by image: added up in order, and found again after a stop."""

import pytest
import torch

from painted import Numbers, Stripes, run_by_hand
from tag2mask.records import PseudoMask
from tag2mask.runs import image_numbers as tally_module
from tag2mask.runs.image_numbers import Tally
from tag2mask.runs.round import Round


@pytest.fixture
def run(tmp_path):
    return run_by_hand(tmp_path / "run", Stripes())


def test_a_tally_adds_up_in_the_given_order(run):
    tally = Tally(run.open_stage("rounds/1/5_refine", Numbers()))
    numbers = {"a": 1e16, "b": 1.0, "c": -1e16}
    for name, number in numbers.items():
        tally.add(name, {"energy": number, "count": 1})
    assert tally.sums(["a", "b", "c"]) == {"energy": 0.0, "count": 3}
    assert tally.sums(["a", "c", "b"]) == {"energy": 1.0, "count": 3}


def test_what_a_stop_lost_is_missing_again(run, monkeypatch):
    names = ["a", "x/b", "v"]

    def enter():
        return run.open_stage("rounds/1/5_refine", Numbers())

    masks = Round(run, 1).masks

    def write(name):
        masks.write(name, PseudoMask(name, torch.zeros(2, 2, dtype=torch.int64), torch.ones(2, 2)))

    tally = Tally(enter())
    assert tally.missing(masks, names, names[:2]) == names
    write("a")
    tally.add("a", {"energy": 1.0})
    write("v")
    again = Tally(enter())
    assert again.missing(masks, names, names[:2]) == ["a", "x/b"], "the numbers of a were not kept yet"
    monkeypatch.setattr(tally_module, "TALLY_SECONDS", -1.0)
    again.add("a", {"energy": 1.0})
    monkeypatch.undo()
    third = Tally(enter())
    assert third.missing(masks, names, names[:2]) == ["x/b"]
    third.add("x/b", {"energy": 2.0})
    assert third.sums(["a", "x/b"]) == {"energy": 3.0}


def test_values_are_counted_over_the_named_images(run):
    tally = Tally(run.open_stage("05_walk", Numbers()))
    for name, alpha in {"a": 16.0, "b": 4.0, "c": 16.0, "d": 8.0}.items():
        tally.add(name, {"alpha": alpha})
    assert list(tally.counts("alpha", ["c", "b", "a"]).items()) == [(4.0, 1), (16.0, 2)]
