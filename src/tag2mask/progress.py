"""Progress bars with the time left, for anything longer than a few seconds."""

from __future__ import annotations

import sys
from contextlib import contextmanager
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


@contextmanager
def progress_bar(title: str, total: int, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """Show a bar on the terminal while the block runs; nothing where standard error is no terminal.

    Args:
        title: what is being done.
        total: number of items.
        done: items that were done before, by an earlier run.

    Yields:
        A function ``advance(count, note)``; the note stands beside the bar.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(title, total=total, completed=done, note="")
        yield lambda count, note: bar.update(task, advance=count, note=note)


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
