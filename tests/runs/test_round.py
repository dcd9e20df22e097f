"""EM rounds in a run folder: what counts as finished, what is missing, and numbers that survive a stop."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

from painted import Numbers, Stripes, fill_round, finish_round, note_run, rounds_of, run_by_hand
from tag2mask.runs.places import PAIRWISE, REFINE, ROUND_STAGES, SHARPEN, UNARY
from tag2mask.runs.round import Round
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.stage_folder import Upstream, state_of


@pytest.fixture
def data():
    return Stripes()


@pytest.fixture
def run(tmp_path, data):
    return run_by_hand(tmp_path / "run", data)


@pytest.fixture
def whole(run, data):
    """A run with two rounds that lack nothing."""
    for number in (1, 2):
        finish_round(Round(run, number))
        fill_round(Round(run, number), data)
    return run


def test_rounds_are_counted_from_the_first(whole):
    assert rounds_of(whole) == 2
    assert not Round(whole, 3).finished
    (whole.path / "rounds" / "1" / REFINE / "stage.json").unlink()
    assert rounds_of(whole) == 0


def test_a_run_without_rounds_has_none(run):
    assert rounds_of(run) == 0
    assert Round(run, 1).summaries() == {}


@pytest.mark.parametrize("upto", range(6))
def test_a_round_that_was_stopped_is_not_finished(run, upto):
    finish_round(Round(run, 1), upto=upto)
    assert rounds_of(run) == 0
    assert list(Round(run, 1).summaries()) == list(ROUND_STAGES[:upto])


def test_a_round_begun_anew_with_other_settings_is_not_finished_until_its_last_stage_is_made_anew(whole):
    for upto in range(1, 6):
        finish_round(Round(whole, 1), value=7, upto=upto)
        assert rounds_of(whole) == 0, "half of it is of other settings"
    finish_round(Round(whole, 1), value=7)
    assert rounds_of(whole) == 1, "round 2 is made from the old round 1"
    finish_round(Round(whole, 2), value=7)
    assert rounds_of(whole) == 2


def test_other_seeds_of_the_start_leave_rounds_finished(whole):
    whole.open_stage("03_seed", Numbers(5)).finish("seeds", items=2)
    assert rounds_of(whole) == 2


def test_rounds_of_other_images_or_tags_are_passed_over(whole):
    assert whole.last_round() is not None
    assert not whole.outdated_rounds()
    whole.write_manifest(replace(whole.manifest(), digest="of other tags"))
    assert whole.last_round() is None
    assert whole.outdated_rounds()
    Round(whole, 1).check_whole(masks_only=True)
    final = whole.final_masks()
    assert final is None or "rounds" not in str(final.folder)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"settings": {}}',
        '{"finished": 1}',
        "null",
        '{"finished": true, "after": []}',
        '{"finished": true, "settings": 5}',
        '{"finished": false, "summary": "x"}',
        '{"finished": false, "notes": null}',
    ],
)
def test_a_damaged_state_of_a_stage_is_told(run, content):
    folder = run.path / "01_classify"
    folder.mkdir(exist_ok=True)
    (folder / "stage.json").write_text(content)
    with pytest.raises(ValueError, match=r"stage\.json: expected the state of a stage"):
        state_of(folder)


def test_without_a_pairwise_network_a_round_can_be_finished(run):
    finish_round(Round(run, 1), without=(PAIRWISE,))
    assert rounds_of(run) == 1
    assert PAIRWISE not in Round(run, 1).summaries()


def test_masks_that_are_not_sharpened_are_finished_without(run):
    finish_round(Round(run, 1), without=(SHARPEN,))
    assert rounds_of(run) == 1
    assert not Round(run, 1).is_sharpened


def test_the_start_is_seen_from_the_run(run, tmp_path):
    assert Round(run, 1).of_start("03_seed") == "03_seed"
    assert Round(run, 1, RunFolder(tmp_path / "run")).of_start("03_seed") == "03_seed"
    assert Round(run, 1, RunFolder(tmp_path / "other")).of_start("03_seed") == Upstream("03_seed", tmp_path / "other")


def test_a_start_is_found_from_a_run_behind_a_link(run, tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path / "far" / "away")
    run.open_stage("03_seed", Numbers(5)).finish("seeds", items=2)
    seen = Round(RunFolder(linked), 1, run).of_start("03_seed")
    assert seen.key == json.loads((run.path / "03_seed" / "stage.json").read_text())["key"]
    behind = tmp_path / "same"
    behind.symlink_to(run.path)
    assert Round(RunFolder(behind), 1, run).of_start("03_seed") == "03_seed"


def test_where_the_start_lies_is_no_part_of_a_key(run, tmp_path):
    run.open_stage("03_seed", Numbers(5)).finish("seeds", items=2)
    keys = set()
    for place in ("near", "far/away"):
        rounds = RunFolder(shutil.copytree(run.path, tmp_path / place / "rounds"))
        start = RunFolder(shutil.copytree(run.path, tmp_path / place / "start"))
        made = rounds.open_stage(f"rounds/1/{UNARY}", Numbers(), after=(Round(rounds, 1, start).of_start("03_seed"),))
        keys.add(made.key)
    assert len(keys) == 1
    start.open_stage("03_seed", Numbers(6)).finish("seeds", items=2)
    again = rounds.open_stage(f"rounds/1/{UNARY}", Numbers(), after=(Round(rounds, 1, start).of_start("03_seed"),))
    assert again.key not in keys, "other seeds are another start"


def test_what_was_made_is_read_back(whole, data):
    em_round = Round(whole, 1)
    assert list(em_round.soft) == list(em_round.mined) == list(em_round.refined_soft) == ["a", "x/b"]
    for name in data.names:
        assert em_round.unary[name].equal(data.labels())
        assert em_round.mined[name].labels.equal(data.labels())
        mask = em_round.masks[name]
        assert mask.labels.equal(data.labels())
        assert float(mask.confidence.min()) == pytest.approx(0.8, abs=1 / 500)
        for soft in (em_round.soft[name], em_round.refined_soft[name]):
            assert soft.probabilities[1].round().long().equal(data.labels() // 3)


def test_held_out_images_have_masks_but_nothing_that_teaches(run):
    note_run(run, val_names=["v"])
    em_round = Round(run, 1)
    assert list(em_round.unary) == list(em_round.masks) == ["a", "x/b", "v"]
    assert list(em_round.soft) == list(em_round.mined) == list(em_round.refined_soft) == ["a", "x/b"]


def test_settings_are_those_that_the_stage_was_made_with(whole):
    finish_round(Round(whole, 1), value=7)
    note_run(whole, ial={"unary": {"value": 1000}})
    assert Round(whole, 1).settings(UNARY, Numbers) == Numbers(7, (3, 4))


def test_fields_that_settings_do_not_have_are_passed_over(run):
    stage = run.open_stage(f"rounds/1/{UNARY}", Numbers(1))
    state = json.loads((stage.path / "stage.json").read_text())
    state["settings"]["soft"] = True
    (stage.path / "stage.json").write_text(json.dumps(state))
    assert Round(run, 1).settings(UNARY, Numbers) == Numbers(1)


def test_a_whole_round_lacks_nothing(whole):
    Round(whole, 1).check_whole()
    Round(whole, 3).check_whole()


@pytest.mark.parametrize(
    ("file", "for_scores"),
    [
        ("1_unary/weights.safetensors", False),
        ("2_estimate/soft/x/b.npz", False),
        ("2_estimate/masks/x/b.png", True),
        ("3_mine/mined/a.png", True),
        ("4_pairwise/weights.safetensors", False),
        ("5_refine/soft/a.npz", False),
        ("5_refine/masks/x/b.png", True),
        ("5_refine/confidence/a.png", True),
        ("5_sharpen/masks/x/b.png", True),
    ],
)
def test_a_file_that_is_gone_is_named_with_what_to_do(whole, file, for_scores):
    em_round = Round(whole, 2)
    (em_round.path / file).unlink()
    with pytest.raises(
        ValueError, match=re.escape(file) + r": expected a file of a finished stage.*\(1 missing"
    ) as told:
        em_round.check_whole()
    assert f"Delete {em_round.path / file.split('/')[0]} and run again" in str(told.value)
    Round(whole, 1).check_whole()
    if for_scores:
        with pytest.raises(ValueError, match=re.escape(file)):
            em_round.check_whole(masks_only=True)
    else:
        em_round.check_whole(masks_only=True)


def test_files_of_an_unfinished_stage_may_be_missing(run):
    run.open_stage("rounds/1/1_unary", Numbers())
    Round(run, 1).check_whole()


def test_weights_come_back_and_missing_ones_are_told(whole):
    assert Round(whole, 1).weights(UNARY)["a"].equal(torch.ones(2))
    shutil.rmtree(whole.path / "rounds/1/1_unary")
    with pytest.raises(ValueError, match="expected trained weights"):
        Round(whole, 1).weights(UNARY)
