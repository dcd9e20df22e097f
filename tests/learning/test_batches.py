"""Batches: every image once an epoch, in an order that follows from the seed, made in threads or processes."""

import math
import threading
from dataclasses import dataclass, field

import pytest
import torch

from tag2mask.learning.batches import epoch_batches
from tag2mask.learning.schedule import Schedule
from tag2mask.runtime import Runtime


@dataclass
class Places:
    """A data set whose items are the places they were looked up by."""

    count: int
    threads: set = field(default_factory=set)
    shared: list = field(default_factory=list)
    broken: int = -1

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        if place[1] == self.broken:
            raise ValueError(f"image {self.broken} is broken")
        self.threads.add(threading.current_thread())
        self.shared.append(torch.get_num_threads())
        return place


def batches_of(places, epoch=3, *, size=4, seed=0, workers=0):
    schedule = Schedule(epochs=1, batch_size=size, rate=1.0)
    batches, steps = epoch_batches(places, list, schedule, Runtime("cpu", "32", seed, workers), "test")
    return batches(epoch), steps


@pytest.mark.parametrize(("count", "size"), [(8, 4), (10, 4), (1, 4), (3, 8)])
def test_an_epoch_shows_every_image_and_only_full_batches(count, size):
    found, steps = batches_of(Places(count), size=size)
    found = list(found)
    assert len(found) == steps == math.ceil(count / size)
    assert all(len(batch) == size for batch in found)
    places = [place for batch in found for place in batch]
    assert {epoch for epoch, _ in places} == {3}
    shown = [index for _, index in places]
    assert sorted(shown[:count]) == list(range(count))
    # A last small batch is filled up from the start.
    assert shown[count:] == (shown[:count] * size)[: len(shown) - count]


def test_the_order_follows_from_seed_and_epoch_alone():
    def order(seed, epoch):
        return [index for batch in batches_of(Places(16), epoch, seed=seed)[0] for _, index in batch]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_processes_make_the_same_batches_and_leave_the_same_numbers_to_draw():
    found = []
    for workers in (0, 2):
        torch.manual_seed(5)
        found.append((list(batches_of(Places(10), workers=workers)[0]), torch.rand(()).item()))
    assert found[0] == found[1]


def test_items_are_made_in_threads_of_their_own_that_end_with_the_epoch():
    before, places = torch.get_num_threads(), Places(32)
    for number, _ in enumerate(batches_of(places)[0]):
        assert torch.get_num_threads() == before
        # The next batch is made beside the training, and no further ones.
        assert len(places.shared) <= 4 * (number + 2)
    assert threading.current_thread() not in places.threads
    assert set(places.shared) == {1}
    assert not any(thread.is_alive() for thread in places.threads)


def test_who_stops_in_the_middle_leaves_no_thread():
    places = Places(64)
    batches = iter(batches_of(places)[0])
    next(batches)
    batches.close()
    assert len(places.shared) <= 8
    assert not any(thread.is_alive() for thread in places.threads)


def test_an_item_that_can_not_be_made_is_an_error_where_its_batch_is_due():
    places = Places(32, broken=7)
    found = []
    with pytest.raises(ValueError, match="image 7 is broken"):
        found.extend(batches_of(places)[0])
    assert all((3, 7) not in batch for batch in found)
    assert not any(thread.is_alive() for thread in places.threads)
