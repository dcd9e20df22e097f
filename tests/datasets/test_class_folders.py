from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fabricate import SIZE, tag_names, write_indexed, write_photo
from PIL import Image

from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.source import find_source, open_source

if TYPE_CHECKING:
    from pathlib import Path


def write_white(path: Path, *, size: tuple[int, int] = SIZE) -> Path:
    """A black and white mask whose upper two rows are the object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inside = np.zeros(size, np.uint8)
    inside[:2] = 255
    Image.fromarray(inside).save(path)
    return path


@pytest.mark.parametrize("held", ["val", "valid", "Validation"])
@pytest.mark.parametrize("top", [".", "images", "archive"])
def test_class_folders_below_splits(held: str, top: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for call in ("Train/cow/1", "Train/sheep/2", f"{held}/cow/3", "test/cow/4", "test/goat/5", "Train/background/6"):
        write_photo(tmp_path / top / f"{call}.png", shade=10 * int(call[-1]))
    with caplog.at_level(logging.WARNING):
        data = open_source(find_source(tmp_path), strict=True)
    assert data.class_names == ("cow", "sheep")
    assert [name.rpartition("/")[2] for name in (*data.names, *data.val_names)] == ["6", "1", "2", "3"]
    assert [tag_names(data, name) for name in data.names] == [[], ["cow"], ["sheep"]]
    assert [tag_names(data, name) for name in data.val_names] == [["cow"]]
    assert "left alone: 2 images of the folder of test images" in caplog.text


def test_training_folders_alone_hold_nothing_out(tmp_path: Path) -> None:
    write_photo(tmp_path / "train" / "cow" / "1.png")
    write_photo(tmp_path / "train" / "sheep" / "2.png")
    data = open_folder(tmp_path, strict=True)
    assert (data.names, data.val_names) == (("train/cow/1", "train/sheep/2"), ())


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        (["train/1", "car/2", "bus/3"], r"found both: train beside bus, car\. .* if train is a class, write .*classes"),
        (["train/cow/1", "test/cow/2", "more/3"], "found both: test, train beside more"),
        (["train/1", "test/2"], r"expected a folder per class in test, train, found images right in them"),
        (["test/cow/1", "val/cow/2"], r"expected a folder train .*found test, val\."),
        (["cow/train/1", "cow/test/2", "ox/train/3"], r"found train/ and test/ in those of classes: cow\. Turn them"),
        (["train/cow/1", "val/cow/2", "val/goat/3"], r"the classes of train \(cow\), found goat, too"),
        (
            ["a/train/good/1", "a/test/x/2", "b/train/good/3", "b/test/y/4"],
            r"found 2, each with train/ and .*: a, b",
        ),
    ],
)
def test_folders_that_contradict_each_other(calls: list[str], message: str, tmp_path: Path) -> None:
    for call in calls:
        write_photo(tmp_path / f"{call}.png")
    with pytest.raises(ValueError, match=message):
        open_folder(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for call in ("train/1", "car/2"):
        write_photo(tmp_path / f"{call}.png")
    (tmp_path / "classes.txt").write_text("car\ntrain\n")
    assert open_folder(tmp_path, strict=True).names == ("car/2", "train/1")


def test_a_table_says_more_than_folders_of_splits(tmp_path: Path) -> None:
    for call in ("train/1", "val/2"):
        write_photo(tmp_path / "images" / f"{call}.png")
    (tmp_path / "tags.csv").write_text("image,tags\ntrain/1.png,cow\nval/2.png,\n")
    assert open_folder(tmp_path).names == ("train/1", "val/2")


def test_equal_images_of_different_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for call in ("cow/1", "sheep/1", "cow/copy"):
        write_photo(tmp_path / f"{call}.png", shade=50)
    write_photo(tmp_path / "sheep" / "2.png", shade=90)
    with caplog.at_level(logging.WARNING):
        open_folder(tmp_path)
    assert "1 images lie in folders of different classes with the same bytes" in caplog.text
    assert "cow/1.png = cow/copy.png = sheep/1.png" in caplog.text


def test_equal_images_of_one_class_are_no_contradiction(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for call in ("cow/1", "cow/2"):
        write_photo(tmp_path / f"{call}.png", shade=50)
    write_photo(tmp_path / "sheep" / "3.png", shade=90)
    with caplog.at_level(logging.WARNING):
        open_folder(tmp_path)
    assert not caplog.text


@pytest.mark.parametrize("called", ["{}_mask.png", "{}.png", "{}/0.png"])
def test_a_set_for_inspection(called: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for call in ("train/good/0", "test/good/0", "test/dent/0", "test/scratch/1", "test/dent/9"):
        write_photo(tmp_path / "tile" / f"{call}.png")
    truth = tmp_path / "tile" / "ground_truth"
    write_white(truth / "dent" / called.format("0"))
    write_white(truth / "scratch" / called.format("1"))
    write_white(truth / "dent" / called.format("9"), size=(3, 4))
    with caplog.at_level(logging.WARNING):
        data = open_source(find_source(tmp_path / "tile"))
    assert data.class_names == ("dent", "scratch")
    assert data.names == ("test/dent/0", "test/dent/9", "test/good/0", "test/scratch/1", "train/good/0")
    assert data.val_names == ()
    assert [tag_names(data, name) for name in data.names] == [["dent"], ["dent"], [], ["scratch"], []]
    masks = [data.mask(name) for name in data.names]
    assert [None if mask is None else mask[:, 0].tolist() for mask in masks] == [
        [1, 1, 0, 0, 0, 0], None, None, [2, 2, 0, 0, 0, 0], None,
    ]  # fmt: skip
    assert "their size is not the image's: 1 (test/dent/9)" in caplog.text
    assert "passed over" not in caplog.text


def test_a_set_for_inspection_needs_no_masks(tmp_path: Path) -> None:
    for call in ("train/ok/0", "test/ok/0", "test/ko/0"):
        write_photo(tmp_path / f"{call}.bmp")
    data = open_folder(tmp_path, strict=True)
    assert data.class_names == ("ko",)
    assert not data.has_masks()


def test_masks_by_label_come_first(tmp_path: Path) -> None:
    for call in ("cow/1", "sheep/2"):
        write_photo(tmp_path / "images" / f"{call}.png")
        write_white(tmp_path / "images" / f"{call}_mask.png")
    labels = np.full(SIZE, 2)
    write_indexed(tmp_path / "masks" / "sheep" / "2.png", labels)
    data = open_folder(tmp_path)
    masks = [data.mask(name) for name in data.names]
    assert [None if mask is None else sorted(set(mask.flatten().tolist())) for mask in masks] == [[0, 1], [2]]


def test_a_share_of_the_training_folder_is_held_out(tmp_path: Path) -> None:
    for call in ("train/cow/1", "train/cow/2", "train/sheep/3", "train/sheep/4", "test/cow/5"):
        write_photo(tmp_path / f"{call}.png", shade=10 * int(call[-1]))
    data = open_folder(tmp_path, val_fraction=0.5)
    assert len(data.names) == len(data.val_names) == 2
    assert all(name.startswith("train/") for name in (*data.names, *data.val_names))
    write_photo(tmp_path / "val" / "cow" / "6.png", shade=60)
    assert open_folder(tmp_path, val_fraction=0.5).val_names == ("val/cow/6",)
