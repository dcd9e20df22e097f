"""DICOM: first frame, slope, padding and inverted grey, if pydicom is installed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tag2mask.datasets.images import image_size, image_suffixes, read_image
from tag2mask.datasets.raw_files import count_pages

if TYPE_CHECKING:
    from pathlib import Path

RAMP = np.linspace(0, 1, 30 * 40).reshape(30, 40)


def write_dicom(path: Path, values: np.ndarray[Any, Any], photometric: str = "MONOCHROME2", **more: Any) -> Path:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["a"])
    content = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    colour = values.shape[-1] == 3
    content.Rows, content.Columns = values.shape[-3:-1] if colour else values.shape[-2:]
    content.SamplesPerPixel, content.PhotometricInterpretation = (3, "RGB") if colour else (1, photometric)
    if colour:
        content.PlanarConfiguration = 0
    content.BitsAllocated = content.BitsStored = values.dtype.itemsize * 8
    content.HighBit = content.BitsStored - 1
    content.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in more.items():
        setattr(content, name, value)
    content.PixelData = values.tobytes()
    content.save_as(path, enforce_file_format=True)
    return path


def test_grey_fills_the_range_and_may_be_inverted(tmp_path: Path) -> None:
    values = (RAMP * 1500 + 40).astype(np.uint16)
    shown = {}
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        path = write_dicom(tmp_path / f"{kind}.dcm", values, kind)
        assert image_size(path) == (30, 40)
        shown[kind] = read_image(path)[0].numpy() / 255
    assert np.abs(shown["MONOCHROME2"] - RAMP).max() < 0.02
    assert np.abs(shown["MONOCHROME1"] - (1 - RAMP)).max() < 0.02


def test_slope_and_padding(tmp_path: Path) -> None:
    values = (RAMP * 1500 + 40).astype(np.int16)
    path = write_dicom(tmp_path / "a.dcm", values, RescaleSlope=-2, RescaleIntercept=10)
    assert np.abs(read_image(path)[0].numpy() / 255 - (1 - RAMP)).max() < 0.02
    values[:5] = -2000
    path = write_dicom(tmp_path / "b.dcm", values, PixelPaddingValue=-2000)
    grey = read_image(path)[0].numpy()
    assert (grey[:5] == 0).all()
    assert grey[5:].min() < 10
    assert grey.max() > 245


def test_colours_and_frames(tmp_path: Path) -> None:
    colours = (np.stack([RAMP, RAMP[::-1], RAMP * 0], axis=2) * 255).astype(np.uint8)
    assert np.array_equal(read_image(write_dicom(tmp_path / "a.dcm", colours)).permute(1, 2, 0).numpy(), colours)
    frames = np.stack([np.full((4, 5), shade, np.uint8) for shade in (7, 9)])
    path = write_dicom(tmp_path / "b.dcm", frames, NumberOfFrames=2)
    assert read_image(path).unique().tolist() == [7]
    assert count_pages(path) == 2


def test_broken_files_and_a_missing_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.dcm").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.dcm: expected a whole image, found a broken one"):
        read_image(tmp_path / "a.dcm")
    assert ".dcm" in image_suffixes()
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ValueError, match=r'a\.dcm: .* needs pydicom\. Install .*pip install "tag2mask\[formats\]"'):
        image_size(tmp_path / "a.dcm")
