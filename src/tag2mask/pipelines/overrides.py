"""Single settings given as text, ``stage.field=value``, held against the type that the field declares (pydantic)."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import DataclassInstance

Nested = TypeVar("Nested", bound="DataclassInstance")
"""Settings of several stages."""


def change_settings(settings: Nested, changes: Sequence[str]) -> Nested:
    """Replace single fields, given as ``stage.field=value``.

    Args:
        settings: a dataclass of dataclasses; left as it is.
        changes: for example ``["seed.alpha_object=4", "classify.backbone=resnet34"]``; the value is read as JSON,
            and as plain text where it is none.

    Raises:
        ValueError: if there is no such stage or field, or the value has another type or is out of range.
    """
    for change in changes:
        place, equals, text = change.partition("=")
        stage, _, name = place.partition(".")
        parts = vars(settings)
        part = parts.get(stage)
        if not equals or part is None or name not in vars(part):
            known = f" {stage} has: {', '.join(vars(part))}." if part is not None else ""
            raise ValueError(
                f"setting {change!r}: expected STAGE.FIELD=VALUE with one of the stages {', '.join(parts)}.{known}"
            )
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        try:
            value = fit_value(get_type_hints(type(part))[name], value)
        except TypeError as error:
            raise ValueError(f"setting {change!r}: {error}.") from error
        settings = replace(settings, **{stage: replace(part, **{name: value})})
    return settings


def fit_value(kind: Any, value: Any) -> Any:
    """A JSON value as a value of a type.

    Args:
        kind: bool, int, float, str, a ``Literal``, a tuple of such types, or a union of them.
        value: as JSON has it: whole numbers may be written as 3.0, tuples are lists.

    Raises:
        TypeError: if it is no value of this type, or no finite number; the message says what is expected.

    Example:
        >>> fit_value(tuple[float, ...], [1, 0.5])
        (1.0, 0.5)
        >>> fit_value(float | Literal["auto"], 4)
        4.0
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"expected {words_of(kind)}, got {value!r}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # Which a field of fractions takes, too.
    try:
        return TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        for place in first["loc"]:
            if not (get_origin(kind) is tuple and isinstance(value, list) and isinstance(place, int)):
                break
            if place >= len(value):
                break  # One is missing: then the whole list is told.
            parts = get_args(kind)
            kind, value = parts[0] if parts[-1] is Ellipsis else parts[place], value[place]
        raise TypeError(f"expected {words_of(kind)}, got {value!r}") from error


def words_of(kind: Any) -> str:
    """A type in words, for people who type it.

    Example:
        >>> words_of(int | Literal["auto"])
        'a whole number or auto'
    """
    parts = get_args(kind)
    if get_origin(kind) in (Union, UnionType, Literal):
        return " or ".join(words_of(part) if get_origin(kind) is not Literal else str(part) for part in parts)
    if get_origin(kind) is tuple:
        return f"a list of {'' if parts[-1] is Ellipsis else f'{len(parts)} times '}{words_of(parts[0])}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}.get(kind, str(kind))
