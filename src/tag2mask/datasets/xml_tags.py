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
    root = parse_xml(path)
    if local_name(root) != "annotation":
        raise ValueError(f"{path}: expected an XML annotation, found <{local_name(root)}>. Export it in VOC's format.")
    names = set()
    for thing in root:
        if local_name(thing) == "object":
            name = next((part.text or "" for part in thing if local_name(part) == "name"), "").strip()
            if not name:
                raise ValueError(f"{path}: expected a name of every object, found one without. Name it, or remove it.")
            names.add(name)
    return tuple(sorted(names))


def parse_xml(path: Path) -> ElementTree.Element:
    """The outermost element of an XML file.

    Raises:
        ValueError: if the file is missing or no XML.
    """
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise ValueError(f"{path}: expected an XML annotation, found an error ({error}). Copy it again.") from error


def local_name(element: ElementTree.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2]
