"""Working copies: small, of the image's size, decoded once."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from fabricate import write_folder, write_photo
from PIL import Image

from tag2mask.datasets import images
from tag2mask.datasets.dataset import without
from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.images import read_image, read_shrunk
from tag2mask.datasets.scenes.scenes import make_scenes
from tag2mask.datasets.working_copies import WorkingCopies
from tag2mask.ops.sizes import resize_image

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset


def copied(data: TagDataset) -> TagDataset:
    """As a process that loads images gets it."""
    return pickle.loads(pickle.dumps(data))  # noqa: S301


def photograph(size: tuple[int, int]) -> Image.Image:
    """Smooth shades, as a JPEG keeps them."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    shades = np.stack([rows * 255 // size[0], columns * 255 // size[1], (rows + columns) * 255 // sum(size)], axis=-1)
    return Image.fromarray(shades.astype(np.uint8))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_copy_is_the_image_made_smaller(suffix: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{suffix}"
    photograph((300, 400)).save(path, exif=exif)
    whole = read_image(path)
    pixels, size = read_shrunk(path, 50)
    assert size == tuple(whole.shape[1:]) == ((400, 300) if orientation == 6 else (300, 400))
    assert tuple(pixels.shape[1:]) == ((50, 38) if orientation == 6 else (38, 50))
    difference = (pixels.int() - resize_image(whole, (pixels.shape[1], pixels.shape[2])).int()).abs()
    assert difference.max() <= 6
    assert pixels.is_contiguous()


def test_a_large_jpeg_is_not_decoded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photograph((300, 400)).save(tmp_path / "a.jpg")
    sizes, rgb = [], images._rgb
    monkeypatch.setattr(images, "_rgb", lambda image: (sizes.append(image.size), rgb(image))[1])
    read_shrunk(tmp_path / "a.jpg", 50)
    assert sizes == [(100, 75)], "a quarter, the smallest that is large enough"


@pytest.mark.parametrize("side", [0, 8, 100])
def test_a_small_image_is_read_as_it_is(side: int, tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.jpg", (6, 8))
    pixels, size = read_shrunk(path, side)
    assert pixels.equal(read_image(path))
    assert size == (6, 8)


def test_a_cut_off_jpeg_is_an_error(tmp_path: Path) -> None:
    photograph((300, 400)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"a\.jpg: expected a whole image, found a broken one"):
        read_shrunk(tmp_path / "a.jpg", 50)


def test_working_copies_are_decoded_once(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cow cat", "b": "cow"})
    data = open_folder(tmp_path)
    copies = WorkingCopies(data, 4)
    assert copies["a"] is copies["a"]
    assert copies["a"].image_size == data["a"].image_size
    assert max(copies["a"].pixels.shape) == 4
    assert copies["a"].tags.equal(data["a"].tags)
    assert (copies.names, copies.val_names, copies.class_names) == (data.names, data.val_names, data.class_names)
    assert copies.digest() == data.digest()
    assert copies.has_masks() == data.has_masks()
    assert WorkingCopies(data, 0)["a"].pixels.equal(data["a"].pixels)


def test_copies_of_fewer_images_and_in_another_process(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cow cat", "b": "cow"})
    fewer = without(WorkingCopies(open_folder(tmp_path), 4), ["a"])
    assert copied(fewer)["b"].pixels.equal(fewer["b"].pixels)
    assert max(fewer.shrunk("b", 2).pixels.shape) == 3  # Three channels.
    with pytest.raises(KeyError, match="no image is named 'a'"):
        fewer.shrunk("a", 2)


def test_a_scene_can_be_shrunk() -> None:
    scenes = make_scenes(1, 48)
    small = scenes.shrunk(scenes.names[0], 16)
    assert small.image_size == (48, 48)
    assert small.pixels.shape == (3, 16, 16)
    assert torch.equal(small.tags, scenes.tags(scenes.names[0]))
