"""class_problems: what no classifier can learn from image-level tags, seen without decoding an image."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tag2mask.datasets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tag2mask.datasets.dataset import TagDataset

FEWEST_IMAGES = 5
"""A class with fewer training images is reported: a classifier hardly learns it."""


def class_problems(class_names: Sequence[str], tags: Iterable[Collection[str]]) -> list[Problem]:
    """What is wrong with the classes of a set of training images.

    Args:
        class_names: C names.
        tags: of every training image, those without tags among them; may hold names that are no class.

    Returns:
        An error for a set without a tag, a class that every image has, and names that differ by case; a warning for a
        class that fewer than `FEWEST_IMAGES` images have.

    Example:
        >>> [problem.kind for problem in class_problems(["cow"], [["cow"]] * 6)]
        ['class on every image']
    """
    every = [frozenset(of_image) for of_image in tags]
    counts = Counter(tag for of_image in every for tag in of_image)
    problems = []
    if not counts:
        problems.append(Problem("no tag", "tags", "no training image has a tag", "Fill the column tags."))
    problems += _spellings(dict.fromkeys([*class_names, *sorted(counts)]), counts)
    for name in class_names:
        if counts[name] == len(every) > 0:
            problems.append(
                Problem(
                    "class on every image",
                    name,
                    f"all {len(every)} training images show it: a classifier cannot learn what it looks like",
                    "Add images without it (with an empty tag cell if they show no class).",
                )
            )
        if counts and counts[name] < FEWEST_IMAGES:
            problems.append(
                Problem(
                    "rare class",
                    name,
                    f"{counts[name]} training images show it, fewer than {FEWEST_IMAGES}",
                    "Add images of it, or remove the class.",
                    "warning",
                )
            )
    return problems


def problems_of_tags(data: TagDataset) -> list[Problem]:
    """What is wrong with the classes of a data set.

    Args:
        data: any data set.
    """
    names = data.class_names
    tags = ([names[class_id] for class_id in data.tags(name).nonzero().flatten().tolist()] for name in data.names)
    return class_problems(names, tags)


def _spellings(names: Iterable[str], counts: Counter[str]) -> list[Problem]:
    """Names that are the same but for capital letters."""
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault(name.casefold(), []).append(name)
    return [
        Problem(
            "names differ only by case",
            " / ".join(several),
            ", ".join(f"{name} ({counts[name]} images)" for name in several),
            "Write the class in one way everywhere.",
        )
        for several in spellings.values()
        if len(several) > 1
    ]
