"""Weights that others trained, read from a file: safetensors or a state dictionary of torch; never pickled objects."""

from __future__ import annotations

import pickle
import re
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NESTED = ("state_dict", "model")
"""Under which keys a training keeps its state dictionary, beside epochs and settings."""

WRAPPER = "module."
"""What a net that was trained by several processes has in front of every name."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, on the CPU.

    A state dictionary may lie in a larger one under ``state_dict`` or ``model``; ``module.`` in front of all names is
    taken away.

    Args:
        path: safetensors, or what ``torch.save`` wrote; the content decides, not the suffix.

    Raises:
        ValueError: if the file is missing or broken, holds no state dictionary, or holds pickled objects.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "net.pth"
        ...     torch.save({"epoch": 3, "state_dict": {"module.fc.bias": torch.zeros(2)}}, path)
        ...     read_weights(path)
        {'fc.bias': tensor([0., 0.])}
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise ValueError(f"{path}: expected a file with weights (safetensors or a state dictionary), found {found}.")
    content: Any = _load_safetensors(path) if _is_safetensors(path) else _load_torch(path)
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    _check_state(path, content)
    return without_wrapper(content)


def without_wrapper(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, without ``module.`` where all names begin with it.

    Args:
        state: name -> tensor.

    Example:
        >>> without_wrapper({"module.a": torch.zeros(1), "module.b": torch.ones(1)})
        {'a': tensor([0.]), 'b': tensor([1.])}
    """
    wrapped = all(name.startswith(WRAPPER) for name in state)
    return {name.removeprefix(WRAPPER) if wrapped else name: value for name, value in state.items()}


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then a JSON object."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{" or path.suffix == ".safetensors"


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ValueError(_broken(path, error)) from error
    return tensors


def _load_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch names what it refused; of other files it only says that this is no pickle of tensors.
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused is None:
            raise ValueError(_broken(path, error)) from error
        raise ValueError(
            f"{path}: expected tensors only, found a pickled {refused[1]}. Pickles are not read: they can run any "
            "program. Where you trust the file, open it elsewhere and save its state dictionary alone."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(_broken(path, error)) from error


def _broken(path: Path, error: Exception) -> str:
    """A page of a web server and the pointer of a version control are told by how they begin."""
    with path.open("rb") as file:
        begins = file.read(24)
    why = "" if isinstance(error, pickle.UnpicklingError) else str(error).partition(". ")[0].strip()
    return (
        f"{path}: expected weights (safetensors or a state dictionary of torch), found a file that cannot be read as "
        f"such ({f'{why}; ' if why else ''}it begins with {begins!r}). Get it again, whole."
    )


def _check_state(path: Path, content: Any) -> None:
    """Require name -> tensor, and at least one."""
    found = f"a value of type {type(content).__name__}"
    if isinstance(content, dict):
        odd = [name for name, value in content.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
        if content and not odd:
            return
        found = f"a value of type {type(content[odd[0]]).__name__} under {odd[0]!r}" if odd else "an empty one"
    raise ValueError(
        f"{path}: expected a state dictionary (name -> tensor; it may lie under {' or '.join(map(repr, NESTED))}), "
        f"found {found}."
    )
