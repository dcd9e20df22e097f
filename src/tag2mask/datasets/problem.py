"""Problem: one thing that is wrong with what a user brought, as `check` and `run` show it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a folder.

    Args:
        kind: the sort of problem, the same words for all of a sort, as "broken image".
        subject: the file, row, image or class.
        message: what was expected and what was found.
        remedy: what to do.
        severity: "error" if a run would stop, lose data or learn something false; "warning" if it
            goes on and a person should look.
    """

    kind: str
    subject: str
    message: str
    remedy: str
    severity: Severity = "error"


def count_problems(problems: Iterable[Problem]) -> dict[str, int]:
    """How many problems there are of each kind, errors first.

    Example:
        >>> count_problems([Problem("broken image", "a", "", ""), Problem("broken image", "b", "", "")])
        {'broken image': 2}
    """
    ordered = sorted(problems, key=lambda problem: problem.severity)
    return dict(Counter(problem.kind for problem in ordered))
