"""What is said of images that can be read: pages, few grey values, unused channels, sizes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fabricate import write_folder, write_photo
from PIL import Image
from tifffile import TiffWriter, imwrite

from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.images import read_image
from tag2mask.datasets.pixel_checks import pixel_problems, problems_of_image

if TYPE_CHECKING:
    from pathlib import Path

RAMP = np.linspace(0, 1, 40 * 50).reshape(40, 50)


def said(path: Path, channels: tuple[int, ...] = ()) -> list[tuple[str, str]]:
    problems = problems_of_image(path, channels)
    assert all(problem.severity == "warning" and problem.subject == str(path) for problem in problems)
    return [(problem.kind, problem.message) for problem in problems]


def tiff(path: Path, values: np.ndarray[Any, Any], **options: Any) -> Path:
    imwrite(path, values, **options)
    return path


def test_nothing_is_said_of_ordinary_images(tmp_path: Path) -> None:
    paths = {
        "a": write_photo(tmp_path / "a.jpg"),
        "b": tiff(tmp_path / "b.tif", (RAMP * 4000).astype(np.uint16)),
        "c": tiff(tmp_path / "c.tif", np.full((40, 50), 1234, np.uint16)),
        "d": tiff(tmp_path / "d.tif", (RAMP > 0.9).astype(np.uint16) * 60000),
    }
    (tmp_path / "broken.tif").write_bytes(b"II*\0 and nothing else")
    assert pixel_problems(paths | {"e": tmp_path / "broken.tif", "f": tmp_path / "gone.png"}) == []


def test_pages_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with TiffWriter(path) as file:
        for shade in (0, 10, 20):
            file.write(np.full((6, 8), shade, np.uint8), contiguous=False)
    assert said(path) == [("several pages", "3 pages, the first is used")]
    assert said(path, (3, 2, 1)) == []
    assert [problem.kind for problem in pixel_problems({"x": path, "y": path})] == ["several pages"] * 2


@pytest.mark.parametrize("colour", [False, True])
def test_a_value_that_nobody_marked_leaves_few_greys(colour: bool, tmp_path: Path) -> None:
    values = (RAMP * 200 + 1000).astype(np.float32)
    values[:4] = -500_000
    values = np.repeat(values[..., None], 3, 2) if colour else values
    path = tiff(tmp_path / "a.tif", values, photometric="rgb" if colour else "minisblack")
    ((kind, message),) = said(path)
    assert kind == "few grey values"
    assert message.startswith("2 grey values are left of ")
    assert message.endswith("the values reach from -500000 to 1200, 10 % of them are -500000")
    marked = tiff(tmp_path / "b.tif", values, photometric="rgb" if colour else "minisblack",
                  extratags=[(42113, 2, 0, "-500000", True)])  # fmt: skip
    assert said(marked) == []


def test_channels_that_nobody_uses(tmp_path: Path) -> None:
    four = (np.repeat(RAMP[..., None], 4, 2) * 4000).astype(np.uint16)
    path = tiff(tmp_path / "a.tif", four, photometric="rgb", extrasamples=["unspecified"])
    assert said(path) == [("unused channels", "4 channels, the first 3 are used")]
    assert said(path, (4, 1, 2)) == []
    two = tiff(tmp_path / "b.tif", np.moveaxis(four[..., :2], 2, 0), photometric="minisblack", planarconfig="separate")
    assert said(two) == [("unused channels", "2 channels, the first is used")]
    seen = tiff(tmp_path / "c.tif", four, photometric="rgb", extrasamples=["unassalpha"])
    assert said(seen) == []


def test_a_large_image_is_told_in_our_words_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_photo(tmp_path / "a.png", (30, 50))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        assert read_image(path).shape == (3, 30, 50)
        ((kind, message),) = said(path)
    assert raised == []
    assert (kind, message) == ("huge image", "30 x 50 pixels take much time and memory")
    assert problems_of_image(path)[0].remedy == "Shrink it to 4000 pixels on its longer side."


def test_images_that_are_far_too_large_are_left_out_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path, {"a": "cat", "b": "", "c": "cat", "d": "cat"})
    for name in "cd":
        write_photo(tmp_path / "images" / f"{name}.png", (30, 80))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert open_folder(tmp_path).names == ("a", "b")
    first, second = caplog.messages
    assert "c.png: expected a photograph of at most 2,000 pixels, found far too many pixels (2,400). Shrink it" in first
    assert first.endswith("(1 more images likewise)")
    assert "left out: 2 images are broken: c, d" in second
    write_folder(tmp_path / "large", {"a": "cat", "b": ""})
    for name in "ab":
        write_photo(tmp_path / "large" / "images" / f"{name}.png", (30, 80))
    with pytest.raises(ValueError, match=r"a\.png: expected a photograph of at most .* Shrink it.* \(1 more images"):
        open_folder(tmp_path / "large")
