"""Files whose pixels Pillow does not give whole: which they are, and their values as they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tag2mask.datasets.deep_colours import HEAD, deep_channels, read_deep
from tag2mask.datasets.dicom import dicom_size, read_dicom
from tag2mask.datasets.image_files import (
    DICOM_SUFFIX,
    LYING,
    UnusableImageError,
    opened,
    orientation_of,
    too_large,
    worded,
)
from tag2mask.datasets.raw_pixels import MOST_CHANNELS, RawImage, choose_channels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tifffile import TiffPage

    from tag2mask.datasets.raw_pixels import Values

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2  # How a TIFF's values are meant.
_ALPHA = (1, 2)
_NO_DATA, _ORIENTATION = 42113, 274


def raw_image(path: str | Path, channels: Sequence[int] = ()) -> RawImage | None:
    """The values of a file of which Pillow would lose some; None: it is one that Pillow reads whole, or broken.

    These are TIFF of more than 8 bits or of many channels; PNG, PPM and JPEG 2000 of 16 bits with colours; DICOM.

    Args:
        path: the file.
        channels: which channels to take; none: the image's own colours.

    Raises:
        ValueError: if the file is such a one and broken, or its channels cannot be shown.
    """
    head = _head(path)
    if deep_channels(head):
        return _read_deep(path, channels)
    if head.startswith(_TIFF):
        return _read_tiff(path, channels)
    if Path(path).suffix.lower() == DICOM_SUFFIX and head:
        with worded(path):
            return read_dicom(path, channels)
    return None


def raw_size(path: str | Path) -> tuple[int, int] | None:
    """(height, width) of the upright image, of files that `raw_image` reads and Pillow may not open; None: of others.

    Args:
        path: the file.

    Raises:
        ValueError: if the file is such a one and broken.
    """
    head = _head(path)
    if Path(path).suffix.lower() == DICOM_SUFFIX and head:
        with worded(path):
            return dicom_size(path)
    if not head.startswith(_TIFF):
        return None
    from tifffile import TiffFile  # noqa: PLC0415  (loads slowly)

    with worded(path), TiffFile(path) as file:
        page = file.pages.first
        height, width = int(page.imagelength), int(page.imagewidth)
        return (width, height) if _orientation(page) in LYING else (height, width)


def require_channels(paths: Sequence[Path], channels: Sequence[int] = ()) -> None:
    """Require that the channels of some images can be shown, before all images are left out one by one.

    Args:
        paths: the files of a few images; those that cannot be read are passed over.
        channels: those that are chosen; none: the images' own colours.

    Raises:
        UnusableImageError: if all of them have more than four channels and none are chosen, or fewer than are chosen.
    """
    counts = {path: count for path in paths if (count := _count_channels(path, pages=bool(channels)))}
    if not counts:
        return
    first, count = next(iter(counts.items()))
    if channels and max(counts.values()) < max(channels):
        raise UnusableImageError(
            f"{first}: expected at least {max(channels)} channels, found {count}. Choose others with --channels, as "
            "3,2,1."
        )
    if not channels and min(counts.values()) > MOST_CHANNELS:
        raise UnusableImageError(_too_many(first, count))


def _count_channels(path: Path, *, pages: bool) -> int:
    """The channels of a file, or its pages where each is one channel; 0 if it cannot be read."""
    if not _head(path).startswith(_TIFF):
        return 3 if _head(path) else 0
    from tifffile import TiffFile  # noqa: PLC0415

    try:
        with worded(path), TiffFile(path) as file:
            count = int(file.pages.first.samplesperpixel)
            return count if count > 1 or not pages else len(_whole_pages(file))
    except ValueError:
        return 0


def _too_many(path: str | Path, count: int) -> str:
    return (
        f"{path}: expected up to {MOST_CHANNELS} channels, found {count}. Say which ones are red, green and blue, "
        "for example with --channels 3,2,1 (in Python: channels=(3, 2, 1))."
    )


def raw_kind(path: str | Path) -> str:
    """Format, channels and type of the values, as "TIFF 5 x uint16", of a file that `raw_image` reads; else empty.

    Args:
        path: the file.
    """
    head = _head(path)
    if count := deep_channels(head):
        return f"{Path(path).suffix[1:].upper()} {count} x uint16"
    if not head.startswith(_TIFF):
        return ""
    from tifffile import TiffFile  # noqa: PLC0415

    try:
        with worded(path), TiffFile(path) as file:
            page = file.pages.first
            return f"TIFF {page.samplesperpixel} x {page.dtype}" if _is_raw(page, ()) else ""
    except ValueError:
        return ""


def count_pages(path: str | Path) -> int:
    """How many images a TIFF or an animation holds, without smaller copies of the same; 1 of any other file.

    Args:
        path: the file.

    Raises:
        ValueError: if the file is broken.
    """
    head = _head(path)
    if head.startswith(_TIFF):
        from tifffile import TiffFile  # noqa: PLC0415

        with worded(path), TiffFile(path) as file:
            return len(_whole_pages(file))
    if Path(path).suffix.lower() == DICOM_SUFFIX:
        raw = raw_image(path)
        return 1 if raw is None else raw.pages
    with opened(path) as image:
        return int(getattr(image, "n_frames", 1)) if image.format in ("GIF", "PNG", "WEBP") else 1


def _head(path: str | Path) -> bytes:
    """The first bytes of a file; none where it cannot be read, which others tell."""
    try:
        with Path(path).open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def _read_deep(path: str | Path, channels: Sequence[int]) -> RawImage:
    """A PNG, PPM or JPEG 2000 of 16 bits per channel: grey with transparency, RGB or RGBA."""
    with opened(path) as image:
        orientation = orientation_of(image)
    stored = read_deep(path)
    return _raw(path, stored, channels, has_alpha=stored.shape[2] in (2, 4), orientation=orientation)


def _read_tiff(path: str | Path, channels: Sequence[int]) -> RawImage | None:
    from tifffile import TiffFile  # noqa: PLC0415

    with worded(path), TiffFile(path) as file:
        page = file.pages.first
        pages = _whole_pages(file)
        if not _is_raw(page, channels):
            return None
        _check_size(path, page)
        stored = _values(page)
        if stored.shape[2] == 1 and channels and len(pages) > 1:  # Every page is a channel.
            same = [each for each in pages if each.shape == page.shape]
            wanted = [each for number, each in enumerate(same, start=1) if number <= max(channels)]
            stored = np.concatenate([_values(each) for each in wanted], axis=2)
        alpha = bool(page.extrasamples) and int(page.extrasamples[0]) in _ALPHA
        raw = _raw(
            path, stored, channels, has_alpha=alpha and stored.shape[2] in (2, 4), orientation=_orientation(page)
        )
        return RawImage(
            raw.values,
            raw.alpha,
            _no_data(page),
            int(page.photometric) == _WHITE_IS_ZERO,
            raw.orientation,
            raw.channels,
            len(pages),
        )


def _whole_pages(file: object) -> list[TiffPage]:
    """The pages of a TIFF less the smaller copies of a page, which slides and maps hold."""
    pages = [page.aspage() for page in file.pages]  # type: ignore[attr-defined]
    return [page for page in pages if not page.is_reduced and not page.is_mask] or pages[:1]


def _is_raw(page: TiffPage, channels: Sequence[int]) -> bool:
    """Whether Pillow would lose something of a page, or could not open it."""
    if int(page.photometric) not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) or page.bitspersample < 8:
        return False
    usual = {_RGB: (3, 4)}.get(int(page.photometric), (1, 2))
    return bool(channels) or page.dtype != np.uint8 or page.samplesperpixel not in usual


def _values(page: TiffPage) -> Values:
    """(H, W, N): the values of a page whose channels lie beside or behind each other."""
    stored = np.asarray(page.asarray())
    if page.axes.startswith("S"):
        stored = np.moveaxis(stored, 0, -1)
    if stored.ndim > 3:  # A stack: its first layer.
        stored = stored[0]
    return stored.reshape(page.imagelength, page.imagewidth, -1)


def _raw(path: str | Path, stored: Values, channels: Sequence[int], *, has_alpha: bool, orientation: int) -> RawImage:
    """Values of (H, W, N) as an image of grey or RGB, less its transparency.

    Raises:
        UnusableImageError: if nobody has chosen among more than four channels, or other channels are chosen.
    """
    count = stored.shape[2]
    if stored.dtype.kind not in "uif":
        raise UnusableImageError(
            f"{path}: expected numbers, found pixels of type {stored.dtype}. Save it again as TIFF."
        )
    if channels:
        return RawImage(choose_channels(path, stored, channels), orientation=orientation, channels=count)
    if count > MOST_CHANNELS:
        raise UnusableImageError(_too_many(path, count))
    alpha = _alpha(stored[..., -1]) if has_alpha else None
    return RawImage(stored[..., : 1 if count < 3 else 3], alpha, orientation=orientation, channels=count)


def _alpha(values: Values) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Transparency as bytes: whole numbers of any depth, or fractions."""
    most = float(np.iinfo(values.dtype.name).max) if values.dtype.kind in "ui" else 1.0
    return np.asarray((values.astype(np.float64) / most).clip(0, 1) * 255).round().astype(np.uint8)


def _no_data(page: TiffPage) -> float | None:
    """The value that GDAL notes for "nothing was measured"; None: there is none."""
    tag = page.tags.get(_NO_DATA)
    try:
        return float(str(tag.value).strip(" \0")) if tag is not None else None
    except ValueError:
        return None


def _orientation(page: TiffPage) -> int:
    tag = page.tags.get(_ORIENTATION)
    return int(tag.value) if tag is not None else 1


def _check_size(path: str | Path, page: TiffPage) -> None:
    """Require that a page has no more pixels than Pillow would read."""
    pixels = int(page.imagelength) * int(page.imagewidth)
    if Image.MAX_IMAGE_PIXELS is not None and pixels > 2 * Image.MAX_IMAGE_PIXELS:
        raise UnusableImageError(too_large(path, pixels))
