from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from tag2mask.datasets import table_file
from tag2mask.datasets.table_file import read_cells

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tag2mask.datasets.table_file import Cells


def has_image(row: Sequence[str]) -> bool:
    return "image" in row


def read(path: Path, content: bytes | str) -> Cells:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_cells(path, has_image)


def test_text_stays_as_it_is_written(tmp_path: Path) -> None:
    cells = read(tmp_path / "t.csv", 'image,n,empty\n007,1.50,\nNA,"nan",null\n')
    assert cells.header == ("image", "n", "empty")
    assert [list(row) for row in cells.rows] == [["007", "1.50", ""], ["NA", "nan", "null"]]
    assert cells.places == ["t.csv, line 2", "t.csv, line 3"]


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    cells = read(tmp_path / "t.csv", 'sep=;\r\nimage;tags\r\n\r\na;"two\r\nlines"\r\nb;x\r\n')
    assert cells.delimiter == ";"
    assert [row[0] for row in cells.rows] == ["a", "b"]
    assert cells.places == ["t.csv, line 4", "t.csv, line 6"]


def test_spaces_before_quotes(tmp_path: Path) -> None:
    cells = read(tmp_path / "t.csv", '"image", "tags"\n"a", "cow, yak"\n')
    assert (cells.header, list(cells.rows[0])) == (("image", "tags"), ["a", "cow, yak"])


def test_comments_above_the_header(tmp_path: Path) -> None:
    cells = read(tmp_path / "t.csv", "# of today\n\n# by me\nimage,tags\n#1.jpg,cow\n")
    assert (cells.header, list(cells.rows[0])) == (("image", "tags"), ["#1.jpg", "cow"])
    assert cells.places == ["t.csv, line 5"]
    assert read(tmp_path / "t.csv", "#,image\n1,a\n").header == ("#", "image")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_that_names_the_columns(delimiter: str, tmp_path: Path) -> None:
    cells = read(
        tmp_path / "t.csv", f"image{delimiter}tags, or none\na{delimiter}x\n" if delimiter != "," else "image,t\na,x"
    )
    assert (cells.delimiter, cells.rows[0][1]) == (delimiter, "x")


def test_rows_may_be_longer_than_the_header(tmp_path: Path) -> None:
    cells = read(tmp_path / "t.csv", "image,tags,\na,x,y,z\nb\n")
    assert cells.header == ("image", "tags")
    assert [list(row) for row in cells.rows] == [["a", "x", "y", "z"], ["b", ""]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    cells = read(tmp_path / "t.csv", mark + "image\ttags\na\tcaf\u00e9\n".encode(encoding))
    assert (cells.header, list(cells.rows[0])) == (("image", "tags"), ["a", "caf\u00e9"])
    assert not cells.notes


def test_windows_letters_are_read_and_told(tmp_path: Path) -> None:
    cells = read(tmp_path / "t.csv", "image,tags\na,cow;M\u00f6we\n".encode("cp1252"))
    assert cells.rows[0][1] == "cow;M\u00f6we"
    assert len(cells.notes) == 1
    assert "'M\u00f6we'" in cells.notes[0]
    assert "cp1252" in cells.notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\u6c7d\u8f66".encode("gb18030"), "expected UTF-8 text, found other bytes"),
        (b"\x81\x20", "expected UTF-8 text"),
        ("image,tags\na,x\n".encode("utf-16-le"), "zero bytes"),
        (b"image,tags\na,x\n\0\0\0", "zero bytes"),
        (b'image,tags\na,"x\n', "expected a table, found an error"),
        (b"PK\x03\x04 and so on", "begins with PK"),
        (b"PAR1 and so on", "Parquet file that does not open"),
        (b"\xd0\xcf\x11\xe0 and so on", "Excel file of before 2007"),
    ],
)
def test_files_that_are_no_tables(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path / "t.csv", content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("suffix", "what"), [("xlsx", "an Excel file"), ("parquet", "a Parquet file")])
def test_a_suffix_that_promises_too_much(suffix: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"expected {what}, found"):
        read(tmp_path / f"t.{suffix}", "image,tags\n")
    with pytest.raises(ValueError, match="expected a table, found"):
        read_cells(tmp_path / "gone.csv", has_image)


@pytest.mark.parametrize("name", ["t.xlsx", "t.csv"])
def test_excel(name: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": ["007", "b"], "cow": [1, None], "car": [True, False]})
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        pd.DataFrame({"about": ["me"]}).to_excel(book, sheet_name="notes", index=False)
        frame.to_excel(book, sheet_name="data", index=False, startrow=1)
    (tmp_path / "t.xlsx").rename(tmp_path / name)
    cells = read_cells(tmp_path / name, has_image)
    assert cells.header == ("image", "cow", "car")
    assert [list(row) for row in cells.rows] == [["007", "1", "True"], ["b", "", "False"]]
    assert cells.places == [f"{name}, line 3", f"{name}, line 4"]
    assert "'data'" in cells.notes[0]
    assert "notes" in cells.notes[0]
    assert any("Excel file by its content" in note for note in cells.notes) == (name == "t.csv")


def test_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "image": ["007", "b"],
            "tags": [["cow", "car"], []],
            "cow": [True, False],
            "n": [1, 2],
            "e": ["x", None],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    cells = read_cells(tmp_path / "t.parquet", has_image)
    assert cells.header == ("image", "tags", "cow", "n", "e")
    assert [list(row) for row in cells.rows] == [
        ["007", '["cow", "car"]', "true", "1", "x"],
        ["b", "[]", "false", "2", ""],
    ]


def test_parquet_without_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("no pyarrow")

    monkeypatch.setattr(table_file.pd, "read_parquet", missing)
    with pytest.raises(ValueError, match=r'pip install "tag2mask\[formats\]"'):
        read(tmp_path / "t.parquet", b"PAR1")


def test_json_lines(tmp_path: Path) -> None:
    lines = [{"image": "a", "tags": ["x"]}, {"tags": None, "image": "b", "more": {"n": 1}}]
    cells = read(tmp_path / "t.jsonl", "\n\n".join(map(json.dumps, lines)))
    assert cells.header == ("image", "tags", "more")
    assert [list(row) for row in cells.rows] == [["a", '["x"]', ""], ["b", "", '{"n": 1}']]
    assert cells.places == ["t.jsonl, line 1", "t.jsonl, line 3"]
    with pytest.raises(ValueError, match=r"t\.jsonl, line 2: expected a JSON object, found an error"):
        read(tmp_path / "t.jsonl", '{"image": "a"}\n{"image": ')
    with pytest.raises(ValueError, match=r"t\.jsonl, line 1: expected an object with the image"):
        read(tmp_path / "t.jsonl", '["a", "x"]\n')
