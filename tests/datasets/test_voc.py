from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fabricate import (
    square,
    tag_names,
    write_indexed,
    write_voc,
)

from tag2mask.datasets.voc import VOC_CLASSES, open_voc, voc_splits

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
    annotation.write_text("<annotation><object><name>unicorn</name></object></annotation>")
    with pytest.raises(ValueError, match=r"2007_1\.xml: expected the 20 VOC classes, found 'unicorn'"):
        open_voc(tmp_path)
    annotation.write_text("<annotation>")
    with pytest.raises(ValueError, match="expected an XML annotation"):
        open_voc(tmp_path)
