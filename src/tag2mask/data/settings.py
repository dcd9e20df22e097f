"""Settings as JSON values, and back."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


def plain(settings: Any) -> Any:
    """Settings (a dataclass, one of dataclasses, or several) as JSON values."""
    if isinstance(settings, tuple):
        return {key: value for part in settings for key, value in plain(part).items()}
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def settings_from(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings that `plain` gave the values of: lists become tuples again.

    Args:
        kind: their class, a dataclass.
        values: of its fields; those that are missing have their defaults.
    """
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
