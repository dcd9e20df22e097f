from __future__ import annotations

import json
import logging
import pickle
from typing import TYPE_CHECKING, Any

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
from tag2mask.datasets.source import find_source, open_source

if TYPE_CHECKING:
    from collections.abc import Callable
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


ONE = {"id": 5, "image_id": 1, "category_id": 7, "bbox": [0, 0, 3, 3]}


def test_a_folder_with_images_of_one_split_right_in_it(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [ONE])
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
    path = write_coco(tmp_path, [ONE])
    images = tmp_path / "train"
    with pytest.raises(ValueError, match="expected a JSON file"):
        open_coco(images, tmp_path / "gone.json")
    with pytest.raises(ValueError, match="no image of the training file in the held-out one, found 2"):
        open_coco(images, path, val_annotations=path)
    with pytest.raises(ValueError, match="Give both"):
        open_coco(images, path, val_images=images)
    with pytest.raises(ValueError, match=r"the first is 0001\.jpg.* Give the folder that holds them"):
        open_coco(tmp_path / "elsewhere", path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="expected a JSON object"):
        open_coco(images, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": []}, "expected annotations, found none of any class"),
        ({"annotations": [{**ONE, "category_id": 99}]}, r"annotation 5: expected as category_id .*\(7, 3\), found 99"),
        ({"annotations": [{"id": 8, "image_id": 1}]}, "annotation 8: expected the field category_id, found only id"),
        ({"annotations": [{"id": 8, "category_id": 7}]}, "annotation 8: expected the field image_id"),
        ({"annotations": [{**ONE, "bbox": [0, 0]}]}, "annotation 5: expected as bbox left, top, width, height"),
        ({"annotations": [{**ONE, "segmentation": [None]}]}, "annotation 5: expected as bbox .* segmentation polygons"),
        ({"annotations": None}, "expected a list annotations of objects, found none"),
        ({"images": [{}]}, r"image \?: expected the field id"),
        ({"images": [{"id": 1}]}, "image 1: expected the field file_name"),
        ({"images": 3}, "expected a list images of objects, found int"),
        ({"images": ["a.jpg"]}, "expected a list images of objects"),
        ({"images": [{"id": 1, "file_name": "in/.."}]}, "image 1: expected as file_name a path below the folder"),
        ({"images": [{"id": 1, "file_name": "../a.jpg"}]}, r"the first is \.\./a\.jpg\), found none"),
        ({"images": [{"id": i, "file_name": "a.jpg"} for i in (1, 2)]}, "each file_name once, found a.jpg twice"),
        ({"images": [{"id": "1", "file_name": f"{i}.jpg"} for i in "ab"]}, "each image id once, found 1 twice"),
        ({"categories": [{"id": i, "name": "cat"} for i in (3, 7)]}, "found cat twice"),
        ({"categories": [{"id": 1}]}, "category 1: expected the field name"),
    ],
)
def test_damaged_entries_of_coco(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_coco(tmp_path, [ONE])
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        open_coco(tmp_path / "train", path)


def test_a_damaged_outline(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [{"image_id": 1, "category_id": 7, "segmentation": {"size": [2, 2], "counts": [4]}}])
    with pytest.raises(ValueError, match="damaged outline"):
        open_coco(tmp_path / "train", path).mask("0001")


def changed(path: Path, **change: Callable[[dict[str, Any]], object]) -> Path:
    """Change every entry of some lists of an instances file."""
    content = json.loads(path.read_text())
    for section, one in change.items():
        for entry in content[section]:
            one(entry)
    path.write_text(json.dumps(content))
    return path


def test_ids_may_be_words(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [{**ONE, "category_id": "7"}, {**ONE, "category_id": 3.0, "image_id": "2"}])
    data = open_coco(tmp_path / "train", path)
    assert [tag_names(data, name) for name in data.names] == [["dog"], ["cat"]]
    changed(
        path,
        images=lambda entry: entry.update(id=f"image {entry['id']}"),
        annotations=lambda entry: entry.update(
            image_id=f"image {entry['image_id']}", category_id={"7": "ff0", "3.0": "a1b"}[str(entry["category_id"])]
        ),
        categories=lambda entry: entry.update(id={7: "ff0", 3: "a1b"}[entry["id"]]),
    )
    words = open_coco(tmp_path / "train", path)
    assert (words.class_names, words.tag_ids) == (data.class_names, data.tag_ids), "By name, as words have no order"


@pytest.mark.parametrize("height", [None, "", "six"])
def test_sizes_are_read_from_the_images(height: object, tmp_path: Path) -> None:
    path = write_coco(tmp_path, [{**ONE, "segmentation": box_outline(0, 0, 2, 2)}])
    changed(path, images=lambda entry: entry.update(height=height))
    mask = open_coco(tmp_path / "train", path).mask("0001")
    assert mask is not None
    assert (mask.shape, int(mask.sum())) == (SIZE, 8)


@pytest.mark.parametrize(
    "front", ["train/", "/home/me/data/train/", "C:\\data\\train\\", "./", "images/train/", "..\\..\\"]
)
def test_folders_in_front_of_a_file_name(front: str, tmp_path: Path) -> None:
    path = write_coco(tmp_path, [ONE])
    changed(path, images=lambda entry: entry.update(file_name=front + entry["file_name"]))
    data = open_coco(tmp_path / "train", path, strict=True)
    assert data.names == ("0001", "0002")
    assert tag_names(data, "0001") == ["dog"]


def test_folders_in_front_stay_where_they_are_needed(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [ONE])
    (tmp_path / "train" / "deep").mkdir()
    for name in ("0001", "0002"):
        (tmp_path / "train" / f"{name}.jpg").rename(tmp_path / "train" / "deep" / f"{name}.jpg")
    changed(path, images=lambda entry: entry.update(file_name=f"{tmp_path}/train/deep/{entry['file_name']}"))
    assert open_coco(tmp_path / "train", path, strict=True).names == ("deep/0001", "deep/0002")


@pytest.mark.parametrize(("extra", "said"), [("background", "background (0 ann"), ("pets", "pets (0 ann")])
def test_categories_that_are_no_classes(
    extra: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_coco(tmp_path, [ONE])
    changed(path, categories=lambda entry: entry.update(supercategory="pets"))
    content = json.loads(path.read_text())
    content["categories"].insert(0, {"id": 0, "name": extra, "supercategory": "none"})
    path.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        data = open_coco(tmp_path / "train", path, strict=True)
    assert data.class_names == ("cat", "dog")
    assert tag_names(data, "0001") == ["dog"]
    assert f"categories that are no classes, left out: {said}" in caplog.text
    content["annotations"].append({**ONE, "category_id": 0})
    path.write_text(json.dumps(content))
    again = open_coco(tmp_path / "train", path).class_names
    assert again == (("cat", "dog") if extra == "background" else ("pets", "cat", "dog"))


def test_annotations_of_no_image_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_coco(tmp_path, [ONE, {**ONE, "id": 6, "image_id": 42}])
    with caplog.at_level(logging.WARNING):
        open_coco(tmp_path / "train", path)
    assert "1 annotations name no image of the list: annotation 6 of image_id 42" in caplog.text
    with pytest.raises(ValueError, match="image_id 42"):
        open_coco(tmp_path / "train", path, strict=True)


def test_held_out_images_that_are_called_alike(tmp_path: Path) -> None:
    train, val = (write_coco(tmp_path, [{**ONE, "bbox": [0, 0, 1, 1]}], split=split) for split in ("train", "val"))
    data = open_coco(tmp_path / "train", train, val_images=tmp_path / "val", val_annotations=val)
    assert (data.names, data.val_names) == (("0001", "0002"), ("val/0001", "val/0002"))
    assert tag_names(data, "val/0001") == ["dog"]
    changed(val, categories=lambda entry: entry.update(name=entry["name"].upper()))
    with pytest.raises(ValueError, match=r"the categories of .*train\.json, found others.* CAT, DOG, cat, dog"):
        open_coco(tmp_path / "train", train, val_images=tmp_path / "val", val_annotations=val)


def roboflow(root: Path, *splits: str) -> Path:
    for split in splits:
        write_coco(root, [ONE], split=split).rename(root / split / "_annotations.coco.json")
    return root


def test_the_folder_of_roboflow(tmp_path: Path) -> None:
    source = find_source(roboflow(tmp_path, "train", "valid", "test"))
    assert (source.kind, source.split, source.val_split) == ("coco", "train", "valid")
    data = open_source(source, strict=True)
    assert (data.names, data.val_names) == (("0001", "0002"), ("valid/0001", "valid/0002"))
    assert find_source(roboflow(tmp_path / "alone", "train")).val_split is None


@pytest.mark.parametrize(
    ("place", "images"),
    [
        ("result.json", "images"),
        ("annotations/my export.json", "train"),
        ("labels.json", "."),
        ("train/c.json", "train"),
    ],
)
def test_a_single_file_of_any_name(place: str, images: str, tmp_path: Path) -> None:
    path = write_coco(tmp_path, [ONE])
    (tmp_path / place).parent.mkdir(exist_ok=True)
    path.rename(tmp_path / place)
    if images == ".":
        for file in list((tmp_path / "train").iterdir()):
            file.rename(tmp_path / file.name)
        (tmp_path / "train").rmdir()
    else:
        (tmp_path / "train").rename(tmp_path / images)
    (tmp_path / "other.json").write_text("{}")
    source = find_source(tmp_path)
    assert (source.kind, source.val_split) == ("coco", None)
    assert open_source(source, strict=True).names == ("0001", "0002")


@pytest.mark.parametrize(
    "called", [("train", "val"), ("captions_train", "captions_val"), ("captions_train",), ("image_info_test",)]
)
def test_files_of_other_names(called: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for number, name in enumerate(called):
        path = write_coco(tmp_path, [ONE], split=("train", "val")[number])
        content = json.loads(path.read_text())
        if name.startswith(("captions", "image_info")):
            del content["categories"]
            content["annotations"] = [{"id": 1, "image_id": 1, "caption": "A dog."}]
        path.unlink()
        (tmp_path / "annotations" / f"{name}.json").write_text(json.dumps(content))
    found = ", ".join(f"annotations/{name}.json" for name in sorted(called))
    with pytest.raises(ValueError, match=rf"expected annotations/instances_NAME\.json .*, found {found}\. Rename"):
        find_source(tmp_path)


def test_a_json_file_of_another_kind_changes_nothing(tmp_path: Path) -> None:
    for number, name in enumerate(("cow/1", "dog/2")):
        write_photo(tmp_path / f"{name}.png", shade=10 + number)
    (tmp_path / "notes.json").write_text(json.dumps({"images": [], "annotations": "none"}))
    (tmp_path / "damaged.json").write_text('{"images": ')
    (tmp_path / "cow" / "list.json").write_text("[]")
    assert find_source(tmp_path).kind == "folder"


def test_what_told_the_tags(tmp_path: Path) -> None:
    data = open_coco_folder(roboflow(tmp_path, "train", "valid"), "train", val_split="valid")
    assert data.tags_from == "COCO, _annotations.coco.json, held out _annotations.coco.json of valid/"


def test_a_polygon_without_the_list_around_it(tmp_path: Path) -> None:
    path = write_coco(tmp_path, [{**ONE, "segmentation": box_outline(0, 0, 2, 2)[0]}])
    mask = open_coco(tmp_path / "train", path).mask("0001")
    assert mask is not None
    assert int(mask.sum()) == 8
