"""The score of a run: a row per finished stage, counted over all images with a ground truth."""

import pytest

from tag2mask.data.dataset import without
from tag2mask.data.store import RunFolder
from tag2mask.evaluation import Confusion
from tag2mask.stages.score import score_run
from tiny import ROWS


def test_all_rows_are_there(scenes, finished):
    table = score_run(finished, scenes)
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
    row = next(row for row in score_run(finished, scenes).rows if row.key == "walk_crf")
    assert row.confusion.counts.equal(expected.counts)


def test_unfinished_stages_have_no_row(scenes, copied):
    for path in (copied.path / "05_walk" / "masks").rglob("*.png"):
        path.unlink()
    assert "walk_crf" not in [row.key for row in score_run(copied, scenes).rows]


def test_a_run_just_begun_has_no_rows(scenes, tmp_path):
    run = RunFolder(tmp_path)
    run.write_record(names=list(scenes.names), val_names=[], class_names=list(scenes.class_names))
    assert score_run(run, scenes).rows == ()


def test_images_that_are_gone_are_passed_over(scenes, finished):
    table = score_run(finished, without(scenes, scenes.names[:3]))
    assert int(table.rows[0].confusion.counts.sum()) == 5 * 48 * 48


def test_no_ground_truth_says_what_is_missing(scenes, finished):
    class Blind:
        def has_masks(self):
            return False

    with pytest.raises(ValueError, match="no ground truth: expected masks/"):
        score_run(finished, Blind())
