"""What the commands print of a data set: counts first, a few of each kind, all on demand."""

from __future__ import annotations

import json

import pytest

from tag2mask.console import print_as_json, print_problems, print_summary
from tag2mask.datasets.first_look import FirstLook
from tag2mask.datasets.problem import Problem
from tag2mask.datasets.summary import ClassCount, ImageSizes, Summary

ROWS = [Problem("missing image", f"row{n:04d}", "no such file", "Add it.") for n in range(1500)]
NOTES = [Problem("note", "tags.csv", "split at spaces", "List the names.", "warning")]
SUMMARY = Summary(
    "images below /d; tags from tags.csv", 1200, 30, 4, (ClassCount("traffic light", 1170), ClassCount("ox", 5)), 9,
    ImageSizes((3, 4), (6, 8), (30, 40)), {"PNG RGB": 1204}, ("2 cannot be used",), {"missing image": 1500},
)  # fmt: skip


def test_counts_first_then_five_of_each_kind(capsys):
    print_problems(NOTES + ROWS)
    out = capsys.readouterr().out
    assert out.startswith("1,501 problem(s): missing image: 1,500, note: 1\n")
    assert out.count("row0") == 5
    assert "... and 1,495 more" in out
    assert "split at" in out
    assert len(out.splitlines()) < 30


def test_all_of_them_on_demand(capsys):
    print_problems(ROWS, every=True)
    out = capsys.readouterr().out
    assert out.count("row") == 1500
    assert "more" not in out


def test_the_short_table(capsys):
    print_summary(SUMMARY)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "images    1,200 to train on, 30 of them without a tag: pure background; 4 held out",
        "found     images below /d; tags from tags.csv",
        "classes   2: traffic light 1,170, ox 5",
        "names     longest 'traffic light', shortest 'ox'",
        "masks     9; 2 cannot be used",
        "sizes     3 x 4 to 30 x 40 (height x width), median 6 x 8",
        "pixels    PNG RGB 1,204",
        "left out  missing image: 1,500",
    ]


@pytest.mark.parametrize("every", [False, True])
def test_of_many_classes_the_most_frequent_and_the_rarest_are_named(every, capsys):
    classes = tuple(ClassCount(f"c{n:02d}", n) for n in range(40))
    print_summary(Summary("d", 100, 0, 0, classes, 0), every=every)
    out = capsys.readouterr().out
    assert ("and 28 more, the rarest c00 0" in out) is not every
    assert ("c20 20" in out) is every
    assert "c39 39" in out


def test_json_for_programs_holds_everything(capsys):
    print_as_json("/d", FirstLook(None, SUMMARY, tuple(NOTES + ROWS)))
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"missing image": 1500, "note": 1}
    assert len(found["problems"]) == 1501
    assert found["problems"][0] == {
        "kind": "note", "subject": "tags.csv", "message": "split at spaces", "remedy": "List the names.",
        "severity": "warning",
    }  # fmt: skip
    assert found["summary"]["classes"][1] == {"name": "ox", "training": 5, "held_out": 0}
    print_as_json("/d", FirstLook(None, None, ()))
    assert json.loads(capsys.readouterr().out)["summary"] is None
