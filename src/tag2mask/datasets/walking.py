"""The image files below a folder, less what other programs and earlier runs have put there."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.datasets.image_files import image_suffixes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LITTER = frozenset({"@eadir", "$recycle.bin", "system volume information", "__macosx", ".ipynb_checkpoints"})
"""Folders that file managers and systems make, in lower case."""

NO_PHOTOGRAPHS = frozenset(
    {"ground_truth", "groundtruth", "ground truth", "masks", "labels", "annotations", "runs", "results", "predictions"}
    | {"segmentationclass", "segmentationclassaug", "segmentationclasspng", "segmentationclassnpy"}
    | {"segmentationclassvisualization", "segmentationobject", "segmentationobjectpng"}
    | {"segmentationobjectvisualization", "segmentationobjectnpy"}
)
"""Folders of answers and results, in lower case: what lies in them is no photograph, and their name is no class."""

RUN = "run.json"
_MEANT = frozenset({"images", "jpegimages", "train", "training"})
_TELLING = frozenset({".csv", ".tsv", ".xlsx", ".parquet", ".jsonl", ".json", ".txt", ".yaml", ".yml", ".names"})
_OF_PREDICT = ("masks", "overlays", "confidence")


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """What a walk has found.

    Args:
        files: the image files, sorted.
        passed_over: the folders that were not looked into, as paths below the top, with the images in each.
    """

    files: tuple[Path, ...]
    passed_over: Mapping[str, int]


def find_image_files(top: Path) -> ImageFiles:
    """Every image file below a folder, but none in a folder of `LITTER` or `NO_PHOTOGRAPHS`, nor in a run.

    Args:
        top: where to begin; its own name does not count.
    """
    suffixes = image_suffixes()
    files: list[Path] = []
    passed_over: Counter[str] = Counter()
    seen: set[str] = set()
    for folder, inner, here in os.walk(top, followlinks=True):
        if _again(folder, inner, seen):
            continue
        kept = []
        for name in _visible(inner):
            path = Path(folder, name)
            if _is_passed_over(path):
                passed_over[path.relative_to(top).as_posix()] = len(files_below(path, suffixes))
            else:
                kept.append(name)
        inner[:] = kept
        files += _with_suffix(folder, here, suffixes)
    return ImageFiles(tuple(sorted(files)), {name: count for name, count in passed_over.items() if count})


def files_below(top: Path, suffixes: Collection[str]) -> list[Path]:
    """Every file below a folder with one of the suffixes, sorted; hidden ones and `LITTER` are passed over.

    Args:
        top: where to begin.
        suffixes: in lower case, with the dot.
    """
    files = []
    seen: set[str] = set()
    for folder, inner, here in os.walk(top, followlinks=True):
        if _again(folder, inner, seen):
            continue
        inner[:] = [name for name in _visible(inner) if name.casefold() not in LITTER]
        files += _with_suffix(folder, here, suffixes)
    return sorted(files)


def entered(path: Path) -> Path:
    """The folder in a folder, where it is all that is there: archives often unpack to one, in which the set lies.

    Args:
        path: what was given.

    Returns:
        The folder itself, if it holds images, tables or lists, several folders, or one with images right in it.
    """
    suffixes = image_suffixes()
    while path.is_dir():
        inner = [one for one in path.iterdir() if not one.name.startswith(".")]
        folders = [one for one in inner if one.is_dir() and not _is_passed_over(one)]
        if len(folders) != 1 or folders[0].name.casefold() in _MEANT or (path / RUN).is_file():
            break
        own = [one for one in inner if one.is_file() and one.suffix.lower() in _TELLING | suffixes]
        below = list(folders[0].iterdir())
        if own or any(one.suffix.lower() in suffixes and one.is_file() for one in below):
            break
        if not any(one.is_dir() for one in below):
            break
        path = folders[0]
    return path


def folder_called(root: Path, name: str) -> Path | None:
    """The folder of a name in another folder, in capitals or not; None if there is none.

    Raises:
        ValueError: if there are two, and neither is written in small letters.
    """
    if (root / name).is_dir():
        return root / name
    if not root.is_dir():
        return None
    found = sorted(path for path in root.iterdir() if path.name.casefold() == name and path.is_dir())
    if len(found) > 1:
        raise ValueError(
            f"{root}: expected one folder {name}, found {' and '.join(path.name for path in found)}. Join them."
        )
    return found[0] if found else None


def _again(folder: str, inner: list[str], seen: set[str]) -> bool:
    """Whether a link led to a folder that was walked before."""
    real = os.path.realpath(folder)
    if real in seen:
        inner.clear()
        return True
    seen.add(real)
    return False


def _visible(names: list[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith((".", "__MACOSX")))


def _is_passed_over(path: Path) -> bool:
    called = path.name.casefold()
    if called in LITTER or called in NO_PHOTOGRAPHS or (path / RUN).is_file():
        return True
    return all((path / part).is_dir() for part in _OF_PREDICT)


def _with_suffix(folder: str, names: list[str], suffixes: Collection[str]) -> list[Path]:
    return [
        Path(folder, name)
        for name in names
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes
    ]
