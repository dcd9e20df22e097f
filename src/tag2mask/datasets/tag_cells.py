"""What the cells of a table of tags mean: names apart by marks, lists, numbers of classes, words for nothing."""

from __future__ import annotations

import ast
import io
import itertools
import json
import logging
import re
import tokenize
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

logger = logging.getLogger(__name__)

BACKGROUND_NAMES = frozenset({"background", "_background", "_background_", "__background__"})
"""Names of no class: background is label 0 of every mask, so as a tag they say nothing."""

_SEPARATORS = ",;|"
_QUOTES = "\"'`\u201c\u201d\u201e\u2018"
"""What stands at the ends of a quoted word, and of no class's name."""

_CHOICES = re.compile("(choices?|[a-z]*labels?)$")
"""Under these keys Label Studio's cells hold names."""

_SET = re.compile(r"(?:frozen)?set\((\s*|[\[{(].*[\]})])\)", re.DOTALL)
"""As Python prints a set that braces do not say."""

_ONE_PHRASE = re.compile(r"\s*(not|no)\s+(labell?ed|findings?|objects?|label|tag)\s*", re.IGNORECASE)
"""Cells that mean no tag, or that nobody looked; their spaces separate no names."""

Words = tuple[str, ...]


class NotReadableError(ValueError):
    """A cell that looks like a list and is none."""


def is_background(tag: str) -> bool:
    """Whether a tag or a folder stands for pure background."""
    return tag.casefold() in BACKGROUND_NAMES


def one_spelling(name: str) -> str:
    """A name with single spaces, and accents in one piece where macOS stores two."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def tidy(words: Sequence[str]) -> Words:
    """Names without the spaces around and doubled within, each once, less those of the background.

    Example:
        >>> tidy([" polar  bear", "", "cow", "polar bear", "Background"])
        ('polar bear', 'cow')
    """
    tags = (one_spelling(word) for word in words)
    return tuple(dict.fromkeys(tag for tag in tags if tag and not is_background(tag)))


def split_tags(cells: Sequence[str], known: Collection[str] | None = None) -> list[Words]:
    """Split the cells of a table into tags, every cell the same way.

    If any cell holds a comma, a semicolon or a bar, these separate and spaces belong to the names;
    otherwise spaces separate. With the class names known, the way that gives the fewest unknown
    names is taken.

    Args:
        cells: the tag cell of every row.
        known: the class names, if they are known.

    Example:
        >>> split_tags(["cow car", ""]), split_tags(["polar bear;cow", "polar bear"])
        ([('cow', 'car'), ()], [('polar bear', 'cow'), ('polar bear',)])
        >>> split_tags(["polar bear", "cow"], known=["cow", "polar bear"])
        [('polar bear',), ('cow',)]
    """
    return [tidy(words) for words in _split(cells, known)]


def read_tag_cells(cells: Sequence[str], known: Collection[str] | None, place: Callable[[int], str]) -> list[Words]:
    """The tags of every cell of a table.

    A cell that is a JSON or Python list (or ``{"choices": [...]}``) is that list; all others are split as
    `split_tags` does, but not at spaces where there are lists. Numbers in lists, and vectors of 0 and 1, mean the
    classes of `known` in their order.

    Args:
        cells: the tag cell of every row.
        known: the class names in their order, if there is a list of them.
        place: where a row stands, by its number, for messages.

    Raises:
        ValueError: if a cell looks like a list and is none, or holds numbers that mean no class; naming the place.
    """
    listed: dict[str, tuple[str | int, ...]] = {}
    for row, cell in enumerate(cells):
        text = cell.strip()
        looks_listed = text[:1] in ("[", "{", "(") or _SET.fullmatch(text) is not None
        if text not in listed and looks_listed and text not in (known or ()):
            try:
                found = _list_cell(text)
            except NotReadableError as error:
                raise ValueError(f"{place(row)}: expected tags, found {text[:60]!r}, which {error}.") from error
            if found is not None:
                listed[text] = found
    plain = [cell for cell in cells if cell.strip() not in listed]
    # Where several names are a list, one name stands alone, and its spaces belong to it.
    alone = any(listed.values()) and not any(mark in cell for cell in plain for mark in _SEPARATORS)
    words = iter([[cell.strip()] if cell.strip() else [] for cell in plain] if alone else _split(plain, known))
    rows: list[Sequence[str | int]] = [
        listed[cell.strip()] if cell.strip() in listed else tuple(next(words)) for cell in cells
    ]
    if _are_vectors(rows):
        return _from_vectors(rows, known, place)
    named = [tidy(_named(row, known, place, number)) for number, row in enumerate(rows)]
    first = next((number for number, row in enumerate(rows) if any(isinstance(word, int) for word in row)), None)
    if first is not None and known:
        logger.warning(
            "%s: numbers in lists are taken as classes of classes.txt, counted from 0, so 0 is %s. If they count from "
            "1, write the names of the classes.",
            place(first),
            next(iter(known)),
        )
    return named


def is_odd(tag: str) -> bool:
    """Whether a tag holds brackets of a list, or a quote stands at one of its ends.

    Example:
        >>> is_odd("'cat'"), is_odd("array(['cat'])"), is_odd("cat (tabby)")
        (True, True, False)
    """
    return tag[0] in _QUOTES or tag[-1] in _QUOTES or any(bracket in tag for bracket in "[]{}")


def _split(cells: Sequence[str], known: Collection[str] | None) -> list[list[str]]:
    """The words of each cell, as they stand there; every cell is split the same way."""
    present = "".join(mark for mark in _SEPARATORS if any(mark in cell for cell in cells))
    ways = [present, *present, present + " ", ""] if present else [" ", ""]

    def split(way: str) -> list[list[str]]:
        if not way:
            return [[cell] for cell in cells]
        marks = "[" + re.escape(way).replace(r"\ ", r"\s") + "]"
        return [[cell] if _ONE_PHRASE.fullmatch(cell) else re.split(marks, cell) for cell in cells]

    if known is None:
        splits = [split(ways[0])]
    else:
        names = set(known)
        splits = [split(way) for way in ways]
        splits.sort(key=lambda rows: len({tag for row in rows for tag in tidy(row)} - names))
    return [[word.strip() for word in row if word.strip()] for row in splits[0]]


def _list_cell(text: str) -> tuple[str | int, ...] | None:
    """A cell as the list that it holds; None for a name in round brackets.

    Raises:
        NotReadableError: if it begins like a list and is none; the message says why, after "which".
    """
    if python_set := _SET.fullmatch(text):
        inner = python_set[1].strip()
        return _list_cell(inner) if inner else ()
    numbers = re.fullmatch(r"\[\s*((?:-?\d+\.?\d*\s*)*)\]", text)
    if numbers:  # As numpy prints a vector.
        return tuple(_number(float(word)) for word in numbers[1].split())
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        value = _python_list(text)
    if value is None and text[0] == "(":
        return None
    return tuple(_words_of(value))


def _python_list(text: str) -> object:
    """A list, tuple, set or dictionary as Python prints it; None if it is none."""
    try:
        tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.string.strip()]
        strings = [token.type == tokenize.STRING for token in tokens]
        if any(one and following for one, following in itertools.pairwise(strings)):
            # numpy prints no commas; Python would take 'cat' 'dog' for one word.
            if tokens[0].string != "[" or tokens[-1].string != "]" or not all(strings[1:-1]):
                return None
            return [ast.literal_eval(token.string) for token in tokens[1:-1]]
        value: object = ast.literal_eval(text)
    except (tokenize.TokenError, SyntaxError, ValueError, RecursionError, MemoryError, TypeError):
        return None
    return value if isinstance(value, (list, tuple, set, dict)) else None


def _words_of(value: object) -> list[str | int]:
    """The names or numbers in a list, or below the keys that Label Studio gives them."""
    if isinstance(value, dict):
        inner = [content for key, content in value.items() if _CHOICES.fullmatch(str(key))]
        if not inner:
            raise NotReadableError("has none of the keys choices and labels. Write the names of the classes")
        return [word for content in inner for word in ([content] if isinstance(content, str) else _words_of(content))]
    if isinstance(value, set):
        value = sorted(value, key=str)
    if not isinstance(value, (list, tuple)):
        raise NotReadableError('is no list of names. Write ["cat", "dog"] or cat;dog')
    words: list[str | int] = []
    for part in value:
        if isinstance(part, str):
            words.append(part)
        elif isinstance(part, (bool, int, float)):
            words.append(_number(part))
        elif isinstance(part, dict):
            words += _words_of(part)
        else:
            raise NotReadableError(f"holds {part!r}. Write the names of the classes")
    return words


def _number(value: float) -> int:
    if value != int(value):
        raise NotReadableError(f"holds the number {value:g}. Write the names of the classes that the image shows")
    return int(value)


def _are_vectors(rows: Sequence[Sequence[str | int]]) -> bool:
    """Whether every filled row holds equally many 0 and 1, two or more: a place per class, not numbers of classes."""
    lengths = {len(row) for row in rows if row}
    return len(lengths) == 1 and lengths != {1} and {str(word) for row in rows for word in row} <= {"0", "1"}


def _from_vectors(
    rows: Sequence[Sequence[str | int]], known: Collection[str] | None, place: Callable[[int], str]
) -> list[Words]:
    first, length = next((number, len(row)) for number, row in enumerate(rows) if row)
    if known is None or len(known) != length:
        found = "no classes.txt" if known is None else f"{len(known)} classes in classes.txt"
        raise ValueError(
            f"{place(first)}: expected names, found {length} numbers 0 and 1 in every row, a place per class, and "
            f"{found}. Write the {length} names into classes.txt, one per line, in the order of the places."
        )
    return [tuple(name for name, word in zip(known, row, strict=False) if str(word) == "1") for row in rows]


def _named(
    row: Sequence[str | int], known: Collection[str] | None, place: Callable[[int], str], number: int
) -> list[str]:
    """Numbers in a list as the names of their classes."""
    names = list(known) if known is not None and any(isinstance(word, int) for word in row) else []
    words = []
    for word in row:
        if isinstance(word, str):
            words.append(word)
        elif str(word) in names:
            words.append(str(word))
        elif 0 <= word < len(names):
            words.append(names[word])
        else:
            allowed = f"0 to {len(names) - 1}" if names else "names, without classes.txt"
            raise ValueError(
                f"{place(number)}: expected {allowed}, found the class number {word}. "
                "Write the names of all classes into classes.txt, one per line; the first has number 0."
            )
    return words
