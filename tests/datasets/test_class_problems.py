"""What no classifier can learn, by hand."""

from __future__ import annotations

from tag2mask.datasets.class_problems import FEWEST_IMAGES, class_problems


def found(class_names: list[str], tags: list[list[str]]) -> list[tuple[str, str, str]]:
    return [(problem.kind, problem.subject, problem.severity) for problem in class_problems(class_names, tags)]


def test_enough_images_with_and_without_a_class_are_fine() -> None:
    assert found(["ox"], [["ox"]] * FEWEST_IMAGES + [[]]) == []


def test_one_image_less_is_rare() -> None:
    assert found(["ox"], [["ox"]] * (FEWEST_IMAGES - 1) + [[]]) == [("rare class", "ox", "warning")]


def test_a_class_on_every_image_beside_another_one() -> None:
    tags = [["bee", "ox"]] * 5 + [["bee"]] * 5
    assert found(["bee", "ox"], tags) == [("class on every image", "bee", "error")]


def test_capital_letters_make_two_classes_of_one() -> None:
    tags = [["Ox"]] * 5 + [["ox"]] * 6
    (problem,) = class_problems(["Ox", "ox"], tags)
    assert (problem.kind, problem.subject) == ("names differ only by case", "Ox / ox")
    assert problem.message == "Ox (5 images), ox (6 images)"


def test_no_tag_at_all_is_one_error_and_not_one_for_each_class() -> None:
    assert found(["bee", "ox"], [[], []]) == [("no tag", "tags", "error")]
    assert found([], []) == [("no tag", "tags", "error")]
