"""OutsideSegments: segments without classes that another method made, such as SAM's, in place of superpixels.

One JSON file with COCO's run lengths: as COCO has it (``images`` and ``annotations``; categories do not count), or an
object of image names with a list of run lengths each.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tag2mask.datasets.outside_listing import some
from tag2mask.disk import file_digest, read_json
from tag2mask.ops.segments import paint_segments
from tag2mask.ops.superpixels import resize_regions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset

logger = logging.getLogger(__name__)

REMEDY = 'Give run lengths as COCO has them: {"size": [height, width], "counts": ...}.'


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
        sizes = {tuple(_checked(code, f"{file}: segments of {name}")["size"]) for code in several}
        if len(sizes) > 1:
            raise ValueError(f"{file}: segments of {name}: expected one size, found {some(sizes)}. {REMEDY}")
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
    """Run lengths that say their size."""
    if isinstance(code, list):
        raise ValueError(f"{where}: expected run lengths, found polygons. {REMEDY}")
    size = code.get("size") if isinstance(code, dict) else None
    whole = isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
    if not whole or not isinstance(code.get("counts"), list | str):
        raise ValueError(f"{where}: expected run lengths, found {str(code)[:60]}. {REMEDY}")
    return dict(code)


def decoded(code: Mapping[str, Any], where: str) -> Tensor:
    """The pixels of a segment: (H, W) bool.

    pycocotools leaves a segment whose runs end early full of whatever was in memory, so that runs are counted here.

    Args:
        code: run lengths down the columns, of what is outside and inside in turns, as a list or in COCO's letters.
        where: it is from, for the message.

    Raises:
        ValueError: if they are damaged, or not of as many pixels as they say.

    Example:
        >>> decoded({"size": [2, 2], "counts": [1, 2, 1]}, "").tolist()
        [[False, True], [True, False]]
    """
    height, width = code["size"]
    counts = code["counts"]
    runs = _runs(counts) if isinstance(counts, str) else counts
    if not all(isinstance(run, int) and run >= 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(
            f"{where}: expected runs of {height} x {width} pixels in all, found damaged or other ones. {REMEDY}"
        )
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height)
    return torch.from_numpy(np.ascontiguousarray(inside.T))


def _runs(letters: str) -> list[int]:
    """COCO's letters as run lengths: 5 bits a letter, the lowest first, the sixth says that more follow; from the third
    run on, what it has more than the run two before."""
    runs: list[int] = []
    value = shift = 0
    for letter in letters:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift  # The highest bit of the last letter is the sign.
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs
