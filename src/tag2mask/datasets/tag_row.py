"""TagRow: one row of a table of tags."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TagRow:
    """One row of a table of tags.

    Args:
        image: what the row calls its image.
        tags: class names, each once; none for pure background.
        place: where the row stands, for messages.
    """

    image: str
    tags: tuple[str, ...]
    place: str
