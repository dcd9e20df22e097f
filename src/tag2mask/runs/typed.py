"""JSON as values of declared types: what a file holds is checked when it is read."""

from __future__ import annotations

import dataclasses
import json
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

Value = TypeVar("Value")

OTHER_VERSION = "It is damaged or of another version of tag2mask: make the run anew in another folder."
"""What to do with a file that does not hold what it should."""


def typed(kind: type[Value], content: object, where: str) -> Value:
    """JSON as a value of a type.

    Args:
        kind: a dataclass whose annotations can be resolved where it is defined, or a type of JSON values.
        content: as ``json.loads`` gives it; lists become tuples, and nothing else changes its type.
        where: it is from, for the message.

    Raises:
        ValueError: if a field is missing, unknown or of another type; the message names it, and says what was found.

    Example:
        >>> typed(tuple[float, ...], [1.0, 0.5], "run.json")
        (1.0, 0.5)
    """
    if dataclasses.is_dataclass(kind) and isinstance(content, dict):
        known = [field.name for field in dataclasses.fields(kind)]
        if unknown := [name for name in content if name not in known]:
            raise ValueError(
                f"{where}: {unknown[0]}: expected one of {', '.join(known)}, found a field of this name. "
                + OTHER_VERSION
            )
    try:
        return TypeAdapter(kind).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        found = "nothing" if first["type"] == "missing" else f"{first['input']!r:.60}"
        raise ValueError(f"{where}: {place}: {first['msg']}, found {found}. {OTHER_VERSION}") from error
