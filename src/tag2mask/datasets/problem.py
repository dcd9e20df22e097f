"""Problem: one thing that is wrong with what a user brought, as `check` and `run` show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
