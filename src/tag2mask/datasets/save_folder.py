"""save_folder: write any dataset as a folder of images, tags and masks, as open_folder reads it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tag2mask.disk import write_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tag2mask.datasets.dataset import TagDataset


def save_folder(dataset: TagDataset, path: str | Path, *, replace: bool = False) -> Path:
    """Write images, tags, classes, masks and splits, so that `open_folder` gives the same dataset.

    Images and masks become PNG files named like the image. The folder appears when everything is in
    it: until then it carries the suffix ``.part``.

    Args:
        dataset: any; its images are decoded one at a time.
        path: a folder that is not there yet, or is empty.
        replace: if the folder holds something, delete all of it once the new one is written.

    Returns:
        The folder.

    Raises:
        ValueError: if the folder holds something, or an image or a mask is broken.
    """
    root = Path(path)
    if root.exists() and not (root.is_dir() and (replace or not any(root.iterdir()))):
        raise ValueError(f"{root}: expected a new or an empty folder, found files. Choose another, or empty it.")
    part = root.with_name(root.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    every = [*dataset.names, *dataset.val_names]
    for name in every:
        image_path = part / "images" / f"{name}.png"
        image_path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(dataset[name].pixels.permute(1, 2, 0).numpy()).save(image_path)
        mask = dataset.mask(name)
        if mask is not None:
            write_labels(part / "masks" / f"{name}.png", mask, len(dataset.class_names))
    tags = {name: [dataset.class_names[i] for i in dataset.tags(name).nonzero().flatten()] for name in every}
    _write_tags(part, tags, dataset.class_names)
    _write_lines(part / "classes.txt", dataset.class_names)
    if dataset.val_names:
        _write_lines(part / "train.txt", dataset.names)
        _write_lines(part / "val.txt", dataset.val_names)
    if root.exists():
        shutil.rmtree(root)
    part.rename(root)
    return root


def _write_tags(folder: Path, tags: Mapping[str, Sequence[str]], class_names: Sequence[str]) -> None:
    """Write tags.csv with a separator that is in no class name, or tags.json if each is."""
    letters = "".join(class_names)
    possible = " ;|," if not any(letter.isspace() for letter in letters) else ";|,"
    # A space separates only where no cell holds another mark.
    free = [mark for mark in possible if mark not in letters and not (mark == " " and set(letters) & set(";|,"))]
    if not free:
        text = json.dumps(tags, indent=1, ensure_ascii=False)
        (folder / "tags.json").write_text(text + "\n", encoding="utf-8")
        return
    with (folder / "tags.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "tags"])
        writer.writerows([name, free[0].join(names)] for name, names in tags.items())


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
