"""Progress of anything longer than a few seconds: a bar on a terminal, lines elsewhere, calls for programs."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 1.0
"""Tenths that pass faster than this are told in one line."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far something is.

    Args:
        title: what is being done.
        done: items that are finished.
        total: items in all.
        note: of the last item, as its loss; often empty.
    """

    title: str
    done: int
    total: int
    note: str = ""


_callback: ContextVar[Callable[[Step], None] | None] = ContextVar("callback", default=None)


@contextmanager
def reporting(callback: Callable[[Step], None]) -> Iterator[None]:
    """Call a function at the beginning and at every item of whatever has a progress bar inside the block.

    Args:
        callback: takes a `Step`; what it raises stops the work, and the same call goes on later.

    Example:
        >>> with reporting(lambda step: print(step.title, step.done, "of", step.total)):
        ...     names = list(track(["a", "b"], "reading"))
        reading 0 of 2
        reading 1 of 2
        reading 2 of 2
    """
    token = _callback.set(callback)
    try:
        yield
    finally:
        _callback.reset(token)


@contextmanager
def progress_bar(title: str, total: int, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """Show a bar on the terminal while the block runs; where standard error is none, log lines at every tenth.

    Args:
        title: what is being done.
        total: number of items.
        done: items that were done before, by an earlier run.

    Yields:
        A function ``advance(count, note)``; the note stands beside the bar.
    """
    callback, at = _callback.get(), done
    if callback is not None:
        callback(Step(title, done, total))
    with (_bar if sys.stderr.isatty() else _tenths)(title, total, done) as show:

        def advance(count: int, note: str) -> None:
            nonlocal at
            at += count
            show(count, note)
            if callback is not None:
                callback(Step(title, at, total, note))

        yield advance


@contextmanager
def _bar(title: str, total: int, done: int) -> Iterator[Callable[[int, str], None]]:
    """A bar with the time left, gone at the end."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")
        yield lambda count, note: bar.update(task, advance=count, note=note)


@contextmanager
def _tenths(title: str, total: int, done: int) -> Iterator[Callable[[int, str], None]]:
    """Lines in the log: one at the beginning, and one at every tenth."""
    told, when, at = 10 * done // max(1, total), time.monotonic(), done
    if done < total:
        logger.info("%s: %d of %d", title, done, total)

    def advance(count: int, note: str) -> None:
        nonlocal told, when, at
        at += count
        tenth, now = 10 * at // max(1, total), time.monotonic()
        if tenth > told and now - when >= SECONDS_BETWEEN_LINES:
            logger.info("%s: %d of %d%s", title, at, total, f", {note}" if note else "")
            told, when = tenth, now

    yield advance


def track(items: Sequence[T], title: str) -> Iterable[T]:
    """Go through items with a bar.

    Args:
        items: what to go through.
        title: what is being done with them.
    """
    with progress_bar(title, len(items)) as advance:
        for item in items:
            yield item
            advance(1, "")
