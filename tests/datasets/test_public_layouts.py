"""Public data sets in the form in which they are published, with a few tiny images each: read as they unpack."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fabricate import box_outline, tag_names, write_indexed, write_photo
from PIL import Image

from tag2mask.datasets.source import check_source, find_source, open_source
from tag2mask.datasets.voc_folder import VOC_CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset

SIZE = (24, 32)


def opened(root: Path, caplog: pytest.LogCaptureFixture) -> TagDataset:
    """The data set, found and opened as the commands do, without a warning."""
    with caplog.at_level(logging.WARNING):
        data = open_source(find_source(root), strict=True)
    assert not caplog.text
    for name in (*data.names, *data.val_names):
        assert data[name].image_size == SIZE
    return data


def shown(data: TagDataset, names: Sequence[str]) -> list[list[str]]:
    return [tag_names(data, name) for name in names]


def labels(data: TagDataset, name: str) -> list[int]:
    mask = data.mask(name)
    assert mask is not None
    return sorted(set(mask.flatten().tolist()))


# PASCAL VOC 2012

OBJECTS = {
    "2007_000032": ["aeroplane", "aeroplane", "person"],
    "2007_000039": ["tvmonitor"],
    "2008_000123": ["dog", "person"],
    "2011_003000": ["cow"],
}
LISTS = {
    "Segmentation": {"train": [0, 1], "val": [2], "trainval": [0, 1, 2]},
    "Main": {"train": [0, 1, 3], "val": [2], "trainval": [0, 1, 2, 3]},
    "Layout": {"train": [0], "val": [2], "trainval": [0, 2]},
}


def voc_annotation(name: str, objects: Sequence[str]) -> str:
    """With parts of persons, which are no objects of their own."""
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    part = f"<part><name>head</name>{box}</part>"
    things = "".join(
        f"\t<object>\n\t\t<name>{one}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
        f"\t\t<difficult>{place % 2}</difficult>\n\t\t{box}{part if one == 'person' else ''}\n\t</object>\n"
        for place, one in enumerate(objects)
    )
    return (
        f"<annotation>\n\t<folder>VOC2012</folder>\n\t<filename>{name}.jpg</filename>\n"
        "\t<source><database>drawn</database></source>\n"
        f"\t<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height><depth>3</depth></size>\n"
        f"\t<segmented>1</segmented>\n{things}</annotation>\n"
    )


def write_voc_2012(root: Path) -> Path:
    year = root / "VOCdevkit" / "VOC2012"
    (year / "Annotations").mkdir(parents=True)
    names = list(OBJECTS)
    for place, (name, objects) in enumerate(OBJECTS.items()):
        write_photo(year / "JPEGImages" / f"{name}.jpg", SIZE, shade=20 * place)
        (year / "Annotations" / f"{name}.xml").write_text(voc_annotation(name, objects))
        if place in LISTS["Segmentation"]["trainval"]:
            classes, instances = (np.zeros(SIZE, np.uint8) for _ in range(2))
            for number, one in enumerate(objects):
                classes[2:8, 4 * number : 4 * number + 3] = VOC_CLASSES.index(one) + 1
                instances[2:8, 4 * number : 4 * number + 3] = number + 1
            classes[8] = instances[8] = 255
            write_indexed(year / "SegmentationClass" / f"{name}.png", classes)
            write_indexed(year / "SegmentationObject" / f"{name}.png", instances)
    for folder, lists in LISTS.items():
        (year / "ImageSets" / folder).mkdir(parents=True)
        for split, places in lists.items():
            (year / "ImageSets" / folder / f"{split}.txt").write_text("".join(f"{names[p]}\n" for p in places))
    for one in VOC_CLASSES:
        lines = [f"{name} {1 if one in objects else -1:2d}\n" for name, objects in OBJECTS.items()]
        for split in ("train", "val", "trainval"):
            (year / "ImageSets" / "Main" / f"{one}_{split}.txt").write_text("".join(lines))
    (year / "ImageSets" / "Action").mkdir()
    (year / "ImageSets" / "Action" / "jumping_train.txt").write_text("2007_000032 1 1\n")
    return root


@pytest.mark.parametrize("below", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_pascal_voc_2012(below: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = opened(write_voc_2012(tmp_path) / below, caplog)
    assert data.class_names == VOC_CLASSES
    assert (data.names, data.val_names) == (("2007_000032", "2007_000039"), ("2008_000123",))
    assert shown(data, data.names) == [["aeroplane", "person"], ["tvmonitor"]]
    assert [labels(data, name) for name in data.names] == [[0, 1, 15, 255], [0, 20, 255]]
    assert labels(data, "2008_000123") == [0, 12, 15, 255]


# MS COCO 2017

CATEGORIES = ((1, "person", "person"), (2, "bicycle", "vehicle"), (18, "dog", "animal"), (90, "toothbrush", "indoor"))


def coco_content(split: str, ids: Sequence[int], annotations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    images = [
        {
            "license": 4, "file_name": f"{one:012d}.jpg", "coco_url": f"http://example.org/{split}/{one:012d}.jpg",
            "height": SIZE[0], "width": SIZE[1], "date_captured": "2013-11-14 17:02:52",
            "flickr_url": "http://example.org/x.jpg", "id": one,
        }
        for one in ids
    ]  # fmt: skip
    return {
        "info": {"description": "drawn", "version": "1.0", "year": 2017},
        "licenses": [{"url": "http://example.org", "id": 4, "name": "drawn"}],
        "images": images,
        "annotations": [{"area": 36.0, "id": 900 + place, **one} for place, one in enumerate(annotations)],
        "categories": [{"supercategory": above, "id": one, "name": name} for one, name, above in CATEGORIES],
    }


def thing(image: int, category: int, left: int, *, crowd: bool = False) -> dict[str, Any]:
    outline: Any = box_outline(left, 2, left + 6, 8)
    if crowd:
        outline = {"counts": [48, 48, SIZE[0] * SIZE[1] - 96], "size": list(SIZE)}
    return {
        "segmentation": outline, "iscrowd": int(crowd), "image_id": image, "bbox": [left, 2, 6, 6],
        "category_id": category,
    }  # fmt: skip


def write_coco_2017(root: Path) -> Path:
    (root / "annotations").mkdir(parents=True)
    sets = {
        "train2017": ((9, 25, 30), (thing(9, 18, 0), thing(9, 1, 8), thing(25, 1, 2, crowd=True))),
        "val2017": ((139, 285), (thing(139, 90, 4), thing(285, 2, 4))),
    }
    for split, (ids, things) in sets.items():
        for one in ids:
            write_photo(root / split / f"{one:012d}.jpg", SIZE, shade=one % 200)
        content = coco_content(split, ids, things)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        captions = [{"image_id": one, "id": one, "caption": "A drawing."} for one in ids]
        others = {"captions": {"annotations": captions}, "person_keypoints": {"categories": content["categories"][:1]}}
        for kind, change in others.items():
            other = {name: part for name, part in content.items() if name != "categories"} | change
            (root / "annotations" / f"{kind}_{split}.json").write_text(json.dumps(other))
    return root


def test_coco_2017(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = opened(write_coco_2017(tmp_path), caplog)
    assert data.class_names == ("person", "bicycle", "dog", "toothbrush")
    assert data.names == ("000000000009", "000000000025", "000000000030")
    assert data.val_names == ("000000000139", "000000000285")
    assert shown(data, data.names) == [["person", "dog"], ["person"], []]
    assert shown(data, data.val_names) == [["toothbrush"], ["bicycle"]]
    assert [labels(data, name) for name in (*data.names, *data.val_names)] == [[0, 1, 3], [0, 255], [0], [0, 4], [0, 2]]


# MVTec AD

DEFECTS = {"bottle": ("broken_large", "contamination"), "zipper": ("broken_teeth",)}


def write_mvtec(root: Path) -> Path:
    for category, defects in DEFECTS.items():
        for number in range(3):
            write_photo(root / category / "train" / "good" / f"{number:03d}.png", SIZE, shade=number)
        write_photo(root / category / "test" / "good" / "000.png", SIZE, shade=50)
        for place, defect in enumerate(defects):
            for number in range(2):
                shade = 60 + 10 * place + number
                write_photo(root / category / "test" / defect / f"{number:03d}.png", SIZE, shade=shade)
                mask = np.zeros(SIZE, np.uint8)
                mask[4:9, 4 : 9 + number] = 255
                path = root / category / "ground_truth" / defect / f"{number:03d}_mask.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(path)
        (root / category / "readme.txt").write_text("drawn\n")
        (root / category / "license.txt").write_text("drawn\n")
    return root


def test_mvtec_ad(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = opened(write_mvtec(tmp_path) / "bottle", caplog)
    assert data.class_names == ("broken_large", "contamination")
    assert data.val_names == ()
    assert [name for name in data.names if not tag_names(data, name)] == [
        "test/good/000", "train/good/000", "train/good/001", "train/good/002",
    ]  # fmt: skip
    for name in data.names:
        defect = name.split("/")[1]
        assert tag_names(data, name) == ([] if defect == "good" else [defect])
    assert labels(data, "test/broken_large/000") == [0, 1]
    mask = data.mask("test/contamination/001")
    assert mask is not None
    assert mask.nonzero().amin(0).tolist() == [4, 4]
    assert mask.nonzero().amax(0).tolist() == [8, 9]
    assert int(mask.max()) == 2
    assert data.mask("train/good/000") is None


def test_one_category_of_mvtec_has_to_be_chosen(tmp_path: Path) -> None:
    problems = check_source(find_source(write_mvtec(tmp_path)))
    assert any("found 2, each with train/ and test/: bottle, zipper" in problem.message for problem in problems)
    with pytest.raises(ValueError, match=r"found 2, each with train/ and test/: bottle, zipper.* such as .*/bottle"):
        open_source(find_source(tmp_path))


# A competition of Kaggle with one column for each class

LEAVES = {"Train_0": (0, 0, 0, 1), "Train_1": (0, 1, 0, 0), "Train_2": (1, 0, 0, 0), "Train_3": (0, 0, 1, 1)}


def write_kaggle(root: Path, *, with_test: bool) -> Path:
    names = [*LEAVES, *(("Test_0", "Test_1") if with_test else ())]
    for place, name in enumerate(names):
        write_photo(root / "images" / f"{name}.jpg", SIZE, shade=10 * place)
    columns = "healthy,multiple_diseases,rust,scab"
    rows = "".join(f"{name},{','.join(map(str, cells))}\n" for name, cells in LEAVES.items())
    (root / "train.csv").write_text(f"image_id,{columns}\n{rows}")
    if with_test:
        (root / "test.csv").write_text("image_id\nTest_0\nTest_1\n")
        (root / "sample_submission.csv").write_text(f"image_id,{columns}\nTest_0,0.25,0.25,0.25,0.25\n")
    return root


@pytest.mark.parametrize("with_test", [False, True])
def test_a_table_with_a_column_per_class(with_test: bool, tmp_path: Path) -> None:
    data = open_source(find_source(write_kaggle(tmp_path, with_test=with_test)))
    assert data.names == ("Train_0", "Train_1", "Train_2", "Train_3")
    assert shown(data, data.names) == [["scab"], ["multiple_diseases"], ["healthy"], ["rust", "scab"]]


# Roboflow's sets of several tags for each image

ROWS = {"train": {"a": (1, 0), "b": (1, 1), "c": (0, 0)}, "valid": {"d": (0, 1)}, "test": {"e": (1, 0)}}


def test_roboflow_with_a_column_per_class(tmp_path: Path) -> None:
    for split, images in ROWS.items():
        for place, name in enumerate(images):
            write_photo(tmp_path / split / f"{name}_jpg.rf.0a1b.jpg", SIZE, shade=10 * place)
        rows = "".join(f"{name}_jpg.rf.0a1b.jpg, {ox}, {hen}\n" for name, (ox, hen) in images.items())
        (tmp_path / split / "_classes.csv").write_text(f"filename, ox, hen\n{rows}")
    (tmp_path / "README.roboflow.txt").write_text("drawn\n")
    data = open_source(find_source(tmp_path))
    assert data.class_names == ("hen", "ox")
    assert shown(data, data.names) == [["ox"], ["hen", "ox"], []]
    assert shown(data, data.val_names) == [["hen"]]
