"""The commands: what they print, what they leave, and with which status they end."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from urllib.error import URLError

import pytest
import timm
import torch
from PIL import Image

from painted import note_run
from tag2mask.cli import main
from tag2mask.runs.manifest import Origin
from tiny import ROWS, times_of, tiny_folder

SHORT = [
    "classify.epochs=1", "classify.batch_size=4", "classify.backbone=resnet10t", "localize.scales=[1]",
    "seed.alpha_object=4", "seed.alpha_background=16", "affinity.epochs=1", "affinity.batch_size=4",
    "affinity.backbone=resnet10t", "affinity.cells=12", "affinity.crop=8", "walk.alpha=6", "walk.beta=8",
    "walk.steps=16", "segment.epochs=1", "segment.batch_size=4", "segment.backbone=resnet10t", "segment.width=16",
]  # fmt: skip
SHORT_ROUNDS = [
    "unary.epochs=1", "unary.batch_size=4", "unary.backbone=resnet10t", "unary.width=16", "superpixels.count=40",
    "mine.epochs=1", "mine.batch_size=4", "mine.backbone=resnet10t", "mine.hidden=16", "pairwise.epochs=1",
    "pairwise.batch_size=4", "pairwise.backbone=resnet10t", "pairwise.width=8",
]  # fmt: skip


def sets_of(changes):
    """Changes as words of a command line."""
    return [word for change in changes for word in ("--set", change)]


# Networks that learn for a second may well have learned nothing.
SETS, ROUND_SETS = ["--from-scratch", "--force", *sets_of(SHORT)], sets_of(SHORT_ROUNDS)


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


def write_folder(root, tags):
    """A folder with a small grey image for each name, and a table of tags."""
    (root / "images").mkdir(parents=True)
    for place, name in enumerate(tags):
        Image.new("L", (8, 6), 10 + place).save(root / "images" / f"{name}.png")
    rows = "".join(f"{name}.png,{cell}\n" for name, cell in tags.items())
    (root / "tags.csv").write_text("image,tags\n" + rows, encoding="utf-8")
    return root


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
    assert all(re.search(rf"\b{name}\b", out) for name in ("demo", "check", "run", "ial", "score", "predict", "report"))


@pytest.mark.parametrize("name", ["demo", "run", "ial", "score", "predict"])
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


def test_check_and_run_begin_with_the_same_table_and_run_stops_at_what_spoils_it(command, tmp_path):
    folder = write_folder(tmp_path / "photos", {f"{n:02d}": "cow" for n in range(9)})
    status, checked, _ = command("check", folder)
    assert status == 1
    table = checked[: checked.index("1 problem(s)")]
    assert table.startswith("images    9 to train on; 0 held out\n")
    assert "classes   1: cow 9\n" in table
    status, printed, err = command("run", folder, "--out", tmp_path / "run", "--device", "cpu")
    assert status == 2
    assert printed == checked
    assert "class on every image: cow" in one_error(err)
    assert "--force" in err
    assert not (tmp_path / "run").exists()


def test_check_tells_few_of_many_findings_all_of_them_or_all_as_json(command, tmp_path):
    folder = write_folder(tmp_path / "photos", {f"{n:02d}": "cow" if n % 2 else "" for n in range(12)})
    with (folder / "tags.csv").open("a") as file:
        file.write("".join(f"animals/{n:04d}.jpg,cow\n" for n in range(40)))
    status, out, _ = command("check", folder)
    assert status == 1
    assert "missing image: 40" in out
    assert "... and 35 more" in out
    assert len(out.splitlines()) < 60
    _, out, _ = command("check", folder, "--all")
    assert "more" not in out
    assert out.count(".jpg") >= 40
    status, out, _ = command("check", folder, "--json")
    assert status == 1
    found = json.loads(out)
    assert found["summary"]["left_out"] == {"missing image": 40}
    assert len([problem for problem in found["problems"] if problem["kind"] == "missing image"]) == 40


def test_a_set_without_a_tag_is_an_error_of_check(command, tmp_path):
    folder = write_folder(tmp_path / "photos", {f"{n}": "" for n in range(6)})
    (folder / "classes.txt").write_text("cow\nduck\n")
    status, out, _ = command("check", folder)
    assert status == 1
    assert "no tag: 1" in out
    status, _, err = command("run", folder, "--out", tmp_path / "run", "--device", "cpu")
    assert status == 2
    assert "no tag" in one_error(err)


def test_errors_of_the_system_are_told_in_a_line(command, tmp_path):
    folder = write_folder(tmp_path / "photos", {f"{n}": "cow" if n % 2 else "" for n in range(10)})
    (tmp_path / "taken").write_text("a file")
    words = ["run", folder, "--device", "cpu", "--from-scratch", "--out"]
    for out in ("taken", "taken/run"):
        status, _, err = command(*words, tmp_path / out)
        assert status == 2
        assert "taken" in one_error(err)
        assert "--out" in err
    assert (tmp_path / "taken").read_text() == "a file"
    for out in (folder, folder / "images"):
        status, _, err = command(*words, out)
        assert status == 2
        assert "expected a folder of its own" in one_error(err)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_told_in_a_line(command, scenes_folder, tmp_path):
    status, _, err = command("run", scenes_folder, "--out", tmp_path / "run", "--device", "cuda")
    assert status == 2
    assert "got cuda" in one_error(err)
    assert not (tmp_path / "run").exists()


def test_names_with_accents_on_a_terminal_that_knows_none(tmp_path):
    folder = write_folder(
        tmp_path / "photos", {f"{n}": "cow" if n % 2 else "" for n in range(10)} | {"\u00e9t\u00e9": "cow"}
    )
    (folder / "images" / "\u00e9t\u00e9.png").write_bytes(b"no image")
    words = [sys.executable, "-m", "tag2mask", "check", str(folder)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 1
    assert b"broken image: 1" in done.stdout
    assert b"\\xe9t\\xe9" in done.stdout


def test_a_missing_folder_is_told_in_a_line(command, tmp_path):
    status, _, err = command("run", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert status == 2
    assert "nowhere" in one_error(err)


@pytest.mark.parametrize("how", [["-c", "from tag2mask.cli import main; main()"], ["-m", "tag2mask"]])
def test_a_missing_folder_is_told_by_the_program_itself(tmp_path, how):
    done = subprocess.run(
        [sys.executable, *how, "run", str(tmp_path / "nowhere")],
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


@pytest.mark.parametrize("words", [["score"], ["predict", "a.png"], ["report"], ["ial"]])
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


def test_weights_that_can_not_be_had_are_told_in_a_line_and_leave_nothing(
    command, scenes_folder, tmp_path, monkeypatch
):
    def fail(*_args, **_kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("tag2mask.nets.pretrained.urlopen", fail)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    words = ["run", scenes_folder, "--out", tmp_path / "run", "--device", "cpu"]
    for more, told in (
        (["--pretrained", "--backbone", "resnet18"], "--weights FILE"),
        (["--weights", tmp_path / "net.pth"], "net.pth: expected a file with weights"),
        (["--backbone", "resnetx"], "Near: "),
        (["--backbone", "resnet38", "--pretrained"], "--weights FILE"),
        (["--preset", "default"], "resnet50"),
    ):
        status, _, err = command(*words, *more)
        assert status == 2
        assert told in one_error(err)
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_is_a_usage_error(command, scenes_folder):
    status, _, err = command("run", scenes_folder, "--nothing")
    assert status == 2
    assert "--nothing" in err


def test_score_prints_a_row_per_stage_and_writes_json(command, copied):
    status, out, _ = command("score", copied.path)
    assert status == 0
    assert not (copied.path / "score.json").exists()
    assert "classifier: average precision of tags in percent, on 2 held-out images" in out
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
    origin = copied.manifest().origin
    note_run(copied, origin=replace(origin, source=replace(origin.source, path=str(tmp_path / "gone"))))
    status, _, err = command("score", copied.path)
    assert status == 2
    assert "--data" in one_error(err)
    status, out, _ = command("score", copied.path, "--data", scenes_folder)
    assert status == 0
    assert "walk + CRF" in out


def test_score_of_a_run_made_by_the_library_asks_for_the_folder(command, copied, scenes_folder):
    note_run(copied, origin=Origin())
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
    page = (copied.path / "report.html").read_text()
    assert "<html" in page[:500].lower()
    assert "What the classifier learned" in page
    assert all(f"</i>{name}</td>" in page for name in copied.class_names())


def test_score_prints_rounds_and_writes_them_into_json(command, copied_rounds):
    status, out, _ = command("score", copied_rounds.path, "--json")
    assert status == 0
    assert re.search(r"^round +alpha_u train", out, re.MULTILINE)
    assert re.search(r"^2 +\d", out, re.MULTILINE)
    assert "mean IoU" not in out, "the stages are in another folder"
    found = json.loads((copied_rounds.path / "score.json").read_text())
    assert list(found) == ["rounds"]
    assert [row["round"] for row in found["rounds"]] == [1, 2]
    assert all(row["energy"] > 0 and 0 <= row["agreement"] <= 1 for row in found["rounds"])


def test_rounds_are_scored_without_truth(command, copied_rounds, scenes_folder, tmp_path):
    folder = shutil.copytree(scenes_folder, tmp_path / "blind", ignore=shutil.ignore_patterns("masks"))
    status, out, _ = command("score", copied_rounds.path, "--json", "--data", folder)
    assert status == 0
    rows = json.loads((copied_rounds.path / "score.json").read_text())["rounds"]
    assert rows[1]["unary_train"] is None
    assert rows[1]["precision"] is None
    assert rows[1]["agreement"] > 0
    assert re.search(r"^1 +- +- +- +- ", out, re.MULTILINE)
    status, _, _ = command("report", copied_rounds.path, "--data", folder)
    assert status == 0
    assert "<h2>Rounds</h2>" in (copied_rounds.path / "report.html").read_text()


def test_report_and_predict_of_rounds(command, copied_rounds, tmp_path):
    assert command("report", copied_rounds.path)[0] == 0
    assert "<h2>Rounds</h2>" in (copied_rounds.path / "report.html").read_text()
    Image.new("RGB", (30, 20), (200, 90, 40)).save(tmp_path / "new.png")
    words = ["predict", copied_rounds.path, tmp_path / "new.png", "--device", "cpu", "--out"]
    assert command(*words, tmp_path / "plain")[0] == command(*words, tmp_path / "refined", "--refine")[0] == 0
    made = [(tmp_path / name / "confidence" / "new.png").read_bytes() for name in ("plain", "refined")]
    assert made[0] != made[1]


def test_refine_without_rounds_is_told_in_a_line(command, copied, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "new.png")
    status, _, err = command("predict", copied.path, tmp_path / "new.png", "--device", "cpu", "--refine")
    assert status == 2
    assert "expected a pairwise network to refine with, found none" in one_error(err)


def test_rounds_that_can_not_begin_are_told_in_a_line(command, copied, tmp_path):
    words = ["ial", copied.path, "--device", "cpu", *ROUND_SETS]
    status, _, err = command(*words, "--set", "mine.nothing=1")
    assert status == 2
    assert "setting 'mine.nothing=1'" in one_error(err)
    status, _, err = command(*words, "--seed", "7")
    assert status == 2
    assert "seed 0 -> 7" in one_error(err)
    shutil.rmtree(copied.path / "05_walk")
    status, _, err = command(*words, "--start", "masks", "--out", tmp_path / "out")
    assert status == 2
    assert "05_walk" in one_error(err)
    assert not (tmp_path / "out").exists()
    assert not (copied.path / "rounds").exists()


def test_ial_adds_rounds_to_a_run_and_then_rests(command, copied):
    words = ["ial", copied.path, "--rounds", 1, "--device", "cpu", *ROUND_SETS]
    status, out, _ = command(*words)
    assert status == 0
    assert "walk + CRF" in out
    assert re.search(r"^round +alpha_u train", out, re.MULTILINE)
    assert f"masks:  {copied.path / 'rounds/1/5_sharpen/masks'}" in out
    found = json.loads((copied.path / "score.json").read_text())
    assert list(found) == ["stages", "rounds"]
    assert tuple(found["stages"]) == ROWS
    assert len(found["rounds"]) == 1
    heads = list(
        dict.fromkeys(re.findall(r'<div class="head">([^<]+)</div>', (copied.path / "report.html").read_text()))
    )
    assert heads[-3:] == ["confident, round 1", "round 1", "truth"]
    record = json.loads((copied.path / "run.json").read_text())
    assert (record["ial"]["rounds"]["count"], record["seed"], record["precision"]) == (1, 0, "32")
    before = times_of(copied.path / "rounds")
    assert command(*words)[0] == 0
    assert times_of(copied.path / "rounds") == before


@pytest.mark.slow
def test_run_with_rounds_goes_from_tags_to_their_table(command, scenes_folder, tmp_path):
    out = tmp_path / "run"
    words = ["run", scenes_folder, "--method", "ial", "--out", out, "--device", "cpu", "--precision", "32"]
    status, printed, err = command(*words, *SETS, *ROUND_SETS, "--set", "rounds.count=1")
    assert status == 0, err
    assert re.search(r"^round +alpha_u train", printed, re.MULTILINE)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [
        "01_classify",
        "02_localize",
        "03_seed",
        "rounds",
    ]
    found = json.loads((out / "score.json").read_text())
    assert list(found["stages"]) == ["cam", "cam_crf", "seeds"]
    assert len(found["rounds"]) == 1
    record = json.loads((out / "run.json").read_text())
    assert (record["ial"]["unary"]["width"], record["settings"]["classify"]["backbone"]) == (16, "resnet10t")
    assert (out / "report.html").is_file()


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
    assert (record["seed"], record["origin"]["preset"]) == (5, "quick")
    before = (out / "01_classify" / "weights.safetensors").stat().st_mtime_ns
    status, _, _ = command(*words)
    assert status == 0
    assert (out / "01_classify" / "weights.safetensors").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_backbone_and_its_weights_are_those_of_all_nets_and_of_later_rounds(command, scenes_folder, tmp_path):
    torch.manual_seed(1)
    torch.save({"state_dict": timm.create_model("test_vit").state_dict()}, tmp_path / "vit.pth")
    out = tmp_path / "run"
    first, rounds = ([change for change in changes if "backbone" not in change] for changes in (SHORT, SHORT_ROUNDS))
    words = ["run", scenes_folder, "--out", out, "--device", "cpu", "--precision", "32", *sets_of(first)]
    begin = ["--backbone", "test_vit", "--weights", tmp_path / "vit.pth", "--force"]
    status, printed, err = command(*words, *begin)
    assert status == 0, err
    assert "walk + CRF" in printed
    record = json.loads((out / "run.json").read_text())
    assert record["origin"]["backbone"] == {
        "name": "test_vit",
        "pretrained": False,
        "weights": str(tmp_path / "vit.pth"),
        "source": str(tmp_path / "vit.pth"),
        "digest": hashlib.sha256((tmp_path / "vit.pth").read_bytes()).hexdigest(),
    }
    nets = [record["settings"][part] for part in ("classify", "affinity", "segment")]
    assert {(net["backbone"], net["output_stride"]) for net in nets} == {("test_vit", 16)}
    before = times_of(out / "01_classify")
    assert command(*words, *begin)[0] == 0
    assert times_of(out / "01_classify") == before
    status, _, err = command("ial", out, "--rounds", 1, "--device", "cpu", *sets_of(rounds))
    assert status == 0, err
    record = json.loads((out / "run.json").read_text())
    assert {record["ial"][part]["backbone"] for part in ("unary", "mine", "pairwise")} == {"test_vit"}


@pytest.mark.slow
def test_run_takes_maps_of_another_method_and_names_what_is_missing(command, scenes, scenes_folder, tmp_path):
    for name in scenes.names:
        (tmp_path / "maps" / name).mkdir(parents=True)
        for class_id in scenes.tags(name).nonzero().flatten().tolist():
            inside = (scenes.mask(name) == class_id + 1).numpy()
            Image.fromarray(inside).convert("L").save(tmp_path / "maps" / name / f"{scenes.class_names[class_id]}.png")
    words = ["run", scenes_folder, "--maps", tmp_path / "maps", "--out", tmp_path / "run", "--device", "cpu", *SETS]
    status, printed, err = command(*words)
    assert status == 0, err
    assert re.search(r"^outside maps +\d", printed, re.MULTILINE)
    assert "points" in (tmp_path / "run" / "report.html").read_text()
    shutil.rmtree(tmp_path / "maps" / scenes.names[0])
    status, _, err = command(*words, "--strict")
    assert status == 2
    assert f"1 have none: {scenes.names[0]}" in one_error(err)
    status, _, err = command(*words[:2], "--maps", tmp_path / "nowhere", "--out", tmp_path / "other")
    assert status == 2
    assert "expected a folder of maps, found nothing" in one_error(err)
    assert not (tmp_path / "other").exists()


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


def test_the_version_is_told(command):
    assert command("--version") == (0, f"tag2mask {version('tag2mask')}\n", "")
