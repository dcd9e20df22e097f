from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from fabricate import write_folder, write_photo

from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.source import find_source, open_source
from tag2mask.datasets.walking import LITTER, NO_PHOTOGRAPHS, entered, files_below, find_image_files, folder_called
from tag2mask.sources import Source

if TYPE_CHECKING:
    from pathlib import Path


def write_classes(root: Path) -> Path:
    for call in ("cow/1", "cow/2", "sheep/1"):
        write_photo(root / f"{call}.png", shade=20 + len(call) + int(call[-1]))
    return root


@pytest.mark.parametrize("called", sorted((LITTER | NO_PHOTOGRAPHS) - {"masks", "__macosx", ".ipynb_checkpoints"}))
@pytest.mark.parametrize("spell", [str.lower, str.upper])
def test_what_is_no_class(called: str, spell: type[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_classes(tmp_path)
    write_photo(tmp_path / spell(called) / "deep" / "x.png")
    write_photo(tmp_path / "cow" / spell(called) / "y.png")
    with caplog.at_level(logging.WARNING):
        data = open_folder(tmp_path, strict=True)
    assert data.class_names == ("cow", "sheep")
    assert data.names == ("cow/1", "cow/2", "sheep/1")
    assert "passed over: 2 images" in caplog.text
    assert f"1 in {spell(called)}/" in caplog.text
    assert len(caplog.records) == 1


def test_a_run_inside_the_folder_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = open_folder(write_classes(tmp_path)).digest()
    for out in ("runs/photos", "out", "cow/here"):
        write_photo(tmp_path / out / "05_walk" / "masks" / "1.png")
        (tmp_path / out / "run.json").write_text("{}")
    for part in ("masks", "overlays", "confidence"):
        write_photo(tmp_path / "new" / part / "1.png")
    with caplog.at_level(logging.WARNING):
        data = open_folder(tmp_path, strict=True)
    assert (data.digest(), data.class_names) == (before, ("cow", "sheep"))
    assert "1 in cow/here/, 3 in new/, 1 in out/, 1 in runs/" in caplog.text


def test_the_folder_of_a_run_is_no_folder_of_photographs(tmp_path: Path) -> None:
    write_classes(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected a folder of photographs, found that of a run \(run\.json"):
        open_folder(tmp_path)
    write_folder(tmp_path, {"a": "cow"})
    assert open_folder(tmp_path).names == ("a",), "images/ is known to hold the photographs"


def test_a_folder_of_results_may_be_given_itself(tmp_path: Path) -> None:
    assert open_folder(write_classes(tmp_path / "results")).class_names == ("cow", "sheep")


@pytest.mark.parametrize("called", ["Images", "IMAGES", "images"])
def test_images_in_capitals(called: str, tmp_path: Path) -> None:
    write_classes(tmp_path / called)
    write_photo(tmp_path / "other" / "x.png")
    assert open_folder(tmp_path, strict=True).class_names == ("cow", "sheep")


def test_folders_that_differ_only_by_case(tmp_path: Path) -> None:
    for called in ("Images", "IMAGES"):
        (tmp_path / called).mkdir()
    with pytest.raises(ValueError, match="expected one folder images, found IMAGES and Images"):
        folder_called(tmp_path, "images")
    (tmp_path / "images").mkdir()
    assert folder_called(tmp_path, "images") == tmp_path / "images"
    assert folder_called(tmp_path, "masks") is None
    assert folder_called(tmp_path / "gone", "masks") is None


def test_hidden_files_and_links_in_a_circle(tmp_path: Path) -> None:
    write_classes(tmp_path)
    write_photo(tmp_path / "cow" / "._1.png")
    write_photo(tmp_path / ".ipynb_checkpoints" / "1.png")
    write_photo(tmp_path / "__MACOSX" / "1.png")
    (tmp_path / "cow" / "again").symlink_to(tmp_path)
    found = find_image_files(tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in found.files] == ["cow/1.png", "cow/2.png", "sheep/1.png"]
    assert not found.passed_over
    assert list(found.files) == files_below(tmp_path, {".png"})


def test_files_below_pass_over_litter_only(tmp_path: Path) -> None:
    for call in ("masks/1", "@eaDir/2", "$RECYCLE.BIN/3"):
        write_photo(tmp_path / f"{call}.png")
    assert files_below(tmp_path, {".png"}) == [tmp_path / "masks" / "1.png"]


@pytest.mark.parametrize("inner", ["animals", "archive/animals"])
def test_the_only_folder_is_entered(inner: str, tmp_path: Path) -> None:
    write_classes(tmp_path / inner)
    (tmp_path / "LICENSE").write_text("drawn")
    write_photo(tmp_path / "runs" / "x" / "1.png")
    write_photo(tmp_path / "__MACOSX" / "1.png")
    source = find_source(tmp_path)
    assert source.path == str((tmp_path / inner).resolve())
    data = open_source(source, strict=True)
    assert data.names == ("cow/1", "cow/2", "sheep/1")
    assert open_source(Source("folder", str(tmp_path)), strict=True).names == data.names, "after a move"


def test_what_is_entered(tmp_path: Path) -> None:
    for place, (call, file) in enumerate(
        [("a/cow/1", "tags.csv"), ("a/cow/1", "photo.png"), ("images/cow/1", ""), ("train/cow/1", ""), ("cow/1", "")]
    ):
        root = tmp_path / str(place)
        write_photo(root / f"{call}.png")
        if file:
            (root / file).touch()
        assert entered(root) == root, call
    for call in ("voc/VOC2012/JPEGImages/1", "voc/VOC2012/Annotations/1"):
        write_photo(tmp_path / f"{call}.jpg")
    assert find_source(tmp_path / "voc").path == str((tmp_path / "voc").resolve())
    (tmp_path / "voc").rename(tmp_path / "deep")
    (tmp_path / "outer").mkdir()
    (tmp_path / "deep").rename(tmp_path / "outer" / "deep")
    assert find_source(tmp_path / "outer").kind == "voc"
    assert entered(tmp_path / "gone") == tmp_path / "gone"
