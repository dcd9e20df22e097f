"""What is published of a run: all scores, or what there is of them."""

import pytest

from tag2mask.pipelines.publish import score_all
from tiny import ROWS


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


def test_all_scores_of_a_run_or_what_there_is_of_them(scenes, finished, rounds):
    both = score_all(finished, scenes)
    assert tuple(row.key for row in both.stages.rows) == ROWS
    assert both.rounds is None
    apart = score_all(rounds, scenes)
    assert apart.stages is None, "the stages are in another folder"
    assert len(apart.rounds.rows) == 2
    assert len(score_all(rounds, Blind(scenes), needed=True).rounds.rows) == 2
    nothing = score_all(finished, Blind(scenes))
    assert (nothing.stages, nothing.rounds) == (None, None)
    with pytest.raises(ValueError, match="no ground truth: expected masks/"):
        score_all(finished, Blind(scenes), needed=True)
