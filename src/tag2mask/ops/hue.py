"""Turning the hues of an image: the costly part of colour jitter, in one compiled pass over the pixels."""

# Numba kernels: typed by their arguments, which come by position.
# mypy: disallow-untyped-defs = false

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tag2mask.checks import check_dtype, check_shape
from tag2mask.ops.kernels.compiled import kernel

_ZERO, _ONE, _TWO, _FOUR, _FIVE, _SIX = (np.float32(number) for number in (0, 1, 2, 4, 5, 6))
_SIXTH, _UNIT = np.float32(1 / 6), np.float32(1 / 255)
_LEVELS = np.float32(255.999)
"""Times a share in [0, 1]: the level 0 to 255, once what stands behind the point is cut off."""
_RED, _GREEN, _BLUE = np.float32(5), np.float32(1), np.float32(3)
"""The first of the two sixths of the circle of hues in which a channel is the largest one."""


def turn_hues(pixels: Tensor, turn: float) -> Tensor:
    """Turn the hue of every pixel; saturation and value stay. To the bit what torchvision's `adjust_hue` does.

    Args:
        pixels: (3, H, W) uint8 RGB.
        turn: share of the circle of hues, from -0.5 to 0.5.

    Returns:
        The same shape and type.

    Raises:
        ValueError: for another shape, type or turn.

    Example:
        >>> turn_hues(torch.tensor([[[200]], [[0]], [[0]]], dtype=torch.uint8), 1 / 3).flatten().tolist()
        [0, 200, 0]
    """
    check_shape("pixels", pixels, "3 H W")
    check_dtype("pixels", pixels, torch.uint8)
    if not -0.5 <= turn <= 0.5:
        raise ValueError(f"turn: expected a share of the circle of hues from -0.5 to 0.5, got {turn!r}.")
    given = pixels.contiguous()
    turned = torch.empty_like(given)
    _turn(given.flatten(1).numpy(), np.float32(turn), turned.flatten(1).numpy())
    return turned


# Every operation rounds to float32, in torchvision's order. There are choices, but no branches: so the compiler has
# many pixels done at once.


@kernel
def _turn(pixels, turn, turned):
    """RGB to hue, saturation and value, and back; pixels and turned (3, N) uint8, the latter is written."""
    reds, greens, blues = pixels[0], pixels[1], pixels[2]
    new_reds, new_greens, new_blues = turned[0], turned[1], turned[2]
    for n in range(len(reds)):
        red, green, blue = np.float32(reds[n]) * _UNIT, np.float32(greens[n]) * _UNIT, np.float32(blues[n]) * _UNIT
        value = max(red, green, blue)
        spread = value - min(red, green, blue)
        hue = _hue(red, green, blue, value, spread) + turn
        hue = hue - _ONE if hue >= _ONE else (hue + _ONE if hue < _ZERO else hue)
        sixths = hue * _SIX
        sixth = np.floor(sixths)
        saturation = spread / (value if spread > _ZERO else _ONE)
        part, rest = saturation * (sixths - sixth), _ONE - saturation
        sixth = _ZERO if sixth == _SIX else sixth  # What was hardly below 0 is the whole circle, rounded.
        low = min(max(rest * value, _ZERO), _ONE)
        falling = min(max((_ONE - part) * value, _ZERO), _ONE)
        rising = min(max((part + rest) * value, _ZERO), _ONE)
        new_reds[n] = _level(sixth - _RED, value, falling, low, rising)
        new_greens[n] = _level(sixth - _GREEN, value, falling, low, rising)
        new_blues[n] = _level(sixth - _BLUE, value, falling, low, rising)


@kernel
def _hue(red, green, blue, value, spread):
    """The hue in [0, 1); 0 of greys."""
    divisor = spread if spread > _ZERO else _ONE
    no_red, no_green, no_blue = (value - red) / divisor, (value - green) / divisor, (value - blue) / divisor
    hue = no_red + _TWO - no_blue if green == value else no_green + _FOUR - no_red
    hue = no_blue - no_green if red == value else hue
    hue = hue * _SIXTH + _ONE
    return hue - _ONE if hue >= _ONE else hue


@kernel
def _level(place, value, falling, low, rising):
    """A channel, 0 to 255: the largest one in two sixths of the circle; it falls, stays low for two more, and rises."""
    place = place + _SIX if place < _ZERO else place
    share = falling if place == _TWO else (rising if place == _FIVE else low)
    share = value if place < _TWO else share
    # By way of int32: that is done for many numbers at once.
    return np.uint8(np.int32(share * _LEVELS))
