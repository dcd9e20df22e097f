"""Progress where there is no terminal, and for programs."""

from __future__ import annotations

import logging

import pytest

from tag2mask import progress
from tag2mask.parallel import map_images
from tag2mask.progress import Step, progress_bar, reporting, track


@pytest.fixture
def lines(caplog, monkeypatch):
    """The lines of the log, with no terminal and without a pause between tenths."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, logger="tag2mask.progress"):
        yield lambda: [record.getMessage() for record in caplog.records]


def test_a_line_at_the_start_and_at_every_tenth(lines):
    list(track(range(40), "reading"))
    assert lines() == [f"reading: {done} of 40" for done in range(0, 41, 4)]


def test_a_training_that_goes_on_begins_where_it_was_and_tells_its_loss(lines):
    with progress_bar("01_classify", 20, 10) as advance:
        for _ in range(10):
            advance(1, "loss 0.500")
    assert lines()[0] == "01_classify: 10 of 20"
    assert lines()[1:] == [f"01_classify: {done} of 20, loss 0.500" for done in range(12, 21, 2)]


def test_what_takes_no_time_is_one_line_and_nothing_to_do_is_none(lines, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 60.0)
    list(track(range(40), "reading"))
    list(track([], "nothing"))
    assert lines() == ["reading: 0 of 40"]


def test_a_program_is_told_of_every_item_and_only_inside_the_block():
    steps = []
    with reporting(steps.append):
        assert map_images(str.upper, ["a", "b"], "shouting", workers=1) == ["A", "B"]
    list(track([1], "later"))
    assert steps == [Step("shouting", done, 2) for done in range(3)]


def test_what_a_callback_raises_stops_the_work():
    def stop(step):
        if step.done == 1:
            raise StopAsyncIteration

    seen = []
    with pytest.raises(StopAsyncIteration), reporting(stop):
        seen.extend(track([1, 2, 3], "counting"))
    with progress_bar("later", 1) as advance:
        advance(1, "")
