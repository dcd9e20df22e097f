"""What lies in a folder of images: the image files, and which of them a cell of a table means."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tag2mask.datasets.files import names_of_files
from tag2mask.datasets.images import image_suffixes
from tag2mask.datasets.tag_table import (
    TagRow,
    is_background,
    read_classes,
    read_names,
    read_tag_csv,
    read_tag_json,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

IMAGES, MASKS = "images", "masks"
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
LAYOUT = "images/ with photographs, and tags.csv (columns image,tags), tags.json or a sub-folder per class"


@dataclass(frozen=True, eq=False)
class FolderImages:
    """The image files below a folder.

    Args:
        root: the folder.
        top: where the images are: ``root/images``, or the root itself if there is no such folder.
        paths: name -> file, sorted by name.
    """

    root: Path
    top: Path
    paths: Mapping[str, Path]

    def find(self, cell: str) -> str | None:
        """The name of the image that a cell means, or None if no image or more than one fits.

        A cell may hold the name, or the path below ``images/`` or below the root, or the bare file
        name, each with or without suffix.
        """
        key = _key(cell)
        for calls in self._calls:
            if key in calls:
                fitting = calls[key]
                return next(iter(fitting)) if len(fitting) == 1 else None
        return None

    @cached_property
    def _calls(self) -> tuple[Mapping[str, set[str]], ...]:
        """What an image may be called, in three ways, the most exact first."""
        below_top, below_root, bare = (defaultdict[str, set[str]](set) for _ in range(3))
        for name, path in self.paths.items():
            for calls, call in (
                (below_top, path.relative_to(self.top)),
                (below_root, path.relative_to(self.root)),
                (bare, Path(path.name)),
            ):
                calls[_key(call.as_posix())].add(name)
                calls[_key(call.with_suffix("").as_posix())].add(name)
        return below_top, below_root, bare


@dataclass(frozen=True, eq=False)
class MatchedRows:
    """The rows of a table of tags, beside the images that they mean.

    Args:
        rows: the rows of every image that has one; more than one if it stands in the table twice.
        stray: rows that mean no image.
        untagged: images without a row.
    """

    rows: Mapping[str, Sequence[TagRow]]
    stray: Sequence[TagRow]
    untagged: Sequence[str]

    def contradictions(self) -> dict[str, Sequence[TagRow]]:
        """The images whose rows say different things."""
        return {name: rows for name, rows in self.rows.items() if len({frozenset(r.tags) for r in rows}) > 1}

    def tags(self) -> tuple[str, ...]:
        """Every tag of an image, sorted, once."""
        return tuple(sorted({tag for rows in self.rows.values() for row in rows for tag in row.tags}))


def list_images(path: str | Path) -> FolderImages:
    """Find every image file below ``path/images``, or below ``path`` if there is no such folder.

    Raises:
        ValueError: if the folder is missing, or holds no image.
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"{root}: expected a folder, found {'a file' if root.exists() else 'nothing'}. "
                         f"Give the folder that holds {LAYOUT}.")  # fmt: skip
    top = root / IMAGES if (root / IMAGES).is_dir() else root
    files = {file.relative_to(top).as_posix(): file for file in files_below(top, image_suffixes())}
    if top == root:
        files = {call: file for call, file in files.items() if not call.startswith(f"{MASKS}/")}
    if not files:
        raise ValueError(f"{top}: expected images, found none. A folder should hold {LAYOUT}.")
    return FolderImages(root, top, {name: files[call] for name, call in names_of_files(files).items()})


def list_masks(images: FolderImages) -> tuple[dict[str, Path], list[Path]]:
    """The mask file of each image that has one, and the mask files that belong to no image."""
    top = images.root / MASKS
    paths: dict[str, Path] = {}
    stray = []
    for file in files_below(top, {".png"}):
        below = file.relative_to(top)
        # "a.png" belongs to the image a; "a.jpg.png" to a.jpg where a.png is another image.
        name = images.find(below.with_suffix("").as_posix())
        if name is None or name in paths:
            stray.append(file)
        else:
            paths[name] = file
    return paths, stray


def list_rows(images: FolderImages, known: Collection[str] | None) -> list[TagRow]:
    """Read the folder's tags from ``tags.csv``, ``tags.json``, or the sub-folder of each image.

    Args:
        images: the folder's images.
        known: the class names, if there is a list of them.

    Raises:
        ValueError: if there are no tags, two tables, or a table that cannot be read.
    """
    table, mapping = images.root / "tags.csv", images.root / "tags.json"
    if table.exists() and mapping.exists():
        raise ValueError(f"{images.root}: expected one table of tags, found tags.csv and tags.json. Remove one.")
    if table.exists():
        return read_tag_csv(table, known)
    if mapping.exists():
        return read_tag_json(mapping)
    rows = []
    for path in images.paths.values():
        call = PurePosixPath(path.relative_to(images.top).as_posix())
        if len(call.parts) > 1:
            folder = call.parts[0]
            tags = () if is_background(folder) else (folder,)
            rows.append(TagRow(str(call), tags, f"folder {folder}"))
    if rows and all(row.image.partition("/")[0] in _SPLITS for row in rows):
        raise ValueError(
            f"{images.top}: expected a sub-folder per class, found folders of splits. Put the folders of "
            "classes into images/, and list the images of each split in train.txt and val.txt."
        )
    if not rows:
        raise ValueError(
            f"{images.root}: expected tags, found neither tags.csv nor tags.json nor sub-folders of images. "
            "Write tags.csv with the columns image,tags."
        )
    return rows


def match_rows(images: FolderImages, rows: Iterable[TagRow]) -> MatchedRows:
    """Find the image of every row."""
    matched: dict[str, list[TagRow]] = {}
    stray = []
    for row in rows:
        name = images.find(row.image)
        if name is None:
            stray.append(row)
        else:
            matched.setdefault(name, []).append(row)
    return MatchedRows(matched, stray, [name for name in images.paths if name not in matched])


def list_classes(root: Path) -> tuple[str, ...] | None:
    """The class names of ``classes.txt``, or None if there is no such file.

    Raises:
        ValueError: if the file is no list of classes.
    """
    path = root / "classes.txt"
    return read_classes(path) if path.exists() else None


def list_split(images: FolderImages, split: str) -> tuple[list[str], list[str]] | None:
    """The images that ``train.txt`` or ``val.txt`` lists, each once, and the lines that mean no image.

    Returns:
        None if there is no such file.

    Raises:
        ValueError: if the file cannot be read.
    """
    path = images.root / f"{split}.txt"
    if not path.exists():
        return None
    found = {line: images.find(line) for line in read_names(path)}
    names = dict.fromkeys(name for name in found.values() if name is not None)
    return list(names), [line for line, name in found.items() if name is None]


def files_below(top: Path, suffixes: Collection[str]) -> list[Path]:
    """Every file below a folder with one of the suffixes, sorted; hidden ones are passed over."""
    files = []
    seen = set()
    for folder, inner, here in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # A link that leads back up.
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        files += [
            Path(folder, name)
            for name in here
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes
        ]
    return sorted(files)


def _key(call: str) -> str:
    # Tables write "dir\\a.jpg" on Windows, and accents in one piece where macOS stores two.
    call = unicodedata.normalize("NFC", call.strip().replace("\\", "/"))
    return call.removeprefix("./")
