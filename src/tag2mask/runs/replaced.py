"""Finished work is never deleted: what a change replaces is set aside under a name that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".replaced-"


def set_aside(folder: Path) -> Path | None:
    """Rename a folder to the first free ``NAME.replaced-1``, ``-2`` ...; in one step, so that a kill leaves it whole.

    Args:
        folder: of a stage.

    Returns:
        Its new place; None, and nothing kept, if it is not there or holds nothing but its state.
    """
    if not folder.is_dir():
        return None
    if not any(path.is_file() and path.name != "stage.json" for path in folder.rglob("*")):
        (folder / "stage.json").unlink(missing_ok=True)
        return None
    number = 1
    while (place := folder.with_name(f"{folder.name}{SUFFIX}{number}")).exists():
        number += 1
    return folder.rename(place)
