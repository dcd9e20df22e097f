"""Maps at another size, pixel by pixel: bilinear interpolation, and the mean over cells."""

import math

import numpy as np


def resize_by_pixel(maps, height, width):
    """Bilinear: (K, h, w) -> (K, height, width) float64. Centres lie at (y + 1/2) / height; the border is repeated."""
    maps = np.asarray(maps, float)
    resized = np.zeros((len(maps), height, width))
    for y in range(height):
        for x in range(width):
            top, bottom, down = _between((y + 0.5) / height, maps.shape[1])
            left, right, across = _between((x + 0.5) / width, maps.shape[2])
            above = (1 - across) * maps[:, top, left] + across * maps[:, top, right]
            below = (1 - across) * maps[:, bottom, left] + across * maps[:, bottom, right]
            resized[:, y, x] = (1 - down) * above + down * below
    return resized


def _between(place, length):
    """The two cells whose centres a place in 0..1 lies between, and how far it is on the way to the second one."""
    position = min(max(place * length - 0.5, 0), length - 1)
    first = math.floor(position)
    return first, min(first + 1, length - 1), position - first


def average_by_cell(maps, height, width):
    """Mean over the pixels that a cell touches: (K, h, w) -> (K, height, width) float64."""
    maps = np.asarray(maps, float)
    averaged = np.zeros((len(maps), height, width))
    for y in range(height):
        for x in range(width):
            rows, columns = _touched(y, height, maps.shape[1]), _touched(x, width, maps.shape[2])
            averaged[:, y, x] = sum(maps[:, i, j] for i in rows for j in columns) / (len(rows) * len(columns))
    return averaged


def _touched(cell, cells, length):
    return range(cell * length // cells, -(-(cell + 1) * length // cells))
