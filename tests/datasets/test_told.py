"""What opening a data set logs, as findings."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.datasets.files import leave_out
from tag2mask.datasets.told import told_while_opening

if TYPE_CHECKING:
    import pytest

logger = logging.getLogger("tag2mask.datasets.some_reader")


def test_every_left_out_row_and_image_is_a_finding_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    rows = [f"x{number}.jpg (tags.csv, line {number})" for number in range(7)]
    with told_while_opening() as told:
        leave_out(Path("d"), {"rows name no image": rows, "images have no tags": ["a"], "fine": []}, strict=False)
    assert [(problem.kind, problem.severity) for problem in told] == [("missing image", "error")] * 7 + [
        ("image without tags", "warning")
    ]
    assert [problem.subject for problem in told] == [*rows, "a"]
    assert all(problem.message.startswith("left out: ") for problem in told)
    assert not caplog.text, "nothing is told twice"


def test_other_warnings_are_notes_and_the_log_is_as_before_behind_the_block(caplog: pytest.LogCaptureFixture) -> None:
    with told_while_opening() as told:
        logger.info("nothing to worry about")
        logger.warning("%s: read as cp1252. Save it as UTF-8.", "d/tags.csv")
    logger.warning("afterwards")
    (note,) = told
    assert (note.kind, note.subject, note.message, note.remedy, note.severity) == (
        "note", "d/tags.csv", "read as cp1252", "Save it as UTF-8.", "warning",
    )  # fmt: skip
    assert "afterwards" in caplog.text
    assert "cp1252" not in caplog.text
