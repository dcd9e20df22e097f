"""EM rounds, end to end on tiny scenes: from seeds, masks or tags; resumable; and what can not begin says why."""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tag2mask
from painted import note_run, rounds_of
from tag2mask.datasets.dataset import without
from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.save_folder import save_folder
from tag2mask.datasets.scenes.scenes import make_scenes
from tag2mask.datasets.working_copies import WorkingCopies
from tag2mask.learning.segmenting import SegmentSettings
from tag2mask.pipelines.ial import run_ial
from tag2mask.pipelines.ial_settings import IALSettings, RoundSettings
from tag2mask.pipelines.predict import load
from tag2mask.report.page import write_report
from tag2mask.runs import image_numbers as tally_module
from tag2mask.runs.manifest import Origin
from tag2mask.runs.places import ROUND_STAGES
from tag2mask.runs.round import Round
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.stage_folder import Upstream
from tag2mask.runtime import Runtime
from tag2mask.scores.score import score_rounds
from tag2mask.stages import r1_unary as em_learn
from tag2mask.stages import r3_mine as em_mine
from tag2mask.stages import r4_pairwise as em_pairwise
from tiny import (
    StoppedError,
    files_of,
    stopped_while_writing,
    times_of,
    tiny_folder,
    tiny_ial,
    tiny_rounds,
    tiny_runtime,
    tiny_settings,
    with_changes,
)

ONE = with_changes(tiny_rounds(), rounds={"count": 1})


def start_of(run):
    """The finished run beside copied rounds."""
    return RunFolder(run.path.parent / "tiny")


def stage_times(run, *numbers):
    return {
        f"{number}/{name}": times_of(run.path / "rounds" / str(number) / name)
        for number in numbers
        for name in ROUND_STAGES
    }


def changed(before, after):
    return [name for name in before if before[name] != after[name]]


def energies(run, number):
    return Round(run, number).summaries()["5_refine"].energy


def round_files(run, number):
    files = files_of(run.path / "rounds" / str(number))
    return {name: content for name, content in files.items() if ".replaced-" not in name}


def test_two_rounds_leave_everything(scenes, rounds):
    assert rounds_of(rounds) == 2
    for number in (1, 2):
        em_round = Round(rounds, number)
        em_round.check_whole()
        assert list(em_round.summaries()) == list(ROUND_STAGES)
        assert all(name in em_round.masks and name in em_round.unary for name in (*scenes.names, *scenes.val_names))
        assert not any(
            name in found
            for name in scenes.val_names
            for found in (em_round.soft, em_round.mined, em_round.refined_soft)
        )
        assert all(math.isfinite(energy) for energy in energies(rounds, number).values())
    assert not list(rounds.path.rglob("*.part"))
    assert not list(rounds.path.rglob("checkpoint.safetensors"))
    assert sorted(path.name for path in rounds.path.iterdir()) == ["names.json", "rounds", "run.json"]


def test_the_rounds_differ_and_their_networks_go_on(rounds):
    first, second = (Round(rounds, number).weights("1_unary") for number in (1, 2))
    assert not first["classify.weight"].equal(second["classify.weight"])
    assert round_files(rounds, 1).keys() == round_files(rounds, 2).keys()


def test_the_record_says_what_the_rounds_were_made_with(finished, rounds):
    record, before = rounds.manifest(), finished.manifest()
    assert record.start == str(finished.path.resolve())
    assert record.ial.keys() == {"rounds", "unary", "superpixels", "mine", "pairwise", "crf"}
    assert record.ial["mine"]["threshold"] == tiny_rounds().mine.threshold
    same = ("class_names", "digest", "origin", "settings", "skipped")
    assert all(getattr(record, key) == getattr(before, key) for key in same)
    assert (rounds.names(), rounds.names("val")) == (finished.names(), finished.names("val"))
    assert not before.ial


def test_a_second_run_does_nothing(scenes, copied_rounds, caplog):
    before = times_of(copied_rounds.path / "rounds")
    caplog.set_level(logging.INFO)
    tiny_ial(scenes, copied_rounds.path, start=start_of(copied_rounds))
    assert times_of(copied_rounds.path / "rounds") == before
    assert caplog.text.count("finished before, nothing to do") == 13


def test_rounds_in_the_same_folder_are_equal_and_another_round_leaves_the_first_alone(scenes, rounds, copied):
    before = {name: content for name, content in times_of(copied.path).items() if name != "run.json"}
    tiny_ial(scenes, copied.path, ONE, start=copied.path)
    assert files_of(copied.path / "rounds" / "0_superpixels") == files_of(rounds.path / "rounds" / "0_superpixels")
    assert round_files(copied, 1) == round_files(rounds, 1)
    assert energies(copied, 1) == energies(rounds, 1)
    assert not copied.manifest().start
    first = stage_times(copied, 1)
    tiny_ial(scenes, copied.path, start=copied)
    assert stage_times(copied, 1) == first
    assert round_files(copied, 2) == round_files(rounds, 2)
    assert energies(copied, 2) == energies(rounds, 2)
    after = times_of(copied.path)
    assert {name: after[name] for name in before} == before, "the stages of the start stay as they are"


def test_fewer_rounds_leave_the_later_ones(scenes, copied_rounds):
    before = times_of(copied_rounds.path / "rounds")
    tiny_ial(scenes, copied_rounds.path, ONE, start=start_of(copied_rounds))
    assert times_of(copied_rounds.path / "rounds") == before
    assert rounds_of(copied_rounds) == 2


def test_another_threshold_runs_again_what_depends_on_it_and_says_so(scenes, copied_rounds, caplog):
    before = stage_times(copied_rounds, 1, 2)
    settings = with_changes(tiny_rounds(), mine={"threshold": 0.35})
    tiny_ial(scenes, copied_rounds.path, settings, start=start_of(copied_rounds))
    expected = ["1/3_mine", "1/4_pairwise", "1/5_refine", "1/5_sharpen", *(f"2/{name}" for name in ROUND_STAGES)]
    assert changed(before, stage_times(copied_rounds, 1, 2)) == expected
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings[0].startswith("rounds/1/3_mine: settings changed: threshold 0.4 -> 0.35; running it again. ")
    assert len(warnings) == 10
    assert copied_rounds.manifest().ial["mine"]["threshold"] == 0.35


def until_estimated(data, out, settings, **more):
    """Rounds up to the first estimate that is not there yet, for looking at the unary network."""
    with pytest.raises(StoppedError), stopped_while_writing("2_estimate/masks", 1):
        run_ial(data, out, settings, **{"runtime": tiny_runtime(), **more})
    return RunFolder(out)


def test_soft_masks_and_networks_that_start_anew_change_the_second_round_only(scenes, rounds, copied_rounds):
    first, start = stage_times(copied_rounds, 1), start_of(copied_rounds)
    found = [round_files(rounds, 2)]
    for change in ({"soft": True}, {"soft": True, "continued": False}, {"continued": False}):
        settings = with_changes(tiny_rounds(), rounds=change)
        until_estimated(scenes, copied_rounds.path, settings, start=start)
        found.append(round_files(copied_rounds, 2))
        assert rounds_of(copied_rounds) == 1, "the rest of the second round is of the old settings"
    assert stage_times(copied_rounds, 1) == first
    assert len({files["1_unary/weights.safetensors"] for files in found}) == 4, "all of them differ"
    tiny_ial(scenes, copied_rounds.path, start=start)
    assert round_files(copied_rounds, 2) == found[0]


def test_from_the_third_round_on_networks_learn_for_fewer_epochs_at_a_lower_rate(scenes, copied_rounds):
    first, start = stage_times(copied_rounds, 1, 2), start_of(copied_rounds)
    settings = with_changes(tiny_rounds(), rounds={"count": 3, "later_epochs": 2.0, "later_rate": 0.5})
    until_estimated(scenes, copied_rounds.path, settings, start=start)
    two, three = (Round(copied_rounds, number).settings("1_unary", SegmentSettings) for number in (2, 3))
    assert (three.epochs, three.rate) == (2 * two.epochs, two.rate / 2)
    assert stage_times(copied_rounds, 1, 2) == first
    assert RoundSettings(later_epochs=0.01).going_on(two).epochs == 1
    state = (copied_rounds.path / "rounds" / "3" / "1_unary" / "stage.json").read_text()
    assert '"share": 0.5' in state, "the mean of the second and the third"


def test_without_means_the_second_round_teaches_and_mines_what_it_found_itself(scenes, copied_rounds):
    first, start = stage_times(copied_rounds, 1), start_of(copied_rounds)
    before = round_files(copied_rounds, 2)
    alone = with_changes(tiny_rounds(), rounds={"averaged": False}, mine={"averaged": False})
    tiny_ial(scenes, copied_rounds.path, alone, start=start)
    # The first round has nothing to average, but its key says how it was made.
    assert changed(first, stage_times(copied_rounds, 1)) == [
        "1/3_mine",
        "1/4_pairwise",
        "1/5_refine",
        "1/5_sharpen",
    ]
    after = round_files(copied_rounds, 2)
    assert all(after[file] == before[file] for file in (f"2_estimate/soft/{name}.npz" for name in scenes.names))
    assert any(after[file] != before[file] for file in (f"5_sharpen/masks/{name}.png" for name in scenes.names))


def test_rounds_from_masks_with_another_propagation_and_other_superpixels(scenes, finished, rounds, tmp_path):
    settings = with_changes(
        ONE,
        rounds={"start": "masks"},
        superpixels={"algorithm": "felzenszwalb"},
        pairwise={"merge": "max", "signed": True, "edges": False, "hidden": 8, "passes": 2},
    )
    run = tiny_ial(scenes, tmp_path / "masks", settings, start=finished)
    em_round = Round(run, 1)
    em_round.check_whole()
    assert "felzenszwalb" in run.stage_summaries()["rounds/0_superpixels"].line
    assert Round(run, 1, finished).of_start("05_walk") == Upstream("05_walk", finished.path)
    state = (em_round.path / "1_unary" / "stage.json").read_text()
    assert "05_walk" in state
    assert "03_seed" not in state
    assert not em_round.weights("1_unary")["classify.weight"].equal(
        Round(rounds, 1).weights("1_unary")["classify.weight"]
    )
    assert "lift.weight" in em_round.weights("4_pairwise")
    for name in scenes.names:
        assert set(em_round.masks[name].labels.unique().tolist()) <= {
            0,
            *(scenes.tags(name).nonzero().flatten() + 1).tolist(),
        }


def test_rounds_by_the_mean_without_mining_and_then_without_a_pairwise_network(scenes, copied_rounds, tmp_path):
    before = stage_times(copied_rounds, 1)
    settings = with_changes(ONE, mine={"enabled": False}, pairwise={"merge": "mean"})
    tiny_ial(scenes, copied_rounds.path, settings, start=start_of(copied_rounds))
    assert changed(before, stage_times(copied_rounds, 1)) == [
        "1/3_mine",
        "1/4_pairwise",
        "1/5_refine",
        "1/5_sharpen",
    ]
    em_round = Round(copied_rounds, 1)
    assert all(em_round.mined[name].labels.equal(em_round.unary[name]) for name in scenes.names)
    assert "gate.weight" not in em_round.weights("4_pairwise")
    assert rounds_of(copied_rounds) == 1, "the second round is of the old settings"

    settings = with_changes(settings, pairwise={"enabled": False})
    tiny_ial(scenes, copied_rounds.path, settings, start=start_of(copied_rounds))
    em_round.check_whole()
    assert not (em_round.path / "4_pairwise").exists()
    for name in (*scenes.names, *scenes.val_names):
        assert em_round.masks[name].labels.equal(em_round.unary[name]), "alpha_p is alpha_u"
    assert energies(copied_rounds, 1) == {"unary": 0, "mined": 0, "refined": 0}
    trained = load(copied_rounds.path, runtime=tiny_runtime())
    assert trained.pairwise is None
    before = times_of(copied_rounds.path / "rounds")
    tiny_ial(scenes, copied_rounds.path, settings, start=start_of(copied_rounds))
    assert times_of(copied_rounds.path / "rounds") == before


def test_rounds_from_tags_run_the_first_stages_themselves(scenes, finished, rounds, tmp_path):
    run = RunFolder(tmp_path / "run")
    for stage in ("01_classify", "02_localize", "03_seed"):
        shutil.copytree(finished.path / stage, run.path / stage)
    expected = times_of(run.path)
    until_estimated(scenes, run.path, ONE, first=tiny_settings(), origin=Origin("quick"))
    after = times_of(run.path)
    assert {name: after[name] for name in expected} == expected, "done before"
    assert not (run.path / "05_walk").exists()
    assert round_files(run, 1)["1_unary/weights.safetensors"] == round_files(rounds, 1)["1_unary/weights.safetensors"]
    assert run.manifest().origin.preset == "quick"


def fail(*_args, **_kwargs):
    raise StoppedError


@pytest.fixture
def one_image_at_a_time():
    """Where several are under way when one fails, most images of a tiny set may be done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)
        yield


@pytest.mark.usefixtures("one_image_at_a_time")
def test_rounds_that_fail_in_every_stage_end_with_the_same_files_and_energies(
    scenes, finished, rounds, tmp_path, monkeypatch
):
    out = tmp_path / "rounds"
    whole = out.parent / "tiny"
    whole.symlink_to(finished.path)

    def go_on():
        return tiny_ial(scenes, out, ONE, start=whole)

    for module, loss, parts in (
        (em_learn, "learn_masks", ("1_unary/weights", "2_estimate/soft", "2_estimate/masks")),
        (em_mine, "region_loss", ("3_mine/weights", "3_mine/mined")),
        (
            em_pairwise,
            "pairwise_loss",
            ("4_pairwise/weights", "5_refine/soft", "5_refine/confidence", "5_refine/masks", "5_sharpen/masks"),
        ),
    ):
        monkeypatch.setattr(module, loss, fail)
        with pytest.raises(StoppedError):
            go_on()
        monkeypatch.undo()
        for part in parts:
            # The numbers of images before the stop are kept in some stages, and lost in others.
            monkeypatch.setattr(tally_module, "TALLY_SECONDS", -1.0 if part.endswith(("mined", "soft")) else 1e9)
            with pytest.raises(StoppedError), stopped_while_writing(part, 1 if "weights" in part else 4):
                go_on()
            monkeypatch.undo()
            assert not list(out.rglob("*.part")), "an error leaves no half file"
            assert rounds_of(RunFolder(out)) == 0
    run = go_on()
    assert round_files(run, 1) == round_files(rounds, 1)
    assert energies(run, 1) == energies(rounds, 1)
    lines = [Round(one, 1).summaries()["3_mine"].line for one in (run, rounds)]
    assert lines[0] == lines[1]


def test_a_training_that_stops_between_its_epochs_ends_with_the_same_weights(
    scenes, rounds, copied_rounds, monkeypatch
):
    from tag2mask.learning import fit as training

    shutil.rmtree(copied_rounds.path / "rounds" / "2")
    save = training._save
    left = [1]

    def save_once(*args):
        save(*args)
        if not left:
            raise StoppedError
        left.pop()

    # A checkpoint after every epoch; stopped after the second one, so that one epoch is left.
    kept = training.fit.__kwdefaults__["checkpoint_seconds"]
    monkeypatch.setitem(training.fit.__kwdefaults__, "checkpoint_seconds", -1.0)
    monkeypatch.setattr(training, "_save", save_once)
    with pytest.raises(StoppedError):
        tiny_ial(scenes, copied_rounds.path, start=start_of(copied_rounds))
    monkeypatch.undo()
    assert training.fit.__kwdefaults__["checkpoint_seconds"] == kept
    assert (copied_rounds.path / "rounds" / "2" / "1_unary" / "checkpoint.safetensors").is_file()
    tiny_ial(scenes, copied_rounds.path, start=start_of(copied_rounds))
    assert round_files(copied_rounds, 2) == round_files(rounds, 2)


@pytest.mark.slow
def test_a_killed_round_ends_with_the_same_files(scenes, scenes_folder, rounds, copied_rounds):
    shutil.rmtree(copied_rounds.path / "rounds" / "2")
    start = start_of(copied_rounds)
    first = stage_times(copied_rounds, 1)
    child = subprocess.run(
        [
            *(sys.executable, str(Path(__file__).parents[1] / "tiny.py"), str(scenes_folder), str(copied_rounds.path)),
            *("rounds/2/5_refine/masks", "4", str(start.path)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert rounds_of(copied_rounds) == 1
    assert list(copied_rounds.path.rglob("*.part")), "it was killed in the middle of a file"
    tiny_ial(scenes, copied_rounds.path, start=start)
    assert stage_times(copied_rounds, 1) == first
    assert not list(copied_rounds.path.rglob("*.part"))
    assert round_files(copied_rounds, 2) == round_files(rounds, 2)
    assert energies(copied_rounds, 2) == energies(rounds, 2)


@pytest.mark.parametrize(
    "file",
    [
        "2_estimate/soft/wild/scene_0003.npz",
        "4_pairwise/weights.safetensors",
        "5_refine/masks/new/val_0001.png",
    ],
)
def test_a_file_of_a_round_that_is_gone_is_told_and_made_anew(scenes, rounds, copied_rounds, file):
    (copied_rounds.path / "rounds/1" / file).unlink()
    with pytest.raises(ValueError, match=r"expected a file of a finished stage, found nothing \(1 missing\)\. Delete"):
        tiny_ial(scenes, copied_rounds.path, start=start_of(copied_rounds))
    shutil.rmtree(copied_rounds.path / "rounds/1" / file.split("/")[0])
    tiny_ial(scenes, copied_rounds.path, start=start_of(copied_rounds))
    assert round_files(copied_rounds, 1) == round_files(rounds, 1)
    assert rounds_of(copied_rounds) == 2


def test_superpixels_that_are_gone_are_told(scenes, copied_rounds):
    (copied_rounds.path / "rounds/0_superpixels/regions/wild/scene_0003.npz").unlink()
    settings = with_changes(ONE, mine={"threshold": 0.1})
    with pytest.raises(ValueError, match=r"scene_0003\.npz: expected superpixels, found nothing"):
        tiny_ial(scenes, copied_rounds.path, settings, start=start_of(copied_rounds))


@pytest.mark.parametrize(("begin", "stage"), [("seeds", "01_classify"), ("seeds", "03_seed"), ("masks", "05_walk")])
def test_a_start_without_what_round_1_learns_is_told_and_nothing_is_left(scenes, copied, tmp_path, begin, stage):
    shutil.rmtree(copied.path / stage)
    settings = with_changes(ONE, rounds={"start": begin})
    with pytest.raises(ValueError, match=rf"expected a run with finished {begin} \({stage}\), found none"):
        tiny_ial(scenes, tmp_path / "out", settings, start=copied)
    assert not (tmp_path / "out").exists()


def test_a_start_that_lacks_a_file_is_told(scenes, copied, tmp_path):
    (copied.path / "03_seed" / "seeds" / f"{scenes.names[2]}.png").unlink()
    with pytest.raises(
        ValueError, match=r"scene_0002\.png: expected seeds of every image, found nothing \(1 missing\)"
    ):
        tiny_ial(scenes, tmp_path / "out", ONE, start=copied)
    (copied.path / "05_walk" / "masks" / f"{scenes.names[3]}.png").unlink()
    settings = with_changes(ONE, rounds={"start": "masks"})
    with pytest.raises(ValueError, match=r"scene_0003\.png: expected masks of every image.*Delete .*05_walk"):
        tiny_ial(scenes, tmp_path / "out", settings, start=copied)


def test_other_images_than_those_of_the_start_are_told(finished, tmp_path):
    other = open_folder(tiny_folder(tmp_path / "photos", seed=4))
    with pytest.raises(ValueError, match="the images or tags changed since this run was made"):
        tiny_ial(other, tmp_path / "out", ONE, start=finished)
    with pytest.raises(ValueError, match="expected a run folder"):
        tiny_ial(other, tmp_path / "out", ONE, start=tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "nowhere").exists()


def test_another_seed_or_precision_needs_a_folder_of_its_own(scenes, copied, rounds, tmp_path):
    for runtime, words in (
        (Runtime("cpu", "32", 5), "seed 0 -> 5"),
        (Runtime("cpu", "bf16", 0), "precision 32 -> bf16"),
    ):
        with pytest.raises(ValueError, match=rf"have its seed and precision, got {words}\. Take another folder"):
            run_ial(scenes, copied, ONE, start=copied, runtime=runtime)
    assert not (copied.path / "rounds").exists()
    run = until_estimated(scenes, tmp_path / "out", ONE, start=copied, runtime=Runtime("cpu", "32", 5))
    assert (run.manifest().seed, copied.manifest().seed) == (5, 0)
    assert round_files(run, 1)["1_unary/weights.safetensors"] != round_files(rounds, 1)["1_unary/weights.safetensors"]


def test_seed_and_precision_are_those_of_the_start_unless_given(scenes, copied_rounds):
    before = times_of(copied_rounds.path / "rounds")
    run_ial(scenes, copied_rounds, tiny_rounds(), start=start_of(copied_rounds))
    assert times_of(copied_rounds.path / "rounds") == before


def test_rounds_do_not_write_over_another_run(scenes, copied_rounds):
    start = start_of(copied_rounds)
    shutil.copytree(start.path, copied_rounds.path.parent / "second")
    with pytest.raises(
        ValueError, match=r"found a run of its own \(01_classify\)\. Its run\.json would be overwritten"
    ):
        tiny_ial(scenes, copied_rounds.path.parent / "second", ONE, start=start)


def test_images_that_the_start_left_out_are_left_out(scenes, copied, tmp_path):
    skipped = scenes.names[0]
    note_run(copied, names=[name for name in scenes.names if name != skipped], skipped={skipped: "truncated"})
    (copied.path / "03_seed" / "seeds" / f"{skipped}.png").unlink()
    run = until_estimated(scenes, tmp_path / "out", ONE, start=copied)
    assert run.names() == scenes.names[1:]
    regions = run.path / "rounds" / "0_superpixels" / "regions"
    assert [(regions / f"{name}.npz").is_file() for name in scenes.names] == [False] + [True] * 7
    assert Round(run, 1).summaries()["1_unary"].items == 7 * ONE.unary.epochs


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start": "walk"}, r"RoundSettings\.start: expected one of seeds, masks"),
        ({"count": 0}, r"RoundSettings\.count"),
    ],
)
def test_settings_that_can_not_be_are_told(change, words):
    with pytest.raises(ValueError, match=words):
        with_changes(tiny_rounds(), rounds=change)


def test_presets():
    paper = IALSettings.paper()
    assert (paper.rounds.count, paper.rounds.start, paper.mine.share) == (5, "seeds", 0.8)
    assert paper.pairwise.hidden == 32
    assert IALSettings.quick_for(without(open_empty(), set())) == IALSettings.quick(320, 0)
    assert tag2mask.IALSettings is IALSettings
    assert tag2mask.run_ial is run_ial


def open_empty():
    from tag2mask.datasets.dataset import Reduced
    from tiny import Slashed

    return Reduced(Slashed(count=8), (), ())


def test_large_images_are_worked_on_small_and_their_masks_are_large(tmp_path, monkeypatch):
    seen = []
    decode = WorkingCopies._decode
    monkeypatch.setattr(WorkingCopies, "_decode", lambda self, name: (seen.append(name), decode(self, name))[1])
    data = open_folder(save_folder(make_scenes(6, 240, val_count=2), tmp_path / "data"))
    run = tiny_ial(data, tmp_path / "run", tiny_rounds(rounds=RoundSettings("masks", 1)), first=tiny_settings())
    assert sorted(seen) == sorted(data.names + data.val_names), "decoded once each, for all stages together"
    last = Round(run, 1)
    for name in data.names:
        assert run.cams[name].image_size == (240, 240)
        for masks in (run.seeds, run.masks, last.mined, last.sharpened):
            assert masks[name].labels.shape == (240, 240)
    assert all(last.masks[name].labels.shape == (240, 240) for name in data.names + data.val_names)


@pytest.mark.slow
def test_a_propagation_that_is_not_linear_has_no_energy(scenes, copied_rounds):
    published = {"merge": "max", "signed": True, "edges": False, "hidden": 4, "published": True, "passes": 2}
    settings = with_changes(ONE, pairwise={**published, "stride": 2})
    run = tiny_ial(scenes, copied_rounds.path, settings, start=start_of(copied_rounds))
    summary = Round(run, 1).summaries()["5_refine"]
    assert summary.energy == {}
    assert "no energy: the propagation is not linear" in summary.line
    assert Round(run, 1).weights("4_pairwise")["weigh.weight"].shape[0] == 12 * 4
    [row] = score_rounds(run, scenes).rows
    assert math.isnan(row.energy)
    page = write_report(run, scenes, rounds=score_rounds(run, scenes)).read_text()
    assert "J(alpha_u)" in page
