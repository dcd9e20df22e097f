"""Tables as people save them (CSV, TSV, Excel, Parquet, JSON): each becomes rows of text cells."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from tag2mask.datasets.table_text import decode, text_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx", ".parquet", ".jsonl", ".json")
"""What a table may be saved as."""

OLD_EXCEL = b"\xd0\xcf\x11\xe0"


@dataclass(frozen=True, slots=True)
class Cells:
    """A table, all of it text.

    Args:
        header: the columns' names, as they are written.
        rows: of each row as many cells as the header has, or more where a line holds more.
        places: where each row stands, for messages.
        delimiter: what stands between two columns; empty if the file knows its columns itself.
        notes: what a person should know about how it was read.
    """

    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    places: Sequence[str]
    delimiter: str = ""
    notes: Sequence[str] = field(default=())


def read_cells(path: Path, is_header: Callable[[Sequence[str]], bool]) -> Cells:
    """Read a table whose first row names the columns; what the file is, its first bytes say.

    Args:
        path: of one of `TABLE_SUFFIXES`.
        is_header: whether a row names columns that the caller knows; it chooses the delimiter of text, and the sheet
            of an Excel file.

    Raises:
        ValueError: if the file cannot be read as a table.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: expected a table, found: {error}.") from error
    if content.startswith(b"PK"):
        return _excel(path, content, is_header)
    if content.startswith(b"PAR1"):
        return _parquet(path, content)
    if content.startswith(OLD_EXCEL):
        raise ValueError(f"{path}: expected CSV or .xlsx, found an Excel file of before 2007. Save it as .xlsx.")
    if path.suffix.lower() in (".xlsx", ".parquet"):
        what = "an Excel file" if path.suffix.lower() == ".xlsx" else "a Parquet file"
        raise ValueError(f"{path}: expected {what}, found {content[:8]!r} at its start. Save it again, or as CSV.")
    text, notes = decode(path, content)
    if path.suffix.lower() == ".jsonl":
        return json_lines(path, text)
    header, rows, lines, delimiter = text_rows(path, text, is_header)
    return Cells(header, rows, [f"{path.name}, line {line}" for line in lines], delimiter, notes)


def json_lines(path: Path, text: str) -> Cells:
    """A table of one JSON object per line.

    Raises:
        ValueError: naming the line that is none.
    """
    records, places = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(
                f"{path}, line {number}: expected a JSON object, found an error in it ({error})."
            ) from error
        records.append(record)
        places.append(f"{path.name}, line {number}")
    return json_records(path, records, places)


def json_records(path: Path, records: Sequence[object], places: Sequence[str]) -> Cells:
    """A table of JSON objects, whose keys are the columns.

    Args:
        path: for messages.
        records: the objects.
        places: where each stands.

    Raises:
        ValueError: if one of them is no object.
    """
    columns: dict[str, None] = {}
    for record, place in zip(records, places, strict=True):
        if not isinstance(record, dict):
            raise ValueError(
                f"{path.parent / place}: expected an object with the image and its tags, found {str(record)[:60]!r}. "
                'Write {"image": "a.jpg", "tags": ["cat"]}.'
            )
        columns.update(dict.fromkeys(record))
    rows = [[as_text(record.get(column)) for column in columns] for record in records if isinstance(record, dict)]
    return Cells(tuple(columns), rows, places)


def as_text(value: object) -> str:
    """A value of JSON, Parquet or Excel as the text of a cell; a list as JSON, nothing as an empty cell.

    Example:
        >>> as_text(["cat"]), as_text(None), as_text(True), as_text(7)
        ('["cat"]', '', 'true', '7')
    """
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if hasattr(value, "tolist"):  # An array of numpy, as Parquet's lists are read.
        value = value.tolist()
    return json.dumps(value, ensure_ascii=False, default=str)


def _excel(path: Path, content: bytes, is_header: Callable[[Sequence[str]], bool]) -> Cells:
    """The sheet with the columns that are looked for; the first one if none has them."""
    try:
        sheets: Mapping[str, Any] = pd.read_excel(
            io.BytesIO(content),
            sheet_name=None,
            header=None,
            dtype=str,
            na_filter=False,
            keep_default_na=False,
            engine="openpyxl",
        )
    except Exception as error:  # What a damaged archive raises is of a dozen kinds.
        what = (
            "an Excel file"
            if path.suffix.lower() == ".xlsx"
            else "an Excel file or another archive (it begins with PK)"
        )
        raise ValueError(f"{path}: found {what} that does not open ({_line(error)}). Save it as CSV.") from error
    tables = {name: sheet.to_numpy().tolist() for name, sheet in sheets.items() if len(sheet)}
    if not tables:
        raise ValueError(f"{path}: expected a first row that names the columns image and tags, found an empty sheet.")
    starts = {name: _first_row(rows) for name, rows in tables.items()}
    fitting = [name for name, rows in tables.items() if is_header(rows[starts[name]])]
    chosen = (fitting or list(tables))[0]
    rows, start = tables[chosen], starts[chosen]
    others = (
        f"; other sheets are passed over ({', '.join(n for n in tables if n != chosen)})" if len(tables) > 1 else ""
    )
    notes = [f"read the sheet {chosen!r}{others}"] if others else []
    if path.suffix.lower() != ".xlsx":
        notes.append("is an Excel file by its content, and was read as one")
    kept = [number for number in range(start + 1, len(rows)) if any(cell.strip() for cell in rows[number])]
    places = [f"{path.name}, line {number + 1}" for number in kept]
    return Cells(tuple(rows[start]), [rows[number] for number in kept], places, "", notes)


def _first_row(rows: Sequence[Sequence[str]]) -> int:
    return next((number for number, row in enumerate(rows) if any(cell.strip() for cell in row)), 0)


def _parquet(path: Path, content: bytes) -> Cells:
    try:
        frame = pd.read_parquet(io.BytesIO(content), engine="pyarrow", dtype_backend="pyarrow")
    except ImportError as error:
        raise ValueError(
            f'{path}: a Parquet file needs a package more. Install it: pip install "tag2mask[formats]", or save as CSV.'
        ) from error
    except Exception as error:  # pyarrow's errors have no common class but this.
        raise ValueError(
            f"{path}: found a Parquet file that does not open ({_line(error)}). Save it again, or as CSV."
        ) from error
    columns = [[as_text(_plain(value)) for value in frame[name]] for name in frame.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    places = [f"{path.name}, row {number}" for number in range(1, len(rows) + 1)]
    return Cells(tuple(map(str, frame.columns)), rows, places)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _plain(value: Any) -> object:
    """A value of Parquet without pandas' own kind of nothing."""
    return None if value is pd.NA else value
