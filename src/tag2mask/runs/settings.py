"""Settings as JSON values, and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tag2mask.disk import file_digest
from tag2mask.runs.typed import OTHER_VERSION, typed

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
        raise ValueError(f"{where}: {missing[0]}: expected a value, found none. {OTHER_VERSION}")
    return typed(kind, now, where)


def nested_settings_from(
    kind: type[Settings], values: Mapping[str, Mapping[str, Any]], where: str, *, complete: bool = True
) -> Settings:
    """The settings of several stages that `plain` gave the values of.

    Args:
        kind: a dataclass of dataclasses, each with its defaults.
        values: stage -> its fields.
        where: they are from, for the message.
        complete: as for `settings_from`; a missing stage lacks all of its fields.

    Raises:
        ValueError: as `settings_from`, and for an unknown stage.
    """
    stages: dict[str, Any] = {field.name: field.default_factory for field in dataclasses.fields(kind)}
    if unknown := [name for name in values if name not in stages]:
        raise ValueError(
            f"{where}.{unknown[0]}: expected one of {', '.join(stages)}, found a stage of this name. {OTHER_VERSION}"
        )
    parts: Any = {
        name: settings_from(part, values.get(name, {}), f"{where}.{name}", complete=complete)
        for name, part in stages.items()
    }
    return kind(**parts)
