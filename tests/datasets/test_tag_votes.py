from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tag2mask.datasets.tag_table import read_tag_table

if TYPE_CHECKING:
    from pathlib import Path


def rows_of(folder: Path, text: str) -> list[tuple[str, tuple[str, ...]]]:
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return [(row.image, row.tags) for row in read_tag_table(path)]


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("yes", "no"), ("True", "False")])
@pytest.mark.parametrize("name", ["Confidence", "present", "label_value", "Vote", "is_present", "Positive"])
def test_a_denied_tag_is_none(name: str, yes: str, no: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [("a", "cow", yes), ("a", "yak", no), ("b", "cow", no), ("b", "yak", no), ("c", "yak", yes)]
    text = f"ImageID,Source,LabelName,{name}\n" + "".join(f"{i},me,{tag},{v}\n" for i, tag, v in rows)
    assert rows_of(tmp_path, text) == [("a", ("cow",)), ("b", ()), ("c", ("yak",))]
    assert f"3 of 5 rows have 0 or no in column {name!r}" in caplog.text
    assert "passed over: Source." in caplog.text
    assert "1 images have no other rows and count as showing none of the classes" in caplog.text


def test_a_column_of_another_name_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "image,label,gold,difficult\na,cow,1,0\na,yak,0,1\n"
    assert rows_of(tmp_path, text) == [("a", ("cow",)), ("a", ("yak",))]
    assert "column 'gold' says no (as '0') in 1 of 2 rows and is passed over" in caplog.text
    assert "column 'difficult' says no" not in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "image,label,present\na,cow,1\nb,yak,0\n",
        "image,label,value\na,cow,1\na,cow,0\nb,yak,0\n",
        "image,label,confidence\na,cow,0.3\na,yak,0\n",
        "image,label,confidence\na,cow,1\na,yak,1\n",
    ],
)
def test_columns_that_deny_no_tag(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(rows_of(tmp_path, text)) == text.count("\n") - 1
    assert "rows have 0 or no" not in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label,vote\na,cow,1\na,yak,1\na,cow,0\n", r"line 4: .*'cow' of 'a' with '1' .t\.csv, line 2\) and '0'"),
        ("image,label,vote\na,cow,0\na,yak,\n", "line 3: expected 0 or 1 in column 'vote', found an empty cell"),
        ("image,label,vote\na,polar bear,1\na,cow,0\n", "line 2: expected one tag, .*'vote' .* found polar, bear. If"),
        ("image,label,vote,value\na,cow,0,0\na,yak,1,0\n", "line 3: .* columns 'vote' and 'value' with different"),
    ],
)
def test_answers_that_contradict(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        rows_of(tmp_path, text)
