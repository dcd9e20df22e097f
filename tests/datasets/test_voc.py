from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fabricate import (
    square,
    tag_names,
    write_indexed,
    write_photo,
    write_voc,
)

from tag2mask.datasets.source import find_source, open_source
from tag2mask.datasets.voc import open_voc
from tag2mask.datasets.voc_folder import VOC_CLASSES, voc_splits

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset


VOC = {"2007_1": ["cow", "person", "cow"], "2007_2": ["aeroplane"], "2007_3": []}


@pytest.mark.parametrize("below", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc(below: str, tmp_path: Path) -> None:
    write_voc(tmp_path, VOC, {"train": ["2007_1", "2007_3"], "val": ["2007_2"]})
    data: TagDataset = open_voc(tmp_path / below, val_split="val", strict=True)
    assert data.class_names == VOC_CLASSES
    assert (data.names, data.val_names) == (("2007_1", "2007_3"), ("2007_2",))
    assert [tag_names(data, name) for name in data.names] == [["cow", "person"], []]
    mask = data.mask("2007_2")
    assert mask is not None
    assert np.array_equal(mask.numpy(), square(2))
    assert data["2007_1"].image_size == (6, 8)
    assert data.has_masks()


def test_voc_lists_with_more_on_a_line(tmp_path: Path) -> None:
    lines = ["/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png", "2007_2 1"]
    write_voc(tmp_path, VOC, {"train_aug": lines})
    assert open_voc(tmp_path, "train_aug").names == ("2007_1", "2007_2")


PAIRS = [
    "/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png",
    "/JPEGImages/2007_3.jpg /SegmentationClassAug/x.png",
]


def masked(data: TagDataset, name: str) -> int | None:
    """The label in the corner of a mask; None if there is no mask."""
    mask = data.mask(name)
    return None if mask is None else int(mask[0, 0])


@pytest.mark.parametrize("called", ["trainaug", "train_aug", "a path"])
@pytest.mark.parametrize("lines", [["2007_1", "2007_3"], PAIRS])
@pytest.mark.parametrize("spelling", ["trainaug", "train_aug"])
def test_trainaug_in_every_layout(called: str, lines: list[str], spelling: str, tmp_path: Path) -> None:
    write_voc(tmp_path, VOC, {"train": ["2007_1"], "val": ["2007_2"], spelling: lines})
    year = tmp_path / "VOCdevkit" / "VOC2012"
    if called == "a path":
        lists = year / "ImageSets" / "Segmentation"
        called = str((lists / f"{spelling}.txt").rename(tmp_path / f"{spelling}.txt"))
        assert voc_splits(tmp_path) == ("train", "val")
    else:
        assert voc_splits(tmp_path) == tuple(sorted(["train", "val", spelling]))
    (year / "SegmentationClass" / "2007_3.png").unlink()
    for name in ("2007_1", "2007_2", "2007_3"):
        write_indexed(year / "SegmentationClassAug" / f"{name}.png", square(9))
    data = open_voc(tmp_path, called, val_split="val", strict=True)
    assert (data.names, data.val_names) == (("2007_1", "2007_3"), ("2007_2",))
    assert [masked(data, name) for name in (*data.names, *data.val_names)] == [9, 9, 2], "VOC's own mask for val"
    assert masked(open_voc(tmp_path, "train"), "2007_1") == 1, "VOC's own mask for train"


def test_trainaug_without_masks_of_sbd_has_those_of_train(tmp_path: Path) -> None:
    write_voc(tmp_path, VOC, {"train": ["2007_1"], "trainaug": ["2007_1", "2007_3"]})
    (tmp_path / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "2007_3.png").unlink()
    data = open_voc(tmp_path, "trainaug")
    assert [masked(data, name) for name in data.names] == [1, None]


@pytest.mark.parametrize("numbers", [False, True])
def test_tags_of_the_authors_file(numbers: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ("2007_000027", "2007_000032", "2012_004331", "2008_000001")
    write_voc(tmp_path, {name: ["cow"] for name in names}, {"train": names[:3], "val": names[3:]})
    rows = np.zeros((3, 20), np.float32)
    rows[0, 14] = rows[1, [0, 14]] = rows[2, 19] = 1
    listed = ("2007_000027", "2007_000032", "2008_000001")
    held = {int(name.replace("_", "")) if numbers else name: row for name, row in zip(listed, rows, strict=True)}
    np.save(tmp_path / "cls_labels.npy", held)  # type: ignore[arg-type]
    (tmp_path / "VOCdevkit" / "VOC2012" / "Annotations" / "2007_000027.xml").unlink()
    with caplog.at_level(logging.WARNING):
        data = open_voc(tmp_path, val_split="val", tags_file=tmp_path / "cls_labels.npy")
    assert (data.names, data.val_names) == (names[:2], names[3:])
    assert [tag_names(data, name) for name in data.names] == [["person"], ["aeroplane", "person"]]
    assert tag_names(data, "2008_000001") == ["tvmonitor"]
    assert "1 training images have no tags: 2012_004331" in caplog.text
    with pytest.raises(ValueError, match="2012_004331"):
        open_voc(tmp_path, tags_file=tmp_path / "cls_labels.npy", strict=True)
    with pytest.raises(ValueError, match=r"cls\.npy: expected a file of tags"):
        open_voc(tmp_path, tags_file=tmp_path / "cls.npy")


def test_no_lists_of_another_folder(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert voc_splits(tmp_path) == ()


def test_voc_leaves_out_what_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_voc(tmp_path, VOC, {"train": ["2007_1", "2007_2", "2007_9"], "val": ["2007_3"]})
    year = tmp_path / "VOCdevkit" / "VOC2012"
    (year / "Annotations" / "2007_2.xml").unlink()
    (year / "Annotations" / "2007_3.xml").unlink()
    (year / "SegmentationClass" / "2007_1.png").unlink()
    with caplog.at_level(logging.WARNING):
        data = open_voc(tmp_path, val_split="val")
    assert (data.names, data.val_names) == (("2007_1",), ("2007_3",))
    assert tag_names(data, "2007_3") == []
    assert data.mask("2007_1") is None
    assert "1 images are missing: 2007_9" in caplog.text
    with pytest.raises(ValueError, match="2007_9"):
        open_voc(tmp_path, strict=True)


def test_voc_errors(tmp_path: Path) -> None:
    write_voc(tmp_path, VOC, {"train": ["2007_1"], "val": ["2007_1"], "none": ["x"]})
    with pytest.raises(ValueError, match="found none, train, val in"):
        open_voc(tmp_path, "test")
    with pytest.raises(ValueError, match=r"trainaug\.txt: expected a list.* give the path of one, such as"):
        open_voc(tmp_path, "trainaug")
    with pytest.raises(ValueError, match=r"gone\.txt: expected a text file"):
        open_voc(tmp_path, str(tmp_path / "gone.txt"))
    with pytest.raises(ValueError, match="share no image, found 1"):
        open_voc(tmp_path, val_split="val")
    with pytest.raises(ValueError, match="Unpack the whole archive"):
        open_voc(tmp_path, "none")
    with pytest.raises(ValueError, match="expected the folder VOCdevkit"):
        open_voc(tmp_path / "VOCdevkit" / "VOC2012" / "JPEGImages")
    annotation = tmp_path / "VOCdevkit" / "VOC2012" / "Annotations" / "2007_1.xml"
    for text, message in (
        ("<annotation>", "expected an XML annotation, found an error"),
        ("<html></html>", "expected an XML annotation, found <html>"),
        ("<annotation><object></object></annotation>", "expected a name of every object"),
    ):
        annotation.write_text(text)
        with pytest.raises(ValueError, match=message):
            open_voc(tmp_path)


OWN = {"a": ["tabby"], "b": ["poodle", "tabby"], "c": [], "d": ["poodle"]}


def test_own_classes_are_those_of_the_annotations(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_voc(tmp_path, OWN, {"train": ["a", "b", "c"], "val": ["d"]})
    with caplog.at_level(logging.WARNING):
        data = open_voc(tmp_path, val_split="val", strict=True)
    assert data.class_names == ("poodle", "tabby")
    assert [tag_names(data, name) for name in data.names] == [["tabby"], ["poodle", "tabby"], []]
    assert "poodle, tabby: none of the 20 VOC classes, so the classes are the 2 that" in caplog.text


@pytest.mark.parametrize("place", ["VOCdevkit", "VOCdevkit/VOC2012"])
@pytest.mark.parametrize("called", ["classes.txt", "class_names.txt"])
def test_own_classes_of_a_list(called: str, place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_voc(tmp_path, OWN, {"train": ["a", "b", "c"]})
    first = "__ignore__\n_background_\n" if called == "class_names.txt" else ""
    (tmp_path / place / called).write_text(f"{first}tabby\nyak\npoodle\n")
    with caplog.at_level(logging.WARNING):
        data = open_voc(tmp_path, strict=True)
    assert data.class_names == ("tabby", "yak", "poodle")
    assert tag_names(data, "b") == ["tabby", "poodle"]
    assert not caplog.text
    (tmp_path / place / called).write_text("tabby\n")
    with pytest.raises(ValueError, match=rf"b\.xml: expected the classes of .*{called}, found 'poodle'"):
        open_voc(tmp_path)


@pytest.mark.parametrize("namespace", ["", ' xmlns="urn:x"'])
def test_annotations_as_tools_write_them(namespace: str, tmp_path: Path) -> None:
    write_voc(tmp_path, VOC, {"train": ["2007_1", "2007_2"]})
    (tmp_path / "VOCdevkit" / "VOC2012" / "Annotations" / "2007_2.xml").write_text(
        f'<?xml version="1.0"?><!-- drawn --><annotation{namespace} verified="yes"><size><depth>3</depth></size>'
        "<object><pose/><name> cat\n</name></object></annotation>"
    )
    assert tag_names(open_voc(tmp_path, strict=True), "2007_2") == ["cat"]


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg", ".bmp"])
def test_images_of_other_suffixes(suffix: str, tmp_path: Path) -> None:
    write_voc(tmp_path, VOC, {"train": [f"2007_1{suffix}", "2007_2"], "val": ["2007_3"]})
    folder = tmp_path / "VOCdevkit" / "VOC2012" / "JPEGImages"
    for file in list(folder.iterdir()):
        write_photo(file.with_suffix(suffix))
        file.unlink()
    data = open_voc(tmp_path, val_split="val", strict=True)
    assert (data.names, data.val_names) == (("2007_1", "2007_2"), ("2007_3",))
    write_photo(folder / "2007_1.jpg", (3, 3))
    assert open_voc(tmp_path)["2007_1"].image_size == (3, 3), "Of two with one name, the JPEG"


def test_no_image_says_what_was_looked_for(tmp_path: Path) -> None:
    write_voc(tmp_path, VOC, {"train": ["x", "y"]})
    with pytest.raises(ValueError, match="found none of 2: 2 are not in JPEGImages with any suffix of an image, 2"):
        open_voc(tmp_path)


def test_names_with_dots_and_spaces(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a.v1": ["cow"], "b 1": ["cat"]}, {"train": ["a.v1", "b 1", "b 1 -1"]})
    assert open_voc(tmp_path).names == ("a.v1", "b 1")


def test_lists_of_detection_sets(tmp_path: Path) -> None:
    write_voc(tmp_path, VOC, {"train": ["2007_1"], "val": ["2007_2"], "trainval": ["2007_1", "2007_2"]})
    sets = tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets"
    (sets / "Segmentation").rename(sets / "Main")
    (sets / "Main" / "cow_train.txt").write_text("2007_1  1\n")
    assert voc_splits(tmp_path) == ("train", "trainval", "val")
    source = find_source(tmp_path)
    assert (source.kind, source.split, source.val_split) == ("voc", "train", "val")
    data = open_source(source, strict=True)
    assert (data.names, data.val_names) == (("2007_1",), ("2007_2",))
    (sets / "Main").rename(sets / "Segmentation")
    (sets / "Main").mkdir()
    (sets / "Main" / "other.txt").write_text("2007_3\n")
    assert "other" not in voc_splits(tmp_path), "The lists for segmentation come first"


def test_without_lists_all_images_count(tmp_path: Path) -> None:
    write_voc(tmp_path, VOC, {"train": []})
    year = tmp_path / "VOCdevkit" / "VOC2012"
    (year / "ImageSets" / "Segmentation" / "train.txt").unlink()
    source = find_source(year)
    assert (source.kind, source.split, source.val_split) == ("voc", "all", None)
    assert open_source(source, strict=True).names == ("2007_1", "2007_2", "2007_3")
    (year / "Annotations" / "2007_2.xml").unlink()
    assert open_source(source).names == ("2007_1", "2007_3")
    for name in ("2007_1", "2007_3"):
        (year / "Annotations" / f"{name}.xml").unlink()
    with pytest.raises(ValueError, match=r"lists of images in ImageSets/Segmentation .* neither beside 3 images"):
        open_source(source)


def test_a_folder_within_a_folder_of_the_year(tmp_path: Path) -> None:
    write_voc(tmp_path, VOC, {"train": ["2007_1"]})
    (tmp_path / "VOCdevkit").rename(tmp_path / "VOC2012_train_val")
    assert voc_splits(tmp_path) == ("train",)


def test_what_told_the_tags(tmp_path: Path) -> None:
    write_voc(tmp_path, VOC, {"train": ["2007_1"], "val": ["2007_2"]})
    assert open_voc(tmp_path).tags_from == "Annotations of PASCAL VOC, list train"
    assert open_voc(tmp_path, val_split="val").tags_from == "Annotations of PASCAL VOC, list train, held out val"
