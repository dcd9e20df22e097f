"""Kept: what was read once stays in memory, as far as it fits."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

Item = TypeVar("Item")

MEMORY = 2**28
"""Bytes that one `Kept` may hold."""


class Kept(Generic[Item]):
    """What a function makes of a name, made once; several threads may ask at the same time.

    What came first stays, and what no longer fits is made every time: a training goes through all images again and
    again, so that each one would be dropped just before it is asked for if the latest stayed. In another process it
    begins empty.

    Args:
        make: name -> a tensor, or a record of tensors; nobody may change one afterwards.
        memory: bytes that may be held.

    Example:
        >>> import torch
        >>> squares = Kept(lambda name: torch.tensor(int(name) ** 2))
        >>> squares["3"] is squares["3"]
        True
    """

    def __init__(self, make: Callable[[str], Item], memory: int = MEMORY) -> None:
        self._make, self._memory = make, memory
        self._items: dict[str, Item] = {}
        self._held = 0

    def __getitem__(self, name: str) -> Item:
        if name in self._items:
            return self._items[name]
        item = self._make(name)
        size = _bytes(item)
        if self._held + size <= self._memory and name not in self._items:
            self._held += size
            self._items[name] = item
        return item

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_items": {}, "_held": 0}


def _bytes(item: object) -> int:
    """What the tensors of an item take in memory."""
    parts = [getattr(item, part.name) for part in fields(item)] if is_dataclass(item) else [item]
    return sum(part.untyped_storage().nbytes() for part in parts if isinstance(part, Tensor))
