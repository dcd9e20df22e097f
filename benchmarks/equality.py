"""How far our maths is from the slow, literal versions of its equations: the tests of equality, with more examples.

    python benchmarks/equality.py [--examples 300]

Each row is a test of `tests/` that draws random sizes and compares one function with its reference in
`tests/reference/`, which is written in Python floats or float64. "Difference" is the largest one found anywhere,
"allowed" what the test asserts; both are absolute, of numbers above 1 relative to the reference. Labels, sets and
counts have to be equal. "Examples" are fewer where there are no more to draw.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "ops")]

from reference.equality import in_words  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator


def equalities() -> Iterator[Any]:
    """What the tests compare, file by file."""
    for path in [*sorted((TESTS / "ops").glob("test_*.py")), TESTS / "test_evaluation.py"]:
        for test in vars(importlib.import_module(path.stem)).values():
            if hasattr(test, "equality"):
                yield test.equality


def main() -> None:
    """Print one row per function."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=300)
    options = parser.parse_args()
    print("| function | reference | drawn | examples | allowed | difference |")
    print("|---|---|---|---|---|---|")
    for equality in equalities():
        found: list[float] = []
        equality.check(options.examples, found.append)
        drawn = in_words(equality.drawn)
        numbers = f"{len(found)} | {equality.tolerance:.1e} | {max(found):.1e}".replace("0.0e+00", "0")
        print(f"| {equality.function} | {equality.reference} | {drawn} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
