"""mask_checks: what is wrong with true masks, found by reading each of them once before anything is computed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tag2mask.checks import some
from tag2mask.datasets.files import MaskSizeError
from tag2mask.datasets.problem import Problem
from tag2mask.datasets.told import told_while_opening
from tag2mask.datasets.usable_masks import UsableMasks, usable_masks
from tag2mask.labels import BACKGROUND, IGNORE, labels_from_class_ids
from tag2mask.parallel import map_images

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tag2mask.datasets.dataset import TagDataset

logger = logging.getLogger(__name__)

CONTRADICTION = "masks contradict the tags"
"""The kind of a problem that spoils every score: labels in another order than the classes."""

LEFT_OUT = ("unusable mask", "mask of wrong size")
"""Kinds of problems with which a mask is left out of the scores."""

FEWEST_TO_JUDGE = 2
"""So many masks must contradict their tags before the order of the classes is doubted."""


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """What a true mask holds.

    Args:
        name: of its image.
        labels: those that occur; none if it cannot be used.
        kind: of the problem, if it cannot be used.
        problem: what is the matter; empty if it can be used.
    """

    name: str
    labels: frozenset[int] = frozenset()
    kind: str = ""
    problem: str = ""

    @property
    def objects(self) -> frozenset[int]:
        """The labels of classes among them."""
        return self.labels - {BACKGROUND, IGNORE}


@dataclass(frozen=True, slots=True, eq=False)
class MaskLook:
    """All true masks of a data set, read once.

    Args:
        data: the data set less the masks that cannot be used.
        facts: of each mask, in the order of the images.
        problems: everything that is wrong with them.
    """

    data: UsableMasks
    facts: tuple[MaskFacts, ...]
    problems: tuple[Problem, ...]

    def require_usable(self, place: str = "") -> None:
        """Require that every mask can be used.

        Args:
            place: the data set, for the message.

        Raises:
            ValueError: if not, naming the first that cannot.
        """
        if self.data.bad:
            raise ValueError(
                f"{f'{place}: ' if place else ''}{len(self.data.bad)} true mask(s) cannot be used, the first: "
                f"{self.data.first_bad()} Mend or remove them, or run without --strict to leave them out of the scores."
            )

    def lines(self) -> tuple[str, ...]:
        """What the masks hold, in words: for each class how many masks show it, and how many show no object."""
        names = self.data.class_names
        whole = [each for each in self.facts if not each.problem]
        shown = {name: sum(label in each.objects for each in whole) for name, label in _labels(names).items()}
        counts = [f"{name} in {count}" for name, count in shown.items() if count]
        empty = sum(not each.objects for each in whole)
        return tuple(text for text in (some(counts), f"no object in {empty}" * bool(empty)) if text)


def look_at_masks(data: TagDataset) -> MaskLook:
    """Read every true mask once, several at a time.

    Args:
        data: any data set; one without masks has nothing to look at.
    """
    usable = usable_masks(data)
    if not data.has_masks():
        return MaskLook(usable, (), ())
    names = (*data.names, *data.val_names)

    def read(name: str) -> MaskFacts | None:
        try:
            labels = data.mask(name)
        except MaskSizeError as error:
            return MaskFacts(name, kind="mask of wrong size", problem=str(error))
        except ValueError as error:
            return MaskFacts(name, kind="unusable mask", problem=str(error))
        if labels is None:
            return None
        found = labels.flatten().bincount().nonzero()  # Ten times as fast as torch.unique, which sorts.
        return MaskFacts(name, frozenset(found.flatten().tolist()))

    with told_while_opening() as told:
        found = map_images(read, names, "reading every true mask once")
    facts = tuple(each for each in found if each is not None)
    usable.note({each.name: each.problem for each in facts if each.problem})
    return MaskLook(usable, facts, (*told, *mask_problems(data, facts)))


def without_bad_masks(data: TagDataset, *, strict: bool = False) -> MaskLook:
    """Read every true mask before a run begins, and tell what is wrong in a line for each kind.

    Args:
        data: any data set.
        strict: a mask that cannot be used is an error.

    Raises:
        ValueError: if strict and a mask cannot be used.
    """
    look = look_at_masks(data)
    if strict:
        look.require_usable()
    for kind in dict.fromkeys(problem.kind for problem in look.problems):
        every = [problem for problem in look.problems if problem.kind == kind]
        left_out = " (left out of the scores)" if kind in LEFT_OUT else ""
        more = f" (and {len(every) - 1} more)" if len(every) > 1 else ""
        first = every[0]
        logger.warning("%s%s: %s: %s%s. %s", kind, left_out, first.subject, first.message, more, first.remedy)
    look.data.know_told()
    return look


def mask_problems(data: TagDataset, facts: Sequence[MaskFacts]) -> list[Problem]:
    """What is wrong with masks, beside the tags of their images.

    Args:
        data: class names and tags.
        facts: of `look_at_masks`.

    Returns:
        Errors for masks that cannot be used, for masks none of which shows an object though their images have tags, and
        for masks all of which show classes that the tags exclude; warnings where only some are so.
    """
    problems = [_unusable(each) for each in facts if each.problem]
    labels = _labels(data.class_names)
    tagged = {
        each.name: frozenset(labels[data.class_names[index]] for index in data.tags(each.name).nonzero().flatten())
        for each in facts
    }
    held_out = set(data.val_names)
    # Held-out images may have no tags: that says nothing of what they show.
    judged = [each for each in facts if not each.problem and (tagged[each.name] or each.name not in held_out)]
    with_tags = [each for each in judged if tagged[each.name]]
    if any(each.objects for each in judged) and _counts_from_0(judged, tagged, len(labels)):
        return [*problems, _from_0(with_tags, data.class_names)]
    if with_tags and not any(each.objects for each in with_tags):
        return [*problems, _no_objects(with_tags, data.class_names)]
    problems += _empty(with_tags)
    problems += _never_shown(with_tags, tagged, labels)
    return problems + _contradictions(judged, tagged, labels)


def _labels(class_names: Sequence[str]) -> dict[str, int]:
    return dict(zip(class_names, labels_from_class_ids(torch.arange(len(class_names))).tolist(), strict=True))


def _unusable(facts: MaskFacts) -> Problem:
    """A message "place: what. Remedy." as a row of a table."""
    place, _, rest = facts.problem.partition(": ")
    what, _, remedy = rest.partition(". ")
    subject = facts.name if place == f"mask of {facts.name}" else place
    return Problem(facts.kind, subject, what, remedy or "Export the mask again.")


def _no_objects(with_tags: Sequence[MaskFacts], class_names: Sequence[str]) -> Problem:
    values = frozenset[int]().union(*(each.labels for each in with_tags))
    held = " and ".join(map(str, sorted(values)))
    white = ": is white the object?" * (IGNORE in values)
    few = some((f"{label} {name}" for name, label in _labels(class_names).items()), 3)
    return Problem(
        "masks without objects",
        "masks",
        f"no mask shows {some(class_names)}; {len(with_tags)} masks hold only {held}{white}",
        f"Write the label of its class into each object: {few}.",
    )


def _empty(with_tags: Iterable[MaskFacts]) -> list[Problem]:
    return [
        Problem(
            "mask without objects",
            each.name,
            f"the image has tags, its mask only labels {' and '.join(map(str, sorted(each.labels)))}",
            "If it is a black and white mask, write the class's label instead of white.",
            "warning",
        )
        for each in with_tags
        if not each.objects
    ]


def _never_shown(
    with_tags: Sequence[MaskFacts], tagged: dict[str, frozenset[int]], labels: dict[str, int]
) -> list[Problem]:
    shown = frozenset[int]().union(*(each.objects for each in with_tags))
    problems = []
    for name, label in labels.items():
        count = sum(label in tagged[each.name] for each in with_tags)
        if count and label not in shown:
            message = f"no mask shows it (label {label}), though {count} images with masks have its tag"
            remedy = "Look at the labels of these masks; without any the class has no score."
            problems.append(Problem("class in no mask", name, message, remedy, "warning"))
    return problems


def _contradictions(
    judged: Sequence[MaskFacts], tagged: dict[str, frozenset[int]], labels: dict[str, int]
) -> list[Problem]:
    """Masks that show classes that the tags exclude: one row for all."""
    showing = [each for each in judged if each.objects]
    stray = [each for each in showing if each.objects - tagged[each.name]]
    if not stray:
        return []
    names = {label: name for name, label in labels.items()}
    first = stray[0]
    said = some((names[label] for label in sorted(tagged[first.name])), 3) or "nothing"
    shows = some((names.get(label, label) for label in sorted(first.objects)), 3)
    message = (
        f"{len(stray)} of {len(showing)} masks show classes that the tags exclude: "
        f"{first.name} is tagged {said}, its mask shows {shows}"
    )
    # Where the tags name all classes or none, another order of the labels would not show.
    telling = [each for each in showing if 0 < len(tagged[each.name]) < len(labels)]
    every = len(telling) >= FEWEST_TO_JUDGE and all(each.objects - tagged[each.name] for each in telling)
    order = some((f"{label} {name}" for label, name in sorted(names.items())), 5)
    remedy = f"Is the order of classes.txt right? The labels count as {order}; or complete the tags."
    if every and (fitting := _fitting_order(showing, tagged, names)):
        remedy = f"Is the order of classes.txt right? The masks fit the order {some(fitting)}: write it there."
    return [Problem(CONTRADICTION, "masks", message, remedy, "error" if every else "warning")]


def _fitting_order(
    showing: Sequence[MaskFacts], tagged: dict[str, frozenset[int]], names: dict[int, str]
) -> tuple[str, ...]:
    """The order of the classes with which all masks agree with the tags; none if there is not just one."""
    meant = {
        label: frozenset(names).intersection(*(tagged[each.name] for each in showing if label in each.objects))
        for label in frozenset[int]().union(*(each.objects for each in showing))
    }
    found = tuple(names[next(iter(meant[label]))] for label in sorted(meant) if len(meant[label]) == 1)
    return found if len(set(found)) == len(names) else ()


def _counts_from_0(judged: Sequence[MaskFacts], tagged: dict[str, frozenset[int]], num_classes: int) -> bool:
    """Whether all masks agree with the tags once 1 is added to each label, and 255 is the background."""
    if num_classes >= IGNORE:
        return False
    shifted = {each.name: frozenset((label + 1) % (IGNORE + 1) for label in each.labels) for each in judged}
    agree = [shifted[each.name] - {BACKGROUND} == tagged[each.name] for each in judged]
    as_they_are = [each.objects == tagged[each.name] for each in judged]
    return len(judged) >= FEWEST_TO_JUDGE and all(agree) and not all(as_they_are)


def _from_0(with_tags: Sequence[MaskFacts], class_names: Sequence[str]) -> Problem:
    few = some((f"{label - 1} {name}" for name, label in _labels(class_names).items()), 3)
    return Problem(
        CONTRADICTION,
        "masks",
        f"the labels of {len(with_tags)} masks begin at 0 ({few}; 255 is the background)",
        "Add 1 to every label, so that 255 becomes 0: background is 0, the first class 1.",
    )
