"""Colours of 16 bits in PNG, PPM and JPEG 2000, of which Pillow keeps 8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tag2mask.datasets.image_files import worded

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEAD = 1024
"""So many bytes tell the format and the depth of a file."""

_PNG = b"\x89PNG\r\n\x1a\n"
_DEPTH, _COLOUR = 24, 25  # Where a PNG notes its bits per channel and whether it has colours or transparency.
_CHANNELS_OF_PNG = {2: 3, 4: 2, 6: 4}
_PPM, _PPM_FIELDS = b"P6", 4
_JP2 = b"\0\0\0\x0cjP  "
_JPEG_2000 = b"\xff\x4f\xff\x51"  # Begin of the code stream and of the segment that tells sizes.
_COMPONENTS, _BITS = 40, 42  # Bytes from there on: the number of channels, and the bits of the first less one.


def deep_channels(head: bytes) -> int:
    """How many channels of more than 8 bits a PNG, PPM or JPEG 2000 with colours or transparency has; 0: it is none.

    Args:
        head: the first `HEAD` bytes of the file, or fewer.
    """
    if head.startswith(_PNG) and len(head) > _COLOUR:
        return _CHANNELS_OF_PNG.get(head[_COLOUR], 0) if head[_DEPTH] == 16 else 0
    if head.startswith(_PPM):
        fields = _ppm_fields(head)
        return 3 if fields is not None and fields[2] > 255 else 0
    start = head.find(_JPEG_2000) if head.startswith((_JP2, _JPEG_2000)) else -1
    if start >= 0 and len(head) > start + _BITS:
        count = int.from_bytes(head[start + _COMPONENTS : start + _BITS], "big")
        return count if count > 1 and head[start + _BITS] % 128 > 7 else 0
    return 0


def read_deep(path: str | Path) -> NDArray[np.generic]:
    """The values of a file that has `deep_channels`: (H, W, N).

    Args:
        path: the file.

    Raises:
        ValueError: if the file is broken.
    """
    from imagecodecs import jpeg2k_decode, png_decode  # noqa: PLC0415  (loads slowly)

    with worded(path):
        content = Path(path).read_bytes()
        if content.startswith(_PNG):
            return np.asarray(png_decode(content))
        if content.startswith(_PPM):
            fields = _ppm_fields(content[:HEAD])
            assert fields is not None
            width, height, _, start = fields
            return np.frombuffer(content, ">u2", 3 * width * height, start).reshape(height, width, 3).astype(np.uint16)
        return np.asarray(jpeg2k_decode(content))


def _ppm_fields(head: bytes) -> tuple[int, int, int, int] | None:
    """Width, height, largest value, and where the pixels begin; None if the head is damaged."""
    words: list[bytes] = []
    place = 0
    while len(words) < _PPM_FIELDS and place < len(head):
        if head[place : place + 1] == b"#":
            place = head.find(b"\n", place) % (len(head) + 1)
        elif head[place : place + 1].isspace():
            place += 1
        else:
            end = next((i for i in range(place, len(head)) if head[i : i + 1].isspace()), len(head))
            words.append(head[place:end])
            place = end
    if len(words) < _PPM_FIELDS or not all(word.isdigit() for word in words[1:]):
        return None
    width, height, largest = map(int, words[1:])
    return width, height, largest, place + 1
