"""read_pickled_tags: tags that others keep as a pickled dictionary of arrays, read without unpickling it.

``numpy.save`` of a dictionary writes a pickle, and whoever loads a pickle runs the program that its author put in. Here
nothing is run: the pickle's instructions are read one by one (`pickletools.genops`), the few that text, numbers,
dictionaries and small arrays are made of are followed by hand, and all others are refused.
"""

from __future__ import annotations

import math
import pickletools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

LARGEST = 64 << 20
"""Bytes. Tags of 120,000 images and 80 classes take 52 MiB."""

REMEDY = (
    "Take a file that numpy.save wrote of {image: array of 0 and 1}, such as the AffinityNet authors' cls_labels.npy."
)

_CODES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
_OBJECTS = frozenset({"O", "O4", "O8"})
_LONGEST_SIDE = 1 << 31


def read_pickled_tags(path: Path, num_classes: int) -> dict[str | int, tuple[int, ...]]:
    """Read the tags of images from a ``.npy`` file that holds a dictionary.

    Args:
        path: what ``numpy.save`` wrote of ``{image: (C,) array of 0 and 1}``, in any of Python's pickle protocols 2 to
            5; also files that Python 2 wrote.
        num_classes: C.

    Returns:
        The image as the file calls it, by name or by number -> the class ids of its tags.

    Raises:
        ValueError: if the file is missing, too large, damaged, holds anything but such a dictionary, or wants to
            call anything.
    """
    try:
        found = _content(path)
        return {image: _class_ids(image, array, num_classes) for image, array in found.items()}
    except OSError as error:
        raise ValueError(f"{path}: expected a file of tags, found: {error}. {REMEDY}") from error
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, AttributeError) as error:
        reason = str(error) if isinstance(error, ValueError) else f"a damaged one ({type(error).__name__})"
        raise ValueError(f"{path}: expected a dictionary of tags, found {reason}. {REMEDY}") from error


def _content(path: Path) -> dict[str | int, Any]:
    """The dictionary of the file; its values may still be of any type that can be read."""
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{size:,} bytes, where {LARGEST:,} are enough")
    with path.open("rb") as file:
        _check_header(file)
        made = _follow(file.read())
    held = made.values if isinstance(made, _Array) else None
    if type(held) is not list or len(held) != 1 or type(held[0]) is not dict:
        raise ValueError("something else")
    whole: dict[str | int, Any] = held[0]
    return whole


def _check_header(file: BinaryIO) -> None:
    """Read past the header of a .npy file: it must announce one object."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except Exception as error:  # numpy raises whatever Python's own parser of literals meets.
        raise ValueError(f"a file with a damaged header ({error})") from error
    if dtype != np.dtype(object) or shape != ():
        raise ValueError(f"an array of {dtype}, shape {shape}")


def _class_ids(image: str | int, made: Any, num_classes: int) -> tuple[int, ...]:
    """The places of the ones."""
    values = made.values if isinstance(made, _Array) else None
    if not isinstance(values, np.ndarray) or values.shape != (num_classes,):
        shape = f"shape {values.shape}" if isinstance(values, np.ndarray) else "no array"
        raise ValueError(f"{shape} for image {image!r}, not {num_classes} numbers")
    if not ((values == 0) | (values == 1)).all():
        raise ValueError(f"numbers other than 0 and 1 for image {image!r}")
    return tuple(np.flatnonzero(values).tolist())


@dataclass(slots=True)
class _DataType:
    """The type of an array's numbers; which byte comes first is said a step later."""

    code: str
    order: str = "<"

    def build(self, _version: Any, order: Any, *_rest: Any) -> None:
        if order not in ("<", ">", "|", "="):
            raise ValueError("a type of numbers with an unknown order of bytes")
        self.order = order

    def read(self, raw: bytes) -> NDArray[Any]:
        if self.code not in _CODES:
            raise ValueError("numbers of an unknown type")
        return np.frombuffer(raw, np.dtype(self.order + self.code))


@dataclass(slots=True)
class _Array:
    """An array; a list where its elements are no numbers, None until it is filled."""

    values: NDArray[Any] | list[Any] | None = None

    def build(self, _version: Any, shape: Any, dtype: Any, fortran: Any, content: Any) -> None:
        if not isinstance(dtype, _DataType):
            raise ValueError("an array without a type")
        count = math.prod(_checked_shape(shape))
        if dtype.code in _OBJECTS and type(content) is list and len(content) == count:
            self.values = content
            return
        numbers = dtype.read(_raw(content))
        if len(numbers) != count:
            raise ValueError(f"{len(numbers)} numbers for an array of {count}")
        self.values = numbers.reshape(shape, order="F" if fortran else "C")


@dataclass(frozen=True, slots=True)
class _Maker:
    """What stands for a function that the pickle names; only these few functions of our own are ever called."""

    make: Callable[..., Any]


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not tuple or not all(type(side) is int and 0 <= side < _LONGEST_SIDE for side in shape):
        raise ValueError("an array of an impossible shape")
    return shape


def _raw(content: Any) -> bytes:
    """Bytes, which Python 2 and protocol 2 write as text."""
    if isinstance(content, (bytes, bytearray)):
        return bytes(content)
    if isinstance(content, str):
        return content.encode("latin-1")
    raise ValueError("an array without numbers")


def _make_data_type(code: Any, *_rest: Any) -> _DataType:
    code = {"?": "b1", "bool": "b1"}.get(code, code) if isinstance(code, str) else ""
    if code not in _CODES | _OBJECTS:
        raise ValueError("numbers of an unknown type")
    return _DataType(code)


def _make_array(*_any: Any) -> _Array:
    return _Array()


def _make_from_bytes(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    made = _Array()
    made.build(1, shape, dtype, order == "F", content)
    return made


def _make_number(dtype: Any, content: Any) -> int | float:
    [number] = dtype.read(_raw(content)).tolist()
    return number  # type: ignore[no-any-return]


def _make_bytes(text: Any, coding: Any) -> bytes:
    if coding not in ("latin1", "latin-1"):
        raise ValueError("bytes in an unknown coding")
    return _raw(text)


def _refuse(*_any: Any) -> Any:
    raise ValueError("an array made in an unknown way")


_MAKERS = {
    "numpy.ndarray": _Maker(_refuse),
    "numpy.dtype": _Maker(_make_data_type),
    "_codecs.encode": _Maker(_make_bytes),
    **{f"numpy.{core}.multiarray._reconstruct": _Maker(_make_array) for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _Maker(_make_number) for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _Maker(_make_from_bytes) for core in ("core", "_core")},
}
"""What a pickle of such a dictionary names, in numpy 1 and 2."""


@dataclass(slots=True)
class _Machine:
    """The stack and the memory that a pickle's instructions work on; no instruction reaches beyond them."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memory: dict[int, Any] = field(default_factory=dict)

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def last(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise ValueError("an instruction without its values")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def name(self, module: Any, name: Any) -> None:
        words = f"{module}.{name}" if type(module) is str and type(name) is str else "a name that is no text"
        if words not in _MAKERS:
            raise ValueError(f"a pickle that wants to use {words[:80]!r}, which was not done")
        self.stack.append(_MAKERS[words])

    def call(self) -> None:
        maker, values = self.last(2)
        if not isinstance(maker, _Maker) or type(values) is not tuple:
            raise ValueError("a pickle that wants to call something, which was not done")
        self.stack.append(maker.make(*values))

    def build(self) -> None:
        [state] = self.last(1)
        if not isinstance(self.stack[-1], (_DataType, _Array)) or type(state) is not tuple:
            raise ValueError("a pickle that wants to change something, which was not done")
        self.stack[-1].build(*state)

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("elements without their list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        if type(self.stack[-1]) is not dict or not all(type(key) in (str, int) for key in keys):
            raise ValueError("a dictionary of something else than images")
        self.stack[-1].update(zip(keys, values, strict=True))


_VALUES = (
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip
"""Instructions that carry a value."""

_STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(_VALUES, lambda machine, value: machine.stack.append(value)),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda _machine, _value: None),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.last(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.last(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.last(3)),
    "APPEND": lambda machine, _: machine.extend(list(machine.last(1))),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.update(list(machine.last(2))),
    "SETITEMS": lambda machine, _: machine.update(machine.since_mark()),
    **dict.fromkeys(
        ("BINPUT", "LONG_BINPUT"), lambda machine, place: machine.memory.update({place: machine.stack[-1]})
    ),
    "MEMOIZE": lambda machine, _: machine.memory.update({len(machine.memory): machine.stack[-1]}),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, place: machine.stack.append(machine.memory[place])),
    "GLOBAL": lambda machine, words: machine.name(*words.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(*machine.last(2)),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}
"""What is done at each instruction; those that are not here are refused."""


def _follow(instructions: bytes) -> Any:
    """What a pickle would make, of the few types above."""
    machine = _Machine()
    for opcode, value, _ in pickletools.genops(instructions):
        step = _STEPS.get(opcode.name)
        if step is None:
            raise ValueError(f"a pickle with the instruction {opcode.name}, which was not done")
        step(machine, value)
    [made] = machine.last(1)
    return made
