"""The one place that words shape and range errors.

Every check raises ``ValueError`` and says what was expected and what was found.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

    Array = torch.Tensor | np.ndarray


def check_shape(name: str, array: Array, pattern: str, **sizes: int) -> dict[str, int]:
    """Match an array's shape against a pattern of named sizes.

    Args:
        name: what the caller calls the array, for the message.
        array: tensor or array of any type.
        pattern: one word per dimension: a number ("3"), a name ("H"; equal names must be equal
            sizes) or "..." in front for any leading dimensions.
        sizes: sizes already known, by name.

    Returns:
        The size of every named dimension.

    Raises:
        ValueError: if the number of dimensions or a size differs.

    Example:
        >>> check_shape("pixels", torch.zeros(3, 4, 5), "3 H W")
        {'H': 4, 'W': 5}
    """
    shape = tuple(int(size) for size in array.shape)
    words = pattern.split()
    found = shape
    if words and words[0] == "...":
        words = words[1:]
        found = shape[max(0, len(shape) - len(words)) :]
    known = dict(sizes)
    fits = len(words) == len(found)
    for word, size in zip(words, found, strict=False):
        expected = int(word) if word.isdigit() else known.setdefault(word, size)
        fits = fits and expected == size
    if not fits:
        given = "".join(f", {key} = {value}" for key, value in sizes.items())
        raise ValueError(f"{name}: expected shape ({pattern.replace(' ', ', ')}){given}, got {shape}.")
    return {word: known[word] for word in words if not word.isdigit()}


def check_range(name: str, array: Array, low: float, high: float) -> None:
    """Require every value to be a number in [low, high].

    Raises:
        ValueError: if a value is NaN or outside; the message holds the smallest and the largest.
    """
    if array.numel() == 0 if isinstance(array, torch.Tensor) else array.size == 0:
        return
    smallest, largest = float(array.min()), float(array.max())
    # A comparison with NaN is false, so NaN fails here too.
    if not (smallest >= low and largest <= high):
        raise ValueError(
            f"{name}: expected values in [{low:g}, {high:g}], got [{smallest:g}, {largest:g}]."
            + (" NaN: look for a division by zero or a diverged training." if math.isnan(smallest) else "")
        )


def check_number(name: str, value: float, low: float, below: float = math.inf, *, above: bool = False) -> None:
    """Require a number in [low, below).

    Args:
        name: what the caller calls the number, for the message.
        value: the number.
        low: the smallest allowed one.
        below: it has to be smaller than this.
        above: `low` itself is not allowed.

    Raises:
        ValueError: if it is NaN or outside.
    """
    if not (low < value < below if above else low <= value < below):
        words = f"a number above {low:g}" if above else f"{low:g} or more"
        words += "" if below == math.inf else f" and below {below:g}"
        raise ValueError(f"{name}: expected {words}, got {value!r}.")


def check_dtype(name: str, array: Array, *dtypes: object) -> None:
    """Require one of the given dtypes.

    Raises:
        ValueError: if the array has another dtype.
    """
    if array.dtype not in dtypes:
        expected = " or ".join(str(dtype) for dtype in dtypes)
        raise ValueError(f"{name}: expected {expected}, got {array.dtype}.")


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Require one of the listed values.

    Raises:
        ValueError: if the value is none of them.
    """
    allowed = list(choices)
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(str, allowed))}, got {value!r}.")


def some(words: Iterable[object], count: int = 5) -> str:
    """The first of many words, and how many more there are, for a message.

    Args:
        words: any number of them.
        count: how many to name.

    Example:
        >>> some("abcdefg"), some("ab"), some("abc", 1)
        ('a, b, c, d, e and 2 more', 'a, b', 'a and 2 more')
    """
    every = list(map(str, words))
    more = f" and {len(every) - count} more" if len(every) > count else ""
    return ", ".join(every[:count]) + more


def few(words: Sequence[str]) -> str:
    """The first five of many words, and whether there are more, where their number is said beside or matters little.

    Args:
        words: any number of them.

    Example:
        >>> few("abcdefg"), few("ab")
        ('a, b, c, d, e, ...', 'a, b')
    """
    return ", ".join(words[:5]) + ", ..." * (len(words) > 5)
