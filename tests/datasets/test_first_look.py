"""What check and run say before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fabricate import write_folder, write_voc

from tag2mask.datasets import files, images
from tag2mask.datasets.first_look import look_for_check, look_for_run, require_learnable
from tag2mask.datasets.problem import Problem
from tag2mask.datasets.source import find_source

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {f"{i}": "ox" if i < 5 else "zebra" for i in range(10)}


def test_a_run_is_told_what_check_knows_and_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, {f"{i}": "ox" if i < 5 else "ox;zebra" for i in range(10)})
    (tmp_path / "images" / "3.png").write_text("no image")
    with (tmp_path / "tags.csv").open("a") as table:
        table.write("gone.png,ox\n")

    def refuse(*_: object) -> None:
        raise AssertionError("an image was decoded")

    for module in (files, images):
        monkeypatch.setattr(module, "read_image", refuse)
        monkeypatch.setattr(module, "read_shrunk", refuse)
    data, look = look_for_run(find_source(tmp_path))
    assert len(data.names) == 9
    assert [(problem.kind, problem.severity) for problem in look.problems] == [
        ("missing image", "error"), ("broken image", "error"), ("class on every image", "error"),
    ]  # fmt: skip
    assert look.summary is not None
    assert look.summary.left_out == {"missing image": 1, "broken image": 1}
    with pytest.raises(ValueError, match=r"photos: .* found class on every image: ox .*--force"):
        require_learnable(look.problems, "photos", force=False)
    require_learnable(look.problems, "photos", force=True)


def test_what_is_left_out_or_only_a_warning_stops_no_run() -> None:
    problems = [Problem("broken image", "a", "left out", ""), Problem("no tag", "a", "", "", "warning")]
    require_learnable(problems, "photos", force=False)


def test_check_has_a_summary_and_the_notes_of_opening(tmp_path: Path) -> None:
    look = look_for_check(find_source(write_folder(tmp_path, GOOD)))
    assert look.problems == ()
    assert look.summary is not None
    assert [one.training for one in look.summary.classes] == [5, 5]
    (tmp_path / "images" / "3.png").write_text("no image")
    look = look_for_check(find_source(tmp_path))
    assert [problem.kind for problem in look.problems] == ["broken image"]
    assert look.summary is not None
    assert look.summary.left_out == {"broken image": 1}


def test_what_cannot_be_opened_has_no_summary_but_an_error(tmp_path: Path) -> None:
    write_folder(tmp_path, GOOD)
    (tmp_path / "classes.txt").write_text("ox\n")
    look = look_for_check(find_source(tmp_path))
    assert look.data is None
    assert look.summary is None
    assert any(problem.severity == "error" for problem in look.problems)
    with pytest.raises(ValueError, match="zebra"):
        look_for_run(find_source(tmp_path))


def test_what_a_devkit_leaves_out_is_listed_image_by_image(tmp_path: Path) -> None:
    names = [f"2007_{number:06d}" for number in range(8)]
    shown = {name: ["cow"] if place < 6 else [] for place, name in enumerate(names)}
    write_voc(tmp_path, shown, {"train": names})
    for name in names[:2]:
        (tmp_path / "VOCdevkit" / "VOC2012" / "JPEGImages" / f"{name}.jpg").unlink()
    look = look_for_check(find_source(tmp_path))
    assert [(p.subject, p.severity) for p in look.problems if p.kind == "missing image"] == [
        (name, "error") for name in names[:2]
    ]
    assert "incomplete data set" not in {problem.kind for problem in look.problems}
    assert look.summary is not None
    assert look.summary.left_out["missing image"] == 2
