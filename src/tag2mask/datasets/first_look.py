"""first_look: what `check` and `run` say of a data set before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tag2mask.checks import some
from tag2mask.datasets.class_problems import problems_of_tags
from tag2mask.datasets.mask_checks import look_at_masks
from tag2mask.datasets.problem import Problem
from tag2mask.datasets.source import check_source, open_source
from tag2mask.datasets.summary import Summary, summarise
from tag2mask.datasets.told import told_while_opening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.sources import Source

STOPPING = frozenset({"no tag", "class on every image", "names differ only by case", "masks contradict the tags"})
"""Kinds of errors with which a run does not begin; with other ones it leaves out what is wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class FirstLook:
    """A data set as it was understood, and everything that is wrong with it.

    Args:
        data: the data set; None: it cannot be opened.
        summary: of the data set, likewise.
        problems: the findings.
    """

    data: TagDataset | None
    summary: Summary | None
    problems: tuple[Problem, ...]


def look_for_check(source: Source, on_progress: Callable[[int, int], None] | None = None) -> FirstLook:
    """Look at everything: decodes every image and every mask.

    Args:
        source: of `tag2mask.datasets.source.find_source`.
        on_progress: called after each image with the count so far and the count in all.

    Returns:
        The data set and its findings. Never raises: what cannot be read is a finding, too.
    """
    data: TagDataset | None = None
    failure: ValueError | None = None
    with told_while_opening() as told:
        try:
            data = open_source(source)
        except ValueError as error:
            failure = error
    masks = look_at_masks(data) if data is not None else None
    with told_while_opening():
        found = check_source(source, on_progress, masks=masks is None)
    # A folder is listed row by row; of other layouts, what they told while they were opened says more.
    listed = source.kind == "folder" or data is None
    problems = [problem for problem in told if problem.kind == "note" or not listed]
    problems += [problem for problem in found if listed or problem.kind != "incomplete data set"]
    problems += masks.problems if masks else ()
    if failure is not None and not any(problem.severity == "error" for problem in problems):
        what, _, remedy = str(failure).removeprefix(f"{source.path}: ").partition(". ")
        problems.append(Problem("unusable data set", source.path, what, remedy or "Correct it."))
    summary = summarise(data, told, masks.lines() if masks else ()) if data is not None else None
    return FirstLook(data, summary, tuple(problems))


def look_for_run(source: Source, *, strict: bool = False) -> tuple[TagDataset, FirstLook]:
    """Look at tags, lists, headers of images, and true masks; decodes no image.

    Args:
        source: of `tag2mask.datasets.source.find_source`.
        strict: a true mask that cannot be used is an error.

    Returns:
        The data set less the masks that cannot be used, and what there is to say of it.

    Raises:
        ValueError: if the data set cannot be opened, and as said for `strict`.
    """
    with told_while_opening() as told:
        data = open_source(source)
    masks = look_at_masks(data)
    if strict:
        masks.require_usable(source.path)
    masks.data.know_told()
    problems = (*told, *problems_of_tags(data), *masks.problems)
    return masks.data, FirstLook(masks.data, summarise(data, told, masks.lines()), problems)


def require_learnable(problems: Iterable[Problem], place: object, *, force: bool) -> None:
    """Require that nothing is wrong that would spoil a whole run.

    Args:
        problems: the findings.
        place: the folder, or what else it is.
        force: do not.

    Raises:
        ValueError: in one line with the findings of `STOPPING`, unless forced.
    """
    found = [problem for problem in problems if problem.severity == "error" and problem.kind in STOPPING]
    if not found or force:
        return
    told = some((f"{problem.kind}: {problem.subject} ({problem.message})" for problem in found), 3)
    raise ValueError(
        f"{place}: expected tags that a classifier can learn, found {told}. {found[0].remedy} "
        "Or go on all the same with --force (in Python: force=True)."
    )
