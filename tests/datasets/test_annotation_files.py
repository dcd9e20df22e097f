from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
from fabricate import tag_names, write_photo

from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.source import find_source, open_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tag2mask.datasets.files import FileDataset

SHOWN = {"a": ["fox"], "b": ["hen", "fox"], "c": [], "d": ["hen"]}
TAGS = {name: sorted(tags) for name, tags in SHOWN.items()}


def write_xml(path: Path, tags: Sequence[str]) -> None:
    things = "".join(f"<object><name>{tag}</name><part><name>head</name></part></object>" for tag in tags)
    path.write_text(f"<annotation><filename>x.jpg</filename>{things}</annotation>")


def write_labelme(path: Path, tags: Sequence[str]) -> None:
    """The first tag as a flag that is set, the others as shapes."""
    flags = {tag: tag in tags[:1] for tag in ("fox", "hen")}
    shapes = [{"label": tag, "points": [[0, 0], [2, 2]], "shape_type": "rectangle"} for tag in tags[1:]]
    path.write_text(json.dumps({"version": "5.0", "flags": flags, "shapes": shapes, "imagePath": "x.jpg"}))


def write_yolo(path: Path, tags: Sequence[str]) -> None:
    path.write_text("".join(f"{['hen', 'fox'].index(tag)} 0.5 0.5 0.25 0.25\n" for tag in tags))


WRITERS = {".xml": write_xml, ".json": write_labelme, ".txt": write_yolo}


def write_set(root: Path, suffix: str, images: str, annotations: str, shown: Mapping[str, Sequence[str]]) -> Path:
    for place, (name, tags) in enumerate(shown.items()):
        write_photo(root / images / f"{name}.jpg", shade=10 + place)
        file = root / annotations / f"{name}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[suffix](file, tags)
    if suffix == ".txt":
        (root / "classes.txt").write_text("hen\nfox\n")
    return root


def tags_of(data: FileDataset) -> dict[str, list[str]]:
    return {name.rpartition("/")[2]: sorted(tag_names(data, name)) for name in (*data.names, *data.val_names)}


@pytest.mark.parametrize("suffix", sorted(WRITERS))
@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        (".", "."),
        ("images", "images"),
        ("images", "labels"),
        ("Images", "Annotations"),
        (".", "annotations"),
        ("pictures", "labels"),
        ("images/may", "labels/may"),
        ("images/may", "labels"),
        ("obj_train_data", "obj_train_data"),
    ],
)
def test_annotations_beside_or_in_a_folder(suffix: str, images: str, annotations: str, tmp_path: Path) -> None:
    source = find_source(write_set(tmp_path, suffix, images, annotations, SHOWN))
    data = open_source(source, strict=True)
    assert source.kind == "folder"
    assert set(data.class_names) == {"fox", "hen"}
    assert tags_of(data) == TAGS


@pytest.mark.parametrize("suffix", sorted(WRITERS))
@pytest.mark.parametrize(
    ("images", "annotations"),
    [("images/{}", "labels/{}"), ("{}/images", "{}/labels"), ("{}", "{}")],
)
def test_splits(suffix: str, images: str, annotations: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split, names in (("train", "ab"), ("valid", "c"), ("test", "d")):
        shown = {name: SHOWN[name] for name in names}
        write_set(tmp_path, suffix, images.format(split), annotations.format(split), shown)
    with caplog.at_level(logging.WARNING):
        data = open_folder(tmp_path, strict=True)
    assert [name.rpartition("/")[2] for name in data.names] == ["a", "b"]
    assert [name.rpartition("/")[2] for name in data.val_names] == ["c"]
    assert tags_of(data) == {name: TAGS[name] for name in "abc"}
    assert "left alone: 1 images of the folder of test images" in caplog.text


def test_images_without_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for suffix, said in ((".xml", "1 images have no tags: e"), (".txt", "1 images have no file of YOLO and count as")):
        root = write_set(tmp_path / suffix, suffix, "images", "labels", SHOWN)
        write_photo(root / "images" / "e.jpg", shade=99)
        with caplog.at_level(logging.WARNING):
            data = open_folder(root)
        assert said in caplog.text
        assert tags_of(data) == (TAGS | {"e": []} if suffix == ".txt" else TAGS)
        caplog.clear()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("obj.names", "hen\nfox\n"),
        ("labels/classes.txt", "hen\nfox\n"),
        ("_darknet.labels", "hen\nfox\n"),
        ("data.yaml", "train: ../train/images\nnc: 2\nnames: ['hen', 'fox']\n"),
        ("set.yml", "names:\n  0: hen\n  1: fox\n  4: yak\n"),
    ],
)
def test_names_of_the_numbers(file: str, text: str, tmp_path: Path) -> None:
    write_set(tmp_path, ".txt", "images", "labels", SHOWN)
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "conf.yaml").write_text("path: here\n")
    (tmp_path / file).write_text(text)
    assert tags_of(open_folder(tmp_path, strict=True)) == TAGS


def test_numbers_without_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_set(tmp_path, ".txt", "images", "labels", SHOWN)
    (tmp_path / "classes.txt").unlink()
    with caplog.at_level(logging.WARNING):
        data = open_folder(tmp_path, strict=True)
    assert data.class_names == ("0", "1")
    assert tags_of(data)["b"] == ["0", "1"]
    assert "the classes are called 0, 1 and so on. Write their names into classes.txt" in caplog.text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"labels/a.txt": "2 0 0 1 1\n"}, r"a\.txt: expected a class 0\.\.1 of .*classes\.txt, found 2"),
        ({"labels/a.txt": "0 0 0 1 1\nfox\n"}, r"a\.txt, line 2: expected a class number and x y width height"),
        ({"labels/a.txt": "0.5 0 0 1 1\n"}, r"a\.txt, line 1: expected a class number"),
        ({"labels/a.txt": "-1 0 0 1 1\n"}, r"a\.txt, line 1: expected a class number"),
        ({"classes.txt": None, "x.yaml": "names: ["}, r"x\.yaml: expected YAML with names, found an error"),
        ({"classes.txt": None, "x.yaml": "names: {0: hen, 2: fox}"}, r"expected a class 0\.\.2 of .*x\.yaml, found 1"),
    ],
)
def test_damaged_files_of_yolo(files: Mapping[str, str | None], message: str, tmp_path: Path) -> None:
    write_set(tmp_path, ".txt", "images", "labels", SHOWN)
    for name, text in files.items():
        if text is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "text", "message"),
    [
        (".xml", "<annotation><object>", r"a\.xml: expected an XML annotation, found an error"),
        (".xml", "<annotation><object/></annotation>", r"a\.xml: expected a name of every object"),
        (".json", "{", r"a\.json: expected JSON of LabelMe, found an error"),
        (".json", "[]", r"a\.json: expected JSON of LabelMe, found list"),
        (".json", '{"flags": [1]}', r"a\.json: expected flags and shapes of LabelMe"),
        (".json", '{"shapes": [{"points": []}]}', r"a\.json: expected a label of every shape"),
    ],
)
def test_damaged_annotations(suffix: str, text: str, message: str, tmp_path: Path) -> None:
    write_set(tmp_path, suffix, ".", ".", SHOWN)
    (tmp_path / f"a{suffix}").write_text(text)
    with pytest.raises(ValueError, match=message):
        open_folder(tmp_path)


@pytest.mark.parametrize("text", ["A photo of a fox.", "0 1", '{"views": 3}', "<note/>"])
def test_other_files_beside_the_images_change_nothing(text: str, tmp_path: Path) -> None:
    for place, name in enumerate(("fox/a", "hen/b")):
        write_photo(tmp_path / f"{name}.jpg", shade=10 + place)
        for suffix in WRITERS:
            (tmp_path / f"{name}{suffix}").write_text(text)
    data = open_folder(tmp_path, strict=True)
    assert [tag_names(data, name) for name in data.names] == [["fox"], ["hen"]]


def test_annotations_of_few_images_change_nothing(tmp_path: Path) -> None:
    for place, name in enumerate(("fox/a", "fox/b", "fox/c", "hen/d", "hen/e")):
        write_photo(tmp_path / f"{name}.jpg", shade=10 + place)
    write_xml(tmp_path / "fox" / "a.xml", ["yak"])
    write_xml(tmp_path / "hen" / "d.xml", ["yak"])
    assert open_folder(tmp_path).class_names == ("fox", "hen")


def test_a_table_says_more(tmp_path: Path) -> None:
    write_set(tmp_path, ".xml", "images", "labels", SHOWN)
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,yak\nb.jpg,\n")
    assert open_folder(tmp_path).class_names == ("yak",)


def test_background_is_no_class(tmp_path: Path) -> None:
    write_set(
        tmp_path, ".xml", ".", ".", {"a": ["fox"], "b": ["_background_", "__ignore__"], "c": ["background", "fox"]}
    )
    data = open_folder(tmp_path, strict=True)
    assert data.class_names == ("fox",)
    assert tags_of(data) == {"a": ["fox"], "b": [], "c": ["fox"]}


@pytest.mark.parametrize(("suffix", "told"), [(".xml", ".xml files"), (".txt", ".txt files")])
def test_what_told_the_tags(suffix: str, told: str, tmp_path: Path) -> None:
    write_set(tmp_path, suffix, "images", "labels", SHOWN)
    write_photo(tmp_path / "images" / "x, y.jpg", shade=77)
    WRITERS[suffix](tmp_path / "labels" / f"x, y{suffix}", ["hen"])
    assert open_folder(tmp_path).tags_from == told
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,hen\nb.jpg,\n")
    assert open_folder(tmp_path).tags_from == "tags.csv"


def test_lists_with_folders_in_front(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in "ab":
        write_photo(tmp_path / "obj_train_data" / f"{name}.jpg", shade=ord(name))
        write_yolo(tmp_path / "obj_train_data" / f"{name}.txt", ["hen"] if name == "a" else [])
    (tmp_path / "obj.names").write_text("hen\nfox\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.jpg\n")
    (tmp_path / "val.txt").write_text("data/obj_train_data/b.jpg\n")
    with caplog.at_level(logging.WARNING):
        data = open_folder(tmp_path, strict=True)
    assert (data.names, data.val_names) == (("obj_train_data/a",), ("obj_train_data/b",))
    assert "train.txt: every line names its image below data/" in caplog.text
    (tmp_path / "train.txt").write_text("data/obj_train_data/x.jpg\n")
    with pytest.raises(ValueError, match="at least one whole image"):
        open_folder(tmp_path)
