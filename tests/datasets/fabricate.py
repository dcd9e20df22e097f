"""Tiny data sets that the tests write into a temporary folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset

SIZE = (6, 8)  # (height, width)


def write_photo(path: Path, size: tuple[int, int] = SIZE, shade: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), (shade, shade // 2, 0)).save(path)
    return path


def write_indexed(path: Path, labels: np.ndarray[Any, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if labels.max() > 255:
        Image.fromarray(labels.astype(np.uint16)).save(path)
    else:
        image = Image.fromarray(labels.astype(np.uint8))
        image.putpalette(bytes(range(256)) * 3)
        image.save(path)
    return path


def square(label: int, size: tuple[int, int] = SIZE) -> np.ndarray[Any, Any]:
    """Background, a 2 x 2 object in the corner and a void pixel."""
    labels = np.zeros(size, np.int64)
    labels[:2, :2] = label
    labels[-1, -1] = 255
    return labels


def write_folder(root: Path, tags: Mapping[str, str], *, suffix: str = ".png") -> Path:
    """A folder with ``images/`` and ``tags.csv``; an image's shade depends on its place in `tags`."""
    for place, name in enumerate(tags):
        write_photo(root / "images" / f"{name}{suffix}", shade=10 + place % 200)
    rows = "".join(f'{name}{suffix},"{cell}"\n' for name, cell in tags.items())
    (root / "tags.csv").write_text("image,tags\n" + rows, encoding="utf-8")
    return root


def write_voc(root: Path, objects: Mapping[str, Sequence[str]], splits: Mapping[str, Sequence[str]]) -> Path:
    """VOCdevkit with one year; an image's mask holds label 1 + its place in the list of objects."""
    year = root / "VOCdevkit" / "VOC2012"
    for place, (name, names) in enumerate(objects.items()):
        write_photo(year / "JPEGImages" / f"{name}.jpg", shade=10 + place)
        (year / "Annotations").mkdir(exist_ok=True)
        found = "".join(
            f"<object><name>{one}</name><difficult>1</difficult><part><name>head</name></part></object>"
            for one in names
        )
        (year / "Annotations" / f"{name}.xml").write_text(f"<annotation>{found}</annotation>")
        write_indexed(year / "SegmentationClass" / f"{name}.png", square(place + 1))
    lists = year / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, names in splits.items():
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return root


def box_outline(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def write_coco(root: Path, annotations: Sequence[Mapping[str, Any]], *, split: str = "train", first: int = 1) -> Path:
    """Two images (ids `first` and `first` + 1) and the categories 7 = dog and 3 = cat."""
    images = []
    for image_id in (first, first + 1):
        file_name = f"{image_id:04d}.jpg"
        write_photo(root / split / file_name, shade=image_id)
        images.append({"id": image_id, "file_name": file_name, "height": SIZE[0], "width": SIZE[1]})
    content = {
        "images": images,
        "annotations": list(annotations),
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    path = root / f"{split}.json"
    path.write_text(json.dumps(content))
    return path


def tag_names(dataset: TagDataset, name: str) -> list[str]:
    return [dataset.class_names[i] for i in dataset.tags(name).nonzero().flatten()]
