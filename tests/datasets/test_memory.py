"""What is kept in memory: made once, as long as it fits; nothing of it goes to another process."""

from __future__ import annotations

import pickle

import torch

from tag2mask.datasets.memory import Kept
from tag2mask.records import Regions

MADE: list[str] = []


def hundred_bytes(name: str) -> torch.Tensor:
    MADE.append(name)
    return torch.zeros(100, dtype=torch.uint8)


def test_an_item_is_made_once() -> None:
    MADE.clear()
    kept = Kept(hundred_bytes)
    assert kept["a"] is kept["a"]
    assert MADE == ["a"]


def test_the_first_that_fit_stay() -> None:
    MADE.clear()
    kept = Kept(hundred_bytes, memory=250)
    for _ in range(2):
        for name in "abcd":
            kept[name]
    assert [*"abcd", *"cd"] == MADE


def test_the_tensors_of_records_count() -> None:
    made: list[str] = []

    def regions(name: str) -> Regions:
        made.append(name)
        return Regions(torch.zeros(2, 5, dtype=torch.int64), 1)  # 80 bytes

    kept = Kept(regions, memory=100)
    for name in "abab":
        kept[name]
    assert made == ["a", "b", "b"]


def test_a_view_counts_with_all_that_it_holds_on_to() -> None:
    MADE.clear()
    kept = Kept(lambda name: hundred_bytes(name)[:1], memory=99)
    assert kept["a"] is not kept["a"]


def test_another_process_begins_empty() -> None:
    MADE.clear()
    kept = Kept(hundred_bytes, memory=100)
    kept["a"]
    other = pickle.loads(pickle.dumps(kept))  # noqa: S301
    other["b"]
    other["b"]
    assert MADE == ["a", "b"], "what the first one holds takes no room in the second"
