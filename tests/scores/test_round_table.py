"""The table of rounds: for people in percent and millionths, for files without NaN."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

from tag2mask.scores.round_table import RoundScore, RoundTable

FIRST = RoundScore(
    number=1,
    unary_train=0.5,
    refined_train=0.52,
    taught_train=0.54,
    unary_val=0.4,
    refined_val=0.41,
    coverage=0.6,
    precision=0.7345678,
    unary_precision=0.61,
    agreement=0.95,
    energy=0.0001234567,
    energy_mined=0.0000987654,
    energy_refined=0.000012,
    seconds=81.234,
)
BLIND = replace(
    FIRST,
    number=2,
    **dict.fromkeys(
        ("unary_train", "refined_train", "taught_train", "unary_val", "refined_val", "precision"), math.nan
    ),
    unary_precision=math.nan,
)


def test_files_hold_null_instead_of_nan():
    found = json.loads(json.dumps(RoundTable((FIRST, BLIND)).as_dict(), allow_nan=False))
    assert list(found) == ["rounds"]
    first, second = found["rounds"]
    assert (first["round"], second["round"]) == (1, 2)
    assert first.keys() == second.keys()
    assert "number" not in first
    assert first["unary_train"] == 0.5
    assert first["precision"] == 0.73457
    assert second["unary_train"] is None
    assert second["unary_precision"] is None
    assert second["agreement"] == 0.95


def test_files_keep_small_energies():
    row = RoundTable((FIRST,)).as_dict()["rounds"][0]
    assert (row["energy"], row["energy_mined"], row["energy_refined"]) == (0.000123457, 0.000098765, 0.000012)
    missing = RoundTable((replace(FIRST, energy=math.nan),)).as_dict()["rounds"][0]
    assert missing["energy"] is None


def test_the_table_is_in_percent_and_millionths():
    lines = RoundTable((FIRST, BLIND)).table().splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:3] == ["round", "alpha_u", "train"]
    assert re.split(r" {2,}", lines[0])[6:10] == ["mined", "precision", "of alpha_u", "agreement"]
    assert " ".join(lines[1].split()) == "1 50.0 52.0 54.0 40.0 41.0 60.0 73.5 61.0 95.0 123 99 12 81"
    assert " ".join(lines[2].split()) == "2 - - - - - 60.0 - - 95.0 123 99 12 81"


def test_curves_are_round_and_value():
    curves = RoundTable((FIRST, BLIND)).curves()
    assert curves["agreement"] == [(1, 95.0), (2, 95.0)]
    assert curves["alpha_u val"][0] == (1, 40.0)
    assert math.isnan(curves["alpha_u val"][1][1])
    assert len(curves) == len(RoundScore.__dataclass_fields__) - 2, "all but the number and the seconds"


def test_no_rounds():
    empty = RoundTable(())
    assert empty.as_dict() == {"rounds": []}
    assert all(points == [] for points in empty.curves().values())
    assert len(empty.table().splitlines()) == 1


def test_a_round_without_energies_says_so():
    none = replace(FIRST, energy=math.nan, energy_mined=math.nan, energy_refined=math.nan)
    cells = RoundTable((none,)).cells()[0]
    assert [cells[heading] for heading in ("J(alpha_u)", "mined J", "J(alpha_p)")] == ["-", "-", "-"]
    row = json.loads(json.dumps(RoundTable((none,)).as_dict(), allow_nan=False))["rounds"][0]
    assert [row[key] for key in ("energy", "energy_mined", "energy_refined")] == [None, None, None]
