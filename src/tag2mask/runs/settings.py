"""Settings as JSON values, and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tag2mask.disk import file_digest
from tag2mask.runs.typed import typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")

_IS_FILE = "is_file"


def plain(settings: Any) -> Any:
    """Settings (a dataclass, one of dataclasses, or several) as JSON values."""
    if isinstance(settings, tuple):
        return {key: value for part in settings for key, value in plain(part).items()}
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def weights_file() -> Any:
    """A settings field that names a file with weights, empty for none; what stands in the file is what counts.

    Example:
        >>> @dataclasses.dataclass
        ... class Start:
        ...     weights: str = weights_file()
        >>> keyed(Start())
        {}
    """
    return dataclasses.field(default="", metadata={_IS_FILE: True})


def keyed(settings: Any) -> Any:
    """Settings as JSON values that say what results depend on: of a file its content, not its place.

    A field without a file is left out, as if the settings had no such field.

    Args:
        settings: a dataclass, or several.

    Raises:
        ValueError: if a file is missing.
    """
    values = plain(settings)
    for part in settings if isinstance(settings, tuple) else (settings,):
        for field in dataclasses.fields(part):
            if field.metadata.get(_IS_FILE):
                path = values.pop(field.name)
                values |= {field.name: f"blake2b:{file_digest(Path(path))}"} if path else {}
    return values


_RENAMED = {"pretrained": ("start_from", {True: "imagenet", False: "scratch"})}
"""Fields of version 0.1.0 -> what they are called now, and their values."""


def settings_from(kind: type[Settings], values: Mapping[str, Any], where: str, *, complete: bool = True) -> Settings:
    """The settings that `plain` or `keyed` gave the values of, also of version 0.1.0.

    Args:
        kind: their class, a dataclass.
        values: of its fields.
        where: they are from, for the message.
        complete: a missing field is an error, other than a file of weights; otherwise it has its default.

    Raises:
        ValueError: if a field is unknown or missing, or a value of another type or out of range.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    now = {}
    for name, value in values.items():
        new, meanings = _RENAMED.get(name, (name, {}))
        if name not in known and new in known:
            now[new] = meanings.get(value, value) if isinstance(value, bool) else value
        else:
            now[name] = value
    spare = {field.name for field in dataclasses.fields(kind) if field.metadata.get(_IS_FILE)}
    if complete and (missing := [name for name in known if name not in now and name not in spare]):
        raise ValueError(
            f"{where}: {missing[0]}: expected a value, found none. It was made by another version of tag2mask: make "
            "the run anew in another folder."
        )
    return typed(kind, now, where)
