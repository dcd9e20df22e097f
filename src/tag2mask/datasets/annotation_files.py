"""Tags from annotation files, one for each image: beside it, or in a folder for them (labelImg, LabelMe, YOLO)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tag2mask.checks import few
from tag2mask.datasets.annotation_readers import FORMATS, class_list
from tag2mask.datasets.tag_table import TagRow, is_background
from tag2mask.datasets.walking import files_below

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tag2mask.datasets.annotation_readers import AnnotationFormat
    from tag2mask.datasets.class_folders import ClassFolders

logger = logging.getLogger(__name__)

IMAGES = "images"
PLACES = ("labels", "annotations", "label", "annotation", "ann", "xml", "xmls", "json", "jsons")
"""Folders of annotation files, in lower case."""

LOOKED_AT = 20
"""So many files are looked at, to tell whether they are annotations."""

_NO_CLASS = "__ignore__"


def annotation_rows(images: ClassFolders) -> list[TagRow] | None:
    """The tags of images that have an annotation file each.

    Args:
        images: a folder's images; those of test/ are left alone.

    Returns:
        A row for each image with such a file, and, of YOLO, for each without one: it shows nothing. None if fewer
        than half of the images have one of the same kind.

    Raises:
        ValueError: if an annotation file is damaged, or a number has no name.
    """
    used = [name for name in images.paths if images.split_of(name) != "test" or not images.is_split]
    several = [_Annotated(images, kind) for kind in FORMATS]
    fitting = [one for one in several if 2 * sum(name in one.files for name in used) >= max(1, len(used))]
    annotated = next((one for one in fitting if one.is_of_its_kind()), None)
    if annotated is None:
        return None
    images.tell_left_alone()
    return list(annotated.rows(used))


@dataclass(frozen=True, eq=False)
class _Annotated:
    """Images with annotation files of one kind."""

    images: ClassFolders
    kind: AnnotationFormat

    @cached_property
    def files(self) -> dict[str, Path]:
        """The annotation file of each image that has one."""
        root = self.images.root
        index: dict[tuple[tuple[str, ...], str], Path] = {}
        for file in files_below(root, {self.kind.suffix}):
            index[_folded(file.relative_to(root).parts[:-1]), file.stem] = file
        found = {}
        for name, path in self.images.paths.items() if index else ():
            for place in _places(_folded(path.relative_to(root).parts[:-1])):
                if (place, path.stem) in index:
                    found[name] = index[place, path.stem]
                    break
        return found

    def is_of_its_kind(self) -> bool:
        """Whether most files are what their suffix says, as far as a few of them tell."""
        files = list(self.files.values())
        sample = files[:: max(1, -(-len(files) // LOOKED_AT))]
        return 2 * sum(map(self.kind.fits, sample)) > len(sample)

    def rows(self, used: Sequence[str]) -> Iterator[TagRow]:
        """What the files say, in the order of the images."""
        shown = {name: self.kind.read(self.files[name]) for name in used if name in self.files}
        shown = self._named(shown) if self.kind.name == "YOLO" else shown
        logger.info("%s: the tags are from %d files of %s.", self.images.root, len(shown), self.kind.name)
        without = [name for name in used if name not in shown]
        if without and self.kind.name == "YOLO":
            logger.warning(
                "%s: %d images have no file of YOLO and count as showing nothing: %s. "
                "If you do not know what they show, take them out.",
                self.images.root, len(without), few(without),
            )  # fmt: skip
            shown |= dict.fromkeys(without, ())
        for name in used:
            if name in shown:
                file = self.files.get(name)
                place = f"file {file.relative_to(self.images.root).as_posix()}" if file is not None else "no file"
                tags = tuple(tag for tag in shown[name] if not is_background(tag) and tag != _NO_CLASS)
                yield TagRow(self.images.call(name), tags, place)

    def _named(self, numbers: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """The names of YOLO's numbers."""
        root, top = self.images.root, self.images.top
        beside = dict.fromkeys(file.parent for file in self.files.values())
        above = dict.fromkeys(folder.parent for folder in beside if folder != root)
        listed = class_list([root, *beside, *above, top])
        if listed is None:
            logger.warning(
                "%s: no classes.txt, *.names or *.yaml says what the numbers of YOLO mean, so the classes are called "
                "0, 1 and so on. Write their names into classes.txt, one per line.",
                root,
            )
            return dict(numbers)
        file, names = listed
        for name, several in numbers.items():
            for number in several:
                if int(number) >= len(names) or not names[int(number)]:
                    raise ValueError(
                        f"{self.files[name]}: expected a class 0..{len(names) - 1} of {file}, found {number}. "
                        "Add its name to the list."
                    )
        return {name: tuple(names[int(number)] for number in several) for name, several in numbers.items()}


def _places(folder: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Where the annotation of an image in a folder may lie, the likeliest first; in lower case, below the root."""
    yield folder
    for place in PLACES:
        for position in reversed(range(len(folder))):
            if folder[position] == IMAGES:
                yield (*folder[:position], place, *folder[position + 1 :])
        yield (place, *folder)
        if folder:
            yield (place, *folder[1:])
            yield (*folder[:-1], place)
        yield (place,)


def _folded(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.casefold() for part in parts)
