"""Colours of classes in classes.txt: every line or none, background and void beside the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from fabricate import write_folder
from PIL import Image

from tag2mask.datasets.class_colours import read_colours, split_colours
from tag2mask.datasets.folder import open_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("lines", "names", "colours"),
    [
        (["cat 1 2 3", "big dog  4, 5, 6"], ["cat", "big dog"], {(1, 2, 3): 1, (4, 5, 6): 2}),
        (["cat #010203", "dog:#FF00ff"], ["cat", "dog"], {(1, 2, 3): 1, (255, 0, 255): 2}),
        (["background 9 9 9", "b #000000", "void 1 1 1"], ["b"], {(9, 9, 9): 0, (0, 0, 0): 1, (1, 1, 1): 255}),
        (["cat 1 2 256", "dog 1 2 3"], ["cat 1 2 256", "dog 1 2 3"], None),
        (["cat", "room 1 2 3"], ["cat", "room 1 2 3"], None),
    ],
)
def test_names_and_colours(lines: list[str], names: list[str], colours: dict[tuple[int, ...], int] | None) -> None:
    assert split_colours("classes.txt", lines) == (names, colours)


def test_half_a_table_and_a_colour_twice_are_errors() -> None:
    with pytest.raises(ValueError, match=r"c\.txt: expected a colour in every line or .*, found none beside 'dog'"):
        split_colours("c.txt", ["cat #010203", "dog"])
    with pytest.raises(ValueError, match=r"expected a colour of its own .*\(1, 2, 3\) twice"):
        split_colours("c.txt", ["cat #010203", "dog 1 2 3"])


def test_labels_pass_over_255() -> None:
    _, colours = split_colours("c.txt", [f"c{i} {i // 256} {i % 256} 7" for i in range(300)])
    assert colours is not None
    assert [colours[(i // 256, i % 256, 7)] for i in (0, 253, 254, 299)] == [1, 254, 256, 301]


def test_coloured_masks_of_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "dog", "b": "cat", "c": ""})
    (tmp_path / "classes.txt").write_text("background 50 50 50\ndog #0A0000\ncat 0 10 0\n")
    pixels = np.full((6, 8, 3), 50, np.uint8)
    pixels[0, 0], pixels[0, 1] = (10, 0, 0), (0, 10, 0)
    (tmp_path / "masks").mkdir()
    Image.fromarray(pixels).save(tmp_path / "masks" / "a.png")
    data = open_folder(tmp_path)
    assert data.class_names == ("dog", "cat")
    mask = data.mask("a")
    assert mask is not None
    assert (mask[0, :3].tolist(), int(mask.sum())) == ([1, 2, 0], 3)
    assert read_colours(tmp_path / "gone.txt") is None
