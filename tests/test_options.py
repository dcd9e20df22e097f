from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from typer.testing import CliRunner

from tag2mask.cli import app
from tag2mask.datasets.source import find_source, open_source
from tag2mask.options import Tables
from tag2mask.sources import TagReading

if TYPE_CHECKING:
    from pathlib import Path


def test_the_options_of_tables() -> None:
    assert Tables().reading() == TagReading()
    asked = Tables("photo", "animals", ["none", "ok"], True)
    assert asked.reading() == TagReading("photo", "animals", ("none", "ok"), True)


def draw(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (9, 90, 30)).save(file)


def write_table(folder: Path) -> None:
    """24 images, of which a quarter each is a cow, a yak, none of them, and not said."""
    rows = {f"{n:02d}.png": ("cow", "yak", "none", "N/A")[n % 4] for n in range(24)}
    for name in rows:
        draw(folder / "images" / name)
    lines = [f"{name},{tag}" for name, tag in rows.items()]
    (folder / "tags.csv").write_text("\n".join(["photo no,animals", *lines]))


def test_check_takes_them(tmp_path: Path) -> None:
    write_table(tmp_path)
    options = ["--image-column", "photo no", "--tag-column", "animals"]
    words = ["--background-tag", "none", "--none-means-no-tag"]
    found = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert found.exit_code == 1
    assert "unusable tags" in found.stdout
    found = CliRunner().invoke(app, ["check", str(tmp_path), *options, words[0], words[1]])
    assert found.exit_code == 1
    assert "6 of 24 rows" in " ".join(found.stdout.split())
    found = CliRunner().invoke(app, ["check", str(tmp_path), *options, *words])
    assert found.exit_code == 0, found.stdout
    assert "12 of them without a tag" in found.stdout


def test_a_noted_source_opens_in_the_same_way(tmp_path: Path) -> None:
    write_table(tmp_path)
    reading = TagReading("photo no", "animals", ("none",), True)
    source = find_source(tmp_path, reading=reading)
    assert source.reading == reading
    assert open_source(source).class_names == ("cow", "yak")
    assert json.loads(json.dumps(source.reading.background_tags)) == ["none"]


def test_layouts_without_a_table_refuse_them(tmp_path: Path) -> None:
    for name in ("good/1", "cow/2"):
        draw(tmp_path / f"{name}.png")
    source = find_source(tmp_path, reading=TagReading(background_tags=("good",)))
    assert open_source(source).class_names == ("cow",)
    with pytest.raises(ValueError, match=r"expected a table of tags for the options .* found that the folders tell"):
        open_source(find_source(tmp_path, reading=TagReading("photo")))
