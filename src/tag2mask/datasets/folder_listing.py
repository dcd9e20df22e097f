"""What lies in a folder of images: the image files, and which of them a cell of a table means."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tag2mask.checks import few, some
from tag2mask.datasets.annotation_files import annotation_rows
from tag2mask.datasets.class_folders import GROUND_TRUTH, ClassFolders
from tag2mask.datasets.files import names_of_files
from tag2mask.datasets.image_calls import ImageCalls, call_key
from tag2mask.datasets.image_files import image_suffixes
from tag2mask.datasets.mask_files import MASK_SUFFIXES
from tag2mask.datasets.masks_beside import images_called, split_masks
from tag2mask.datasets.tag_source import has_own_table, other_text, rows_beside
from tag2mask.datasets.tag_table import TagRow, read_classes, read_names
from tag2mask.datasets.tag_words import tell_nothing_words, without_background
from tag2mask.datasets.walking import RUN, files_below, find_image_files, folder_called
from tag2mask.sources import TagReading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

logger = logging.getLogger(__name__)

IMAGES, MASKS = "images", "masks"
LAYOUT = "images/ with photographs, and tags.csv (columns image,tags), tags.json or a sub-folder per class"
_AS_USUAL = TagReading()


@dataclass(frozen=True, eq=False)
class FolderImages:
    """The image files below a folder.

    Args:
        root: the folder.
        top: where the images are: ``root/images``, or the root itself if there is no such folder.
        paths: name -> file, sorted by name.
        object_masks: the files ``X_mask.png`` beside some of them, or those in ``ground_truth``.
        passed_over: the folders below the top that hold no photographs, with the images in each.
    """

    root: Path
    top: Path
    paths: Mapping[str, Path]
    object_masks: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    passed_over: Mapping[str, int] = field(default_factory=dict)

    def class_folders(self, known: Collection[str] | None = None) -> ClassFolders:
        """The same images, as their folders tell what they show.

        Args:
            known: names that are classes, whatever they are.
        """
        return ClassFolders(self.root, self.top, self.paths, known)

    def find(self, cell: str) -> str | None:
        """The name of the image that a cell means, or None if no image or more than one fits.

        See `tag2mask.datasets.image_calls.ImageCalls`.
        """
        fitting = self.calls.fitting(cell)
        return fitting[0] if len(fitting) == 1 else None

    @cached_property
    def calls(self) -> ImageCalls:
        """What these images may be called."""
        return ImageCalls(self.root, self.top, self.paths)


@dataclass(frozen=True, eq=False)
class MatchedRows:
    """The rows of a table of tags, beside the images that they mean.

    Args:
        rows: the rows of every image that has one; more than one if it stands in the table twice.
        stray: rows that mean no image.
        reasons: why, of each of them.
        untagged: images without a row.
    """

    rows: Mapping[str, Sequence[TagRow]]
    stray: Sequence[TagRow]
    reasons: Sequence[str]
    untagged: Sequence[str]

    def contradictions(self) -> dict[str, Sequence[TagRow]]:
        """The images whose rows say different things."""
        return {name: rows for name, rows in self.rows.items() if len({frozenset(r.tags) for r in rows}) > 1}

    @property
    def told_by(self) -> str:
        """What told the tags, in words: the table, the folders, or the kind of annotation files."""
        told = dict.fromkeys(_told_by(rows[0].place) for rows in self.rows.values())
        return " and ".join(word for word in told if word)

    def tags(self) -> tuple[str, ...]:
        """Every tag of an image, sorted, once."""
        return tuple(sorted({tag for rows in self.rows.values() for row in rows for tag in row.tags}))


def list_images(path: str | Path) -> FolderImages:
    """Find every image file below ``path/images``, or below ``path`` if there is no such folder.

    Masks beside the images and folders of results are no images; what is passed over is logged.

    Raises:
        ValueError: if the folder is missing, holds no image, or is that of a run.
    """
    images = find_images(path)
    masks = [file for several in images.object_masks.values() for file in several]
    if masks and not images.class_folders().is_inspection:
        logger.warning(
            "%s: %d files count as masks of the images beside them, not as images: %s. "
            "If they are photographs, give them other names.",
            images.top, len(masks), few([file.relative_to(images.top).as_posix() for file in masks]),
        )  # fmt: skip
    if images.passed_over:
        counts = ", ".join(f"{count} in {folder}/" for folder, count in sorted(images.passed_over.items()))
        logger.warning(
            "%s: passed over: %d images in folders of results, masks or systems: %s. "
            "If they are photographs, rename the folder.",
            images.top, sum(images.passed_over.values()), counts,
        )  # fmt: skip
    return images


def find_images(path: str | Path) -> FolderImages:
    """As `list_images`, without a word."""
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"{root}: expected a folder, found {'a file' if root.exists() else 'nothing'}. "
                         f"Give the folder that holds {LAYOUT}.")  # fmt: skip
    top = folder_called(root, IMAGES) or root
    if top == root and (root / RUN).is_file():
        raise ValueError(f"{root}: expected a folder of photographs, found that of a run ({RUN} lies in it). "
                         "Give the folder that the run was made from.")  # fmt: skip
    found = find_image_files(top)
    files, masks = split_masks(found.files)
    if not files:
        passed_over = f" but {', '.join(found.passed_over)}" if found.passed_over else ""
        raise ValueError(f"{top}: expected images, found none{passed_over}. A folder should hold {LAYOUT}.")
    calls = {file.relative_to(top).as_posix(): file for file in files}
    paths = {name: calls[call] for name, call in names_of_files(calls).items()}
    beside = {name: masks[path] for name, path in paths.items() if path in masks}
    mask_folder = folder_called(root, MASKS)
    used = mask_folder.name if mask_folder is not None and top == root else ""
    inspected = ClassFolders(root, top, paths).ground_truth()
    used_too = {used} | {
        folder for folder in found.passed_over if inspected and folder.casefold().endswith(GROUND_TRUTH)
    }
    left = {folder: count for folder, count in found.passed_over.items() if folder not in used_too}
    return FolderImages(root, top, paths, beside | inspected, left)


def list_masks(images: FolderImages) -> tuple[dict[str, Path], list[Path]]:
    """The mask file of each image that has one, and the mask files that belong to no image.

    Files of other formats are told of: JPEG, for example, changes labels while it stores them.
    """
    top = folder_called(images.root, MASKS)
    if top is None:
        return {}, []
    if others := files_below(top, image_suffixes() - MASK_SUFFIXES):
        told = some(file.relative_to(top).as_posix() for file in others)
        logger.warning(
            "%s: holds %d files that are no PNG or TIFF, which count as no masks: %s. Save the labels as PNG.",
            top, len(others), told,
        )  # fmt: skip
    paths: dict[str, Path] = {}
    stray = []
    for file in files_below(top, MASK_SUFFIXES):
        below = file.relative_to(top)
        # "a.png" belongs to the image a, and so does "a_mask.png"; "a.jpg.png" to a.jpg where a.png is another image.
        called = [below.with_suffix(""), *(below.with_name(stem) for stem in images_called(below.stem))]
        name = next(filter(None, (images.find(one.as_posix()) for one in called)), None)
        if name is None or name in paths:
            stray.append(file)
        else:
            paths[name] = file
    return paths, stray


def list_rows(images: FolderImages, known: Collection[str] | None, reading: TagReading = _AS_USUAL) -> list[TagRow]:
    """Read the folder's tags from the table beside the images, from annotation files, or from the sub-folders.

    Args:
        images: the folder's images.
        known: the class names, if there is a list of them.
        reading: how a table is read.

    Raises:
        ValueError: if there are no tags, several tables, or a table that cannot be read or names no image.
    """
    folders = images.class_folders(known)

    def told_elsewhere() -> bool:
        return bool(folders.folders) or annotation_rows(folders) is not None

    rows = rows_beside(images.calls, known, reading, told_elsewhere=told_elsewhere)
    if rows is not None:
        if not has_own_table(images.root):
            folders.tell_left_alone()
        return rows
    annotated = annotation_rows(folders)
    rows = annotated if annotated is not None else folders.rows()
    if not rows:
        raise ValueError(
            f"{images.root}: expected tags, found neither a table (tags.csv, .tsv, .xlsx, .parquet, .jsonl, .json) nor "
            f"files of labelImg, LabelMe or YOLO for most images nor sub-folders of images{other_text(images.root)}. "
            "Write tags.csv with the columns image,tags."
        )
    if reading.image_column or reading.tag_column or reading.none_means_no_tag:
        raise ValueError(
            f"{images.root}: expected a table of tags for the options of its columns and words, found that "
            f"{_told_by(rows[0].place)} tell the tags. Leave the options out."
        )
    rows = without_background(images.root, rows, reading)
    tell_nothing_words(images.root, rows, known)
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
    reasons = [images.calls.why_not(row.image) for row in stray]
    return MatchedRows(matched, stray, reasons, [name for name in images.paths if name not in matched])


def list_classes(root: Path) -> tuple[str, ...] | None:
    """The class names of ``classes.txt``, or None if there is no such file.

    Raises:
        ValueError: if the file is no list of classes.
    """
    path = root / "classes.txt"
    return read_classes(path) if path.exists() else None


def list_split(images: FolderImages, split: str) -> tuple[list[str], list[str]] | None:
    """The images that ``train.txt`` or ``val.txt`` lists, each once, and the lines that mean no image.

    Without a table of tags and without such a list, the folders train/ and val/ say the same.

    Returns:
        None if there is neither.

    Raises:
        ValueError: if the file cannot be read.
    """
    path = images.root / f"{split}.txt"
    if not path.exists():
        lists = any((images.root / name).exists() for name in ("train.txt", "val.txt"))
        listed = lists or has_own_table(images.root)
        names = None if listed else images.class_folders(list_classes(images.root)).names_of(split)
        return None if names is None else (names, [])
    found = _listed(images, path, read_names(path))
    every = dict.fromkeys(name for name in found.values() if name is not None)
    return list(every), [line for line, name in found.items() if name is None]


def _listed(images: FolderImages, path: Path, lines: Sequence[str]) -> dict[str, str | None]:
    """The image of each line: the whole line or its first word; None where no image, or more than one, is called so."""
    found = {line: images.find(line) or images.find(line.split()[0]) for line in lines}
    if any(found.values()):
        return found
    before = images.calls.common_folders(lines) or images.calls.common_folders([line.split()[0] for line in lines])
    if not before:
        return found
    logger.warning("%s: every line names its image below %s, which is not there and is passed over. "
                   "If they are other images, correct the list.", path, before)  # fmt: skip
    calls = {line: call_key(line).removeprefix(before) for line in lines}
    return {line: images.find(call) or images.find(call.split()[0]) for line, call in calls.items()}


def _told_by(place: str) -> str:
    """What stands at the begin of a row's place."""
    if place.startswith("folder "):
        return "the folders"
    if place.startswith("file "):
        return f"{PurePosixPath(place).suffix} files"
    table, comma, _ = place.partition(", ")
    return table if comma else ""
