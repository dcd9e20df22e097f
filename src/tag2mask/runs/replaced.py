"""Finished work is never deleted: what a change replaces is set aside under a name that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
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


def duration(seconds: float) -> str:
    """Seconds in words.

    Example:
        >>> duration(252.0), duration(3.14)
        ('4 min 12 s', '3.1 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def what_changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Words for why a stage's key differs."""
    if old.get("digest") != new["digest"]:
        return "the images or tags changed"
    for fact in ("seed", "precision"):
        if old.get(fact) != new.get(fact):
            return f"the {fact} changed from {old.get(fact, 'unknown')} to {new.get(fact, 'unknown')}"
    before, now = old.get("settings", {}), new["settings"]
    keys = dict.fromkeys([*now, *before])
    changed = [f"{key} {before.get(key)!r} -> {now.get(key)!r}" for key in keys if before.get(key) != now.get(key)]
    if changed:
        return "settings changed: " + ", ".join(changed)
    again = [stage for stage in new["after"] if old.get("after", {}).get(stage) != new["after"][stage]]
    return "it depends on " + ", ".join(again) + ", which ran again"
