"""Equality with a slow reference: how a difference is measured, which are allowed, and the test on random sizes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

EXACT = 0.0
"""Labels, sets and counts."""

DOUBLE = 1e-12
"""Sums and quotients in float64, which carries 16 digits."""

SINGLE = 1e-6
"""A few steps in float32, which carries 7 digits, against float64."""

LONG = 256 * 2.0**-23
"""The 256 steps of a walk in float32 (3.1e-5): each may round by 2**-23."""

SEEDS = st.integers(0, 10_000)
SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7))


@dataclass(frozen=True)
class Equality:
    """What a test of equality compares, for whoever wants to look at more examples.

    Args:
        function: ours, by name.
        reference: the slow one, by file and name.
        pair: drawn arguments -> (found, expected).
        drawn: what the arguments are drawn from.
        edges: arguments that are always tried.
        tolerance: the largest difference that is allowed, see `difference`.
    """

    function: str
    reference: str
    pair: Callable[..., tuple[Any, Any]]
    drawn: dict[str, Any]
    edges: tuple[dict[str, Any], ...]
    tolerance: float

    def check(self, examples, look):
        """Call look(difference) for the edges and for random arguments; the same ones every time."""

        @settings(max_examples=examples, deadline=None, derandomize=True)
        @given(**self.drawn)
        @wraps(self.pair)
        def check(**arguments):
            look(difference(*self.pair(**arguments)))

        for edge in self.edges:
            check = example(**edge)(check)
        check()


def equality(function, reference, *, tolerance, part="", examples=40, edges=(), **drawn):
    """Turn a function that gives (found, expected) of drawn arguments into a test that they are equal.

    Args:
        function: ours; words for a chain of functions.
        reference: the slow one, likewise.
        tolerance: the largest difference that is allowed.
        part: what of the function, if not its result.
        examples: how many to draw.
        edges: arguments that are always tried: maps of one pixel, images without tags, nothing known.
        drawn: a strategy for each argument.
    """

    def decorate(pair):
        name, source = _name(function) + (part and f", {part}"), _name(reference)
        compared = Equality(name, source, pair, drawn, tuple(edges), tolerance)

        def look(found):
            assert found <= tolerance, f"{name} differs from {source} by {found:.1e}; allowed are {tolerance:.0e}"

        def test():
            compared.check(examples, look)

        test.__name__, test.__doc__, test.__module__ = pair.__name__, pair.__doc__, pair.__module__
        test.equality = compared
        return test

    return decorate


def _name(function):
    """The module without its package, and the function in it."""
    if isinstance(function, str):
        return function
    return f"{function.__module__}.{function.__qualname__}".removeprefix("tag2mask.").removeprefix("reference.")


def difference(found, expected):
    """The largest |found - expected|; of numbers above 1 relative to the expected one.

    Tuples and dicts are compared entry by entry. Infinite for other shapes, keys or places of NaN, and for unlike sets.

    Example:
        >>> difference([0.0, 0.5], [0.25, 0.5]), difference(30.0, 20.0)
        (0.25, 0.5)
        >>> difference({"a": [1, 2]}, {"a": [1]}), difference({3}, {4}), difference(float("nan"), 1.0)
        (inf, inf, inf)
    """
    if isinstance(expected, set):
        return 0.0 if found == expected else np.inf
    if isinstance(expected, dict):
        alike = found.keys() == expected.keys()
        return max((difference(found[key], expected[key]) for key in expected), default=0.0) if alike else np.inf
    if isinstance(expected, tuple):
        return max(difference(one, other) for one, other in zip(found, expected, strict=True))
    return _difference_of_numbers(*(np.asarray(numbers, dtype=np.float64) for numbers in (found, expected)))


def _difference_of_numbers(found, expected):
    """Of two float64 arrays; without numbers, the shapes of nested lists are not known."""
    if found.shape != expected.shape:
        return np.inf if found.size or expected.size else 0.0
    with np.errstate(invalid="ignore"):
        gaps = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    alike = (found == expected) | (np.isnan(found) & np.isnan(expected))
    return float(np.where(alike, 0, np.nan_to_num(gaps, nan=np.inf)).max(initial=0))


def in_words(drawn):
    """What arguments are drawn from, for people; the seed is left out.

    Example:
        >>> in_words({"seed": SEEDS, "classes": st.integers(0, 3), "size": SIZES, "ties": st.booleans()})
        'classes 0..3, size 1..7 x 1..7, ties'
    """
    words = []
    for name, strategy in drawn.items():
        text = re.sub(r"(integers|floats)\(min_value=([^,]+), max_value=([^)]+)\)", r"\2..\3", repr(strategy))
        text = re.sub(r"sampled_from\([\[(](.*?)[\])]\)", r"\1", text)
        text = re.sub(r"lists\((.*), max_size=(\d+), unique=True\)", r"up to \2 of \1", text)
        text = re.sub(r"tuples\((\S+), (\S+)\)", r"\1 x \2", text)
        words += [] if name == "seed" else [name if text == "booleans()" else f"{name} {text}"]
    return ", ".join(words).replace("'", "")
