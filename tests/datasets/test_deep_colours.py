"""Which files have colours of 16 bits, told by their first bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from imagecodecs import jpeg2k_encode, png_encode
from PIL import Image

from tag2mask.datasets.deep_colours import HEAD, deep_channels, read_deep

DEEP = (np.arange(60).reshape(4, 5, 3) * 900).astype(np.uint16)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_png_and_jpeg_2000_of_16_bits(channels: int) -> None:
    values = np.ascontiguousarray(np.concatenate([DEEP, DEEP], axis=2)[..., :channels])
    assert deep_channels(png_encode(values)[:HEAD]) == channels
    assert deep_channels(jpeg2k_encode(values, codecformat="jp2")[:HEAD]) == channels
    assert deep_channels(jpeg2k_encode(values, codecformat="j2k")[:HEAD]) == channels


@pytest.mark.parametrize("form", ["PNG", "PPM", "JPEG2000", "JPEG", "TIFF"])
def test_files_of_bytes_are_left_to_others(form: str) -> None:
    stream = io.BytesIO()
    Image.fromarray((DEEP // 256).astype(np.uint8)).save(stream, form)
    assert deep_channels(stream.getvalue()[:HEAD]) == 0


def test_grey_is_left_to_others() -> None:
    grey = np.ascontiguousarray(DEEP[..., 0])
    assert deep_channels(png_encode(grey)[:HEAD]) == 0
    assert deep_channels(jpeg2k_encode(grey, codecformat="jp2")[:HEAD]) == 0


@pytest.mark.parametrize(
    "head", [b"", b"P6", b"P6 5 4", b"P6 5 x 65535 ", b"P6 # no end", b"\x89PNG", b"\xff\x4f\xff\x51"]
)
def test_damaged_heads_are_none(head: bytes) -> None:
    assert deep_channels(head) == 0


def test_a_cut_off_ppm_is_an_error(tmp_path: object) -> None:
    path = f"{tmp_path}/a.ppm"
    with open(path, "wb") as file:
        file.write(b"P6 5 4 65535 " + DEEP.astype(">u2").tobytes())
    assert np.array_equal(read_deep(path), DEEP)
    with open(path, "r+b") as file:
        file.truncate(60)
    with pytest.raises(ValueError, match=r"a\.ppm: expected a whole image, found a broken one"):
        read_deep(path)
