"""Colours of labels: those of PASCAL VOC, and none of them twice."""

from __future__ import annotations

import numpy as np

from tag2mask.labels import IGNORE
from tag2mask.ops.colours import colour_labels, palette


def literal_voc_colour(label):
    """The loop of the PASCAL VOC development kit."""
    red = green = blue = 0
    rest = label
    for shift in range(8):
        red |= (rest & 1) << (7 - shift)
        green |= (rest >> 1 & 1) << (7 - shift)
        blue |= (rest >> 2 & 1) << (7 - shift)
        rest >>= 3
    return [red, green, blue]


def test_palette_is_that_of_voc_and_its_colours_differ():
    assert palette().tolist() == [literal_voc_colour(label) for label in range(256)]
    assert len(np.unique(palette(), axis=0)) == 256


def test_labels_that_cannot_occur_are_white():
    colours = palette(2)
    assert colours.dtype == np.uint8
    assert colours[[1, 2, IGNORE]].tolist() == palette()[[1, 2, IGNORE]].tolist()
    assert (colours[3:IGNORE] == 255).all()


def test_labels_beyond_the_palette_start_again_and_are_no_background():
    colours = colour_labels(np.array([[1, 254, 256, 509, 510]]))
    assert colours[0, 2].tolist() == colours[0, 0].tolist() == colours[0, 4].tolist()
    assert colours[0, 3].tolist() == colours[0, 1].tolist()
    everything = colour_labels(np.arange(1, 1200))
    assert (everything.sum(axis=-1) > 0).all()
