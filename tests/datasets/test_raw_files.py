"""Deep colours, many channels, pages, no-data values: what Pillow would lose is read from the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from imagecodecs import jpeg2k_encode, png_encode
from PIL import Image
from tifffile import TiffWriter, imwrite

from tag2mask.datasets.images import image_size, read_image
from tag2mask.datasets.raw_files import count_pages, raw_image, raw_kind, require_channels

if TYPE_CHECKING:
    from pathlib import Path

RAMP = np.linspace(0, 1, 48 * 40).reshape(48, 40)
COLOURS = np.stack([RAMP, RAMP[::-1], 0.5 * RAMP[:, ::-1]], axis=2)


def tiff(path: Path, values: np.ndarray[Any, Any], **options: Any) -> Path:
    imwrite(path, values, **options)
    return path


def as_shown(pixels: Any) -> np.ndarray[Any, Any]:
    return np.asarray(pixels.permute(1, 2, 0).numpy(), np.float64) / 255


@pytest.mark.parametrize("largest", [200, 4095, 65535])
@pytest.mark.parametrize("kind", ["plain", "lzw", "zlib", "planar", "png", "ppm", "jp2"])
def test_16_bit_colours_are_stretched_in_common(kind: str, largest: int, tmp_path: Path) -> None:
    values = (COLOURS * largest).round().astype(np.uint16)
    if kind == "png":
        path = tmp_path / "a.png"
        path.write_bytes(png_encode(values))
    elif kind == "jp2":
        path = tmp_path / "a.jp2"
        path.write_bytes(jpeg2k_encode(values, codecformat="jp2", level=0))
    elif kind == "ppm":
        path = tmp_path / "a.ppm"
        path.write_bytes(b"P6 # of a test\n# and more\n40 48\n65535\n" + values.astype(">u2").tobytes())
    elif kind == "planar":
        path = tiff(tmp_path / "a.tif", np.moveaxis(values, 2, 0), photometric="rgb", planarconfig="separate")
    else:
        path = tiff(tmp_path / "a.tif", values, photometric="rgb", compression=None if kind == "plain" else kind)
    pixels = read_image(path)
    assert image_size(path) == tuple(pixels.shape[1:]) == (48, 40)
    assert np.abs(as_shown(pixels) - COLOURS).max() < 0.02
    assert pixels[2].max() < 135, "blue reaches half of red, and stays so"


@pytest.mark.parametrize("kind", [np.uint32, np.int16, np.float16, np.float32, np.float64])
def test_colours_of_every_type(kind: type, tmp_path: Path) -> None:
    values = (COLOURS * 1000 - 300).clip(0 if kind is np.uint32 else None).astype(kind)
    pixels = as_shown(read_image(tiff(tmp_path / "a.tif", values, photometric="rgb")))
    low = 0 if kind is np.uint32 else -300
    expected = ((COLOURS * 1000 - 300).clip(low) - low) / (700 - low)
    assert np.abs(pixels - expected).max() < 0.02


def test_bytes_stay_as_they_are(tmp_path: Path) -> None:
    values = (COLOURS * 90).astype(np.uint8)
    path = tiff(tmp_path / "a.tif", values, photometric="rgb")
    assert raw_image(path) is None
    assert np.array_equal(read_image(path).permute(1, 2, 0).numpy(), values)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_transparent_pixels_of_deep_colours_are_white_and_do_not_count(suffix: str, tmp_path: Path) -> None:
    values = np.concatenate([COLOURS * 1000, np.full((48, 40, 1), 65535)], axis=2).astype(np.uint16)
    values[:10, :10] = (60000, 60000, 60000, 0)
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        path.write_bytes(png_encode(values))
    else:
        tiff(path, values, photometric="rgb", extrasamples=["unassalpha"])
    pixels = as_shown(read_image(path))
    assert (pixels[:10, :10] == 1).all()
    assert np.abs(pixels - COLOURS)[10:, 10:].max() < 0.05


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_deep_colours_are_put_upright(orientation: int, tmp_path: Path) -> None:
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    values = (COLOURS * 4000).astype(np.uint16)
    path = tiff(tmp_path / "a.tif", values, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    pixels = read_image(path)
    assert np.abs(as_shown(pixels) - np.rot90(COLOURS, turns)).max() < 0.02
    assert image_size(path) == tuple(pixels.shape[1:])


@pytest.mark.parametrize("how", ["beside each other", "planar", "pages"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_channels_are_chosen_and_ordered(how: str, kind: type, tmp_path: Path) -> None:
    bands = np.stack([np.full((6, 8), 20 * band, kind) + np.arange(8, dtype=kind) for band in range(1, 6)])
    path = tmp_path / "a.tif"
    if how == "pages":
        with TiffWriter(path) as file:
            for band in bands:
                file.write(band, photometric="minisblack", contiguous=False)
    elif how == "planar":
        tiff(path, bands, photometric="minisblack", planarconfig="separate")
    else:
        tiff(path, np.moveaxis(bands, 0, 2), photometric="rgb")
    assert image_size(path) == (6, 8)
    red, green, blue = read_image(path, (4, 1, 5)).int()
    assert bool((blue > red).all())
    assert bool((red > green).all())
    if kind is np.uint8:
        assert (red[0].tolist(), green[0, 0].item()) == (list(range(80, 88)), 20)
    grey = read_image(path, (2,))
    assert grey[0].equal(grey[1])
    assert grey[0].equal(grey[2])
    with pytest.raises(ValueError, match=r"a\.tif: expected at least 9 channels, found 5\. Choose others with"):
        read_image(path, (9, 1, 1))
    if how == "pages":
        assert count_pages(path) == 5
        assert read_image(path).unique().numel() == 8, "without a choice the first page is the image"
    else:
        with pytest.raises(ValueError, match=r"a\.tif: expected up to 4 channels, found 5\. .*--channels 3,2,1"):
            read_image(path)


def test_channels_of_a_photograph_change_places(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 3), (10, 20, 30)).save(path)
    assert read_image(path, (3, 2, 1))[:, 0, 0].tolist() == [30, 20, 10]
    assert read_image(path, (2,))[:, 0, 0].tolist() == [20, 20, 20]
    with pytest.raises(ValueError, match=r"a\.png: expected at least 4 channels, found 3"):
        read_image(path, (4, 2, 1))


@pytest.mark.parametrize(
    ("kind", "no_data", "tag"),
    [
        (np.float32, -9999, None),
        (np.float32, -3.4028234663852886e38, None),
        (np.float32, np.nan, "nan"),
        (np.float64, 1e20, "1e20"),
        (np.int16, -32768, None),
        (np.int16, -1, "-1"),
        (np.uint16, 0, "0"),
        (np.uint16, 65535, "65535 "),
    ],
)
@pytest.mark.parametrize("colour", [False, True])
def test_pixels_without_data_do_not_count(
    kind: type, no_data: float, tag: str | None, colour: bool, tmp_path: Path
) -> None:
    values = ((COLOURS if colour else RAMP) * 200 + 1000).astype(kind)
    values[:12, :12] = no_data
    tags = [] if tag is None else [(42113, 2, 0, tag, True)]
    path = tiff(tmp_path / "a.tif", values, photometric="rgb" if colour else "minisblack", extratags=tags)
    pixels = as_shown(read_image(path))
    assert (pixels[:12, :12] == 0).all()
    expected = COLOURS if colour else np.repeat(RAMP[..., None], 3, 2)
    assert np.abs(pixels - expected)[12:].max() < 0.35, "the rest fills the range"
    assert len(np.unique(pixels)) > 100


def test_white_may_be_zero(tmp_path: Path) -> None:
    values = (RAMP * 4000).astype(np.uint16)
    pixels = as_shown(read_image(tiff(tmp_path / "a.tif", values, photometric="miniswhite")))
    assert np.abs(pixels[..., 0] - (1 - RAMP)).max() < 0.02


def test_pages_are_counted_without_smaller_copies(tmp_path: Path) -> None:
    page = (RAMP * 255).astype(np.uint8)
    with TiffWriter(tmp_path / "a.tif") as file:
        file.write(page * 0, photometric="minisblack", contiguous=False)
        file.write(page, photometric="minisblack", contiguous=False)
        file.write(page[::2, ::2], photometric="minisblack", contiguous=False, subfiletype=1)
    assert count_pages(tmp_path / "a.tif") == 2
    assert read_image(tmp_path / "a.tif").max() == 0, "the first page is taken"
    frames = [Image.new("L", (4, 3), shade) for shade in (1, 2, 3)]
    frames[0].save(tmp_path / "b.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "c.jpg")
    assert [count_pages(tmp_path / name) for name in ("b.gif", "c.jpg")] == [3, 1]


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_cut_off_deep_file_is_an_error(suffix: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (64, 64, 3), dtype=np.uint16)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(png_encode(values))
    if suffix == "tif":
        tiff(path, values, photometric="rgb", compression="zlib")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"a\.{suffix}: expected a whole image, found a broken one .* Copy it again"):
        read_image(path)


def test_a_deep_file_with_far_too_many_pixels_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiff(tmp_path / "a.tif", (COLOURS * 4000).astype(np.uint16), photometric="rgb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"too many pixels \(1,920\)\. Shrink it, for example to 4000 pixels"):
        read_image(path)


def test_numbers_with_two_parts_are_no_image(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", np.ones((4, 5), np.complex64), photometric="minisblack")
    with pytest.raises(ValueError, match=r"a\.tif: expected numbers, found pixels of type complex64"):
        read_image(path)


def test_channels_are_required_before_images_are_left_out(tmp_path: Path) -> None:
    five = [tiff(tmp_path / f"{i}.tif", np.ones((5, 4, 6), np.uint8), planarconfig="separate") for i in range(2)]
    photo = tmp_path / "a.png"
    Image.new("RGB", (4, 3)).save(photo)
    with pytest.raises(ValueError, match=r"0\.tif: expected up to 4 channels, found 5"):
        require_channels(five)
    require_channels([*five, photo])
    require_channels([tmp_path / "gone.tif"])
    require_channels(five, (5, 2, 1))
    with pytest.raises(ValueError, match=r"0\.tif: expected at least 6 channels, found 5"):
        require_channels(five, (6,))
    with pytest.raises(ValueError, match=r"a\.png: expected at least 4 channels, found 3"):
        require_channels([photo], (4, 2, 1))
    with TiffWriter(tmp_path / "pages.tif") as file:
        for _ in range(4):
            file.write(np.ones((3, 4), np.uint8), contiguous=False)
    require_channels([tmp_path / "pages.tif"], (4, 2, 1))


def test_the_kind_of_deep_files(tmp_path: Path) -> None:
    deep = (COLOURS * 4000).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(png_encode(deep))
    Image.new("L", (4, 3)).save(tmp_path / "b.png")
    (tmp_path / "cut.tif").write_bytes(b"II*\0")
    assert raw_kind(tiff(tmp_path / "a.tif", deep, photometric="rgb")) == "TIFF 3 x uint16"
    assert raw_kind(tiff(tmp_path / "b.tif", RAMP.astype(np.float32))) == "TIFF 1 x float32"
    assert raw_kind(tiff(tmp_path / "c.tif", (COLOURS * 9).astype(np.uint8), photometric="rgb")) == ""
    assert [raw_kind(tmp_path / name) for name in ("a.png", "b.png", "cut.tif", "gone")] == [
        "PNG 3 x uint16",
        "",
        "",
        "",
    ]
