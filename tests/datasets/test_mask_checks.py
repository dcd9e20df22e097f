"""True masks are read once before a run: bad ones are left out, contradictions and black and white ones are told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fabricate import SIZE, write_folder
from PIL import Image

from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.mask_checks import look_at_masks, without_bad_masks

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.datasets.files import FileDataset
    from tag2mask.datasets.problem import Problem

TAGS = {"a": "cat", "b": "dog", "c": "cat;dog", "d": "", "e": "dog", "f": "cat"}
LABELS = {"cat": 1, "dog": 2}


def truth(tags: str, size: tuple[int, int] = SIZE) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """A square for each tag."""
    labels = np.zeros(size, np.int64)
    for place, tag in enumerate(filter(None, tags.split(";"))):
        labels[2 * place : 2 * place + 2, :3] = LABELS.get(tag, 1)
    return labels


def folder(root: Path, tags: dict[str, str], change: object = None, suffix: str = "png") -> FileDataset:
    """A folder whose masks are the right ones, changed; `change` takes labels and returns what is stored."""
    write_folder(root, tags)
    (root / "masks").mkdir()
    for name, cell in tags.items():
        stored = change(truth(cell)) if callable(change) else truth(cell)
        Image.fromarray(np.asarray(stored).astype(np.uint8)).save(root / "masks" / f"{name}.{suffix}")
    return open_folder(root)


def told(data: FileDataset) -> list[tuple[str, str, str]]:
    return [(problem.kind, problem.subject, problem.severity) for problem in look_at_masks(data).problems]


def only(data: FileDataset) -> Problem:
    (problem,) = look_at_masks(data).problems
    return problem


@pytest.mark.parametrize("suffix", ["png", "tif", "TIFF"])
def test_good_masks_are_counted(suffix: str, tmp_path: Path) -> None:
    look = look_at_masks(folder(tmp_path, TAGS, suffix=suffix))
    assert look.problems == ()
    assert look.lines() == ("cat in 3, dog in 3", "no object in 1")
    assert [sorted(facts.labels) for facts in look.facts] == [[0, 1], [0, 2], [0, 1, 2], [0], [0, 2], [0, 1]]


def test_without_masks_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    look = look_at_masks(open_folder(write_folder(tmp_path, TAGS)))
    assert (look.facts, look.problems, look.lines()) == ((), (), ())


def test_bad_masks_are_left_out_and_told_in_a_line_for_each_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = folder(tmp_path, TAGS)
    Image.new("L", (3, 3)).save(tmp_path / "masks" / "a.png")
    Image.new("L", SIZE).save(tmp_path / "masks" / "b.png")
    (tmp_path / "masks" / "c.png").write_bytes(b"no mask")
    with caplog.at_level(logging.WARNING):
        look = without_bad_masks(data)
    assert [(problem.kind, problem.subject) for problem in look.problems] == [
        ("mask of wrong size", "a"),
        ("mask of wrong size", "b"),
        ("unusable mask", str(tmp_path / "masks" / "c.png")),
    ]
    assert all(problem.severity == "error" for problem in look.problems)
    first, second = caplog.messages
    assert first.startswith("mask of wrong size (left out of the scores): a: expected the image's size (6, 8)")
    assert "found (3, 3) (and 1 more). Export the mask at the size of" in first
    assert second.startswith("unusable mask (left out of the scores): ")
    assert [look.data.mask(name) is None for name in TAGS] == [True, True, True, False, False, False]
    with pytest.raises(ValueError, match=r"3 true mask\(s\) cannot be used, the first: mask of a: .* without --strict"):
        without_bad_masks(data, strict=True)


def test_black_and_white_masks_of_one_class_are_read(tmp_path: Path) -> None:
    data = folder(tmp_path, {"a": "thing", "b": "", "c": "thing"}, lambda labels: labels * 255)
    problem = only(data)
    assert (problem.kind, problem.severity) == ("note", "warning")
    assert "all masks hold only 0 and 255, so white is read as the one class" in problem.message
    mask = data.mask("a")
    assert mask is not None
    assert mask.tolist() == truth("thing").tolist()
    assert look_at_masks(data).lines() == ("thing in 2", "no object in 1")


def test_white_stays_unsure_where_a_mask_shows_the_class(tmp_path: Path) -> None:
    data = folder(tmp_path, {"a": "thing", "b": "", "c": "thing"})
    Image.new("L", SIZE[::-1], 255).save(tmp_path / "masks" / "b.png")
    assert told(data) == []
    mask = data.mask("b")
    assert mask is not None
    assert mask.unique().tolist() == [255]


def test_black_and_white_masks_of_several_classes_are_an_error(tmp_path: Path) -> None:
    problem = only(folder(tmp_path, TAGS, lambda labels: (labels > 0) * 255))
    assert (problem.kind, problem.severity) == ("masks without objects", "error")
    assert problem.message == "no mask shows cat, dog; 5 masks hold only 0 and 255: is white the object?"
    assert "1 cat, 2 dog" in problem.remedy


def test_empty_masks_of_several_classes_are_an_error(tmp_path: Path) -> None:
    problem = only(folder(tmp_path, TAGS, lambda labels: labels * 0))
    assert problem.message == "no mask shows cat, dog; 5 masks hold only 0"


def test_a_few_masks_without_objects_and_a_class_in_none(tmp_path: Path) -> None:
    data = folder(tmp_path, TAGS, lambda labels: np.where(labels == 2, 255, labels))
    assert told(data) == [
        ("mask without objects", "b", "warning"),
        ("mask without objects", "e", "warning"),
        ("class in no mask", "dog", "warning"),
    ]


@pytest.mark.parametrize("third", ["cat", "cat;dog"])
def test_labels_in_another_order_are_an_error(third: str, tmp_path: Path) -> None:
    swapped = np.array([0, 2, 1])
    problem = only(folder(tmp_path, TAGS | {"c": third}, lambda labels: swapped[labels]))
    assert (problem.kind, problem.severity) == ("masks contradict the tags", "error")
    stray = 5 if third == "cat" else 4  # Nothing shows where an image has both.
    assert problem.message == (
        f"{stray} of 5 masks show classes that the tags exclude: a is tagged cat, its mask shows dog"
    )
    assert problem.remedy == "Is the order of classes.txt right? The masks fit the order dog, cat: write it there."


def test_labels_that_fit_no_order_are_an_error_without_one(tmp_path: Path) -> None:
    data = folder(tmp_path, {"a": "cat", "b": "dog", "c": "cat"})
    for name, label in (("a", 2), ("b", 1), ("c", 1)):
        Image.fromarray(np.full(SIZE, label, np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    problem = only(data)
    assert (problem.severity, problem.remedy.count("1 cat, 2 dog")) == ("warning", 1)
    Image.fromarray(np.full(SIZE, 2, np.uint8)).save(tmp_path / "masks" / "c.png")
    Image.fromarray(np.full(SIZE, 1, np.uint8)).save(tmp_path / "masks" / "b.png")
    assert only(data).severity == "error"


def test_objects_in_untagged_images_alone_are_a_warning(tmp_path: Path) -> None:
    data = folder(tmp_path, {"a": "thing", "b": "", "c": "thing", "d": ""})
    for name in ("b", "d"):
        Image.fromarray(truth("thing").astype(np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    problem = only(data)
    assert problem.severity == "warning"
    assert problem.message.startswith("2 of 4 masks show classes that the tags exclude: b is tagged nothing")


def test_a_single_contradiction_is_a_warning(tmp_path: Path) -> None:
    data = folder(tmp_path, TAGS)
    Image.fromarray(truth("cat;dog").astype(np.uint8)).save(tmp_path / "masks" / "d.png")
    problem = only(data)
    assert (problem.kind, problem.severity) == ("masks contradict the tags", "warning")
    assert problem.message.startswith("1 of 6 masks show classes that the tags exclude: d is tagged nothing, its mask")


def test_files_of_other_formats_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = folder(tmp_path, TAGS, suffix="jpg")
    assert look_at_masks(data).facts == ()
    assert "masks: holds 6 files that are no PNG or TIFF, which count as no masks: a.jpg, b.jpg, c.jpg" in caplog.text


def test_held_out_images_without_tags_contradict_nothing(tmp_path: Path) -> None:
    folder(tmp_path, {name: cell for name, cell in TAGS.items() if name != "d"})
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / "new.png")
    Image.fromarray(truth("cat;dog").astype(np.uint8)).save(tmp_path / "masks" / "new.png")
    (tmp_path / "val.txt").write_text("new\n")
    data = open_folder(tmp_path)
    assert data.val_names == ("new",)
    assert told(data) == []


@pytest.mark.parametrize("tags", [TAGS, {"a": "cat", "b": "dog"}])
def test_labels_that_begin_at_0_are_an_error(tags: dict[str, str], tmp_path: Path) -> None:
    problem = only(folder(tmp_path, tags, lambda labels: (labels - 1) % 256))
    assert (problem.kind, problem.severity) == ("masks contradict the tags", "error")
    assert f"the labels of {len(tags) - ('d' in tags)} masks begin at 0 (0 cat, 1 dog; 255 is" in problem.message
    assert problem.remedy.startswith("Add 1 to every label")
