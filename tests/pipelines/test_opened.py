"""A run's run.json is looked at as a whole when the run is opened."""

from __future__ import annotations

import json
import re
import shutil

import pytest

import tag2mask
from tag2mask.pipelines.opened import open_run
from tag2mask.pipelines.prepare import data_of
from tiny import tiny_runtime


def changed(finished, folder, change):
    """The manifest of a finished run alone, changed."""
    folder.mkdir()
    shutil.copy(finished.path / "names.json", folder)
    content = json.loads((finished.path / "run.json").read_text())
    change(content)
    (folder / "run.json").write_text(json.dumps(content))
    return folder


def test_finished_runs_open(finished, rounds):
    for run in (finished, rounds):
        assert open_run(run.path).manifest() == run.manifest()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda it: it["settings"]["walk"].update(speed=3), r"run\.json: settings\.walk: speed: expected one of"),
        (lambda it: it["settings"]["walk"].pop("beta"), r"run\.json: settings\.walk: beta: expected a value"),
        (lambda it: it["settings"]["seed"].update(images="all"), r"run\.json: settings\.seed"),
        (lambda it: it["settings"].pop("segment"), r"run\.json: settings\.segment: \w+: expected a value"),
        (lambda it: it["settings"].update(export={}), r"run\.json: settings\.export: expected one of classify, "),
        (lambda it: it.update(ial={"rounds": {"count": 3}}), r"run\.json: ial\.rounds: start: expected a value"),
        (lambda it: it.update(precision="64"), r"run\.json: precision: .*found '64'"),
        (lambda it: it.update(schema_version=True), r"run\.json: schema_version: expected 2, found True"),
        (lambda it: it.update(schema_version=0), r"run\.json: schema_version: expected 2, found 0"),
        (lambda it: it.update(schema_version="2"), r"run\.json: schema_version: expected 2, found '2'"),
        (lambda it: it.pop("precision"), r"run\.json: precision: expected a value, found nothing"),
        (lambda it: it.pop("schema_version"), r"run\.json: schema_version: expected 2, found nothing"),
    ],
)
def test_whatever_is_wrong_is_told_with_its_place(finished, tmp_path, change, found):
    folder = changed(finished, tmp_path / "run", change)
    with pytest.raises(ValueError, match=found) as raised:
        open_run(folder)
    assert str(raised.value).count(str(folder)) == 1


def test_text_that_is_no_json_is_told(finished, tmp_path):
    folder = changed(finished, tmp_path / "run", dict)
    for text in ("", "{", "[" * 100_000):
        (folder / "run.json").write_text(text)
        with pytest.raises(ValueError, match="make the run anew"):
            open_run(folder)


def test_weights_for_other_classes_are_told(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    content = json.loads((tmp_path / "run/run.json").read_text())
    content["class_names"].pop()
    (tmp_path / "run/run.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"06_segment: expected weights of the network.*instead of"):
        tag2mask.load(tmp_path / "run", runtime=tiny_runtime())


def test_a_stage_of_an_earlier_start_is_told_and_predicts_with_its_own_settings(finished, tmp_path, caplog):
    shutil.copytree(finished.path, tmp_path / "run")
    content = json.loads((tmp_path / "run/run.json").read_text())
    content["settings"]["segment"]["width"] += 8
    (tmp_path / "run/run.json").write_text(json.dumps(content))
    trained = tag2mask.load(tmp_path / "run", runtime=tiny_runtime())
    assert re.search(
        r"06_segment: made with other settings than run\.json has \(width \d+ instead of \d+\)", caplog.text
    )
    assert trained.settings.width == content["settings"]["segment"]["width"] - 8
    caplog.clear()
    open_run(finished.path)
    assert not caplog.text


def test_other_images_than_those_of_the_run_are_told(finished, scenes_folder, tmp_path, caplog):
    moved = tmp_path / "moved"
    shutil.copytree(scenes_folder, moved)
    assert data_of(finished, moved).names
    assert not caplog.text
    first, second, *_ = sorted((moved / "images").rglob("*.png"))
    shutil.copy(second, first)
    data_of(finished, moved)
    assert "not those that the run" in caplog.text


def test_a_round_that_does_not_count_is_told(rounds, tmp_path, caplog):
    shutil.copytree(rounds.path, tmp_path / "run")
    open_run(tmp_path / "run")
    assert not caplog.text
    state = tmp_path / "run/rounds/2/1_unary/stage.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "finished": False}))
    open_run(tmp_path / "run")
    assert "round 2 was begun and is not finished" in caplog.text
