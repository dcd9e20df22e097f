"""Pictures: shapes, types and the pixels one can predict by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tag2mask.labels import IGNORE
from tag2mask.report.pictures import boundary_picture, heatmap, overlay, strip

GREY = np.full((6, 8, 3), 100, dtype=np.uint8)


def test_overlay_mixes_keeps_unsure_pixels_and_draws_a_contour():
    labels = np.zeros((6, 8), dtype=np.int64)
    labels[:, 4:] = 1
    labels[0] = IGNORE
    picture = overlay(GREY, labels, opacity=0.5)
    assert picture.shape == (6, 8, 3)
    assert picture.dtype == np.uint8
    assert (picture[0] == 100).all()
    assert (picture[3, :4] == 65).all(), "background is darkened less"
    assert (picture[3, 4] == 255).all()
    assert picture[3, 6].tolist() == [114, 50, 50]
    assert (GREY == 100).all()


def test_an_object_that_fills_the_image_has_no_contour():
    picture = overlay(GREY, np.ones((6, 8), dtype=np.uint8))
    assert (picture == picture[0, 0]).all()


@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4), (2, 3, 4), (0, 3, 4), (1, 1, 1)])
def test_heatmap_has_the_size_of_the_photograph(shape):
    picture = heatmap(GREY, np.zeros(shape, dtype=np.float32))
    assert picture.shape == GREY.shape
    assert picture.dtype == np.uint8


def test_heatmap_is_brightest_where_any_map_is_highest():
    scores = np.zeros((2, 6, 8), dtype=np.float32)
    scores[0, 0, 0] = scores[1, 5, 7] = 1.0
    light = heatmap(GREY, scores).sum(axis=2)
    assert light[0, 0] == light[5, 7] == light.max()
    assert light[3, 3] == light.min()


def test_boundaries_are_brighter_the_stronger_they_are():
    picture = boundary_picture(np.linspace(0, 1, 20, dtype=np.float32).reshape(1, 20))
    assert picture.shape == (1, 20, 3)
    assert (np.diff(picture.astype(int).sum(axis=2)) > 0).all()


def test_strip_fits_every_shape_into_its_height():
    pictures = [GREY, np.zeros((1, 2000, 3), np.uint8), np.zeros((2000, 1, 3), np.uint8)]
    bare = strip(pictures, 60)
    named = strip(pictures, 60, ["photo", "wide", "tall, with a long caption"])
    assert bare.dtype == named.dtype == np.uint8
    assert named.shape[0] > bare.shape[0] >= 60
    assert named.shape[1] > bare.shape[1]
    assert (bare[0] == 255).all()
    assert (bare[:, 20] == 100).sum() >= 3 * 55


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="pixels"):
        overlay(GREY.astype(float), np.zeros((6, 8), int))
    with pytest.raises(ValueError, match="labels"):
        overlay(GREY, np.zeros((8, 6), int))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        heatmap(GREY, np.full((2, 2), 1.5))
    with pytest.raises(ValueError, match="captions"):
        strip([GREY, GREY], 50, ["one"])
