from __future__ import annotations

import pytest

from tag2mask.datasets.tag_cells import read_tag_cells, split_tags


@pytest.mark.parametrize(
    ("cells", "tags"),
    [
        (["cow car", "cow", ""], [("cow", "car"), ("cow",), ()]),
        (["polar bear, cow", "polar bear"], [("polar bear", "cow"), ("polar bear",)]),
        (["polar bear;cow;", " cow "], [("polar bear", "cow"), ("cow",)]),
        (["polar bear|cow", "", "cow|cow"], [("polar bear", "cow"), (), ("cow",)]),
        (["cow  car\tdog"], [("cow", "car", "dog")]),
        (["cow background", "Background"], [("cow",), ()]),
        (["cow car", "Not labeled", "No Finding"], [("cow", "car"), ("Not labeled",), ("No Finding",)]),
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


def place(row: int) -> str:
    return f"line {row + 2}"


@pytest.mark.parametrize(
    ("cells", "tags"),
    [
        (["['cow', 'car']", "['cow']", "[]"], [("cow", "car"), ("cow",), ()]),
        (['["polar bear", "cow"]', "cow", ""], [("polar bear", "cow"), ("cow",), ()]),
        (["('cow', 'car')", "{'cow'}", "cow; car"], [("cow", "car"), ("cow",), ("cow", "car")]),
        (["['cow' 'car']", "['cow'\n 'car']"], [("cow", "car"), ("cow", "car")]),
        (["['a, b', \"it's\"]"], [("a, b", "it's")]),
        (['{"choices": ["cow", "car"]}', "{'choices': ['cow']}", "car"], [("cow", "car"), ("cow",), ("car",)]),
        (['[{"x": 3, "rectanglelabels": ["cow"]}, {"rectanglelabels": ["car"]}]'], [("cow", "car")]),
        (['{"choices": ["cow", "car"]}', "polar bear"], [("cow", "car"), ("polar bear",)]),
        (["[]", "cow car"], [(), ("cow", "car")]),
        (["set()", "frozenset()", "{'cow'}"], [(), (), ("cow",)]),
        (["frozenset({'polar bear'})", "set(['cow', 'car'])"], [("polar bear",), ("cow", "car")]),
        (["set(old) cow;car", "car"], [("set(old) cow", "car"), ("car",)]),
        (["(old) cow;car", "car"], [("(old) cow", "car"), ("car",)]),
        (["cow  shed;cow", "cow shed"], [("cow shed", "cow"), ("cow shed",)]),
        (["e\u0301t\u00e9"], [("\u00e9t\u00e9",)]),
    ],
)
def test_lists_in_cells(cells: list[str], tags: list[tuple[str, ...]]) -> None:
    assert read_tag_cells(cells, None, place) == tags


@pytest.mark.parametrize(
    ("cells", "tags"),
    [
        (["[0, 2]", "[1]", "[]"], [("cow", "dog"), ("car",), ()]),
        (["[0, 1, 1]", "[1, 0, 0]", ""], [("car", "dog"), ("cow",), ()]),
        (["[0 1 1]", "[1. 0. 0.]"], [("car", "dog"), ("cow",)]),
        (["[True, False, True]", "[False, False, False]"], [("cow", "dog"), ()]),
        (["0 1 0", "1 1 0"], [("car",), ("cow", "car")]),
        (["[cow", "car"], None),
    ],
)
def test_numbers_of_classes(cells: list[str], tags: list[tuple[str, ...]] | None) -> None:
    known = ("cow", "car", "dog")
    if tags is None:
        with pytest.raises(ValueError, match=r"line 2: expected tags, found '\[cow', which is no list"):
            read_tag_cells(cells, known, place)
    else:
        assert read_tag_cells(cells, known, place) == tags


def test_from_where_numbers_count_is_told(caplog: pytest.LogCaptureFixture) -> None:
    read_tag_cells(["[]", "[1]"], ("cow", "car"), place)
    assert "line 3: numbers in lists are taken as classes of classes.txt, counted from 0, so 0 is cow" in caplog.text
    caplog.clear()
    read_tag_cells(["[0, 1]", "[1, 1]", ""], ("cow", "car"), place)
    assert not caplog.text


@pytest.mark.parametrize(
    ("cells", "known", "message"),
    [
        (["cow", "['cow'"], None, r"line 3: expected tags, found .*which is no list of names"),
        (["[cow, car]"], None, "is no list of names"),
        (["[nan]"], None, "is no list of names"),
        (["[None]"], None, "holds None"),
        (["[0.5, 1]"], None, r"holds the number 0\.5"),
        (["__import__('os')", "[__import__('os').getcwd()]"], None, "line 3.*is no list of names"),
        (["{'cow': 1}"], None, "none of the keys choices and labels"),
        (["[0, 2]", "[1]"], None, "without classes.txt, found the class number 0"),
        (["[0, 2]", "[1]"], ["cow", "car"], "expected 0 to 1, found the class number 2"),
        (["[-1]"], ["cow", "car"], "found the class number -1"),
        (["[0 1]", "[1 0]"], None, "found 2 numbers 0 and 1 in every row, a place per class, and no classes.txt"),
        (["[0, 1, 0]", "[1, 1, 0]"], ["cow", "car"], "found 3 numbers 0 and 1 .* and 2 classes in classes.txt"),
    ],
)
def test_cells_that_are_refused(cells: list[str], known: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_tag_cells(cells, known, place)
