"""New images to predict: files, and folders as the training finds the images in them."""

from __future__ import annotations

from itertools import chain, count
from typing import TYPE_CHECKING

from tag2mask.datasets.folder_listing import list_images
from tag2mask.datasets.voc_folder import root_of, voc_splits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def new_images(paths: Sequence[Path]) -> dict[str, Path]:
    """The image files that are meant, and what their masks shall be called.

    In a folder the same files count as in training: none that is hidden, of another program or of a run; links to
    folders are followed. Of a data set, the images count, not the masks.

    Args:
        paths: files and folders.

    Returns:
        Name -> file. Files of one name in several folders get their folder in front, suffix or number behind.

    Raises:
        ValueError: if a path is not there, or a folder holds no image.
    """
    found: list[tuple[str, Path]] = []
    for path in paths:
        if path.is_dir():
            images = list_images(root_of(path) / "JPEGImages" if voc_splits(path) else path)
            found += list(images.paths.items())
        elif path.is_file():
            found.append((path.stem, path))
        else:
            raise ValueError(f"{path}: expected an image or a folder of images, found nothing there.")
    named: dict[str, Path] = {}
    for name, path in found:
        longer = name if name.startswith(path.parent.name) else f"{path.parent.name}_{name}"
        offered = chain([name, longer, f"{longer}_{path.suffix[1:]}"], (f"{name}_{number}" for number in count(2)))
        named[next(free for free in offered if free not in named)] = path
    return named


def check_out(out: Path, paths: Sequence[Path]) -> None:
    """Require that masks are not written where a data set lies: they would take the place of its true masks.

    Args:
        out: where the masks shall go.
        paths: the files and folders that are predicted.

    Raises:
        ValueError: if it is one of these folders, or holds images and masks that nobody predicted.
    """
    here = out.resolve()
    taken = {folder.resolve() for path in paths if path.is_dir() for folder in (path, path / "images")}
    is_data_set = all((here / part).is_dir() for part in ("images", "masks")) and not (here / "confidence").is_dir()
    if here in taken or is_data_set:
        raise ValueError(
            f"{out}: expected a folder of its own for the predicted masks, got that of a data set, whose masks/ they "
            "would overwrite. Take another one: --out NEW."
        )
