"""Settings as JSON values, and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tag2mask.disk import file_digest

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


def settings_from(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings that `plain` gave the values of: lists become tuples again.

    Args:
        kind: their class, a dataclass.
        values: of its fields; those that are missing have their defaults.
    """
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
