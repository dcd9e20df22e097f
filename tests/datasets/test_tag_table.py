from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from tag2mask.datasets.tag_table import read_classes, read_names, read_tag_table
from tag2mask.sources import TagReading

if TYPE_CHECKING:
    from pathlib import Path

Tags = dict[str, tuple[str, ...]]

EXPECTED: Tags = {"a.jpg": ("cow",), "b.jpg": ("cow", "yak"), "c.jpg": ()}
ROWS = [("a.jpg", "cow"), ("b.jpg", "cow;yak"), ("c.jpg", "")]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def tags_of(path: Path, known: tuple[str, ...] | None = None, reading: TagReading | None = None) -> Tags:
    return {row.image: row.tags for row in read_tag_table(path, known, reading or TagReading())}


@pytest.mark.parametrize(
    "header",
    ["image,tags", "filename,labels", " File_Name ,Label", '"IMAGE","Class"', "img_path,category",
     "Image Index,Finding Labels", "image_id,classes", "path,choice", "name,tag", "id,label"],
)  # fmt: skip
def test_columns_under_their_usual_names(header: str, tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "\n".join([header, *(",".join(row) for row in ROWS)]))
    assert tags_of(table) == EXPECTED


def test_columns_that_a_person_names(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "photo no,image,tags,animals\n" + "".join(f"{a},x,y,{t}\n" for a, t in ROWS))
    assert tags_of(table, reading=TagReading("Photo No", "animals")) == EXPECTED
    with pytest.raises(ValueError, match=r"expected a column 'beasts' \(--tag-column\), found photo no, image"):
        tags_of(table, reading=TagReading("photo no", "beasts"))


def test_the_column_that_names_images_goes_before_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = write(tmp_path / "t.csv", "image,file,tags\n17,a.jpg,cow\n18,b.jpg,yak\n")
    rows = read_tag_table(table, fits=lambda cell: cell in EXPECTED)
    assert [row.image for row in rows] == ["a.jpg", "b.jpg"]
    assert "images are in column 'file'; image is passed over" in caplog.text
    assert [row.image for row in read_tag_table(table)] == ["17", "18"]


@pytest.mark.parametrize(
    ("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("yes", "no"), ("TRUE", ""), ("x", "")]
)
def test_one_column_per_class(yes: str, no: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ["image,width,cow, polar bear ,yak,fold,by"]
    shown = {"a.jpg": ("cow",), "b.jpg": ("polar bear", "yak"), "c.jpg": ()}
    for image, tags in shown.items():
        flags = ",".join(yes if name in tags else no for name in ("cow", "polar bear", "yak"))
        lines.append(f"{image},640,{flags},1,me")
    assert tags_of(write(tmp_path / "t.csv", "\n".join(lines))) == shown
    assert "one column per class (3): cow, polar bear, yak; no class, passed over: width, fold, by" in caplog.text


def test_one_column_per_class_in_other_files(tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": list(EXPECTED), "cow": [True, True, False], "yak": [False, True, False]})
    frame.to_excel(tmp_path / "t.xlsx", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    for suffix in ("xlsx", "parquet", "jsonl"):
        assert tags_of(tmp_path / f"t.{suffix}") == EXPECTED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,cow,yak\na,1,0\nb,0,-1\nc,1,1\n", r"t\.csv, line 3: expected 0 or 1 in column 'yak', found '-1'"),
        ("image,cow,yak\na.jpg,1,0\nb.jpg,0,1,1\n", r"line 3: expected 3 columns, found 4"),
        ("image,tags\na.jpg,1,0\nb.jpg,0,1\n", r"line 2: expected tags, found 0 and 1 in 2 columns.*image,cat,dog"),
        ("image,tags\na.jpg,True,False\nb.jpg,False,True\n", r"line 2: expected tags, found 0 and 1 in 2 columns"),
        ("image,sort,age\na.jpg,cow,9\n", "or a column of 0 and 1 for each class, found image, sort, age"),
        ("foto,was\na.jpg,cow\n", "found 'foto,was'.*--image-column"),
        ("a.jpg,cow\nb.jpg,yak\n", "This looks like a row of the table"),
        ("image,tags\n", "expected a row for each image"),
        ("image,tags,by\na.jpg,cow,yak,me\n", "line 2: expected 3 columns, found 4. Put the tags into quotes"),
        ("image,tags\na.jpg,cow\nb.jpg,\"'yak'\"\n", r"line 3: expected the name of a class, found \"'yak'\""),
        ("image,tags\na.jpg,cow\nb.jpg,array(['yak'])\n", "line 3: expected the name of a class"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        tags_of(write(tmp_path / "t.csv", text))


def test_the_index_of_pandas_may_name_the_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"cow": [1, 1, 0], "yak": [0, 1, 0]}, index=list(EXPECTED))
    frame.to_csv(tmp_path / "t.csv")
    rows = read_tag_table(tmp_path / "t.csv", fits=lambda cell: cell in EXPECTED)
    assert {row.image: row.tags for row in rows} == EXPECTED
    assert "images are in the first column, which has no name" in caplog.text
    with pytest.raises(ValueError, match="expected a first line that names the columns"):
        read_tag_table(tmp_path / "t.csv", fits=lambda _: False)


def test_tags_in_several_columns(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "image,tag1,tag2\na.jpg,cow,\nb.jpg,polar bear,yak\nc.jpg,,\n")
    assert tags_of(table) == {"a.jpg": ("cow",), "b.jpg": ("polar bear", "yak"), "c.jpg": ()}


def test_numbers_as_tags_stay_text(tmp_path: Path) -> None:
    assert tags_of(write(tmp_path / "t.csv", "image,tags\na,007\nb,7;1e3\n")) == {"a": ("007",), "b": ("7", "1e3")}


@pytest.mark.parametrize(
    "content",
    [
        {"a.jpg": ["cow"], "b.jpg": ["cow", "yak"], "c.jpg": []},
        {"a.jpg": "cow", "b.jpg": ["cow", "yak"], "c.jpg": []},
        [
            {"image": "a.jpg", "tags": "cow"},
            {"image": "b.jpg", "tags": ["cow", "yak"]},
            {"image": "c.jpg", "tags": None},
        ],
        {"image": {"0": "a.jpg", "1": "b.jpg", "2": "c.jpg"}, "tags": {"0": ["cow"], "1": ["cow", "yak"], "2": []}},
    ],
)
def test_json(content: object, tmp_path: Path) -> None:
    assert tags_of(write(tmp_path / "tags.json", json.dumps(content))) == EXPECTED


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize("count", [1, 2])
def test_json_lines(suffix: str, count: int, tmp_path: Path) -> None:
    lines = [json.dumps({"file_name": image, "labels": tags}) for image, tags in EXPECTED.items()][:count]
    found = tags_of(write(tmp_path / f"metadata.{suffix}", "\n".join(lines) + "\n"))
    assert found == dict(list(EXPECTED.items())[:count])


def test_a_string_in_json_is_one_name(tmp_path: Path) -> None:
    assert tags_of(write(tmp_path / "tags.json", '{"a": "polar bear", "b": ["yak"]}'))["a"] == ("polar bear",)
    numbers = write(tmp_path / "tags.json", '{"a": [1], "b": [0, 1], "c": []}')
    assert tags_of(numbers, ("cow", "yak")) == {"a": ("yak",), "b": ("cow", "yak"), "c": ()}


def test_spaces_that_may_belong_to_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    cells = ["polar bear"] * 3 + ["brown cow", "cow", "cow brown yak"]
    table = write(tmp_path / "t.csv", "image,tags\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells)))
    assert tags_of(table)["0"] == ("polar", "bear")
    assert "'polar bear' into polar, bear" in caplog.text
    caplog.clear()
    assert tags_of(table, ("polar bear", "cow", "brown", "yak", "brown cow", "cow brown yak"))["0"] == ("polar bear",)
    assert not caplog.text
    tags_of(write(table, "image,tags\n1,cow yak\n2,cow yak\n3,cow yak\n4,cow\n5,yak\n"))
    assert not caplog.text


def test_lists_and_classes_of_windows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "classes.txt").write_bytes("M\u00f6we\r\npolar  bear\r\n".encode("cp1252"))
    assert read_classes(tmp_path / "classes.txt") == ("M\u00f6we", "polar bear")
    assert "cp1252" in caplog.text
    (tmp_path / "val.txt").write_text("a b.jpg\n\n c\n", encoding="utf-16")
    assert read_names(tmp_path / "val.txt") == ["a b.jpg", "c"]
    with pytest.raises(ValueError, match="expected a text file"):
        read_names(tmp_path / "gone.txt")


@pytest.mark.parametrize("text", ["cat, dog\n", "cat;dog", "cat | dog\n\n"])
def test_classes_in_a_single_line_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"classes\.txt: expected one class per line, .* each of its 2 names"):
        read_classes(write(tmp_path / "classes.txt", text))


@pytest.mark.parametrize("text", ["0 cat\n1 dog\n", "1: cat\n2: polar bear", "0,cat\n1,dog", "1. cat\n2. dog", "0 cat"])
def test_numbers_before_classes_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"classes\.txt: expected class names, found numbers .* Remove the numbers"):
        read_classes(write(tmp_path / "classes.txt", text))


@pytest.mark.parametrize(
    "text", ["tench, fish\ncow", "1 euro\n2 euro", "7 up\ncow", "2 cats\n3 dogs", "0\n1", "3d print\n4 wheels", "cat,"]
)
def test_classes_with_commas_and_numbers_may_be_names(text: str, tmp_path: Path) -> None:
    assert read_classes(write(tmp_path / "classes.txt", text)) == tuple(text.split("\n"))
