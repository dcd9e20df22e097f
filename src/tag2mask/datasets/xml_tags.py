"""The names of the objects in an XML annotation, as PASCAL VOC and labelImg write it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from pathlib import Path


def names_in_xml(path: Path) -> tuple[str, ...]:
    """Names of the objects in an annotation, each once, sorted; parts of objects (head, hand) are none.

    Args:
        path: the file.

    Raises:
        ValueError: if the file is missing, is no annotation, or an object has no name.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise ValueError(f"{path}: expected an XML annotation, found an error ({error}). Copy it again.") from error
    if _local(root.tag) != "annotation":
        raise ValueError(f"{path}: expected an XML annotation, found <{_local(root.tag)}>. Export it in VOC's format.")
    names = set()
    for thing in root:
        if _local(thing.tag) == "object":
            name = next((part.text or "" for part in thing if _local(part.tag) == "name"), "").strip()
            if not name:
                raise ValueError(f"{path}: expected a name of every object, found one without. Name it, or remove it.")
            names.add(name)
    return tuple(sorted(names))


def _local(tag: str) -> str:
    """The name of an element without its namespace."""
    return tag.rpartition("}")[2]
