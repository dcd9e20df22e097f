from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fabricate import SIZE, tag_names, write_photo
from PIL import Image

from tag2mask.datasets.folder import open_folder

if TYPE_CHECKING:
    from pathlib import Path


def disc(path: Path, corner: int = 0, value: int = 255, size: tuple[int, int] = SIZE, mode: str = "L") -> None:
    """An object of 2 x 2 pixels on black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inside = np.zeros(size, np.uint8)
    inside[corner : corner + 2, corner : corner + 2] = value
    Image.fromarray(inside).convert(mode).save(path)


NAMES = ["{}_mask.png", "{}_Mask.gif", "{}_segmentation.png", "{}-gt.bmp", "{}_mask_1.png", "{} (Mask).png"]


@pytest.mark.parametrize("called", NAMES)
def test_masks_beside_their_images(called: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for place, call in enumerate(("benign/1", "benign/2", "malignant/3", "malignant/4", "malignant/5", "benign/6")):
        write_photo(tmp_path / f"{call}.jpg", shade=10 + place)
        disc(tmp_path / called.format(call))
    with caplog.at_level(logging.WARNING):
        data = open_folder(tmp_path, strict=True)
    assert data.names == ("benign/1", "benign/2", "benign/6", "malignant/3", "malignant/4", "malignant/5")
    assert data.class_names == ("benign", "malignant")
    mask = data.mask("malignant/3")
    assert mask is not None
    assert (int(mask[0, 0]), int(mask.sum())) == (2, 8)
    first = called.format("benign/1")
    assert f"6 files count as masks of the images beside them, not as images: {first}, " in caplog.text
    assert ", ..." in caplog.text


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_masks_of_any_mode_and_in_several_files(mode: str, tmp_path: Path) -> None:
    write_photo(tmp_path / "a" / "1.png")
    write_photo(tmp_path / "b" / "2.png", shade=90)
    disc(tmp_path / "a" / "1_mask.png", mode=mode)
    disc(tmp_path / "a" / "1_mask_1.png", corner=3, mode=mode)
    mask = open_folder(tmp_path).mask("a/1")
    assert mask is not None
    assert mask.nonzero().tolist() == [[y, x] for y in (0, 1) for x in (0, 1)] + [
        [y, x] for y in (3, 4) for x in (3, 4)
    ]


def test_a_mask_smeared_by_jpeg(tmp_path: Path) -> None:
    size = (64, 64)
    write_photo(tmp_path / "a" / "1.png", size)
    write_photo(tmp_path / "b" / "2.png", size, shade=90)
    inside = np.zeros(size, np.uint8)
    inside[8:40, 8:40] = 255
    Image.fromarray(inside).save(tmp_path / "a" / "1_mask.jpg", quality=70)
    mask = open_folder(tmp_path).mask("a/1")
    assert mask is not None
    assert abs(int(mask.sum()) - 32 * 32) < 40


def test_photographs_that_are_called_like_masks_stay_photographs(tmp_path: Path) -> None:
    for number in range(4):
        for call in (f"face/{number}", f"face/{number}_mask", f"none/{number}"):
            noise = np.random.default_rng(len(call) + number).integers(256, size=(20, 20, 3), dtype=np.uint8)
            (tmp_path / call).parent.mkdir(exist_ok=True)
            Image.fromarray(noise).save(tmp_path / f"{call}.jpg")
    data = open_folder(tmp_path)
    assert len(data.names) == 12
    assert not data.has_masks()


def test_masks_that_begin_with_the_word(tmp_path: Path) -> None:
    for call in ("a/1", "b/2"):
        write_photo(tmp_path / f"{call}.png", shade=len(call) + int(call[-1]))
        disc(tmp_path / call[0] / f"mask_{call[-1]}.png")
    data = open_folder(tmp_path, strict=True)
    assert data.names == ("a/1", "b/2")
    assert data.mask("b/2") is not None


def test_a_mask_without_an_image_is_an_image(tmp_path: Path) -> None:
    write_photo(tmp_path / "a" / "1.png")
    disc(tmp_path / "b" / "2_mask.png")
    assert open_folder(tmp_path).names == ("a/1", "b/2_mask")


def test_masks_that_cannot_be_understood(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("one", "two", "none", "small"):
        write_photo(tmp_path / "images" / f"{name}.png")
        disc(tmp_path / "images" / f"{name}_mask.png", size=(4, 4) if name == "small" else SIZE)
    (tmp_path / "tags.csv").write_text("image,tags\none.png,cow\ntwo.png,cow;dog\nnone.png,\nsmall.png,dog\n")
    with caplog.at_level(logging.WARNING):
        data = open_folder(tmp_path, strict=True)
    assert tag_names(data, "two") == ["cow", "dog"]
    assert [data.mask(name) is not None for name in ("one", "two", "none", "small")] == [True, False, False, False]
    assert "their image has several tags: 1 (two)" in caplog.text
    assert "their size is not the image's: 1 (small)" in caplog.text


def test_masks_of_two_sizes(tmp_path: Path) -> None:
    from tag2mask.datasets.masks_beside import ObjectMasks

    disc(tmp_path / "1.png")
    disc(tmp_path / "2.png", size=(3, 4))
    masks = ObjectMasks({"a": (tmp_path / "1.png", tmp_path / "2.png")}, {"a": 0})
    with pytest.raises(ValueError, match=r"expected all masks of a to have one size, found \[\(3, 4\), \(6, 8\)\]"):
        masks.read("a")
    (tmp_path / "2.png").write_text("no image")
    with pytest.raises(ValueError, match=r"2\.png: expected a mask, found an error"):
        masks.read("a")


def test_a_folder_of_masks_may_say_so_in_their_names(tmp_path: Path) -> None:
    for name in ("one", "two_mask"):
        write_photo(tmp_path / "images" / f"{name}.png")
    for name in ("one_mask", "two_mask"):
        disc(tmp_path / "masks" / f"{name}.png", value=1)
    (tmp_path / "tags.csv").write_text("image,tags\none.png,cow\ntwo_mask.png,cow\n")
    data = open_folder(tmp_path, strict=True)
    masks = [data.mask(name) for name in ("one", "two_mask")]
    assert [None if mask is None else int(mask.sum()) for mask in masks] == [4, 4]
