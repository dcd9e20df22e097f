from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from fabricate import write_photo
from PIL import Image

from tag2mask.datasets.images import image_size, read_grey, read_image

if TYPE_CHECKING:
    from pathlib import Path

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_rgb_is_read_as_it_is(tmp_path: Path) -> None:
    picture = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]])
    path = saved(tmp_path / "a.png", Image.fromarray(picture.transpose(1, 2, 0)))
    pixels = read_image(path)
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    assert np.array_equal(pixels.numpy(), picture)
    assert image_size(path) == (3, 4)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "PA", "La", "RGBa"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    from tag2mask.datasets.images import _rgb

    grey = Image.fromarray(RAMP)
    made = {
        "LAB": lambda: Image.merge("LAB", (grey, grey, grey)),
        "PA": lambda: grey.convert("P").convert("PA"),
        "La": lambda: grey.convert("LA").convert("La"),
        "RGBa": lambda: grey.convert("RGBA").convert("RGBa"),
        "HSV": lambda: grey.convert("RGB").convert("HSV"),
        "YCbCr": lambda: grey.convert("RGB").convert("YCbCr"),
    }
    image = made.get(mode, lambda: grey.convert(mode))()
    assert image.mode == mode
    turned = _rgb(image)
    assert (turned.mode, turned.size) == ("RGB", (4, 3))
    if mode not in ("1", "LAB"):
        difference = np.array(turned)[..., 1].astype(int) - RAMP
        assert np.abs(difference).max() <= 4


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_white(mode: str, tmp_path: Path) -> None:
    image = Image.new(mode, (4, 3), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    assert read_image(saved(tmp_path / "a.png", image)).unique().tolist() == [255]


@pytest.mark.parametrize("mode", ["P", "L"])
def test_a_transparent_colour_is_white(mode: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP).convert(mode), transparency=0)
    pixels = read_image(path)
    assert pixels[:, 0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 2, 3] == RAMP[2, 3]


def test_cmyk_jpeg(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)))
    red, green, blue = read_image(path)[:, 8, 8].tolist()
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("largest", [900, 4095, 65535])
def test_16_bit_grey_fills_the_range(largest: int, suffix: str, tmp_path: Path) -> None:
    values = np.linspace(0, largest, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = read_image(saved(tmp_path / f"a.{suffix}", Image.fromarray(values)))
    assert pixels.shape == (3, 64, 64)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert 120 < pixels.float().mean() < 135


def test_one_hot_pixel_does_not_darken_a_16_bit_image(tmp_path: Path) -> None:
    values = np.linspace(100, 1000, 64 * 64).reshape(64, 64).astype(np.uint16)
    values[0, 0] = 65535
    pixels = read_image(saved(tmp_path / "a.png", Image.fromarray(values)))
    assert 120 < pixels.float().mean() < 135


def test_few_bright_spots_on_an_even_ground_stay_visible(tmp_path: Path) -> None:
    values = np.full((64, 64), 500, np.uint16)
    values[5, 5] = 600
    pixels = read_image(saved(tmp_path / "a.png", Image.fromarray(values)))
    assert (pixels[0, 5, 5], pixels[0, 0, 0]) == (255, 0)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_32_bit_and_float_tiff(kind: type, tmp_path: Path) -> None:
    values = (np.linspace(-3, 3, 64 * 64).reshape(64, 64) * 1000).astype(kind)
    pixels = read_image(saved(tmp_path / "a.tif", Image.fromarray(values)))
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_float_with_nan_and_infinity(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 64 * 64).reshape(64, 64).astype(np.float32)
    values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -np.inf
    pixels = read_image(saved(tmp_path / "a.tif", Image.fromarray(values)))
    assert pixels[0, 0, :3].tolist() == [0, 255, 0]
    nothing = saved(tmp_path / "b.tif", Image.fromarray(np.full((3, 4), np.nan, np.float32)))
    assert read_image(nothing).unique().tolist() == [0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_puts_the_image_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :16] = 255  # Bright at the top left.
    # How the camera stores it: the inverse of what a viewer does.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright, 1), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored)).convert("RGB")
    path = saved(tmp_path / f"a.{suffix}", image, exif=exif)
    pixels = read_image(path)
    assert tuple(pixels.shape[1:]) == image_size(path) == (16, 32)
    assert pixels[0, 4, 8] > 200
    assert pixels[0, [4, 12, 12], [24, 8, 24]].max() < 50


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1), (3, 10_000)])
def test_odd_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.png", size)
    assert tuple(read_image(path).shape) == (3, *size)
    assert image_size(path) == size


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), shade) for shade in ("red", "blue")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp"])
def test_a_cut_off_file_is_an_error(suffix: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"a\.\w+: expected .* found .*[Cc]opy|Save"):
        read_image(path)


def test_other_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"empty\.jpg: expected an image, found an empty file"):
        read_image(tmp_path / "empty.jpg")
    with pytest.raises(ValueError, match=r"text\.jpg: expected an image, found 8 bytes of something else"):
        image_size(tmp_path / "text.jpg")
    with pytest.raises(ValueError, match=r"gone\.jpg: expected an image, found no file"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(ValueError, match="expected"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_photo(tmp_path / "a.png", (100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="far too many pixels"):
        read_image(path)


def test_broken_exif_leaves_the_image_unturned(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (8, 4), "red"), exif=b"Exif\x00\x00broken")
    assert tuple(read_image(path).shape) == (3, 4, 8)
    assert image_size(path) == (4, 8)


def test_the_size_is_read_without_decoding(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(stream, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(stream.getvalue()[:200])
    assert image_size(path) == (64, 64)


@pytest.mark.parametrize(("kind", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_grey_values_are_scores(tmp_path: Path, kind: type, white: int) -> None:
    values = np.array([[0, 0.2, 1]])
    path = saved(tmp_path / "a.png", Image.fromarray((values * white).round().astype(kind)))
    assert read_grey(path).tolist() == [pytest.approx([0, 0.2, 1], abs=1e-6)]


def test_black_and_white_are_scores_and_colours_are_not(tmp_path: Path) -> None:
    assert read_grey(saved(tmp_path / "a.png", Image.fromarray(RAMP > 100))).unique().tolist() == [0, 1]
    for mode in ("RGB", "P", "LA"):
        path = saved(tmp_path / f"{mode}.png", Image.fromarray(RAMP).convert(mode))
        with pytest.raises(ValueError, match=rf"{mode}\.png: expected grey values of 8 or 16 bits, found .*{mode}"):
            read_grey(path)
