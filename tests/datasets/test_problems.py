from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fabricate import square, write_folder, write_indexed, write_photo
from PIL import Image

from tag2mask.datasets.problem import Problem, count_problems
from tag2mask.datasets.problems import find_problems

GOOD = {f"{i}": "cat" if i < 5 else "dog" for i in range(10)}


def subjects(problems: list[Problem], kind: str) -> list[str]:
    return [Path(problem.subject).name for problem in problems if problem.kind == kind]


def test_a_good_folder_has_none(tmp_path: Path) -> None:
    write_folder(tmp_path, GOOD)
    write_indexed(tmp_path / "masks" / "1.png", square(1))
    steps = []
    assert find_problems(tmp_path, lambda done, total: steps.append((done, total))) == []
    assert steps[-1] == (10, 10)


def test_everything_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path, GOOD | {"only": "Cat bird", "gone": "cat"})
    images, masks = tmp_path / "images", tmp_path / "masks"
    (images / "gone.png").unlink()
    (images / "0.png").write_bytes((images / "0.png").read_bytes()[:-30])
    (images / "5.png").write_text("no image")
    write_photo(images / "untagged.png")
    with (tmp_path / "tags.csv").open("a") as table:
        table.write("1.png,cat\n2.png,dog\n")
    write_indexed(masks / "1.png", square(9))
    write_indexed(masks / "2.png", square(1, (8, 6)))
    write_indexed(masks / "3.png", square(255))
    write_indexed(masks / "nobody.png", square(1))
    Image.new("RGB", (8, 6), (10, 20, 30)).save(masks / "4.png")
    (tmp_path / "val.txt").write_text("6\nnever\n")
    (tmp_path / "train.txt").write_text("\n".join([*GOOD, "only", "untagged"]))
    problems = find_problems(tmp_path)
    assert subjects(problems, "missing image") == ["never", "gone.png"]
    assert subjects(problems, "broken image") == ["0.png", "5.png"]
    assert subjects(problems, "image without tags") == ["untagged"]
    assert subjects(problems, "duplicate row") == ["1", "2"]
    assert [p.severity for p in problems if p.kind == "duplicate row"] == ["warning", "error"]
    assert [p.subject for p in problems if p.kind == "names differ only by case"] == ["Cat / cat"]
    assert subjects(problems, "rare class") == ["Cat", "bird", "dog"]
    assert subjects(problems, "unusable mask") == ["1.png", "4.png"]
    assert subjects(problems, "mask of wrong size") == ["2.png"]
    assert subjects(problems, "mask without objects") == ["3.png"]
    assert subjects(problems, "mask without image") == ["nobody.png"]
    assert subjects(problems, "image in both lists") == ["6"]
    assert all(p.subject and p.message and p.remedy for p in problems)
    counts = count_problems(problems)
    assert counts["broken image"] == 2
    assert sum(counts.values()) == len(problems)


def test_a_class_on_every_image_and_one_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {f"{i}": "cow" for i in range(6)})
    assert [(p.kind, p.subject) for p in find_problems(tmp_path)] == [("class on every image", "cow")]
    write_folder(tmp_path, {f"{i}": "cow" for i in range(6)} | {"none": ""})
    assert find_problems(tmp_path) == []


def test_1000_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "c0001", "b": "c0999"})
    (tmp_path / "classes.txt").write_text("".join(f"c{i:04d}\n" for i in range(1000)))
    write_indexed(tmp_path / "masks" / "b.png", square(1000))
    assert count_problems(find_problems(tmp_path)) == {"rare class": 1000}


def test_tags_that_are_no_class(tmp_path: Path) -> None:
    write_folder(tmp_path, GOOD | {"x": "dgo"})
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (problem,) = find_problems(tmp_path)
    assert (problem.kind, problem.subject, problem.severity) == ("unknown tag", "dgo", "error")
    assert "tags.csv, line 12" in problem.message
    assert "'dog'?" in problem.message


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("tags.csv", b"", "unusable tags"),
        ("tags.csv", b"image,tags\n\xff\xfe", "unusable tags"),
        ("tags.csv", b'image,tags\n"a', "unusable tags"),
        ("tags.csv", b"image,tags\n", "unusable tags"),
        ("tags.json", b"{", "unusable tags"),
        ("classes.txt", b"", "unusable classes.txt"),
        ("classes.txt", b"\xff", "unusable classes.txt"),
        ("val.txt", b"\xff", "unusable list"),
        ("masks/1.png", b"", "unusable mask"),
    ],
)
def test_damaged_files_are_problems(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    write_folder(tmp_path, GOOD)
    (tmp_path / "masks").mkdir()
    (tmp_path / name).write_bytes(content)
    assert kind in count_problems(find_problems(tmp_path))


@pytest.mark.parametrize("name", ["tags.csv", "classes.txt", "val.txt"])
def test_folders_in_place_of_files_are_problems(name: str, tmp_path: Path) -> None:
    write_folder(tmp_path, GOOD)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    assert any(problem.severity == "error" for problem in find_problems(tmp_path))


def test_no_folder_no_images_and_no_tags(tmp_path: Path) -> None:
    assert count_problems(find_problems(tmp_path / "gone")) == {"unusable folder": 1}
    assert count_problems(find_problems(tmp_path)) == {"unusable folder": 1}
    write_photo(tmp_path / "images" / "a.png")
    write_indexed(tmp_path / "masks" / "a.png", np.zeros((6, 8)))
    assert count_problems(find_problems(tmp_path)) == {"unusable tags": 1}


def test_held_out_images_need_no_tags(tmp_path: Path) -> None:
    write_folder(tmp_path, GOOD)
    write_photo(tmp_path / "images" / "new.png")
    (tmp_path / "val.txt").write_text("new\n")
    assert find_problems(tmp_path) == []


def test_images_outside_the_lists_are_not_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, GOOD)
    write_photo(tmp_path / "images" / "new.png")
    (tmp_path / "train.txt").write_text("".join(f"{i}\n" for i in range(6)))
    assert [(p.kind, p.subject) for p in find_problems(tmp_path)] == [("rare class", "dog")]


def test_nothing_to_train_on(tmp_path: Path) -> None:
    write_folder(tmp_path, {"1": "cat"})
    (tmp_path / "val.txt").write_text("1\n")
    assert "nothing to train on" in count_problems(find_problems(tmp_path))
