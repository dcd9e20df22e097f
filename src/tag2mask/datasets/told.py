"""What opening a data set tells by its log, as findings: what it leaves out, and what a person should know."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tag2mask.datasets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tag2mask.datasets.problem import Severity

OPENING = "tag2mask.datasets"
"""The logger below which everything that opens a data set writes."""

_KNOWN: dict[str, tuple[str, Severity, str]] = {
    "images are broken": ("broken image", "error", "Copy the file again, or remove it."),
    "images are missing": ("missing image", "error", "Add the image, or take it out of the list."),
    "rows name no image": ("missing image", "error", "Add the image, correct its name, or remove the row."),
    "images have no tags": (
        "image without tags", "warning", "Add a row; leave its tags empty for pure background."
    ),
    "training images have no tags": ("image without tags", "warning", "Give their tags, or take a smaller list."),
}  # fmt: skip
"""What is left out -> kind, severity and remedy of the finding."""


@contextmanager
def told_while_opening() -> Iterator[list[Problem]]:
    """Catch the warnings that data sets log inside the block; nothing of them is printed.

    Yields:
        The findings so far: one for each image or row that is left out, and one of the kind "note" for every other
        warning.
    """
    problems: list[Problem] = []
    listener, logger = _Listener(problems), logging.getLogger(OPENING)
    before = logger.propagate
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield problems
    finally:
        logger.propagate = before
        logger.removeHandler(listener)


class _Listener(logging.Handler):
    """Makes findings of log records."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(logging.WARNING)
        self._problems = problems

    def emit(self, record: logging.LogRecord) -> None:
        left_out: tuple[str, tuple[str, ...]] | None = getattr(record, "left_out", None)
        if left_out is None:
            self._problems.append(note(record.getMessage()))
            return
        matter, subjects = left_out
        kind, severity, remedy = _KNOWN.get(matter, (matter, "error", "Correct it, or remove it."))
        self._problems += [Problem(kind, subject, f"left out: {matter}", remedy, severity) for subject in subjects]


def note(message: str) -> Problem:
    """A message "place: what. Remedy." as a finding that a person should look at.

    Args:
        message: in one line.

    Example:
        >>> note("a/tags.csv: read as cp1252. Save it as UTF-8.").message
        'read as cp1252'
    """
    place, colon, rest = message.partition(": ")
    what, _, remedy = (rest if colon else message).partition(". ")
    return Problem("note", place if colon else "data set", what, remedy, "warning")
