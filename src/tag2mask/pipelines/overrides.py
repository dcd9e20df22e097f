"""Values of settings that come as text or JSON, held against the type that the settings class declares."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import DataclassInstance

Nested = TypeVar("Nested", bound="DataclassInstance")
"""Settings of several stages."""


def fit_value(kind: Any, value: Any) -> Any:
    """A JSON value as a value of a type.

    Args:
        kind: bool, int, float, str, a ``Literal``, a tuple of such types, or a union of them.
        value: as JSON has it: whole numbers may be written as 3.0, tuples are lists.

    Raises:
        TypeError: if it is no value of this type; the message says what is expected.

    Example:
        >>> fit_value(tuple[float, ...], [1, 0.5])
        (1.0, 0.5)
        >>> fit_value(float | Literal["auto"], 4)
        4.0
    """
    if get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            try:
                return fit_value(one, value)
            except TypeError:
                continue
    elif get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        kinds = get_args(kind)
        kinds = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(kinds) == len(value):
            return tuple(fit_value(one, part) for one, part in zip(kinds, value, strict=True))
    elif get_origin(kind) is Literal:
        if any(value == one and type(value) is type(one) for one in get_args(kind)):
            return value
    elif kind in (int, float):
        if _is_number(value) and (kind is float or float(value).is_integer()):
            return kind(value)
    elif isinstance(kind, type) and isinstance(value, kind):
        return value
    raise TypeError(f"expected {words_of(kind)}, got {value!r}")


def _is_number(value: Any) -> bool:
    """A finite one; Python counts True among the integers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


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
        part = getattr(settings, stage, None) if stage in type(settings).__dataclass_fields__ else None
        if not equals or part is None or name not in type(part).__dataclass_fields__:
            stages = ", ".join(type(settings).__dataclass_fields__)
            known = f" {stage} has: {', '.join(type(part).__dataclass_fields__)}." if part is not None else ""
            raise ValueError(f"setting {change!r}: expected STAGE.FIELD=VALUE with one of the stages {stages}.{known}")
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
