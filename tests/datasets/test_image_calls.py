from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from tag2mask.datasets.image_calls import ImageCalls

FILES = {"a.jpg": "images/a.jpg", "a.png": "images/a.png", "farm/b": "images/farm/b.JPG", "zoo/b": "images/zoo/b.JPG",
         "zoo/c": "images/zoo/c.tif"}  # fmt: skip


def calls_below(root: Path) -> ImageCalls:
    return ImageCalls(root, root / "images", {name: root / file for name, file in FILES.items()})


@pytest.mark.parametrize(
    ("call", "names"),
    [
        ("a.jpg", ("a.jpg",)),
        ("a", ("a.jpg", "a.png")),
        ("images/farm/b.JPG", ("farm/b",)),
        ("farm\\b", ("farm/b",)),
        ("./zoo//c.tif", ("zoo/c",)),
        ("b.JPG", ("farm/b", "zoo/b")),
        ("c", ("zoo/c",)),
        ("FARM/B.jpg", ("farm/b",)),
        ("C.TIF", ("zoo/c",)),
        ("elsewhere/c.tif", ()),
        ("d.jpg", ()),
        ("", ()),
    ],
)
def test_what_an_image_may_be_called(call: str, names: tuple[str, ...], tmp_path: Path) -> None:
    assert calls_below(tmp_path).fitting(call) == names


def test_absolute_paths_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    calls = calls_below(tmp_path / "link")
    for root in (tmp_path / "link", tmp_path / "real"):
        assert calls.fitting(str(root / "images" / "zoo" / "c.tif")) == ("zoo/c",)
        assert calls.fitting(f"file://{root}/images/zoo/C.TIF") == ("zoo/c",)
    assert calls.fitting(str(tmp_path / "images" / "zoo" / "c.tif")) == ()


def test_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    calls = ImageCalls(Path(), Path(), {"in/a": Path("in/a.png")})
    assert calls.fitting("in/a.png") == calls.fitting("a") == calls.fitting(str(tmp_path / "in" / "a.png")) == ("in/a",)


def test_exact_letters_go_first(tmp_path: Path) -> None:
    calls = ImageCalls(tmp_path, tmp_path, {"a": tmp_path / "a.png", "A": tmp_path / "A.png"})
    assert (calls.fitting("A.png"), calls.fitting("a")) == (("A",), ("a",))
    assert calls.fitting("a.PNG") == ("A", "a")
    assert calls.exactly("A.png")
    assert not calls.exactly("a.PNG")


def test_accents_in_two_pieces(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "\u00e9t\u00e9")
    calls = ImageCalls(tmp_path, tmp_path, {name: tmp_path / f"{name}.png"})
    assert calls.fitting("\u00e9t\u00e9.png") == (name,)


def test_why_a_text_means_no_image(tmp_path: Path) -> None:
    calls = calls_below(tmp_path)
    assert calls.why_not("d") == "no image is called so"
    assert calls.why_not("b") == "2 images are called so: farm/b, zoo/b"


@pytest.mark.parametrize(
    ("texts", "before"),
    [
        (["x/y/zoo/c.tif", "x/y/farm/b"], "x/y/"),
        (["x/images/zoo/c.tif", "x/images/zoo/d.tif"], "x/"),
        (["C:\\x\\c.tif", ""], "C:/x/"),
        (["x/c.tif", "y/b.jpg"], ""),
        (["x/d.tif", "x/e.tif"], ""),
        (["c.tif"], ""),
        ([], ""),
    ],
)
def test_folders_that_are_not_there(texts: list[str], before: str, tmp_path: Path) -> None:
    assert calls_below(tmp_path).common_folders(texts) == before
