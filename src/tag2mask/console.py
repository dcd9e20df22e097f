"""What the commands print: tables, times and log lines (rich)."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.table import Table

if TYPE_CHECKING:
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.scores.round_table import RoundTable
    from tag2mask.scores.score_table import ScoreTable

console = Console()


def print_times(folder: RunFolder) -> None:
    """Seconds, images per second and the result in a line, of every finished stage."""
    table = Table(title="Stages", title_justify="left")
    for column in ("stage", "seconds", "images/s", "result"):
        table.add_column(column, justify="right" if column in {"seconds", "images/s"} else "left")
    for name, summary in folder.stage_summaries().items():
        rate = summary.items / max(summary.seconds, 1e-9)
        table.add_row(name, f"{summary.seconds:.1f}", f"{rate:.1f}", escape(summary.line))
    console.print(table)


def print_scores(table: ScoreTable | None, rounds: RoundTable | None) -> None:
    """The score table and the round table; those that there are."""
    if table is not None:
        say(table.table())
    if rounds is not None and rounds.rows:
        say(rounds.table())


def say(text: str) -> None:
    """Print lines as they are: a path may hold brackets, and must not be broken into lines."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def escape(text: str) -> str:
    """Text whose brackets rich shall print as they are."""
    return text.replace("[", "\\[")


def log_to_stderr(verbose: bool) -> None:
    """Send the package's messages to the standard error output."""
    # In a file or a pipe, tables of evidence shall not be broken at 80 characters.
    stderr = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=stderr, show_path=False, markup=False, highlighter=NullHighlighter())],
    )
    logging.getLogger("tag2mask").setLevel(logging.DEBUG if verbose else logging.INFO)
