"""What an annotation file says is in its image: labelImg's XML, LabelMe's JSON, YOLO's text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from tag2mask.datasets.tag_table import read_names
from tag2mask.datasets.xml_tags import local_name, names_in_xml, parse_xml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

FEWEST_NUMBERS = 5
"""A line of YOLO has at least these: the class, and x, y, width, height (or the corners of an outline)."""


@dataclass(frozen=True, slots=True)
class AnnotationFormat:
    """A kind of file that lies beside each image.

    Args:
        name: the tool that writes it, for messages.
        suffix: in lower case, with the dot.
        fits: whether a file is of this kind; a damaged one is not.
        read: the names, or for YOLO the numbers, of what an image shows; raises ValueError.
    """

    name: str
    suffix: str
    fits: Callable[[Path], bool]
    read: Callable[[Path], tuple[str, ...]]


def read_labelme(path: Path) -> tuple[str, ...]:
    """The flags that are set and the labels of the shapes.

    Raises:
        ValueError: if the file is none of LabelMe.
    """
    content = _json(path)
    flags, shapes = content.get("flags") or {}, content.get("shapes") or []
    if not isinstance(flags, dict) or not isinstance(shapes, list):
        raise ValueError(
            f"{path}: expected flags and shapes of LabelMe, found other things. Save it with LabelMe again."
        )
    labels = {shape.get("label") if isinstance(shape, dict) else None for shape in shapes}
    named = {label for label in labels if isinstance(label, str)}
    if named != labels:
        raise ValueError(f"{path}: expected a label of every shape, found one without. Save it with LabelMe again.")
    return tuple(sorted({flag for flag, is_set in flags.items() if is_set is True} | named))


def read_yolo(path: Path) -> tuple[str, ...]:
    """The numbers of the classes, each once.

    Raises:
        ValueError: if a line is no object.
    """
    numbers = set()
    for place, line in enumerate(read_names(path), start=1):
        words = line.split()
        if not _is_object(words):
            raise ValueError(
                f"{path}, line {place}: expected a class number and x y width height, found {line[:60]!r}. "
                "Export it in the format of YOLO again."
            )
        numbers.add(int(float(words[0])))
    return tuple(map(str, sorted(numbers)))


def class_list(folders: Iterable[Path]) -> tuple[Path, tuple[str, ...]] | None:
    """The names of YOLO's numbers: of ``classes.txt``, ``*.names``, ``_darknet.labels`` or ``*.yaml`` with names.

    Args:
        folders: where to look, the likeliest first.

    Returns:
        The file and the names by number, a gap as an empty name; None if there is no such file.

    Raises:
        ValueError: if a YAML file is damaged.
    """
    for folder in dict.fromkeys(folders):
        if not folder.is_dir():
            continue
        lists = [folder / "classes.txt", *sorted(folder.glob("*.names")), folder / "_darknet.labels"]
        for file in lists:
            if file.is_file():
                return file, tuple(read_names(file))
        for file in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
            if names := _yaml_names(file):
                return file, names
    return None


def _fits_labelme(path: Path) -> bool:
    try:
        content = _json(path)
    except ValueError:
        return False
    return isinstance(content.get("shapes"), list) or (
        "imagePath" in content and isinstance(content.get("flags"), dict)
    )


def _fits_xml(path: Path) -> bool:
    try:
        return local_name(parse_xml(path)) == "annotation"
    except ValueError:
        return False


def _fits_yolo(path: Path) -> bool:
    try:
        return all(_is_object(line.split()) for line in read_names(path))
    except ValueError:
        return False


def _is_object(words: list[str]) -> bool:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    return len(numbers) >= FEWEST_NUMBERS and numbers[0] >= 0 and numbers[0].is_integer()


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON of LabelMe, found an error ({error}). Copy it again.") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected JSON of LabelMe, found {type(content).__name__}. Save it with LabelMe again."
        )
    return content


def _yaml_names(file: Path) -> tuple[str, ...]:
    """The entry ``names`` of a YAML file: a list, or an object from number to name; empty if there is none."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        words = " ".join(str(error).split())
        raise ValueError(f"{file}: expected YAML with names, found an error ({words}). Correct it.") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        return tuple(map(str, names))
    if isinstance(names, dict) and names and all(isinstance(number, int) and number >= 0 for number in names):
        return tuple(str(names.get(number, "")) for number in range(max(names) + 1))
    return ()


FORMATS = (
    AnnotationFormat("labelImg", ".xml", _fits_xml, names_in_xml),
    AnnotationFormat("LabelMe", ".json", _fits_labelme, read_labelme),
    AnnotationFormat("YOLO", ".txt", _fits_yolo, read_yolo),
)
