"""Where a run's images are: noted in ``run.json``, so that a later command finds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tag2mask.data.sources import open_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tag2mask.data.dataset import TagDataset
    from tag2mask.data.store import RunFolder


def open_source(source: Mapping[str, Any]) -> TagDataset:
    """Open what a run notes as its source.

    Args:
        source: ``path`` of a folder, and ``val_fraction`` and ``seed`` of its split.

    Raises:
        ValueError: if the folder holds no such data set.
    """
    path, val_fraction, seed = Path(source["path"]), source.get("val_fraction", 0.0), source.get("seed", 0)
    return open_folder(path, val_fraction=val_fraction, seed=seed)


def data_of(run: RunFolder, moved: Path | None = None) -> TagDataset:
    """The images and tags that a run was made from.

    Args:
        run: with its ``run.json``.
        moved: where the folder is now, if not where it was.

    Raises:
        ValueError: if it is not there, or the run does not say where it is.
    """
    source = dict(run.record().get("source", {}))
    if moved is not None:
        return open_source({**source, "path": str(moved)})
    if "path" not in source or not Path(source["path"]).is_dir():
        # A run made by the library notes no source.
        why = f"was made from {source['path']}, which is not there" if "path" in source else "does not say from what"
        raise ValueError(f"{run.path}: the run {why}. Say where the images are with --data FOLDER.")
    return open_source(source)
