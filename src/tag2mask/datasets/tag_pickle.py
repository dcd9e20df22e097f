"""read_pickled_tags: tags that others keep as a pickled dictionary of arrays, read by an unpickler with an allow-list.

``numpy.save`` of a dictionary writes a pickle, and whoever loads a pickle runs the program that its author put in. Here
the few names that such a file needs stand for harmless classes of this module, and all others are refused, so that
there is nothing to run. The instructions are looked at once before: some of them make Python's unpickler take as much
memory as the file says.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LARGEST = 64 << 20
"""Bytes. Tags of 120,000 images and 80 classes take 52 MiB."""

REMEDY = (
    "Take a file that numpy.save wrote of {image: array of 0 and 1}, such as the AffinityNet authors' cls_labels.npy."
)

_REFUSED = frozenset(
    {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER"}
)
"""Instructions that make objects in other ways than by the names below."""

_NUMBERS = {"?": "b1", "bool": "b1"} | {
    code: code for code in ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "O", "O4", "O8"]
}
"""Types of numbers as pickles call them."""


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
        return {image: _class_ids(image, made, num_classes) for image, made in _content(path).items()}
    except OSError as error:
        raise ValueError(f"{path}: expected a file of tags, found: {error}. {REMEDY}") from error
    except Exception as error:  # Whatever the unpickler and numpy raise of a damaged file.
        reason = str(error) if isinstance(error, ValueError) else f"a damaged one ({type(error).__name__}: {error})"
        raise ValueError(f"{path}: expected a dictionary of tags, found {reason}. {REMEDY}") from error


def _content(path: Path) -> dict[str | int, Any]:
    """The dictionary of the file; its values may still be of any type that can be read."""
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{size:,} bytes, where {LARGEST:,} are enough")
    with path.open("rb") as file:
        _check_header(file)
        pickled = file.read()
    _check_instructions(pickled)
    made = _Unpickler(io.BytesIO(pickled), encoding="latin-1").load()
    held = made.values if isinstance(made, _Array) else None
    if type(held) is not list or len(held) != 1 or type(held[0]) is not dict:
        raise ValueError("something else")
    if not all(type(image) in (str, int) for image in held[0]):
        raise ValueError("a dictionary of something else than images")
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


def _check_instructions(pickled: bytes) -> None:
    """Refuse what makes objects in other ways, and what makes the unpickler take memory that the file does not have.

    ``genops`` sees to it that the bytes that an instruction announces are there; places in the unpickler's memory are
    made up to the largest number that is given.
    """
    for count, (opcode, value, _) in enumerate(pickletools.genops(pickled)):
        if opcode.name in _REFUSED or opcode.name in {"GET", "PUT", "INT", "LONG", "FLOAT"}:
            raise ValueError(f"a pickle with the instruction {opcode.name}, which was not done")
        if opcode.name in {"BINPUT", "LONG_BINPUT"} and (value or 0) > count:
            raise ValueError(f"a damaged one: place {value} after {count} instructions")


def _class_ids(image: str | int, made: Any, num_classes: int) -> tuple[int, ...]:
    """The places of the ones."""
    values = made.values if isinstance(made, _Array) else None
    if not isinstance(values, np.ndarray) or values.shape != (num_classes,):
        shape = f"shape {values.shape}" if isinstance(values, np.ndarray) else "no array"
        raise ValueError(f"{shape} for image {image!r}, not {num_classes} numbers")
    if not ((values == 0) | (values == 1)).all():
        raise ValueError(f"numbers other than 0 and 1 for image {image!r}")
    return tuple(np.flatnonzero(values).tolist())


class _DataType:
    """Stands for ``numpy.dtype``; which byte comes first is said a step later."""

    def __init__(self, code: Any, *_rest: Any) -> None:
        if not isinstance(code, str) or code not in _NUMBERS:
            raise ValueError("numbers of an unknown type")
        self.code, self.order = _NUMBERS[code], "<"

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("a type of numbers with an unknown order of bytes")
        self.order = state[1]

    def read(self, content: Any) -> NDArray[Any]:
        """Numbers of bytes, which Python 2 and protocol 2 write as text."""
        if not isinstance(content, bytes | bytearray | str) or self.code.startswith("O"):
            raise ValueError("an array without numbers")
        raw = content.encode("latin-1") if isinstance(content, str) else bytes(content)
        return np.frombuffer(raw, np.dtype(self.order + self.code))


class _Array:
    """Stands for an array; `values` is a list where its elements are no numbers, None until it is filled."""

    values: NDArray[Any] | list[Any] | None = None

    def __init__(self, *_any: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) != 5 or not isinstance(state[2], _DataType):
            raise ValueError("an array without a type")
        _, shape, dtype, fortran, content = state
        if type(shape) is not tuple or not all(type(side) is int and 0 <= side < 1 << 31 for side in shape):
            raise ValueError("an array of an impossible shape")
        if dtype.code.startswith("O") and type(content) is list and len(content) == math.prod(shape):
            self.values = content
            return
        numbers = dtype.read(content)
        if len(numbers) != math.prod(shape):
            raise ValueError(f"{len(numbers)} numbers for an array of {math.prod(shape)}")
        self.values = numbers.reshape(shape, order="F" if fortran else "C")


def _from_bytes(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """What protocol 5 makes arrays by."""
    made = _Array()
    made.__setstate__((1, shape, dtype, order == "F", content))
    return made


def _number(dtype: Any, content: Any) -> int | float:
    """A single number of numpy."""
    [number] = dtype.read(content).tolist()
    return number  # type: ignore[no-any-return]


def _bytes(text: Any, coding: Any) -> bytes:
    """What protocol 2 makes bytes by."""
    if coding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise ValueError("bytes in an unknown coding")
    return text.encode("latin-1")


def _refuse(*_any: Any) -> Any:
    raise ValueError("an array made in an unknown way")


_MEANINGS = {
    "numpy.ndarray": _refuse,
    "numpy.dtype": _DataType,
    "_codecs.encode": _bytes,
    **{f"numpy.{core}.multiarray._reconstruct": _Array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _number for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_bytes for core in ("core", "_core")},
}
"""What a pickle of such a dictionary names, in numpy 1 and 2 -> what stands for it here."""


class _Unpickler(pickle.Unpickler):
    """Knows no other names than those."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """What stands for a name."""
        words = f"{module_name}.{global_name}"
        if words not in _MEANINGS:
            raise ValueError(f"a pickle that wants to use {words[:80]!r}, which was not done")
        return _MEANINGS[words]
