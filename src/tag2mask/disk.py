"""Whole files or none: JSON, and PNGs of labels and of numbers in [0, 1]."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tag2mask.ops.colours import palette

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_NPZ_TURNS = Lock()
"""numpy reads the head of an array by Python's parser, which several threads must not do at a time: up to Python 3.11.7
it raises a SystemError once in a while."""


@contextmanager
def read_arrays(path: Path) -> Iterator[Mapping[str, np.ndarray[Any, Any]]]:
    """The arrays of an npz, read one after the other by all threads; asking for one that holds objects is an error."""
    with _NPZ_TURNS, np.load(path, allow_pickle=False) as arrays:
        yield arrays


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    Args:
        path: where the file shall be; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix + ".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only the owner may read; a run is meant to be shared.
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that killed writers left anywhere below a folder that nobody writes to now."""
    for path in folder.rglob(".*.part"):
        path.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path, remedy: str = "Delete it to make it again.") -> Any:
    """Read JSON.

    Args:
        path: of the file.
        remedy: what to do if it is damaged.

    Raises:
        ValueError: if the file is damaged; the message says where and what to do.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # Not JSON, no UTF-8, too deep, or a number of thousands of digits.
        raise ValueError(f"{path}: expected JSON, found a damaged file ({error}). {remedy}") from error


def write_labels(path: Path, labels: Tensor, num_classes: int) -> None:
    """Write a label map as an indexed PNG in the VOC colours; as 16-bit grey above 254 classes.

    Args:
        path: ends with ``.png``.
        labels: (H, W) int64: 0, 1..C, IGNORE.
        num_classes: C.
    """
    narrow = labels.numpy().astype(np.uint8 if num_classes < 255 else np.uint16)
    image = Image.fromarray(narrow)
    if num_classes < 255:
        image.putpalette(palette(num_classes).tobytes())
    with whole_file(path) as temporary:
        image.save(temporary, format="PNG")


def read_labels(path: Path) -> Tensor:
    """Read what `write_labels` wrote: (H, W) int64."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image).astype(np.int64))


def write_unit(path: Path, values: Tensor) -> None:
    """Write (H, W) float32 in [0, 1] as an 8-bit grey PNG."""
    with whole_file(path) as temporary:
        Image.fromarray((values * 255).round().to(torch.uint8).numpy()).save(temporary, format="PNG")


def read_unit(path: Path) -> Tensor:
    """Read what `write_unit` wrote: (H, W) float32 in [0, 1]."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image)).float() / 255


def file_digest(path: Path) -> str:
    """Hex digest of a file's bytes.

    Args:
        path: of the file.

    Raises:
        ValueError: if there is none.
    """
    if not path.is_file():
        raise ValueError(f"{path}: expected a file with weights, found none.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
