from __future__ import annotations

from pathlib import Path

import pytest

from tag2mask.datasets.tag_row import TagRow
from tag2mask.datasets.tag_words import check_words, tell_words
from tag2mask.sources import TagReading

TABLE = Path("set") / "tags.csv"


def rows_of(*cells: str) -> list[TagRow]:
    return [
        TagRow(f"{n}.jpg", tuple(cell.split(";")) if cell else (), f"tags.csv, line {n + 2}")
        for n, cell in enumerate(cells)
    ]


def tags(rows: list[TagRow]) -> list[tuple[str, ...]]:
    return [row.tags for row in rows]


@pytest.mark.parametrize(
    "word",
    ["nan", "NaN", "None", "N/A", "n/a", "NULL", "NA", "-", "--", "<NA>", "?", "-1", "-9.0", "unlabeled", "Unlabelled",
     "UNKNOWN", "not labeled", "not_labelled", "TODO"],
)  # fmt: skip
def test_a_slip_is_told_with_its_line(word: str) -> None:
    cells = rows_of(*["cow"] * 20, word)
    with pytest.raises(ValueError, match=r"tags\.csv, line 22: expected tags, found .* leave the cell empty") as caught:
        check_words(TABLE, cells, TagReading(), None)
    assert repr(word) in str(caught.value)
    assert "--none-means-no-tag" not in str(caught.value)
    assert tags(check_words(TABLE, cells, TagReading(none_means_no_tag=True), None))[-1] == ()
    assert tags(check_words(TABLE, cells, TagReading(), ("cow", word)))[-1] == (word,)


@pytest.mark.parametrize(("empty", "others"), [(3, 27), (10, 990)])
def test_a_habit_is_told_with_its_option(empty: int, others: int) -> None:
    cells = rows_of(*["cow"] * others, *["nan"] * empty)
    with pytest.raises(ValueError, match=f"in {empty} of {empty + others} rows.*--none-means-no-tag"):
        check_words(TABLE, cells, TagReading(), None)


def test_numbers_below_zero_beside_numbers_are_names() -> None:
    assert tags(check_words(TABLE, rows_of("1", "-1"), TagReading(), None)) == [("1",), ("-1",)]
    assert tags(check_words(TABLE, rows_of("cow", "cow;-1"), TagReading(), None)) == [("cow",), ("cow", "-1")]


@pytest.mark.parametrize("word", ["Nana", "none of these", "na", "a-b", "unknown bird", "unit -1"])
def test_names_like_these_are_names(word: str) -> None:
    assert tags(check_words(TABLE, rows_of("cow", word), TagReading(), None)) == [("cow",), (word,)]


def test_tags_of_the_background_are_no_tags(caplog: pytest.LogCaptureFixture) -> None:
    cells = rows_of("cow", "No Finding", "no finding", "cow;ok")
    reading = TagReading(background_tags=("No finding", "OK"))
    assert tags(check_words(TABLE, cells, reading, None)) == [("cow",), (), (), ("cow",)]
    assert not caplog.text
    check_words(TABLE, cells, TagReading(background_tags=("noo",)), None)
    assert "no row has the tag 'noo' of --background-tag" in caplog.text


@pytest.mark.parametrize("tag", ["[cow", "cow]", "'cow'", '"cow', "{cow}", "\u201ccow\u201d"])
def test_quotes_and_brackets_are_refused(tag: str) -> None:
    with pytest.raises(ValueError, match=r"line 3: expected the name of a class, found"):
        check_words(TABLE, rows_of("cow", tag), TagReading(), None)
    assert tags(check_words(TABLE, rows_of(tag), TagReading(), (tag,))) == [(tag,)]


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["cow", "No Finding", "No Finding"], ["2 rows have the tag 'No Finding'", '--background-tag "No Finding"']),
        (["cow", "No_Finding"], ["1 rows have the tag 'No_Finding'", "--background-tag No_Finding"]),
        (["cow", "no-finding", "no-finding"], ["--background-tag no-finding"]),
        (["cow", "NoFinding"], ["--background-tag NoFinding"]),
        (["cow", "good"], ["--background-tag good"]),
        (["cow", "good", "cow;good"], []),
        (["good", "good"], []),
        (["cow", "car", "cow#car"], ["1 rows have the tag 'cow#car', which is made of the tags cow, car and '#'"]),
        (["cow", "car", "cow / car"], ["cow, car and '/'"]),
        (["cow", "cow-shed"], []),
        (["cow:0.9", "cow:0.7", "yak:1"], ["3 tags end in a number, as 'cow:0.7', 'cow:0.9', 'yak:1'"]),
        (["cow", "cow (2)"], ["1 tags end in a number"]),
        (["room:1", "room", "yak"], ["1 tags end in a number"]),
        (["unit 1", "unit 2"], []),
        (["traffic_light", "traffic light", "car"], ["'traffic light' (1 rows), 'traffic_light' (1 rows)"]),
        (["Cow", "cow"], []),
        (["0", "1"], ["If 0 means without, give --background-tag 0"]),
        (["1.0", "2.0"], ["all tags are numbers ('1.0', '2.0')"]),
        (["cow;0.98", "yak;1"], ["2 tags are numbers beside names ('0.98', '1')"]),
        (["7", "12"], []),
        (["cow", "car;cow", ""], []),
    ],
)
def test_what_a_person_should_look_at(cells: list[str], told: list[str], caplog: pytest.LogCaptureFixture) -> None:
    tell_words(TABLE, rows_of(*cells), None)
    assert len(caplog.records) == min(len(told), 1)
    for part in told:
        assert part in caplog.text


def test_names_in_the_list_of_classes_are_not_doubted(caplog: pytest.LogCaptureFixture) -> None:
    tell_words(TABLE, rows_of("cow", "good", "cow#good"), ("cow", "good", "cow#good"))
    assert not caplog.text
