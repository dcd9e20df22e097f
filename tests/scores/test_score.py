"""The scores of a run: a row per finished stage and per EM round, counted over all images with a ground truth."""

import math

import pytest

from painted import note_run
from tag2mask.datasets.dataset import without
from tag2mask.disk import read_labels, write_labels
from tag2mask.labels import IGNORE
from tag2mask.pipelines.publish import score_all
from tag2mask.runs.round import Round
from tag2mask.runs.run_folder import RunFolder
from tag2mask.scores.confusion import Confusion
from tag2mask.scores.score import score, score_rounds
from tiny import ROWS


def test_all_rows_are_there(scenes, finished):
    table = score(finished, scenes)
    assert tuple(row.key for row in table.rows) == ROWS
    pixels = {row.key: int(row.confusion.counts.sum()) for row in table.rows}
    assert pixels["cam"] == pixels["walk_crf"] == pixels["segmenter_train"] == 8 * 48 * 48
    assert pixels["segmenter_val"] == 2 * 48 * 48
    seeds = next(row for row in table.rows if row.key == "seeds")
    assert pixels["seeds"] == round(seeds.coverage * 8 * 48 * 48)


def test_a_row_is_the_confusion_over_the_set(scenes, finished):
    expected = Confusion.empty(6)
    for name in scenes.names:
        expected += Confusion.of(scenes.mask(name), finished.masks[name].labels, 6)
    row = next(row for row in score(finished, scenes).rows if row.key == "walk_crf")
    assert row.confusion.counts.equal(expected.counts)


def test_unfinished_stages_have_no_row(scenes, copied):
    for path in (copied.path / "05_walk" / "masks").rglob("*.png"):
        path.unlink()
    assert "walk_crf" not in [row.key for row in score(copied, scenes).rows]


def test_a_run_just_begun_has_no_rows(scenes, tmp_path):
    run = RunFolder(tmp_path)
    note_run(run, names=list(scenes.names), val_names=[], class_names=list(scenes.class_names))
    assert score(run, scenes).rows == ()


def test_images_that_are_gone_are_passed_over(scenes, finished):
    table = score(finished, without(scenes, scenes.names[:3]))
    assert int(table.rows[0].confusion.counts.sum()) == 5 * 48 * 48


def test_no_ground_truth_says_what_is_missing(scenes, finished):
    class Blind:
        def has_masks(self):
            return False

    with pytest.raises(ValueError, match="no ground truth: expected masks/"):
        score(finished, Blind())


def test_a_round_s_scores_are_those_of_its_masks(scenes, rounds):
    table = score_rounds(rounds, scenes)
    assert [row.number for row in table.rows] == [1, 2]
    for row in table.rows:
        em_round = Round(rounds, row.number)
        totals = {
            name: Confusion.empty(6) for name in ("unary", "refined", "taught", "mined", "unary_val", "refined_val")
        }
        mined = agreeing = 0
        for name in scenes.names:
            unary, refined, sure, truth = (
                labels.flatten().tolist()
                for labels in (
                    em_round.unary[name],
                    em_round.masks[name].labels,
                    em_round.mined[name].labels,
                    scenes.mask(name),
                )
            )
            mined += sum(label != IGNORE for label in sure)
            agreeing += sum(s != IGNORE and s == u == r for u, r, s in zip(unary, refined, sure, strict=True))
            totals["unary"] += Confusion.of(scenes.mask(name), em_round.unary[name], 6)
            totals["refined"] += Confusion.of(scenes.mask(name), em_round.masks[name].labels, 6)
            totals["taught"] += Confusion.of(scenes.mask(name), em_round.sharpened[name].labels, 6)
            totals["mined"] += Confusion.of(scenes.mask(name), em_round.mined[name].labels, 6, decided_only=True)
            assert len(truth) == 48 * 48
        for name in scenes.val_names:
            totals["unary_val"] += Confusion.of(scenes.mask(name), em_round.unary[name], 6)
            totals["refined_val"] += Confusion.of(scenes.mask(name), em_round.masks[name].labels, 6)
        assert row.unary_train == totals["unary"].mean_iou()
        assert row.refined_train == totals["refined"].mean_iou()
        assert row.taught_train == totals["taught"].mean_iou() != row.refined_train
        assert row.unary_val == totals["unary_val"].mean_iou()
        assert row.refined_val == totals["refined_val"].mean_iou()
        assert row.precision == float(totals["mined"].precision().nanmean())
        assert row.unary_precision == float(totals["unary"].precision().nanmean())
        assert 0 < row.coverage == mined / (8 * 48 * 48) < 1
        assert 0 < row.agreement == agreeing / mined
        energy = em_round.summaries()["5_refine"].energy
        assert (row.energy, row.energy_mined, row.energy_refined) == (*energy.values(),)
        assert row.seconds == pytest.approx(sum(summary.seconds for summary in em_round.summaries().values()))
    assert table.rows[0].unary_train != table.rows[1].unary_train


class Blind:
    """Scenes whose truth nobody knows."""

    def __init__(self, scenes):
        self._scenes = scenes

    def __getattr__(self, name):
        return getattr(self._scenes, name)

    def mask(self, name):
        return None

    def has_masks(self):
        return False


def test_without_truth_a_round_s_agreement_and_energies_are_known(scenes, rounds):
    known, blind = (score_rounds(rounds, data).rows[1] for data in (scenes, Blind(scenes)))
    same = ("number", "coverage", "agreement", "energy", "energy_mined", "energy_refined", "seconds")
    assert all(getattr(blind, name) == getattr(known, name) for name in same)
    others = (
        "unary_train",
        "refined_train",
        "taught_train",
        "unary_val",
        "refined_val",
        "precision",
        "unary_precision",
    )
    assert all(math.isnan(getattr(blind, name)) and not math.isnan(getattr(known, name)) for name in others)


def test_a_run_without_rounds_has_no_rows(scenes, finished):
    assert score_rounds(finished, scenes).rows == ()


def test_images_that_are_gone_are_passed_over_in_rounds_too(scenes, rounds):
    row = score_rounds(rounds, without(scenes, scenes.names[:3])).rows[0]
    em_round = Round(rounds, 1)
    mined = sum(int((em_round.mined[name].labels != IGNORE).sum()) for name in scenes.names[3:])
    assert row.coverage == mined / (5 * 48 * 48)


def test_a_round_without_mined_pixels_has_no_agreement(scenes, copied_rounds):
    for path in (copied_rounds.path / "rounds/1/2_estimate/masks/wild").iterdir():
        mined = copied_rounds.path / "rounds/1/3_mine/mined/wild" / path.name
        mined.unlink()
        write_labels(mined, read_labels(path).fill_(IGNORE), 6)
    row = score_rounds(copied_rounds, scenes).rows[0]
    assert row.coverage == 0
    assert math.isnan(row.agreement)
    assert math.isnan(row.precision)


def test_a_mask_of_a_round_that_is_gone_is_told_but_weights_are_not_needed(scenes, copied_rounds):
    (copied_rounds.path / "rounds/1/1_unary/weights.safetensors").unlink()
    assert len(score_rounds(copied_rounds, scenes).rows) == 2
    (copied_rounds.path / "rounds/1/3_mine/mined" / f"{scenes.names[2]}.png").unlink()
    with pytest.raises(ValueError, match=r"scene_0002\.png: expected a file of a finished stage"):
        score_rounds(copied_rounds, scenes)


class OneBad(Blind):
    """Scenes of which some masks cannot be used."""

    def __init__(self, scenes, bad):
        super().__init__(scenes)
        self._bad = bad

    def mask(self, name):
        if name in self._bad:
            raise ValueError(f"mask of {name}: expected the image's size, found another. Export it again.")
        return self._scenes.mask(name)

    def has_masks(self):
        return True


def test_a_bad_mask_is_left_out_of_all_rows_and_told_once(scenes, rounds, finished, caplog):
    data = OneBad(scenes, scenes.names[:1])
    table, known = score(finished, data), score(finished, without(scenes, scenes.names[:1]))
    assert tuple(row.key for row in table.rows) == ROWS
    assert [row.confusion.counts.tolist() for row in table.rows] == [
        row.confusion.counts.tolist() for row in known.rows
    ]
    assert len(caplog.messages) == 1
    assert f"1 true mask(s) left out of the scores: mask of {scenes.names[0]}: expected" in caplog.text
    row, less = score_rounds(rounds, data).rows[0], score_rounds(rounds, without(scenes, scenes.names[:1])).rows[0]
    assert row.unary_train == less.unary_train
    assert row.coverage == score_rounds(rounds, scenes).rows[0].coverage, "what needs no truth counts every image"


def test_without_a_usable_mask_there_are_no_rows_and_a_line(scenes, finished, caplog):
    data = OneBad(scenes, (*scenes.names, *scenes.val_names))
    assert score(finished, data).rows == ()
    assert "10 true mask(s) left out of the scores" in caplog.text
    with pytest.raises(ValueError, match=r"found none that can be used: mask of new/.* \(and 9 more\)"):
        score_all(finished, data, needed=True)
    assert score_all(finished, data).stages is None
