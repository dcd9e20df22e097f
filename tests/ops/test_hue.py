"""Hues turned in one pass: to the bit what torchvision turns in forty."""

import pytest
import torch
from torchvision.transforms.v2.functional import adjust_hue

from tag2mask.ops.hue import turn_hues


def colours(step):
    """(3, N, N * N) uint8: every so many levels of each channel, in all combinations, black and white among them."""
    levels = torch.arange(0, 256, step)
    return torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).to(torch.uint8).flatten(2)


def test_a_third_of_the_circle_by_eye():
    red_green_blue = torch.tensor([[[200, 0, 9]], [[0, 200, 9]], [[0, 0, 200]]], dtype=torch.uint8)
    turned = turn_hues(red_green_blue, 1 / 3)
    assert turned[:, 0, 0].tolist() == [0, 200, 0], "red becomes green"
    assert turned[:, 0, 1].tolist() == [0, 0, 200], "green becomes blue"
    assert turned[:, 0, 2].tolist() == [200, 9, 9], "blue becomes red"


@pytest.mark.parametrize("turn", [0.0, 0.1, -0.1, 0.0371, -0.0999, 1 / 3, 0.5, -0.5, 1e-9, -1e-9])
def test_every_colour_is_turned_as_torchvision_turns_it(turn):
    for step in (5, 17):
        assert turn_hues(colours(step), turn).equal(adjust_hue(colours(step), turn))


def test_greys_stay():
    greys = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    assert turn_hues(greys, 0.21).equal(greys)


def test_any_layout_and_size_and_the_argument_is_left_alone():
    pixels = torch.randint(256, (7, 5, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).permute(
        2, 0, 1
    )
    before = pixels.clone()
    assert turn_hues(pixels, 0.2).equal(turn_hues(pixels.contiguous(), 0.2))
    assert pixels.equal(before)
    assert turn_hues(pixels[:, :0], 0.2).shape == (3, 0, 5)
    assert turn_hues(pixels[:, 2:3, 4:], 0.2).equal(turn_hues(pixels, 0.2)[:, 2:3, 4:])


def test_what_can_not_be_turned_is_told():
    pixels = torch.zeros(3, 2, 2, dtype=torch.uint8)
    for turn in (0.51, -0.51, float("nan")):
        with pytest.raises(ValueError, match=r"turn: expected a share of the circle of hues from -0\.5 to 0\.5, got"):
            turn_hues(pixels, turn)
    with pytest.raises(ValueError, match=r"pixels: expected torch\.uint8"):
        turn_hues(pixels.float(), 0.1)
    with pytest.raises(ValueError, match="pixels: expected shape"):
        turn_hues(pixels[:1], 0.1)
