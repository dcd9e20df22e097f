"""The run folder: what is done stays done, what changed is made again, what was killed goes on."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from painted import note_run
from tag2mask.disk import write_labels, write_unit
from tag2mask.records import Cams, SeedScores
from tag2mask.runs.artefacts import Artefacts, Kind
from tag2mask.runs.encodings import write_cams, write_scores
from tag2mask.runs.places import STAGES
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.settings import plain
from tag2mask.runs.stage_summary import TrainingState

A, B, C, D = STAGES[:4]
AFTER = {A: (), B: (A,), C: (B,), D: (A,)}


@dataclass(frozen=True)
class Settings:
    """Of any stage."""

    alpha: float = 4.0
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class More:
    """Settings that a stage shares with another one."""

    width: int = 3


@pytest.fixture
def run(tmp_path):
    run = RunFolder(tmp_path / "run")
    note_run(run, digest="d", seed=0, class_names=["cat", "dog"], names=["x", "far/y"], val_names=["v"])
    return run


def go_through(run, **settings):
    """Open the stages as a pipeline does; returns those that were not finished yet, which are then finished."""
    done = []
    for name, after in AFTER.items():
        stage = run.open_stage(name, settings.get(name[3:], Settings()), after=after)
        if not stage.finished:
            (stage.path / "maps/x.npz").parent.mkdir(exist_ok=True)
            (stage.path / "maps/x.npz").write_text("made")
            stage.finish("made one map", items=1, chosen={"alpha": 4.0})
            done.append(name)
    return done


def test_an_unchanged_stage_is_finished(run, caplog):
    assert go_through(run) == [A, B, C, D]
    caplog.set_level(logging.INFO)
    assert go_through(run) == []
    assert f"{A}: finished before, nothing to do" in caplog.text


def test_a_changed_setting_clears_its_stage_and_those_after_it_and_says_so(run, caplog):
    go_through(run)
    assert go_through(run, localize=Settings(alpha=8.0)) == [B, C]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"{B}: settings changed: alpha 4.0 -> 8.0; running it again. What it made set aside in {B}.replaced-1; "
        "delete it when you do not need it",
        f"{C}: it depends on {B}, which ran again; running it again. What it made set aside in {C}.replaced-1; "
        "delete it when you do not need it",
    ]


def test_a_changed_stage_keeps_its_old_files_under_another_name(run):
    go_through(run)
    for number, alpha in ((1, 8.0), (2, 9.0)):
        stage = run.open_stage(A, Settings(alpha=alpha))
        assert not stage.finished
        assert not (stage.path / "maps/x.npz").exists()
        aside = run.path / f"{A}.replaced-{number}"
        assert (aside / "maps/x.npz").read_text() == "made"
        assert json.loads((aside / "stage.json").read_text())["finished"]
        (stage.path / "maps").mkdir()
        (stage.path / "maps/x.npz").write_text("made")
        stage.finish("again", items=1)
    assert list(run.stage_summaries()) == [A, B, C, D], "what is set aside is no stage"


def test_the_time_that_was_set_aside_is_told(run, monkeypatch, caplog):
    clock = iter([100.0, 352.0, 400.0, 440.0, 500.0, 600.0])
    monkeypatch.setattr("tag2mask.runs.stage_folder.time.monotonic", lambda: next(clock))
    stage = run.open_stage(A, Settings())
    stage.save_weights({"w": torch.zeros(1)})
    stage.finish("done", items=1)
    unfinished = run.open_stage(A, Settings(alpha=8.0))
    assert "4 min 12 s of work set aside in 01_classify.replaced-1" in caplog.text
    unfinished.save_checkpoint({"w": torch.zeros(1)}, TrainingState(1))
    run.open_stage(A, Settings(alpha=9.0))
    assert "40.0 s of work set aside in 01_classify.replaced-2" in caplog.text


def test_a_stage_that_has_made_nothing_leaves_nothing(run):
    run.open_stage(A, Settings())
    run.open_stage(A, Settings(alpha=8.0))
    assert [path.name for path in run.path.iterdir() if path.is_dir()] == [A]


def test_a_stage_that_settings_do_without_is_set_aside(run, caplog):
    go_through(run)
    run.drop_stage(A)
    run.drop_stage(A)
    assert not (run.path / A).exists()
    assert (run.path / f"{A}.replaced-1" / "maps/x.npz").is_file()
    assert caplog.text.count("the settings do without it") == 1


@pytest.mark.parametrize(
    ("facts", "words"), [({"digest": "e"}, "the images or tags changed"), ({"seed": 1}, "the seed changed from 0 to 1")]
)
def test_other_data_and_another_seed_clear_everything(run, caplog, facts, words):
    go_through(run)
    note_run(run, **facts)
    assert go_through(run) == [A, B, C, D]
    assert caplog.text.count(words) == 4


def test_another_precision_clears_everything_and_another_device_nothing(run, caplog):
    note_run(run, precision="32", device="cpu")
    go_through(run)
    note_run(run, device="cuda:0")
    assert go_through(run) == []
    note_run(run, precision="bf16")
    assert go_through(run) == [A, B, C, D]
    assert caplog.text.count("the precision changed from 32 to bf16") == 4


def test_going_back_to_old_settings_is_a_change_too(run):
    go_through(run)
    go_through(run, seed=Settings(alpha=8.0))
    assert go_through(run) == [C]


def test_an_unfinished_stage_goes_on_with_what_it_has(run, caplog):
    stage = run.open_stage(A, Settings())
    (stage.path / "maps/x.npz").parent.mkdir()
    (stage.path / "maps/x.npz").write_text("made")
    stage.note("chosen", 5.0)
    caplog.set_level(logging.INFO)
    again = run.open_stage(A, Settings())
    assert not again.finished
    assert "going on where it stopped" in caplog.text
    assert (again.path / "maps/x.npz").read_text() == "made"
    assert again.noted("chosen", float) == 5.0
    assert again.noted("other", float) is None


def test_the_seconds_of_a_stopped_training_count_too(run, monkeypatch):
    clock = iter([100.0, 130.0, 1000.0, 1005.0])
    monkeypatch.setattr("tag2mask.runs.stage_folder.time.monotonic", lambda: next(clock))
    run.open_stage(A, Settings()).save_checkpoint({}, TrainingState(1))
    again = run.open_stage(A, Settings())
    again.load_checkpoint()
    again.finish("done", items=2)
    assert again.summary().seconds == 35.0


def test_a_stage_whose_state_is_gone_is_made_from_scratch(run):
    # The advice for a damaged stage.json is to delete it, and a killed clearing may leave files without it:
    # what lies there may come from other settings.
    go_through(run)
    (run.path / A / "stage.json").unlink()
    stage = run.open_stage(A, Settings(alpha=8.0))
    assert not (stage.path / "maps/x.npz").exists()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_change_that_is_killed_loses_nothing_and_leaves_no_finished_stage(run, monkeypatch, when):
    go_through(run)
    rename = Path.rename

    def killed(path, target):
        if when == "after":
            rename(path, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            run.open_stage(A, Settings(alpha=8.0))
    assert len(list(run.path.glob(f"{A}*/maps/x.npz"))) == 1
    assert run.open_stage(A, Settings()).finished == (when == "before"), "what was made is still what it was"
    assert not run.open_stage(A, Settings(alpha=8.0)).finished


def test_what_killed_writers_left_is_removed(run):
    stage = run.open_stage(A, Settings())
    left = stage.path / "maps/far/.abc.npz.part"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    (stage.path / "maps/far/y.npz").write_text("made")
    again = run.open_stage(A, Settings())
    assert not left.exists()
    assert (again.path / "maps/far/y.npz").is_file()


def test_only_a_run_that_is_there_is_an_existing_one(run, tmp_path):
    assert RunFolder.existing(run.path).manifest() == run.manifest()
    with pytest.raises(ValueError, match=r"nowhere: expected a run folder, found no run\.json"):
        RunFolder.existing(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_state_says_where_and_what_to_do(run):
    go_through(run)
    (run.path / A / "stage.json").write_text('{"settings":')
    with pytest.raises(ValueError, match=f"{A}/stage.json: expected JSON, found a damaged file"):
        run.open_stage(A, Settings())


def test_a_stage_may_depend_on_several_settings(run):
    assert plain((Settings(), More())) == {"alpha": 4.0, "sizes": [1, 2], "width": 3}
    run.open_stage(A, (Settings(), More())).finish("done", items=1)
    assert run.open_stage(A, (Settings(), More())).finished
    assert not run.open_stage(A, (Settings(), More(width=4))).finished


def test_what_a_stage_told_is_kept(run):
    go_through(run)
    assert run.stage_summaries()[A].line == "made one map"
    assert run.stage_summaries()[A].items == 1
    assert run.chosen(A) == {"alpha": 4.0}
    assert run.chosen("06_segment") == {}
    assert run.curves() == {}
    run.open_stage(A, Settings(alpha=5.0)).finish("again", items=1, curves={"loss": [(1, 0.5), (2, 0.25)]})
    assert run.curves() == {A: {"loss": [(1, 0.5), (2, 0.25)]}}


def test_checkpoints_round_trip_and_go_when_the_stage_is_done(run):
    stage = run.open_stage(A, Settings())
    assert stage.load_checkpoint() is None
    tensors = {"w": torch.arange(6.0).reshape(2, 3)}
    stage.save_checkpoint(tensors, TrainingState(3, 30, {"loss": [(1, 0.5)]}))
    found, state = run.open_stage(A, Settings()).load_checkpoint()
    assert found["w"].equal(tensors["w"])
    assert state == TrainingState(3, 30, {"loss": [(1, 0.5)]})
    stage.save_weights(tensors)
    stage.finish("done", items=1)
    assert run.open_stage(A, Settings()).load_checkpoint() is None
    assert stage.load_weights()["w"].equal(tensors["w"])
    assert run.weights(A)["w"].equal(tensors["w"])


@pytest.mark.parametrize("content", [None, b"no tensors"])
def test_weights_that_can_not_be_read_say_what_to_do(run, content):
    stage = run.open_stage(A, Settings())
    if content is not None:
        (stage.path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="expected trained weights") as error:
        stage.load_weights()
    assert f"Delete the folder {stage.path}" in str(error.value)


def test_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"found no run\.json"):
        RunFolder(tmp_path).manifest()


def test_records_add_up(run):
    note_run(run, seed=7, device="cpu")
    record = run.manifest()
    assert (record.seed, record.device, record.digest) == (7, "cpu", "d")
    assert run.names() == ("x", "far/y")
    assert run.names("val") == ("v",)
    assert run.class_names() == ("cat", "dog")


def test_artefacts_are_a_mapping_that_reads_when_asked(tmp_path):
    reads = []

    def read(files, name):
        reads.append(name)
        return name.upper()

    class Images:
        def names(self, split="train"):
            return ("a", "b") if split == "train" else ("v",)

    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a.txt").write_text("")
    artefacts = Artefacts(Kind("letters", "", ("made",), ".txt", read, print), tmp_path, Images())
    assert list(artefacts) == ["a", "b"]
    assert len(artefacts) == 2
    assert "a" in artefacts
    assert "b" not in artefacts
    assert 3 not in artefacts
    assert reads == []
    assert artefacts["a"] == "A"
    assert artefacts.get("b") is None
    with pytest.raises(KeyError, match="expected letters, found nothing"):
        artefacts["b"]


def test_every_artefact_is_found_by_its_name_also_with_slashes(run):
    name, labels = "far/y", torch.tensor([[0, 1], [2, 255]])
    half = torch.full((2, 2), 0.4)
    maps = torch.stack([1 - half, half])
    nothing = (run.cams, run.seeds, run.walks, run.masks, run.boundaries, run.predictions)
    assert [made.get(name) for made in nothing] == [None] * 6
    write_cams(run.path / f"02_localize/maps/{name}.npz", Cams(name, torch.tensor([1]), half[None], (2, 2)))
    write_scores(run.path / f"03_seed/scores/{name}.npz", SeedScores(name, torch.tensor([1]), maps, maps))
    for place in ("03_seed/seeds", "03_seed/crf", "05_walk/walk", "05_walk/masks", "06_segment/masks"):
        write_labels(run.path / place / f"{name}.png", labels, 2)
    for place in ("05_walk/boundaries", "05_walk/confidence", "06_segment/confidence"):
        write_unit(run.path / place / f"{name}.png", half)
    assert run.cams[name].class_ids.tolist() == [1]
    assert run.seed_scores[name].low.shape == (2, 2, 2)
    assert run.seeds[name].labels.equal(labels)
    assert run.cam_crf[name].equal(labels)
    assert run.walks[name].equal(labels)
    assert run.boundaries[name].numpy() == pytest.approx(np.full((2, 2), 0.4))
    for mask in (run.masks[name], run.predictions[name]):
        assert mask.name == name
        assert mask.labels.equal(labels)
        assert mask.confidence.numpy() == pytest.approx(np.full((2, 2), 0.4))
    assert list(run.masks) == ["x", "far/y"]
    assert list(run.predictions) == ["x", "far/y", "v"]


def test_looking_up_one_image_does_not_read_the_list_of_all(tmp_path):
    run = RunFolder(tmp_path / "run")
    write_labels(run.path / "03_seed" / "seeds" / "a.png", torch.zeros((2, 3), dtype=torch.int64), 1)
    # There is no run.json: whoever asked for the names would fail.
    assert "a" in run.seeds
    assert run.seeds["a"].labels.shape == (2, 3)
    assert "a" not in run.masks
    assert "a" not in run.predictions
    with pytest.raises(ValueError, match=r"run\.json"):
        len(run.seeds)


def test_a_damaged_checkpoint_is_told(run):
    stage = run.open_stage(A, Settings())
    checkpoint = stage.path / "checkpoint.safetensors"
    for content in (b"\x00" * 50, b"", save({"w": torch.zeros(1)}), save({"w": torch.zeros(1)}, {"state": "[1"})):
        checkpoint.write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint\.safetensors: expected the checkpoint of a training"):
            stage.load_checkpoint()
        with pytest.raises(ValueError, match=r"checkpoint\.safetensors"):
            run.open_stage(A, Settings(3))
