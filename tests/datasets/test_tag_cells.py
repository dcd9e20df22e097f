from __future__ import annotations

import pytest

from tag2mask.datasets.tag_cells import split_tags


@pytest.mark.parametrize(
    ("cells", "tags"),
    [
        (["cow car", "cow", ""], [("cow", "car"), ("cow",), ()]),
        (["polar bear, cow", "polar bear"], [("polar bear", "cow"), ("polar bear",)]),
        (["polar bear;cow;", " cow "], [("polar bear", "cow"), ("cow",)]),
        (["polar bear|cow", "", "cow|cow"], [("polar bear", "cow"), (), ("cow",)]),
        (["cow  car\tdog"], [("cow", "car", "dog")]),
        (["cow background", "Background"], [("cow",), ()]),
        ([], []),
    ],
)
def test_how_cells_split(cells: list[str], tags: list[tuple[str, ...]]) -> None:
    assert split_tags(cells) == tags


@pytest.mark.parametrize(
    ("cells", "known", "tags"),
    [
        (["polar bear", "cow"], ["cow", "polar bear"], [("polar bear",), ("cow",)]),
        (["cow car"], ["cow", "car"], [("cow", "car")]),
        (["cow car", "hrose"], ["cow", "car", "horse"], [("cow", "car"), ("hrose",)]),
        (["tench, fish;cow"], ["tench, fish", "cow"], [("tench, fish", "cow")]),
        (["tench, fish"], ["tench, fish", "cow"], [("tench, fish",)]),
        (["cow, car", "cow dog"], ["cow", "car", "dog"], [("cow", "car"), ("cow", "dog")]),
    ],
)
def test_known_names_decide_the_split(cells: list[str], known: list[str], tags: list[tuple[str, ...]]) -> None:
    assert split_tags(cells, known) == tags
