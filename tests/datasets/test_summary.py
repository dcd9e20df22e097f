"""What a summary counts, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabricate import square, write_coco, write_folder, write_indexed, write_photo
from PIL import Image

from tag2mask.datasets.coco import open_coco
from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.problem import Problem
from tag2mask.datasets.scenes.scenes import make_scenes
from tag2mask.datasets.summary import ClassCount, files_of, summarise
from tag2mask.datasets.working_copies import WorkingCopies

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "ox", "b": "ox;zebra", "c": "", "d": "zebra", "e": "ox"})
    write_photo(tmp_path / "images" / "a.png", size=(3, 4))
    Image.new("L", (40, 30)).save(tmp_path / "images" / "b.png")
    write_indexed(tmp_path / "masks" / "a.png", square(1, (3, 4)))
    (tmp_path / "val.txt").write_text("e\n")
    told = [Problem("missing image", f"{n}", "left out: rows name no image", "") for n in range(3)]
    summary = summarise(open_folder(tmp_path), [*told, Problem("note", "x", "read as cp1252", "", "warning")])
    assert (summary.training, summary.untagged, summary.held_out, summary.masks) == (4, 1, 1, 1)
    assert summary.classes == (ClassCount("ox", 2, 1), ClassCount("zebra", 2, 0))
    assert (summary.longest_name, summary.shortest_name) == ("zebra", "ox")
    assert summary.sizes is not None
    assert (summary.sizes.smallest, summary.sizes.median, summary.sizes.largest) == ((3, 4), (6, 8), (30, 40))
    assert summary.kinds == {"PNG RGB": 4, "PNG L": 1}
    assert summary.left_out == {"missing image": 3}
    assert str(tmp_path / "images") in summary.found
    assert "tags.csv" in summary.found


def test_images_that_are_no_files_have_neither_sizes_nor_kinds() -> None:
    scenes = make_scenes(4, 48, 0, val_count=2)
    summary = summarise(scenes)
    assert (summary.training, summary.held_out, summary.masks) == (4, 2, 6)
    assert (summary.sizes, summary.kinds) == (None, {})
    assert files_of(scenes) is None


def test_working_copies_are_of_the_same_files(tmp_path: Path) -> None:
    data = open_folder(write_folder(tmp_path, {"a": "ox", "b": ""}))
    assert files_of(WorkingCopies(data, 4)) is data
    assert data.source is not None
    assert (data.source.kind, data.source.path) == ("folder", str(tmp_path.resolve()))


def test_a_data_set_that_does_not_know_its_source(tmp_path: Path) -> None:
    file = write_coco(tmp_path, [{"image_id": 1, "category_id": 7}])
    summary = summarise(open_coco(tmp_path / "train", file))
    assert (summary.training, summary.untagged) == (2, 1)
    assert str(tmp_path / "train") in summary.found
