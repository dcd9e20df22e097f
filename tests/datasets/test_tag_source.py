from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from tag2mask.datasets.image_calls import ImageCalls
from tag2mask.datasets.tag_source import has_own_table, other_text, rows_beside, tables_beside
from tag2mask.sources import TagReading

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.datasets.tag_row import TagRow

NAMES = ("a", "b", "farm/c", "zoo/c")


def rows_of(
    root: Path, text: str, *, name: str = "tags.csv", names: tuple[str, ...] = NAMES, elsewhere: bool = False
) -> list[TagRow] | None:
    """The rows of a table beside images in ``images/``; the images themselves are never looked at."""
    (root / "images").mkdir(exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    calls = ImageCalls(root, root / "images", {one: root / "images" / f"{one}.jpg" for one in names})
    rows = rows_beside(calls, None, TagReading(), told_elsewhere=lambda: elsewhere)
    if rows is None:
        return None
    # Every row that means an image has a call that finds it.
    return [
        row if len(calls.fitting(row.image)) != 1 else replace_image(row, calls.fitting(row.image)[0]) for row in rows
    ]


def replace_image(row: TagRow, name: str) -> TagRow:
    return type(row)(name, row.tags, row.place)


def images_of(rows: list[TagRow] | None) -> list[str]:
    assert rows is not None
    return [row.image for row in rows]


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("", ""),
        ("images/", ""),
        ("old/set/", "below old/set/, which is not there"),
        ("old/images/", "below old/, which is not there"),
        ("C:\\Users\\me\\", "below C:/Users/me/"),
        ("https://pictures.example/x/", "below https://pictures.example/x/"),
    ],
)
def test_folders_before_all_names(before: str, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = rows_of(tmp_path, "image,tags\n" + "".join(f"{before}{name}.jpg,cow\n" for name in ("a", "farm/c", "gone")))
    assert images_of(rows)[:2] == ["a", "farm/c"]
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)


def test_a_folder_before_some_names_only_stays(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "image,tags\na.jpg,cow\nother/b.jpg,yak\n")
    assert images_of(rows) == ["a", "other/b.jpg"]


def test_the_whole_path_and_other_letters(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, f"image,tags\n{tmp_path}/images/farm/c.jpg,cow\nB.JPG,yak\n")
    assert images_of(rows) == ["farm/c", "b"]


@pytest.mark.parametrize(
    "place", ["/data/upload/3/", "/data/upload/", "data/local-files/?d=images/", "http://here:80/data/upload/7/", ""]
)
def test_what_an_upload_puts_before_names(place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = rows_of(tmp_path, f"image,id,choice\n{place}0f3a9c71-a.jpg,5,cow\n{place}b7777777-b.jpg,6,yak\n")
    assert images_of(rows) == ["a", "b"]
    assert "2 rows name uploaded files" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x.jpg,cow\ny.jpg,yak\n", r"none of 2 rows names an image: the first says 'x.jpg', but no image is called so; "
         r"images are called a.jpg, b.jpg, farm/c.jpg and so on\. Correct the column of images, or name another"),
        ("c.jpg,cow\n", r"the first says 'c.jpg', but 2 images are called so: farm/c, zoo/c; images"),
    ],
)  # fmt: skip
def test_no_row_names_an_image(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        rows_of(tmp_path, f"image,tags\n{text}")


def test_a_row_for_each_image_and_tag(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = rows_of(tmp_path, "image,tags\na,cow\nb,\na.jpg,yak\na,cow\nfarm/c,yak\nfarm/c,yak\ngone,cow\n")
    assert rows is not None
    assert {row.image: row.tags for row in rows} == {"a": ("cow", "yak"), "b": (), "farm/c": ("yak",), "gone": ("cow",)}
    assert rows[0].place == "tags.csv, line 2 and 2 more"
    assert "7 rows joined to 4 images, 1 of them with several tags, as a." in caplog.text


def test_an_image_with_and_without_a_tag_is_not_joined(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "image,tags\na,cow\na,yak\nb,cow\nb,\n")
    assert rows is not None
    assert [(row.image, row.tags) for row in rows] == [("a", ("cow", "yak")), ("b", ("cow",)), ("b", ())]


@pytest.mark.parametrize("text", ["a,cow\na,\n", "a,cow yak\na,cow\n", "a,cow\na,cow\n"])
def test_rows_that_are_not_joined(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert images_of(rows_of(tmp_path, f"image,tags\n{text}")) == ["a", "a"]
    assert "joined" not in caplog.text


@pytest.mark.parametrize(
    "name", ["labels.csv", "Metadata.CSV", "train.tsv", "whatever.csv", "images/metadata.csv", "labels.jsonl"]
)
def test_one_table_of_another_name(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "images").mkdir()
    for no_table in ("classes.csv", ".labels.csv", "~$labels.xlsx", "instances.json", "sample_submission.csv"):
        (tmp_path / no_table).write_text("")
    text = json.dumps({"image": "a", "tags": ["cow"]}) if name.endswith("l") else "image\ttags\na\tcow\n"
    assert images_of(rows_of(tmp_path, text, name=name)) == ["a"]
    assert f"the tags are from {name}." in caplog.text


def test_several_tables(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text("image,tags\na,cow\n")
    with pytest.raises(ValueError, match=r"found a\.csv and b\.csv\. Call the one with the tags tags\.csv"):
        rows_of(tmp_path, "image,tags\nb,cow\n", name="b.csv")
    assert rows_of(tmp_path, "image,tags\nb,cow\n", name="b.csv", elsewhere=True) is None
    assert "passed over: a.csv, b.csv" in caplog.text
    assert not has_own_table(tmp_path)
    assert images_of(rows_of(tmp_path, "image,tags\nb,yak\n", name="Tags.csv")) == ["b"]
    assert has_own_table(tmp_path)
    with pytest.raises(ValueError, match=r"found Tags\.csv and tags\.jsonl\. Remove all but one"):
        rows_of(tmp_path, '{"image": "b", "tags": []}', name="tags.jsonl")


def test_a_table_of_something_else_beside_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert rows_of(tmp_path, "who,when\nme,now\n", name="notes.csv", elsewhere=True) is None
    assert "notes.csv: passed over: it is read as no table of tags (expected a first line" in caplog.text
    with pytest.raises(ValueError, match="expected a first line"):
        rows_of(tmp_path, "who,when\nme,now\n", name="notes.csv")


def test_a_table_in_each_folder(tmp_path: Path) -> None:
    for folder, name in (("train", "a"), ("test", "b")):
        (tmp_path / folder).mkdir()
        line = json.dumps({"file_name": f"{name}.jpg", "label": folder})
        (tmp_path / folder / "metadata.jsonl").write_text(line + "\n")
    paths = {"train/a": tmp_path / "train" / "a.jpg", "test/b": tmp_path / "test" / "b.jpg"}
    rows = rows_beside(ImageCalls(tmp_path, tmp_path, paths), None, TagReading(), told_elsewhere=bool)
    assert rows is not None
    assert [(row.image, row.tags) for row in rows] == [("test/b.jpg", ("test",)), ("train/a.jpg", ("train",))]
    assert len(tables_beside(tmp_path, tmp_path)) == 2


def test_a_text_that_is_no_table(tmp_path: Path) -> None:
    assert other_text(tmp_path) == ""
    (tmp_path / "labels.txt").write_text("a cow\n")
    assert other_text(tmp_path) == ", but labels.txt, which is no table"


@pytest.mark.parametrize("name", ["No Finding", "No_Finding", "no-finding", "NoFinding"])
@pytest.mark.parametrize("text", ["image,cow,{}\na,1,0\nb,0,1\n", "image,tags\na,cow;\nb,{}\n"])
def test_a_column_or_tag_of_no_finding_is_doubted(
    text: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows_of(tmp_path, text.format(name))
    assert f"1 rows have the tag {name!r}, never beside another one" in caplog.text
