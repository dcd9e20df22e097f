"""Mask files: every label of a grey or an indexed file, colours of a table or of VOC, and what is no label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from fabricate import square, write_indexed
from PIL import Image

from tag2mask.datasets.mask_files import read_mask

if TYPE_CHECKING:
    from pathlib import Path

LABELS = np.array([[0, 1, 2], [2, 1, 255]], np.uint8)
OWN = {(10, 20, 30): 1, (200, 0, 7): 2, (255, 255, 255): 0}


def saved(path: Path, values: object, **options: object) -> Path:
    Image.fromarray(np.asarray(values)).save(path, **options)
    return path


@pytest.mark.parametrize("num_classes", [1, 2, 254, 255, 1000])
def test_masks_hold_every_label(num_classes: int, tmp_path: Path) -> None:
    largest = num_classes if num_classes < 255 else num_classes + 1  # Labels pass over 255.
    path = write_indexed(tmp_path / "a.png", square(largest))
    labels = read_mask(path, num_classes)
    assert labels.dtype == torch.int64
    assert np.array_equal(labels.numpy(), square(largest))


@pytest.mark.parametrize(("num_classes", "label"), [(1, 2), (2, 254), (255, 257), (1000, 1002)])
def test_a_label_of_no_class_is_an_error(num_classes: int, label: int, tmp_path: Path) -> None:
    path = write_indexed(tmp_path / "a.png", square(label))
    with pytest.raises(ValueError, match=rf"a\.png: label {label}, but {num_classes} classes allow 0\.\."):
        read_mask(path, num_classes)


def test_grey_and_two_coloured_masks(tmp_path: Path) -> None:
    grey = saved(tmp_path / "a.png", square(3).astype(np.uint8))
    assert np.array_equal(read_mask(grey, 3).numpy(), square(3))
    bits = saved(tmp_path / "b.png", np.eye(4, dtype=bool))
    assert np.array_equal(read_mask(bits, 1).numpy(), np.eye(4))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiff_masks_of_every_depth(kind: type, compression: str | None, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", LABELS.astype(kind), compression=compression)
    assert np.array_equal(read_mask(path, 2).numpy(), LABELS)


def test_fractions_are_no_labels(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", LABELS.astype(np.float32) / 4)
    with pytest.raises(ValueError, match=r"a\.tif: expected one label per pixel, found fractions such as 0\.25"):
        read_mask(path, 2)


def test_labels_that_stand_in_all_three_channels(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.repeat(LABELS[..., None], 3, 2))
    assert np.array_equal(read_mask(path, 2).numpy(), LABELS)
    lighter = np.where(LABELS == 255, 205, LABELS % 5 * 50).astype(np.uint8)
    lighter = saved(tmp_path / "b.png", np.repeat(lighter[..., None], 3, 2))
    with pytest.raises(ValueError, match=r"found #323232, #646464, #cdcdcd"):
        read_mask(lighter, 2)


def test_colours_of_voc_are_labels(tmp_path: Path) -> None:
    colours = np.zeros((256, 3), np.uint8)
    colours[[1, 2, 255]] = [(128, 0, 0), (0, 128, 0), (224, 224, 192)]
    path = saved(tmp_path / "a.png", colours[LABELS])
    assert np.array_equal(read_mask(path, 2).numpy(), LABELS)
    with pytest.raises(ValueError, match=r"a\.png: expected labels, or colours .* found #008000\. Give every class"):
        read_mask(path, 1)


def test_colours_of_a_table_are_labels(tmp_path: Path) -> None:
    pixels = np.array([[(10, 20, 30), (200, 0, 7), (255, 255, 255), (0, 0, 0), (224, 224, 192)]], np.uint8)
    path = saved(tmp_path / "a.png", pixels)
    assert read_mask(path, 2, OWN).tolist() == [[1, 2, 0, 0, 255]]
    stray = saved(tmp_path / "b.png", np.concatenate([pixels, pixels[:, ::-1] // 2 + 1]))
    with pytest.raises(ValueError, match=r"classes \(those in classes\.txt\), found #010101, #060b10, #650104"):
        read_mask(stray, 2, OWN)


def test_what_is_transparent_is_background(tmp_path: Path) -> None:
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0] = [(128, 0, 0, 255), (7, 8, 9, 0), (128, 0, 0, 90)]
    assert read_mask(saved(tmp_path / "a.png", pixels), 1).tolist() == [[1, 0, 1]]


def test_a_photograph_is_no_mask(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"a\.png: .* and 59 more\. Give every class its colour in classes\.txt"):
        read_mask(saved(tmp_path / "a.png", noise), 3)
    path = tmp_path / "b.tif"
    Image.new("CMYK", (4, 3)).save(path)
    with pytest.raises(ValueError, match=r"b\.tif: expected one label per pixel, found pixels of mode CMYK"):
        read_mask(path, 3)
    with pytest.raises(ValueError, match=r"c\.png: expected an image, found no file"):
        read_mask(tmp_path / "c.png", 3)
