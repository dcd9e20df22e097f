from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fabricate import (
    square,
    tag_names,
    write_voc,
)

from tag2mask.data.sources import VOC_CLASSES, open_voc

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.data.dataset import TagDataset


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
    assert data["2007_1"].size == (6, 8)
    assert data.has_masks()


def test_voc_lists_with_more_on_a_line(tmp_path: Path) -> None:
    lines = ["/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png", "2007_2 1"]
    write_voc(tmp_path, VOC, {"train_aug": lines})
    assert open_voc(tmp_path, "train_aug").names == ("2007_1", "2007_2")


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
