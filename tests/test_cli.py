"""The commands: what they print, what they leave, and with which status they end."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from tag2mask.cli import main
from tiny import ROWS, tiny_folder

SHORT = [
    "classify.epochs=1", "classify.batch_size=4", "classify.backbone=resnet10t", "localize.scales=[1]",
    "seed.alpha_object=4", "seed.alpha_background=16", "affinity.epochs=1", "affinity.batch_size=4",
    "affinity.backbone=resnet10t", "affinity.cells=12", "affinity.crop=8", "walk.alpha=6", "walk.beta=8",
    "walk.steps=16", "segment.epochs=1", "segment.batch_size=4", "segment.backbone=resnet10t", "segment.width=16",
]  # fmt: skip
SETS = [word for change in SHORT for word in ("--set", change)]


@pytest.fixture
def command(monkeypatch, capsys):
    """Call the program; gives its exit status, standard output and standard error."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["tag2mask", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        return exit_.value.code or 0, printed.out, printed.err

    return call


def one_error(printed):
    """The message of a run that failed with a line, not with a traceback."""
    assert "Traceback" not in printed
    lines = [line for line in printed.splitlines() if line.strip()]
    assert len(lines) == 1, printed
    assert lines[0].startswith("error:")
    return lines[0]


def test_help_names_the_commands(command):
    status, out, _ = command("--help")
    assert status == 0
    assert all(re.search(rf"\b{name}\b", out) for name in ("demo", "check", "run", "score", "predict", "report"))


@pytest.mark.parametrize("name", ["demo", "run", "score", "predict"])
def test_every_command_has_help(command, name):
    status, out, _ = command(name, "--help")
    assert status == 0
    if name != "score":
        assert "--out" in out
        assert "--seed" in out


def test_check_ends_with_0_where_nothing_is_wrong_and_with_1_otherwise(command, tmp_path):
    folder = tiny_folder(tmp_path / "photos", count=40, all_tagged=True, classes=2)
    status, out, _ = command("check", folder)
    assert status == 0, out
    (folder / "images" / "wild" / "scene_0000.png").write_bytes(b"no image")
    status, out, _ = command("check", folder)
    assert status == 1
    assert "broken image: 1" in out


def test_a_missing_folder_is_told_in_a_line(command, tmp_path):
    status, _, err = command("run", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert status == 2
    assert "nowhere" in one_error(err)


def test_a_missing_folder_is_told_by_the_program_itself(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from tag2mask.cli import main; main()", "run", str(tmp_path / "nowhere")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "nowhere" in one_error(done.stderr)
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == [], "a run that can not begin leaves nothing"


@pytest.mark.parametrize("words", [["score"], ["predict", "a.png"], ["report"]])
def test_a_folder_that_is_no_run_is_told_in_a_line(command, tmp_path, words):
    status, _, err = command(words[0], tmp_path, *words[1:])
    assert status == 2
    assert "expected a run folder" in one_error(err)


@pytest.mark.parametrize("change", ["seed.nothing=4", "alpha=4", "classify.epochs=many"])
def test_an_unknown_setting_is_told_in_a_line(command, scenes_folder, tmp_path, change):
    status, _, err = command("run", scenes_folder, "--out", tmp_path / "run", "--set", change)
    assert status == 2
    assert f"setting '{change}'" in one_error(err)
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_is_a_usage_error(command, scenes_folder):
    status, _, err = command("run", scenes_folder, "--nothing")
    assert status == 2
    assert "--nothing" in err


def test_score_prints_a_row_per_stage_and_writes_json(command, copied):
    status, out, _ = command("score", copied.path)
    assert status == 0
    assert not (copied.path / "score.json").exists()
    for title in ("CAM", "CAM + CRF", "seeds", "walk", "walk + CRF", "segmenter, train", "segmenter, val"):
        assert re.search(rf"^{re.escape(title)}\s+\d", out, re.MULTILINE), out
    status, _, _ = command("score", copied.path, "--json")
    assert status == 0
    stages = json.loads((copied.path / "score.json").read_text())["stages"]
    assert tuple(stages) == ROWS
    for row in stages.values():
        assert 0 <= row["mean_iou"] <= 1
        assert list(row["iou"]) == ["background", *copied.class_names()]
        assert all(value is None or 0 <= value <= 1 for value in row["iou"].values())


def test_score_finds_a_folder_that_has_moved(command, copied, scenes_folder, tmp_path):
    source = {**copied.record()["source"], "path": str(tmp_path / "gone")}
    copied.write_record(source=source)
    status, _, err = command("score", copied.path)
    assert status == 2
    assert "--data" in one_error(err)
    status, out, _ = command("score", copied.path, "--data", scenes_folder)
    assert status == 0
    assert "walk + CRF" in out


def test_score_of_a_run_made_by_the_library_asks_for_the_folder(command, copied, scenes_folder):
    copied.write_record(source={})
    status, _, err = command("score", copied.path)
    assert status == 2
    assert "--data" in one_error(err)
    status, out, _ = command("score", copied.path, "--data", scenes_folder)
    assert status == 0
    assert "walk + CRF" in out


def test_predict_writes_masks_and_tells_of_broken_images(command, copied, tmp_path, caplog):
    Image.new("L", (30, 20), 90).save(tmp_path / "grey.png")
    status, _, _ = command("predict", copied.path, tmp_path / "grey.png", "--device", "cpu")
    assert status == 0
    with Image.open(copied.path / "predict" / "masks" / "grey.png") as image:
        assert (image.mode, image.size) == ("P", (30, 20))
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = [tmp_path / "grey.png", tmp_path / "broken.png"]
    status, _, _ = command("predict", copied.path, *files, "--out", tmp_path / "out", "--device", "cpu")
    assert status == 1
    assert "broken.png" in caplog.text
    assert (tmp_path / "out" / "overlays" / "grey.jpg").is_file()
    status, _, err = command("predict", copied.path, *files, "--out", tmp_path / "out", "--device", "cpu", "--strict")
    assert status == 2
    assert "broken.png" in err


def test_paths_are_printed_whole(command, copied, tmp_path):
    moved = tmp_path / "[a] folder with a long name and a bracket" / "and another one with a longer name below it"
    shutil.move(copied.path, moved)
    _, out, _ = command("score", moved, "--json")
    assert str(moved / "score.json") in out, "a path broken into lines can not be copied"


def test_report_is_one_file(command, copied):
    status, _, _ = command("report", copied.path)
    assert status == 0
    assert "<html" in (copied.path / "report.html").read_text()[:500].lower()


@pytest.mark.slow
def test_run_goes_from_a_folder_to_a_report_and_then_rests(command, scenes_folder, tmp_path):
    out = tmp_path / "run"
    words = ["run", scenes_folder, "--out", out, "--seed", 5, "--device", "cpu", "--precision", "32", *SETS]
    status, printed, _ = command(*words)
    assert status == 0
    assert "walk + CRF" in printed
    assert (out / "report.html").is_file()
    assert (out / "score.json").is_file()
    record = json.loads((out / "run.json").read_text())
    assert (record["seed"], record["preset"]) == (5, "quick")
    before = (out / "01_classify" / "weights.safetensors").stat().st_mtime_ns
    status, _, _ = command(*words)
    assert status == 0
    assert (out / "01_classify" / "weights.safetensors").stat().st_mtime_ns == before


@pytest.mark.slow
def test_run_leaves_out_a_broken_image_unless_strict(command, scenes_folder, tmp_path):
    folder = shutil.copytree(scenes_folder, tmp_path / "photos")
    broken = folder / "images" / "wild" / "scene_0002.png"
    broken.write_bytes(broken.read_bytes()[:-2000])
    words = ["run", folder, "--out", tmp_path / "run", "--device", "cpu", *SETS]
    status, _, err = command(*words, "--strict")
    assert status == 2
    assert "scene_0002" in err
    status, _, err = command(*words)
    assert status == 0, err
    assert not (tmp_path / "run" / "05_walk" / "masks" / "wild" / "scene_0002.png").exists()


@pytest.mark.slow
def test_demo_draws_runs_and_scores_also_with_another_seed(command, tmp_path):
    words = ["demo", "--out", tmp_path / "demo", "--count", 8, "--val-count", 2, "--size", 48, "--device", "cpu", *SETS]
    status, printed, _ = command(*words, "--seed", 3)
    assert status == 0
    assert "walk + CRF" in printed
    assert "report.html" in printed.replace("\n", "")
    status, printed, _ = command(*words, "--seed", 4)
    assert status == 0
    assert json.loads((tmp_path / "demo" / "run.json").read_text())["seed"] == 4
