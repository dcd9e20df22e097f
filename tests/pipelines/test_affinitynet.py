"""From tags to masks, end to end on tiny scenes: everything is there, nothing is done twice, no kill is noticed."""

import logging
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tag2mask
from painted import note_run
from tag2mask.datasets.folder import open_folder
from tag2mask.labels import labels_from_class_ids
from tag2mask.learning import segmenting
from tag2mask.pipelines.affinitynet import AffinityNetSettings, run_affinitynet
from tag2mask.runs.manifest import Origin
from tag2mask.runs.places import STAGES
from tag2mask.stages import s1_classify, s4_affinity
from tiny import (
    FIRST_STAGES,
    ROWS,
    Slashed,
    StoppedError,
    files_of,
    stopped_while_writing,
    times_of,
    tiny_folder,
    tiny_run,
    tiny_runtime,
    tiny_settings,
)


def stage_times(run):
    return {name: times_of(run.path / name) for name in STAGES}


def test_every_artefact_is_there(scenes, finished):
    assert sorted(finished.stage_summaries()) == sorted(STAGES)
    for artefacts in (finished.cams, finished.seeds, finished.seed_scores, finished.cam_crf, finished.walks):
        assert list(artefacts) == list(scenes.names)
        assert all(name in artefacts for name in scenes.names)
    assert all(name in finished.masks and name in finished.boundaries for name in scenes.names)
    assert all(name in finished.predictions for name in (*scenes.names, *scenes.val_names))
    assert {path.suffix for path in finished.path.rglob("*") if path.is_file()} <= {
        ".json", ".npz", ".png", ".safetensors", "",
        *{path.suffix for path in finished.path.rglob("events.out.*")},
    }  # fmt: skip
    assert not list(finished.path.rglob("*.part"))


def test_the_record_says_what_the_run_was_made_with(scenes, finished):
    record = finished.manifest()
    assert tuple(record.class_names) == scenes.class_names
    assert finished.names() == scenes.names
    assert record.settings["seed"]["alpha_object"] == tiny_settings().seed.alpha_object
    assert record.settings.keys() == {"classify", "localize", "seed", "affinity", "walk", "segment", "crf"}
    assert record.digest == scenes.digest()
    assert torch.__version__.startswith(record.versions["torch"])
    assert (record.seed, record.precision, record.device, record.skipped) == (0, "32", "cpu", {})


def test_masks_hold_only_tags_and_images_without_tags_are_background(scenes, finished):
    assert not bool(scenes.tags(scenes.names[1]).any())
    for name in scenes.names:
        allowed = labels_from_class_ids(scenes.tags(name).nonzero().flatten()).tolist()
        assert set(finished.masks[name].labels.unique().tolist()) <= {0, *allowed}
    assert finished.masks[scenes.names[1]].labels.unique().tolist() == [0]


def test_a_second_run_does_nothing(scenes, copied, caplog):
    before = stage_times(copied)
    caplog.set_level(logging.INFO)
    tiny_run(scenes, copied.path)
    assert stage_times(copied) == before
    assert caplog.text.count("finished before, nothing to do") == 6


def test_another_seed_alpha_runs_again_what_depends_on_it_and_says_so(scenes, copied, caplog):
    before = stage_times(copied)
    settings = tiny_settings(seed=replace(tiny_settings().seed, alpha_object=2.0))
    tiny_run(scenes, copied.path, settings)
    after = stage_times(copied)
    for name in STAGES:
        assert (after[name] == before[name]) == (name in FIRST_STAGES)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert all(" of work set aside in " in warning for warning in warnings), "nothing is deleted"
    assert [re.split(r"\. (?=[0-9])", warning)[0] for warning in warnings] == [
        "03_seed: settings changed: alpha_object 4.0 -> 2.0; running it again",
        "04_affinity: it depends on 03_seed, which ran again; running it again",
        "05_walk: it depends on 04_affinity, which ran again; running it again",
        "06_segment: it depends on 05_walk, which ran again; running it again",
    ]
    assert copied.manifest().settings["seed"]["alpha_object"] == 2.0


def test_other_walk_settings_leave_the_networks_alone(scenes, copied):
    before = stage_times(copied)
    tiny_run(scenes, copied.path, tiny_settings(walk=replace(tiny_settings().walk, steps=4)))
    after = stage_times(copied)
    assert [name for name in STAGES if after[name] != before[name]] == ["05_walk", "06_segment"]


def test_another_tag_runs_everything_again(scenes, copied, tmp_path):
    folder = tiny_folder(tmp_path / "photos", seed=3)
    table = folder / "tags.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[1].split(",")[0] + ",stripehead", *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=r"expected images from .* got other ones from .*photos"):
        tiny_run(open_folder(folder), copied.path)
    note_run(copied, origin=Origin())  # A folder that it does not know cannot be another one.
    before = stage_times(copied)
    tiny_run(open_folder(folder), copied.path)
    after = stage_times(copied)
    assert all(after[name] != before[name] for name in STAGES)


@pytest.mark.slow
def test_two_runs_are_equal_to_the_bit_and_another_seed_is_not(scenes, finished, tmp_path):
    again = tiny_run(scenes, tmp_path / "again")
    assert files_of(again.path) == files_of(finished.path)
    other = run_affinitynet(scenes, tmp_path / "other", tiny_settings(), runtime=tiny_runtime(seed=1))
    assert files_of(other.path / "01_classify") != files_of(finished.path / "01_classify")


@pytest.mark.slow
def test_a_run_that_fails_in_every_stage_ends_with_the_same_files(scenes, finished, tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise StoppedError

    out = tmp_path / "run"
    for module, loss, parts in (
        (s1_classify, "tag_loss", ("01_classify/weights", "02_localize/maps", "03_seed/seeds", "03_seed/scores")),
        (s4_affinity, "pair_loss", ("04_affinity/weights", "05_walk/walk", "05_walk/masks")),
        (segmenting, "label_loss", ("06_segment/weights", "06_segment/masks")),
    ):
        monkeypatch.setattr(module, loss, fail)
        with pytest.raises(StoppedError):
            tiny_run(scenes, out)
        monkeypatch.undo()
        for part in parts:
            with pytest.raises(StoppedError), stopped_while_writing(part, 1 if "weights" in part else 3):
                tiny_run(scenes, out)
            assert not list(out.rglob("*.part")), "an error leaves no half file"
    tiny_run(scenes, out)
    assert files_of(out) == files_of(finished.path)


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_same_files(scenes, scenes_folder, finished, tmp_path):
    out = tmp_path / "run"
    for part, count in (
        ("01_classify/weights", 1),
        ("03_seed/scores", 4),
        ("05_walk/masks", 3),
        ("06_segment/masks", 5),
    ):
        child = subprocess.run(
            [
                sys.executable,
                str(Path(__file__).parents[1] / "tiny.py"),
                str(scenes_folder),
                str(out),
                part,
                str(count),
            ],
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL, child.stderr
        assert part.split("/")[0] not in [name for name in STAGES if name in _finished(out)]
    tiny_run(scenes, out)
    expected = files_of(finished.path)
    assert {name: content for name, content in files_of(out).items() if name in expected} == expected


def _finished(out):
    return tag2mask.RunFolder(out).stage_summaries()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"classes": 1, "count": 6}, {"all_tagged": True, "count": 5}, {"classes": 2, "count": 1, "seed": 5}]
)
def test_one_class_all_tagged_and_one_image_work(changes, tmp_path):
    data = Slashed(val_count=1, **changes)
    if changes.get("all_tagged"):
        assert all(bool(data.tags(name).any()) for name in data.names)
    run = tiny_run(data, tmp_path / "run", tiny_settings(classify=replace(tiny_settings().classify, epochs=1)))
    assert tuple(row.key for row in tag2mask.score(run, data).rows) == ROWS
    for name in data.names:
        allowed = labels_from_class_ids(data.tags(name).nonzero().flatten()).tolist()
        assert set(run.masks[name].labels.unique().tolist()) <= {0, *allowed}


@pytest.mark.slow
def test_exponents_and_walk_are_chosen_from_the_images_and_kept(scenes, tmp_path):
    tiny = tiny_settings()
    automatic = replace(
        tiny,
        seed=replace(tiny.seed, alpha_object="auto", alpha_background="auto"),
        walk=replace(tiny.walk, alpha="auto", beta="auto", steps="auto"),
    )
    out = tmp_path / "run"
    with pytest.raises(StoppedError), stopped_while_writing("05_walk/masks", 3):
        tiny_run(scenes, out, automatic)
    noted = tag2mask.RunFolder(out).path / "05_walk" / "stage.json"
    assert '"choice"' in noted.read_text(), "a choice made once is not made again"
    run = tiny_run(scenes, out, automatic)
    seeds, walk = run.chosen("03_seed"), run.chosen("05_walk")
    assert 0 < seeds["alpha_object"] < seeds["alpha_background"]
    assert walk.keys() == {"alpha", "alphas", "beta", "steps"}
    assert all(walk[name] > 0 for name in ("alpha", "beta", "steps"))
    for stage in ("03_seed", "05_walk"):
        assert run.stage_summaries()[stage].evidence.rows
    # The chosen values, given as fixed ones, make the same masks; alphas of the walk are each image's own.
    known = {"alpha": "auto", "beta": walk["beta"], "steps": walk["steps"]}
    fixed = replace(tiny, seed=replace(tiny.seed, **seeds), walk=replace(tiny.walk, **known))
    again = tiny_run(scenes, tmp_path / "fixed", fixed)
    assert files_of(again.path) == files_of(run.path)


def test_a_broken_image_is_left_out_or_an_error(scenes_folder, tmp_path):
    import shutil

    folder = Path(shutil.copytree(scenes_folder, tmp_path / "photos"))
    broken = folder / "images" / "wild" / "scene_0002.png"
    broken.write_bytes(broken.read_bytes()[:-2000])
    data = open_folder(folder)
    with pytest.raises(ValueError, match=r"1 image\(s\) cannot be read, the first: .*scene_0002"):
        tiny_run(data, tmp_path / "strict", strict=True)
    # The settings look at image sizes before anything else does.
    settings = AffinityNetSettings.quick_for(data)
    assert settings.classify.crop == 64


def test_without_images_or_tags_there_is_nothing_to_learn(tmp_path):
    from tag2mask.datasets.dataset import Reduced

    scenes = Slashed(count=8)
    with pytest.raises(ValueError, match="no image has a tag"):
        tiny_run(Reduced(scenes, scenes.names[1:2], ()), tmp_path / "run")
    with pytest.raises(ValueError, match="no image to train on"):
        tiny_run(Reduced(scenes, (), ()), tmp_path / "run")


def test_quick_settings_of_an_empty_set_and_of_broken_images():
    from tag2mask.datasets.dataset import Reduced

    class Broken(Slashed):
        def __getitem__(self, name):
            raise ValueError(f"{name}: broken")

    empty = Reduced(Slashed(count=8), (), ())
    assert AffinityNetSettings.quick_for(empty) == AffinityNetSettings.quick(320, 0)
    assert AffinityNetSettings.quick_for(Broken(count=8)) == AffinityNetSettings.quick(320, 8)


def test_paper_settings_are_the_published_ones():
    paper = AffinityNetSettings.paper()
    assert (paper.seed.alpha_object, paper.seed.alpha_background, paper.walk.alpha) == (4, 24, 16)
    assert (paper.walk.beta, paper.walk.steps, paper.affinity.radius) == (8, 256, 5)
    assert (paper.crf.gaussian_sxy, paper.crf.gaussian_weight, paper.crf.iterations) == (3, 3, 10)
    assert (paper.crf.bilateral_sxy, paper.crf.bilateral_srgb, paper.crf.bilateral_weight) == (80, 13, 10)
