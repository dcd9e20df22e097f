"""Summary: what was understood of a data set, before anything is computed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image

from tag2mask.datasets.dataset import behind
from tag2mask.datasets.files import FileDataset
from tag2mask.datasets.images import image_size
from tag2mask.datasets.raw_files import raw_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.datasets.problem import Problem


@dataclass(frozen=True, slots=True)
class ClassCount:
    """A class, and how many images have its tag.

    Args:
        name: of the class.
        training: training images.
        held_out: held-out images.
    """

    name: str
    training: int
    held_out: int = 0


@dataclass(frozen=True, slots=True)
class ImageSizes:
    """Sizes of images, each (height, width) in pixels, by their number of pixels.

    Args:
        smallest: of all images.
        median: the one in the middle.
        largest: of all images.
    """

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Summary:
    """What was understood of a data set; made by `summarise`.

    Args:
        found: where the images and their tags are, in words.
        training: how many training images.
        untagged: those of them that have no tag: pure background.
        held_out: how many held-out images.
        classes: the C classes in the order of their labels.
        masks: how many images have a true mask.
        sizes: of the images; None: no image is a file.
        kinds: format and pixels, as "JPEG RGB" -> how many images.
        mask_lines: what the masks hold, in words; empty where nobody has looked.
        left_out: what is the matter -> how many images or rows.
    """

    found: str
    training: int
    untagged: int
    held_out: int
    classes: tuple[ClassCount, ...]
    masks: int
    sizes: ImageSizes | None = None
    kinds: Mapping[str, int] = field(default_factory=dict)
    mask_lines: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def longest_name(self) -> str:
        """The longest name of a class, the first of several; empty without classes."""
        return max((one.name for one in self.classes), key=len, default="")

    @property
    def shortest_name(self) -> str:
        """The shortest name of a class, the first of several; empty without classes."""
        return min((one.name for one in self.classes), key=len, default="")


def summarise(data: TagDataset, problems: Iterable[Problem] = (), mask_lines: Sequence[str] = ()) -> Summary:
    """Look at a data set without decoding an image: tags, and the headers of files.

    Args:
        data: any data set.
        problems: findings; of those that say "left out", the numbers are told.
        mask_lines: what the masks hold, in words.
    """
    training, held_out = (_tag_counts(data, names) for names in (data.names, data.val_names))
    files = files_of(data)
    names = (*data.names, *data.val_names)
    sizes, kinds = _headers([files.paths[name] for name in names]) if files is not None else (None, {})
    left_out = Counter(problem.kind for problem in problems if problem.message.startswith("left out: "))
    return Summary(
        found=_found(files),
        training=len(data.names),
        untagged=sum(not bool(data.tags(name).any()) for name in data.names),
        held_out=len(data.val_names),
        classes=tuple(
            ClassCount(name, training[class_id], held_out[class_id]) for class_id, name in enumerate(data.class_names)
        ),
        masks=_masks(data, files),
        sizes=sizes,
        kinds=kinds,
        mask_lines=tuple(mask_lines),
        left_out=dict(left_out),
    )


def files_of(data: TagDataset) -> FileDataset | None:
    """The files behind a data set, also behind working copies of it; None: it is made of none.

    Args:
        data: any data set.
    """
    return behind(data, FileDataset)


def _tag_counts(data: TagDataset, names: Iterable[str]) -> Counter[int]:
    return Counter(class_id for name in names for class_id in data.tags(name).nonzero().flatten().tolist())


def _masks(data: TagDataset, files: FileDataset | None) -> int:
    if files is None:
        return len(data.names) + len(data.val_names) if data.has_masks() else 0
    return sum(name in files.masks.names for name in (*data.names, *data.val_names))


def _found(files: FileDataset | None) -> str:
    if files is None:
        return "images and tags"
    return _tops(files) + f"; tags from {files.tags_from}" * bool(files.tags_from)


def _tops(files: FileDataset) -> str:
    """The folder above all images."""
    folders = {path.parent for path in files.paths.values()}
    top = next(iter(folders))
    while not all(folder.is_relative_to(top) for folder in folders):
        top = top.parent
    return f"images below {top}"


def _headers(paths: Sequence[Path]) -> tuple[ImageSizes | None, dict[str, int]]:
    """Sizes and kinds of image files; those whose header cannot be read are passed over."""
    sizes, kinds = [], Counter[str]()
    for path in paths:
        try:
            sizes.append(image_size(path))
        except ValueError:
            continue
        kinds[_kind(path)] += 1
    sizes.sort(key=lambda size: (size[0] * size[1], size))
    found = ImageSizes(sizes[0], sizes[len(sizes) // 2], sizes[-1]) if sizes else None
    return found, dict(kinds.most_common())


def _kind(path: Path) -> str:
    """Format and pixels, as "JPEG RGB", or "TIFF 3 x uint16" of deep images."""
    if kind := raw_kind(path):
        return kind
    try:
        with Image.open(path) as image:
            return f"{image.format} {image.mode}"
    except Exception:  # Pillow raises nearly every type; such a file has another reader.
        return path.suffix.removeprefix(".").upper()
