from __future__ import annotations

from pathlib import Path

import pytest

from tag2mask.datasets.table_columns import column_key, find_columns, flag, is_header
from tag2mask.datasets.table_file import Cells
from tag2mask.sources import TagReading

TABLE = Path("set") / "t.csv"


def cells_of(header: str, *rows: str) -> Cells:
    lines = [row.split(",") for row in rows]
    return Cells(tuple(header.split(",")), lines, [f"t.csv, line {n + 2}" for n in range(len(lines))], ",")


@pytest.mark.parametrize(
    ("row", "known"),
    [("image,tags", True), ("Bild,tags", False), ("image", False), (",cat", True), (",", False), ("image;tags", False)],
)
def test_which_rows_name_columns(row: str, known: bool) -> None:
    assert is_header(row.split(","), TagReading()) == known
    assert is_header(["Bild", "x"], TagReading(image_column="bild"))


def test_the_surest_column_of_tags_counts_and_others_are_told() -> None:
    found = find_columns(TABLE, cells_of("class,image,labels", "1,a,cow"), TagReading(), bool)
    assert (found.image, found.tags, found.flags) == (1, (2,), ())
    assert "tags are in column 'labels'; passed over: class." in found.notes[0]
    named = find_columns(TABLE, cells_of("class,image,labels", "1,a,cow"), TagReading(tag_column="class"), bool)
    assert (named.tags, named.notes) == ((0,), ())


def test_a_column_of_the_exact_name_goes_first() -> None:
    cells = cells_of("image,Tags,tags", "a,x,y")
    assert find_columns(TABLE, cells, TagReading(tag_column="tags"), bool).tags == (2,)
    with pytest.raises(ValueError, match="expected a column 'TAGS'"):
        find_columns(TABLE, cells, TagReading(tag_column="TAGS"), bool)


def test_numbered_columns_of_0_and_1_are_classes() -> None:
    assert find_columns(TABLE, cells_of("image,class1,class2", "a,1,0"), TagReading(), bool).flags == (1, 2)
    assert find_columns(TABLE, cells_of("image,class1,class2", "a,cow,"), TagReading(), bool).tags == (1, 2)


def test_columns_that_are_mostly_0_and_1_are_no_guess() -> None:
    cells = cells_of("image,cow,age", *[f"{n},{n % 2},{n}" for n in range(9)], "9,maybe,3")
    with pytest.raises(ValueError, match=r"t\.csv, line 11: expected 0 or 1 in column 'cow', found 'maybe'"):
        find_columns(TABLE, cells, TagReading(), bool)


def test_flags_and_keys() -> None:
    assert [flag(word, "here") for word in ("1", " TRUE ", "x", "0", "No", "")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(ValueError, match=r"here, found '0\.7'"):
        flag("0.7", "here")
    assert column_key("Image-Pfad (neu)") == "imagepfadneu"


def test_columns_beside_the_tags_are_told_in_a_line() -> None:
    cells = cells_of("image,tags,width,,by", "a,cow,9,,me")
    (note,) = find_columns(TABLE, cells, TagReading(), bool).notes
    assert "tags are in column 'tags'; passed over: width, by." in note
    cells = cells_of("image,tag1,tag2,by", "a,cow,,me")
    assert "2 columns: tag1, tag2; passed over: by." in find_columns(TABLE, cells, TagReading(), bool).notes[0]
    assert not find_columns(TABLE, cells_of("image,tags", "a,cow"), TagReading(), bool).notes


@pytest.mark.parametrize("name", ["split", "Subset", "set"])
@pytest.mark.parametrize("tags", ["tags", "animals", "cow"])
def test_a_column_of_splits_is_told(name: str, tags: str) -> None:
    cell = "1" if tags == "cow" else "cow"
    cells = cells_of(f"image,{tags},{name}", f"a,{cell},train", f"b,{cell},Val")
    found = find_columns(TABLE, cells, TagReading(tag_column=None if tags != "animals" else tags), bool)
    assert f"column {name!r} (Val, train) is not used" in found.notes[0]
    assert "val.txt" in found.notes[0]
    assert name not in " ".join(found.notes[1:]).split() or tags == "cow"
    other = find_columns(TABLE, cells_of(f"image,tags,{name}", "a,cow,7"), TagReading(), bool)
    assert "is not used" not in other.notes[0]
