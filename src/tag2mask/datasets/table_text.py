"""The bytes of a text table: what letters they are, and which cells they hold."""

from __future__ import annotations

import codecs
import csv
import io
import re
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

DELIMITERS = ",;\t|"
"""What may stand between two columns; the first that makes a header of the first line counts."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # UTF-32's mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(path: Path, content: bytes) -> tuple[str, list[str]]:
    """Text from bytes: by its mark, else UTF-8, else the Windows letters cp1252.

    Args:
        path: for messages.
        content: all bytes of the file.

    Returns:
        The text with ``\\n`` at the ends of its lines, and what a person should know about it.

    Raises:
        ValueError: if it is no text.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    notes = []
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        text = _western(path, content, encoding)
        # The first word that only cp1252 can read lets a person see whether that was right.
        word = re.search(r"[^\s,;|\"']*$", text[: error.start])
        start = word.start() if word else error.start
        shown = re.split(r"[\s,;|\"']", text[start:], maxsplit=1)[0]
        notes.append(
            f"is no UTF-8; read as cp1252 (Windows), for example {shown!r}. If that is wrong, save it as UTF-8"
        )
    if "\0" in text:
        raise ValueError(f"{path}: expected text, found zero bytes: the file is damaged or no text. Save it as UTF-8.")
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def text_rows(
    path: Path, text: str, is_header: Callable[[Sequence[str]], bool]
) -> tuple[tuple[str, ...], list[list[str]], list[int], str]:
    """The cells of a text table.

    Args:
        path: for messages.
        text: of `decode`. A line ``sep=;`` above the header names the delimiter.
        is_header: whether a row names columns that the caller knows.

    Returns:
        The header; the rows, without empty ones, each of at least as many cells; the line on which each begins; and
        the delimiter.

    Raises:
        ValueError: if it cannot be read as a table.
    """
    named = re.match(r'\s*"?sep=(.)"?[^\S\n]*(\n|$)', text)
    skipped = text[: named.end()].count("\n") if named else 0
    body = text[named.end() :] if named else text
    # Lines of comments above the header; a column may be called #, too.
    while (comment := re.match(r"\s*#[^\n]*\n", body)) and len(re.split("[,;\t|]", comment[0])) == 1:
        skipped += comment[0].count("\n")
        body = body[comment.end() :]
    first = next((line for line in body.split("\n") if line.strip()), "")
    delimiter = named[1] if named else _delimiter(first, is_header)
    cells = _parse(path, body, delimiter)
    filled = [number for number, row in enumerate(cells) if any(cell.strip() for cell in row)]
    lines = _lines(cells, skipped)
    width = _width(cells[filled[0]]) if filled else 0
    header = tuple(cells[filled[0]][:width]) if filled else ()
    rows = [cells[number][: max(width, _width(cells[number]))] for number in filled[1:]]
    return header, rows, [lines[number] for number in filled[1:]], delimiter


def _western(path: Path, content: bytes, encoding: str) -> str:
    """Bytes as cp1252, if they can be words of a Western language."""
    refused = f"{path}: expected UTF-8 text, found other bytes. Save it as UTF-8."
    # No Western word has three such letters in a row, or the last of them; words in Asian encodings do.
    if encoding != "utf-8" or re.search(rb"[\x80-\xff]{3}|\0|\xff", content):
        raise ValueError(refused)
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError as error:
        raise ValueError(refused) from error


def _delimiter(first: str, is_header: Callable[[Sequence[str]], bool]) -> str:
    split = {mark: next(csv.reader([first], delimiter=mark, skipinitialspace=True), []) for mark in DELIMITERS}
    fitting = [mark for mark, cells in split.items() if is_header(cells)]
    return fitting[0] if fitting else max(DELIMITERS, key=lambda mark: len(split[mark]))


def _parse(path: Path, text: str, delimiter: str) -> list[list[str]]:
    """Every row of the text, all as wide as the widest."""
    again = "Save it as CSV again."
    try:
        width = max(
            (len(row) for row in csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)), default=0
        )
        if not width:
            return []
        frame: Any = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            header=None,
            # Without names pandas would take the first row's length, and refuse longer ones.
            names=range(width),
            index_col=False,
            dtype=str,
            na_filter=False,
            skip_blank_lines=False,
            skipinitialspace=True,
        )
    except (csv.Error, pd.errors.ParserError, ValueError) as error:
        raise ValueError(f"{path}: expected a table, found an error ({str(error).strip()}). {again}") from error
    cells: list[list[str]] = frame.to_numpy().tolist()
    return cells


def _lines(rows: Sequence[Sequence[str]], skipped: int) -> list[int]:
    """The line on which each row begins: a quoted cell may hold several."""
    lines, now = [], 1 + skipped
    for row in rows:
        lines.append(now)
        now += 1 + sum(cell.count("\n") for cell in row)
    return lines


def _width(row: Sequence[str]) -> int:
    """Up to the last cell that is not empty."""
    return max((place + 1 for place, cell in enumerate(row) if cell.strip()), default=0)
