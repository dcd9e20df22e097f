from __future__ import annotations

import json
import logging
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fabricate import (
    SIZE,
    box_outline,
    tag_names,
    write_coco,
    write_photo,
)

from tag2mask.datasets.coco import open_coco
from tag2mask.datasets.coco_folder import coco_splits, open_coco_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset


def test_coco(tmp_path: Path) -> None:
    crowd = np.zeros((6, 8), np.uint8)
    crowd[4:, 4:] = 1
    counts, value = [0], 0
    for pixel in crowd.T.flatten().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    small = {"image_id": 1, "category_id": 7, "iscrowd": 0, "segmentation": box_outline(1, 1, 3, 3)}
    large = {"image_id": 1, "category_id": 3, "iscrowd": 0, "segmentation": box_outline(0, 0, 5, 5)}
    many = {"image_id": 1, "category_id": 3, "iscrowd": 1, "segmentation": {"size": [6, 8], "counts": counts}}
    path = write_coco(tmp_path, [small, large, many])
    data: TagDataset = open_coco(tmp_path / "train", path, strict=True)
    assert data.class_names == ("cat", "dog")  # Categories 3 and 7.
    assert data.names == ("0001", "0002")
    assert [tag_names(data, name) for name in data.names] == [["cat", "dog"], []]
    expected = np.zeros((6, 8), np.int64)
    expected[:5, :5] = 1
    expected[4:, 4:] = 255  # The crowd is the smaller one.
    expected[1:3, 1:3] = 2
    mask, empty = data.mask("0001"), data.mask("0002")
    assert mask is not None
    assert empty is not None
    assert np.array_equal(mask.numpy(), expected)
    assert not empty.any()
    assert pickle.loads(pickle.dumps(data)).mask("0001").equal(mask)  # noqa: S301


def test_coco_compressed_outlines_and_boxes(tmp_path: Path) -> None:
    from pycocotools import mask as run_lengths

    inside = np.zeros((6, 8), np.uint8, order="F")
    inside[:2, :2] = 1
    code = run_lengths.encode(inside)
    outlined = {"segmentation": {"size": [6, 8], "counts": code["counts"].decode()}}
    boxed = {"segmentation": [], "bbox": [4, 2, 2, 3]}
    annotations = [{"image_id": 1, "category_id": 7, **extra} for extra in (outlined, boxed)]
    mask = open_coco(tmp_path / "train", write_coco(tmp_path, annotations)).mask("0001")
    expected = inside.astype(np.int64) * 2
    expected[2:5, 4:6] = 255
    assert mask is not None
    assert np.array_equal(mask.numpy(), expected)


def test_coco_without_outlines_has_tags_and_no_masks(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [{"image_id": 1, "category_id": 7, "bbox": [0, 0, 3, 3]}])
    data = open_coco(tmp_path / "train", path)
    assert tag_names(data, "0001") == ["dog"]
    assert not data.has_masks()
    assert data.mask("0001") is None


def test_coco_held_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = write_coco(tmp_path, [{"image_id": 1, "category_id": 7, "segmentation": box_outline(0, 0, 3, 3)}])
    outline = box_outline(1, 1, 3, 3)
    val = write_coco(tmp_path, [{"image_id": 5, "category_id": 3, "segmentation": outline}], split="val", first=5)
    (tmp_path / "val" / "0006.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        data = open_coco(tmp_path / "train", train, val_images=tmp_path / "val", val_annotations=val)
    assert (data.names, data.val_names) == (("0001", "0002"), ("0005",))
    assert "1 images are missing: 0006" in caplog.text
    mask = data.mask("0005")
    assert mask is not None
    assert mask.sum() == 4


NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
NO_CATEGORY = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
CATEGORIES = [
    {"id": number, "name": name}
    for number, name in zip([n for n in range(1, 91) if n not in NO_CATEGORY], NAMES, strict=True)
]
"""COCO's own 80 classes; ten of the numbers 1 to 90 are not used."""


def write_coco_2014(root: Path, below: str = "") -> Path:
    """The folder of COCO 2014 with three images to train on, the last without annotations, and one held out."""
    for split, count in (("train2014", 3), ("val2014", 1)):
        images = []
        for number in range(1, count + 1):
            file_name = f"COCO_{split}_{number:012d}.jpg"
            write_photo(root / below / split / file_name, shade=10 * number)
            images.append({"id": number, "file_name": file_name, "height": SIZE[0], "width": SIZE[1]})
        annotations = [
            {"image_id": 1, "category_id": 90, "iscrowd": 0, "segmentation": box_outline(0, 0, 2, 2)},
            {"image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": box_outline(0, 0, 5, 5)},
            {"image_id": 2, "category_id": 1, "iscrowd": 1, "segmentation": {"size": [6, 8], "counts": [0, 12, 36]}},
        ][: 2 if split == "val2014" else None]
        (root / "annotations").mkdir(exist_ok=True)
        content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("below", ["", "images"])
def test_the_folder_of_coco_2014(below: str, tmp_path: Path) -> None:
    write_coco_2014(tmp_path, below)
    (tmp_path / "annotations" / "captions_train2014.json").write_text("{}")
    assert coco_splits(tmp_path) == ("train2014", "val2014")
    data: TagDataset = open_coco_folder(tmp_path, val_split="val2014", strict=True)
    assert len(data.class_names) == 80
    assert data.class_names[:2] + data.class_names[-1:] == ("person", "bicycle", "toothbrush")
    assert data.class_names == tuple(category["name"] for category in CATEGORIES)
    assert data.names == tuple(f"COCO_train2014_{number:012d}" for number in (1, 2, 3))
    assert data.val_names == ("COCO_val2014_000000000001",)
    assert [tag_names(data, name) for name in data.names] == [["person", "toothbrush"], ["person"], []]
    masks = [data.mask(name) for name in data.names]
    assert [sorted(set(mask.flatten().tolist())) for mask in masks if mask is not None] == [[0, 1, 80], [0, 255], [0]]


def test_a_folder_with_images_of_one_split_right_in_it(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [])
    (tmp_path / "annotations").mkdir()
    path.rename(tmp_path / "annotations" / "instances_default.json")
    (tmp_path / "train").rename(tmp_path / "images")
    assert open_coco_folder(tmp_path, "default").names == ("0001", "0002")


def test_errors_of_a_folder(tmp_path: Path) -> None:
    assert coco_splits(tmp_path) == ()
    write_coco_2014(tmp_path)
    with pytest.raises(ValueError, match=r"train2017.json: .* found those of train2014, val2014. Choose another split"):
        open_coco_folder(tmp_path, "train2014", val_split="train2017")
    (tmp_path / "val2014").rename(tmp_path / "val")
    with pytest.raises(ValueError, match=r"val2014: expected a folder with the images, found none. Unpack val2014.zip"):
        open_coco_folder(tmp_path, val_split="val2014")


def test_coco_errors(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [])
    images = tmp_path / "train"
    with pytest.raises(ValueError, match="expected a JSON file"):
        open_coco(images, tmp_path / "gone.json")
    with pytest.raises(ValueError, match="no image of the held-out file, found 2"):
        open_coco(images, path, val_annotations=path)
    with pytest.raises(ValueError, match="Give both"):
        open_coco(images, path, val_images=images)
    with pytest.raises(ValueError, match="Give the folder that holds them"):
        open_coco(tmp_path / "elsewhere", path)
    content = json.loads(path.read_text())
    changes = [{"annotations": [{"image_id": 1, "category_id": 99}]}, {"images": [{}]}, {"images": 3}]
    for file_name in ("../a.jpg", "/a.jpg", "in\\..\\..\\a.jpg"):
        changes.append({"images": [{**content["images"][0], "file_name": file_name}]})
    changes.append({"images": content["images"][:1] * 2})
    for change in changes:
        path.write_text(json.dumps(content | change))
        with pytest.raises(ValueError, match="found a damaged entry"):
            open_coco(images, path)
    twice = [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]
    path.write_text(json.dumps(content | {"categories": twice}))
    with pytest.raises(ValueError, match="found cat twice"):
        open_coco(images, path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="expected a JSON object"):
        open_coco(images, path)
    damaged = {"image_id": 1, "category_id": 7, "segmentation": {"size": [2, 2], "counts": [4]}}
    path.write_text(json.dumps(content | {"annotations": [damaged]}))
    with pytest.raises(ValueError, match="damaged outline"):
        open_coco(images, path).mask("0001")
