"""A list of classes that gives each one its colour in the masks: lines ``cat 128 0 0`` or ``cat #800000``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tag2mask.datasets.table_text import decode
from tag2mask.datasets.tag_cells import is_background
from tag2mask.labels import BACKGROUND, IGNORE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Colour = tuple[int, int, int]

VOID_NAMES = frozenset({"void", "ignore", "_ignore_", "unlabeled", "unlabelled"})
"""Names of pixels that do not count, in a list with colours."""

_HEXADECIMAL = re.compile(r"(?P<name>.*\S)[\s,;:]+#(?P<colour>[0-9a-fA-F]{6})")
_NUMBERS = re.compile(r"(?P<name>.*[^\s,;:])[\s,;:]+(?P<red>\d{1,3})[\s,;]+(?P<green>\d{1,3})[\s,;]+(?P<blue>\d{1,3})")


def split_colours(place: object, lines: Sequence[str]) -> tuple[list[str], dict[Colour, int] | None]:
    """Tell the names of classes from their colours.

    Args:
        place: the file, for messages.
        lines: of the list, in order.

    Returns:
        The names, without background and void where the lines hold colours; and the label of each colour, None where
        not all lines hold one.

    Raises:
        ValueError: if only some lines end with a colour as ``#800000``, or two have one colour.

    Example:
        >>> split_colours("classes.txt", ["background 0 0 0", "traffic light 128 0 0"])
        (['traffic light'], {(0, 0, 0): 0, (128, 0, 0): 1})
        >>> split_colours("classes.txt", ["cat", "room 1 2 3"])
        (['cat', 'room 1 2 3'], None)
    """
    pairs = [_split(line.strip()) for line in lines]
    without = [name for name, colour in pairs if colour is None]
    if without or not pairs:
        if any(_HEXADECIMAL.fullmatch(line.strip()) for line in lines):
            raise ValueError(
                f"{place}: expected a colour in every line or in none, found none beside {without[0]!r}. "
                "Write one, as in: cat #800000"
            )
        return [line.strip() for line in lines], None
    names: list[str] = []
    labels: dict[Colour, int] = {}
    for name, colour in pairs:
        assert colour is not None
        if colour in labels:
            raise ValueError(f"{place}: expected a colour of its own for each class, found {colour} twice. Change one.")
        if is_background(name):
            labels[colour] = BACKGROUND
        elif name.casefold() in VOID_NAMES:
            labels[colour] = IGNORE
        else:
            names.append(name)
            labels[colour] = len(names) + (len(names) >= IGNORE)
    return names, labels


def read_colours(path: Path) -> dict[Colour, int] | None:
    """The label of each colour in a list of classes; None: it has no colours, or there is no such file.

    Args:
        path: of ``classes.txt``.

    Raises:
        ValueError: as `split_colours`.
    """
    if not path.is_file():
        return None
    text, _ = decode(path, path.read_bytes())
    return split_colours(path, [line for line in text.split("\n") if line.strip()])[1]


def _split(line: str) -> tuple[str, Colour | None]:
    """A line as name and colour."""
    if match := _HEXADECIMAL.fullmatch(line):
        red, green, blue = bytes.fromhex(match["colour"])
        return match["name"].rstrip(",;: "), (red, green, blue)
    match = _NUMBERS.fullmatch(line)
    colour = tuple(int(match[part]) for part in ("red", "green", "blue")) if match is not None else ()
    if match is None or max(colour) > 255:
        return line, None
    return match["name"], (colour[0], colour[1], colour[2])
