"""Settings as JSON values: of a file, the content is what results depend on."""

from dataclasses import dataclass

import pytest

from tag2mask.runs.settings import keyed, plain, settings_from, weights_file


@dataclass(frozen=True)
class Older:
    """Settings before they could name a file."""

    width: int = 3


@dataclass(frozen=True)
class Settings(Older):
    """Settings that may name one."""

    sizes: tuple[int, ...] = (1, 2)
    weights: str = weights_file()


@dataclass(frozen=True)
class More:
    """Settings that a stage shares with another one."""

    alpha: float = 4.0


def test_without_a_file_settings_are_as_if_they_could_name_none():
    assert keyed(Settings()) == {"width": 3, "sizes": [1, 2]}
    assert keyed((Older(), More())) == plain((Older(), More()))
    assert settings_from(Settings, keyed(Settings()), "run.json") == Settings()


def test_a_file_counts_by_its_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (keyed(Settings(weights=str(tmp_path / name))) for name in "abc")
    assert a == b != c
    assert a["weights"].startswith("blake2b:")
    assert keyed((Settings(weights=str(tmp_path / "a")), More())) == {**a, "alpha": 4.0}
    assert plain(Settings(weights="a"))["weights"] == "a"


def test_a_missing_file_is_told():
    with pytest.raises(ValueError, match=r"nowhere\.pth: expected a file with weights, found none"):
        keyed(Settings(weights="nowhere.pth"))
