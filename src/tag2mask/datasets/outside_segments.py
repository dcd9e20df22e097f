"""OutsideSegments: segments without classes that another method made, such as SAM's, in place of superpixels.

One JSON file with COCO's run lengths: as COCO has it (``images`` and ``annotations``; categories do not count), or an
object of image names with a list of run lengths each.
"""

from __future__ import annotations

import logging
import operator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tag2mask.checks import some
from tag2mask.disk import file_digest, read_json
from tag2mask.ops.segments import paint_segments
from tag2mask.ops.superpixels import resize_regions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset

    Runs = np.ndarray[Any, np.dtype[np.int64]]

logger = logging.getLogger(__name__)

REMEDY = 'Give run lengths as COCO has them: {"size": [height, width], "counts": ...}.'


LONGEST_NUMBER = 12
"""Letters of a number; more would not fit into 64 bits."""


@dataclass(frozen=True, eq=False)
class OutsideSegments:
    """Segments of images, decoded when asked for.

    Args:
        path: of the file.
        codes: image -> its segments as run lengths, at least one.
        digest: of the file.
    """

    path: Path
    codes: Mapping[str, Sequence[Mapping[str, Any]]]
    digest: str

    def __contains__(self, name: str) -> bool:
        return name in self.codes

    def ids(self, name: str, size: tuple[int, int]) -> Tensor:
        """(H, W) int64: the segment of each pixel, the smallest where several lie; -1 where none is.

        Args:
            name: of an image that has segments.
            size: (height, width) of the result.

        Raises:
            ValueError: if run lengths are damaged or of several sizes.
        """
        where = f"{self.path}: segments of {name}"
        painted = paint_segments([decoded(code, where) for code in self.codes[name]])
        return painted if tuple(painted.shape) == size else resize_regions(painted, size)


def open_segments(file: str | Path, data: TagDataset, *, strict: bool = False) -> OutsideSegments:
    """Read a file of segments, and look at every one of a training image.

    Args:
        file: JSON.
        data: whose training images' segments count.
        strict: an image without segments is an error; otherwise it gets superpixels.

    Raises:
        ValueError: if the file is missing or damaged, no image of it is known, or one has none if strict.
    """
    file = Path(file)
    if not file.is_file():
        raise ValueError(f"{file}: expected a JSON file of segments, found none. {REMEDY}")
    content = read_json(file)
    try:
        by_file = _by_image(content)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file}: expected images and annotations, found a damaged entry ({error!r}). {REMEDY}"
        ) from error
    codes, stray = _named(by_file, (*data.names, *data.val_names))
    codes = {name: codes[name] for name in data.names if codes.get(name)}
    if not codes:
        raise ValueError(
            f"{file}: expected segments of images such as {some(data.names[:2])}, found {some(by_file) or 'none'}. "
            "Call images as they are called below images/."
        )
    for name, several in codes.items():
        where = f"{file}: segments of {name}"
        sizes = {tuple(_checked(code, where)["size"]) for code in several}
        if len(sizes) > 1:
            raise ValueError(f"{where}: expected one size, found {some(sizes)}. {REMEDY}")
    missing = [name for name in data.names if name not in codes]
    if missing and strict:
        raise ValueError(
            f"{file}: expected segments of every image, {len(missing)} have none: {some(missing)}. Add them, or run "
            "without --strict: the run then makes their superpixels itself."
        )
    for words, those in (("fit no image", stray), ("have no segments; the run makes superpixels", missing)):
        if those:
            logger.warning("%s: %d images %s: %s", file, len(those), words, some(those))
    return OutsideSegments(file, codes, file_digest(file))


def _by_image(content: Any) -> dict[str, list[Any]]:
    """File or name of an image -> its segments; raises as Python does where the content is damaged."""
    if not isinstance(content, dict):
        raise TypeError(f"a {type(content).__name__} instead of an object")
    if "annotations" not in content:
        return {name: list(several) for name, several in content.items()}
    files = {record["id"]: str(record["file_name"]) for record in content["images"]}
    found: dict[str, list[Any]] = {file: [] for file in files.values()}
    for annotation in content["annotations"]:
        found[files[annotation["image_id"]]].append(annotation["segmentation"])
    return found


def _named(by_file: Mapping[str, list[Any]], names: Collection[str]) -> tuple[dict[str, list[Any]], list[str]]:
    """The segments by the images' names, and the files that fit no image."""
    known, found, stray = frozenset(names), {}, []
    for file, several in by_file.items():
        stem = str(PurePosixPath(file).with_suffix("")) if file else ""
        name = file if file in known else stem
        if name in known:
            found[name] = several
        else:
            stray.append(file)
    return found, stray


def _checked(code: Any, where: str) -> dict[str, Any]:
    """Run lengths of a size."""
    if isinstance(code, list):
        raise ValueError(f"{where}: expected run lengths, found polygons. {REMEDY}")
    size = code.get("size") if isinstance(code, dict) else None
    whole = isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
    if not whole or not isinstance(code.get("counts"), list | str):
        raise ValueError(f"{where}: expected run lengths, found {str(code)[:60]}. {REMEDY}")
    _runs(code, where)
    return dict(code)


def decoded(code: Mapping[str, Any], where: str) -> Tensor:
    """The pixels of a segment: (H, W) bool.

    Args:
        code: run lengths down the columns, of what is outside and inside in turns, as a list or in COCO's letters.
        where: it is from, for the message.

    Raises:
        ValueError: if they are damaged, or not of as many pixels as they say.

    Example:
        >>> decoded({"size": [2, 2], "counts": [1, 2, 1]}, "").tolist()
        [[False, True], [True, False]]
    """
    runs = _runs(code, where)
    height, width = code["size"]
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height)
    return torch.from_numpy(np.ascontiguousarray(inside.T))


def _runs(code: Mapping[str, Any], where: str) -> Runs:
    """Run lengths as numbers.

    pycocotools leaves a segment whose runs end early full of whatever was in memory, so that they are counted here.
    """
    counts, (height, width) = code["counts"], code["size"]
    try:
        runs = _of_letters(counts) if isinstance(counts, str) else np.array([operator.index(run) for run in counts])
    except (ValueError, TypeError, OverflowError):
        runs = np.zeros(0, np.int64)
    if not len(runs) or runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"{where}: expected runs of {height} x {width} pixels in all, found others. {REMEDY}")
    return runs


def _of_letters(letters: str) -> Runs:
    """COCO's letters as run lengths.

    Each letter holds 5 bits of a number, the lowest first; the sixth says that more follow, and the highest of the last
    one is the sign. From the fourth number on it is what a run has more than the run two before.
    """
    bits = np.frombuffer(letters.encode("ascii"), np.uint8).astype(np.int64) - 48
    last = np.flatnonzero((bits & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if not len(last) or last[-1] != len(bits) - 1 or lengths.max() > LONGEST_NUMBER:
        raise ValueError("no run lengths")
    places = np.arange(len(bits)) - np.repeat(first, lengths)
    runs = np.add.reduceat((bits & 31) << (5 * places), first)
    runs -= np.where(bits[last] & 16, 1 << (5 * lengths), 0)
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs
