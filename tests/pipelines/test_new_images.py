"""What is predicted: files, and of folders the images that a training would find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tag2mask.pipelines.new_images import check_out, new_images

if TYPE_CHECKING:
    from pathlib import Path


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (9, 90, 30)).save(path)
    return path


def test_many_files_of_one_name_get_short_names_of_their_own(tmp_path: Path) -> None:
    files = [tmp_path / f"cam{number}" / "images" / f"0.{'jpg' if number % 2 else 'png'}" for number in range(40)]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    named = new_images(files)
    assert list(named.values()) == files
    assert list(named)[:5] == ["0", "images_0", "images_0_png", "images_0_jpg", "0_2"]
    assert max(map(len, named)) < 14


def test_litter_and_hidden_files_are_no_images(tmp_path: Path) -> None:
    for name in (
        "a.jpg",
        "in/b.PNG",
        "._a.jpg",
        ".ipynb_checkpoints/a-checkpoint.jpg",
        "__MACOSX/a.jpg",
        "@eaDir/a.jpg",
    ):
        image(tmp_path / name)
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    assert new_images([tmp_path]) == {"a": tmp_path / "a.jpg", "in/b": tmp_path / "in" / "b.PNG"}


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    image(tmp_path / "elsewhere" / "deep" / "a.jpg")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "link").symlink_to(tmp_path / "elsewhere")
    assert list(new_images([tmp_path / "new"])) == ["link/deep/a"]


def test_of_a_data_set_the_images_only(tmp_path: Path) -> None:
    for name in ("images/a.jpg", "masks/a.png", "runs/x/report.png", "cover.jpg"):
        image(tmp_path / "data" / name)
    assert new_images([tmp_path / "data"]) == {"a": tmp_path / "data" / "images" / "a.jpg"}
    for name in ("JPEGImages/b.jpg", "SegmentationClass/b.png", "SegmentationObject/b.png"):
        image(tmp_path / "voc" / "VOC2012" / name)
    assert list(new_images([tmp_path / "voc"])) == ["b"]


def test_a_run_is_no_folder_of_images(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    image(tmp_path / "run" / "picture.png")
    (tmp_path / "run" / "run.json").write_text("{}")
    assert list(new_images([tmp_path])) == ["a"]
    with pytest.raises(ValueError, match=r"run: expected a folder of photographs, found that of a run"):
        new_images([tmp_path / "run"])


def test_a_file_that_is_named_counts_whatever_it_is_called(tmp_path: Path) -> None:
    path = image(tmp_path / "masks" / "a.png")
    assert new_images([path]) == {"a": path}
    with pytest.raises(ValueError, match=r"b\.png: expected an image or a folder of images, found nothing there"):
        new_images([path, tmp_path / "b.png"])


def test_masks_go_to_a_folder_of_their_own(tmp_path: Path) -> None:
    path = image(tmp_path / "data" / "images" / "a.jpg")
    for out in ("data", "data/images", "data/../data"):
        with pytest.raises(ValueError, match=r"expected a folder of its own for the predicted masks"):
            check_out(tmp_path / out, [tmp_path / "data"])
    check_out(tmp_path / "data", [path])
    (tmp_path / "data" / "masks").mkdir()
    with pytest.raises(ValueError, match=r"Take another one: --out NEW"):
        check_out(tmp_path / "data", [path])
    (tmp_path / "data" / "confidence").mkdir()
    check_out(tmp_path / "data", [path])
    check_out(tmp_path / "data" / "predicted", [tmp_path / "data"])
