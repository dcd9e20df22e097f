"""What the commands print: tables, times and log lines (rich)."""

from __future__ import annotations

import json
import logging
import math
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.table import Table

from tag2mask.datasets.problem import count_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tag2mask.datasets.first_look import FirstLook
    from tag2mask.datasets.problem import Problem
    from tag2mask.datasets.summary import Summary
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.scores.round_table import RoundTable
    from tag2mask.scores.score_table import ScoreTable

console = Console()

FEW, FEW_CLASSES, MANY_CLASSES = 5, 12, 30
"""So many findings of a kind, and so many classes in a line and in a table, are shown."""


def print_look(folder: object, look: FirstLook, *, every: bool = False) -> None:
    """What was understood of a folder, and what is wrong with it.

    Args:
        folder: that was looked at.
        look: of `tag2mask.datasets.first_look`.
        every: all classes and all findings.
    """
    if look.summary is not None:
        print_summary(look.summary, every=every)
    if look.problems:
        print_problems(look.problems, every=every)
    else:
        say(f"{folder}: nothing wrong")


def print_summary(summary: Summary, *, every: bool = False) -> None:
    """What was understood of a data set, in a short table.

    Args:
        summary: of `tag2mask.datasets.summary.summarise`.
        every: all classes.
    """
    from tag2mask.checks import some  # noqa: PLC0415  (torch, which `--help` need not wait for)

    untagged = f", {summary.untagged:,} of them without a tag: pure background" if summary.untagged else ""
    lines = {
        "images": f"{summary.training:,} to train on{untagged}; {summary.held_out:,} held out",
        "found": summary.found,
        "classes": _classes(summary, every=every),
        "names": _names(summary),
        "masks": "; ".join([f"{summary.masks:,}", *summary.mask_lines]) if summary.masks else "none: no scores",
        "sizes": _sizes(summary),
        "pixels": some((f"{kind} {count:,}" for kind, count in summary.kinds.items()), FEW),
        "left out": ", ".join(f"{kind}: {count:,}" for kind, count in summary.left_out.items()) or "nothing",
    }
    for head, text in lines.items():
        if text:
            say(f"{head:<10}{text}")


def _classes(summary: Summary, *, every: bool) -> str:
    """The classes, each with its training images: all in their order, or of many the most frequent ones."""
    classes = list(summary.classes)
    shown = classes if every or len(classes) <= FEW_CLASSES else sorted(classes, key=lambda one: -one.training)
    few = shown if every else shown[:FEW_CLASSES]
    told = ", ".join(f"{one.name} {one.training:,}" for one in few)
    more = f" and {len(classes) - len(few):,} more, the rarest {shown[-1].name} {shown[-1].training:,}"
    return f"{len(classes):,}: {told}{more if len(few) < len(classes) else ''}"


def _names(summary: Summary) -> str:
    """The longest and the shortest name: a slip of the reader shows in them."""
    longest, shortest = summary.longest_name, summary.shortest_name
    return f"longest {longest!r}, shortest {shortest!r}" if len(longest) > len(shortest) else ""


def _sizes(summary: Summary) -> str:
    if summary.sizes is None:
        return ""
    small, middle, large = (f"{height} x {width}" for height, width in asdict(summary.sizes).values())
    return (
        f"all {small} (height x width)" if small == large else f"{small} to {large} (height x width), median {middle}"
    )


def print_problems(problems: Sequence[Problem], *, every: bool = False) -> None:
    """Findings: how many of each kind, then a few of each, errors first.

    Args:
        problems: what was found.
        every: show all of them.
    """
    counts = count_problems(problems)
    say(f"{len(problems):,} problem(s): " + ", ".join(f"{kind}: {count:,}" for kind, count in counts.items()))
    for kind, count in counts.items():
        alike = [problem for problem in problems if problem.kind == kind]
        worst, remedies = min(problem.severity for problem in alike), {problem.remedy for problem in alike}
        colour, remedy = "red" if worst == "error" else "yellow", f". {alike[0].remedy}" if len(remedies) == 1 else ""
        console.print(
            f"[{colour}]{worst}:[/] {escape(kind)}: {count:,}{escape(remedy)}", highlight=False, soft_wrap=True
        )
        for problem in alike if every else alike[:FEW]:
            say(f"    {problem.subject}: {problem.message}" + (f". {problem.remedy}" if len(remedies) > 1 else ""))
        if count > FEW and not every:
            say(f"    ... and {count - FEW:,} more (--all shows them)")


def print_as_json(folder: object, look: FirstLook) -> None:
    """The summary and all findings for programs: one JSON object on the standard output.

    Args:
        folder: that was looked at.
        look: of `tag2mask.datasets.first_look`.
    """
    content = {
        "folder": str(folder),
        "summary": None if look.summary is None else asdict(look.summary),
        "counts": count_problems(look.problems),
        "problems": [asdict(problem) for problem in look.problems],
    }
    say(json.dumps(content, indent=1))


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


def print_learned(folder: RunFolder) -> None:
    """Average precision of every class that the run's classifier was trained on, the worst first; few of many.

    Args:
        folder: of the run; one without a classifier, or of an older version, tells nothing.
    """
    from tag2mask.scores.score_table import percent, text_columns  # noqa: PLC0415  (likewise)

    def share(value: float | None) -> str:
        return percent(math.nan if value is None else value)

    for summary in folder.stage_summaries().values():
        if (precision := summary.precision) is None:
            continue
        say(f"classifier: average precision of tags in percent, {precision.where}")
        ranked = sorted(
            precision.classes, key=lambda one: (one.learned, math.inf if one.average is None else one.average)
        )
        lines = [["class", "AP", "by chance", "images"]]
        for one in ranked[:MANY_CLASSES]:
            lines.append([one.name, share(one.average), share(one.by_chance), str(one.images)])
        say(text_columns(lines, ["", *("" if one.learned else "not learned" for one in ranked[:MANY_CLASSES])]))
        if len(ranked) > MANY_CLASSES:
            say(f"... and {len(ranked) - MANY_CLASSES:,} more that are found better; report.html has them all")


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
