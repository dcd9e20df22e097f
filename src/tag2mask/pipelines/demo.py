"""The demo's photographs: drawn scenes, written as an ordinary folder of images and tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.save_folder import save_folder
from tag2mask.datasets.scenes.scenes import make_scenes
from tag2mask.disk import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset


def demo_folder(out: Path, *, count: int, val_count: int, size: int, seed: int) -> TagDataset:
    """Draw the scenes into ``out/data``, unless exactly these are there, and open them as any folder.

    Args:
        out: the run folder.
        count: scenes to train on.
        val_count: held-out scenes.
        size: side of a scene in pixels.
        seed: of the drawing.

    Raises:
        ValueError: if ``out/data`` holds something else than scenes of the demo.
    """
    folder, marker = out / "data", out / "scenes.json"
    wanted = {"count": count, "val_count": val_count, "size": size, "seed": seed, "complete": True}
    if (out / "run.json").is_file() and not marker.is_file():
        raise ValueError(
            f"{out}: expected a new folder, or a run of the demo, found another run. Choose another --out."
        )
    if not marker.is_file() or read_json(marker) != wanted:
        if folder.is_dir() and any(folder.iterdir()) and not marker.is_file():
            raise ValueError(
                f"{folder}: expected a folder that the demo may fill, found files that are not the demo's. "
                "Choose another --out."
            )
        write_json(marker, {**wanted, "complete": False})
        save_folder(make_scenes(count, size, seed, val_count=val_count), folder, replace=True)
        write_json(marker, wanted)
    return open_folder(folder)
