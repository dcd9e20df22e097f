"""What becomes of drawn inputs: every case of a script goes through ``tag2mask check``, and is opened as a run would.

    python benchmarks/inputs_table.py INPUTS.py [CASE ...] > table.md

``python INPUTS.py`` lists its cases, one a line, the name first; ``python INPUTS.py CASE FOLDER`` draws one. Prints
"case | check's exit status | what a run's first look says | the first finding, or the summary". No network is trained.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SECONDS, WORKERS = 120, 2
"""The time that one command may take, and how many run at a time."""

LONGEST = 160
"""Characters of a cell; what is longer is cut off."""

LOOK = """
import io, json, sys
from tag2mask import console
from tag2mask.cli import main
from tag2mask.datasets.first_look import look_for_run, require_learnable
from tag2mask.datasets.source import find_source

folder, told, status = sys.argv[1], io.StringIO(), 0
sys.argv = ["tag2mask", "check", folder, "--json"]
console.console.file = told
try:
    main()
except SystemExit as end:
    status = end.code or 0
try:
    data, look = look_for_run(find_source(folder))
    require_learnable(look.problems, folder, force=False)
    counts = [f"{one.name} {one.training}" for one in look.summary.classes[:4]]
    run = f"{len(data.names)} + {len(data.val_names)} images; " + ", ".join(counts)
except ValueError as error:
    run = f"refused: {error}"
print(json.dumps([status, told.getvalue(), run]))
"""
"""What one process does for a case: check, and then a run's first look."""


def main() -> None:
    script, *wanted = sys.argv[1:]
    cases = wanted or cases_of(script)
    print("| case | check | a run | found |\n|---|---|---|---|")
    with ThreadPoolExecutor(WORKERS) as pool:
        for row in pool.map(lambda case: row_of(script, case), cases):
            print("| " + " | ".join(cell.replace("|", "/")[:LONGEST] for cell in row) + " |", flush=True)


def cases_of(script: str) -> list[str]:
    """The names of the cases that a script draws."""
    _, out, _ = called([script])
    return [line.split()[0] for line in out.splitlines() if line.strip()]


def row_of(script: str, case: str) -> tuple[str, ...]:
    """One case, drawn into a folder of its own, which is removed again."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photos"
        folder.mkdir()
        status, _, err = called([script, case, str(folder)])
        if status != 0:
            return case, "-", "-", f"cannot be drawn: {last_line(err)}"
        roots = list(folder.iterdir())
        if not roots:
            return case, "-", "-", "draws nothing"
        ended, out, err = called(["-c", LOOK, str(folder)])
        if ended != 0:
            return case, str(ended), "-", short(last_line(err), folder)
        status, checked, run = json.loads(last_line(out))
        return case, str(status), short(run, folder), short(found_by_check(checked, err), folder)


def found_by_check(out: str, err: str) -> str:
    """The findings of check by number, and the first of them; the summary where there is none."""
    try:
        found = json.loads(out)
    except ValueError:
        return last_line(err)
    if not found["problems"]:
        return f"nothing wrong; {found['summary']['found']}"
    worst = sorted(found["problems"], key=lambda problem: problem["severity"])[0]
    counts = ", ".join(f"{kind} {count}" for kind, count in found["counts"].items())
    return f"{counts}: {worst['subject']}: {worst['message']}"


def called(words: list[str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of Python with these words; 124 where it takes too long."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
            errors="backslashreplace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 124, "", f"no answer in {SECONDS} seconds"
    return done.returncode, done.stdout, done.stderr


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no word"])[-1]


def short(text: str, folder: Path) -> str:
    """Text without the folder's own path and line breaks."""
    return " ".join(text.replace(str(folder.resolve()), "D").replace(str(folder), "D").split())


if __name__ == "__main__":
    main()
