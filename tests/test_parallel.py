"""One function over many images: results in order, a bounded number under way, and the first error ends it."""

import threading
import time

import pytest
import torch

from tag2mask.parallel import SMALL_SIDE, Turns, map_images

NAMES = [f"image_{i}" for i in range(40)]


class Watched:
    """A function of a name that notes who calls it.

    Args:
        work: done in the middle of each call.
    """

    def __init__(self, work=lambda name: None):
        self.work, self.lock = work, threading.Lock()
        self.begun, self.ended, self.most_at_once = [], [], 0

    def __call__(self, name):
        with self.lock:
            self.begun.append(name)
            self.most_at_once = max(self.most_at_once, len(self.begun) - len(self.ended))
        try:
            self.work(name)
        finally:
            with self.lock:
                self.ended.append(name)
        return name.upper()


@pytest.mark.parametrize("workers", [1, 3, None])
def test_results_come_in_the_order_of_the_names(workers):
    # The first images take longest, so they end last.
    watched = Watched(lambda name: time.sleep(0.02 if name in NAMES[:3] else 0))
    assert map_images(watched, NAMES, "test", workers=workers) == [name.upper() for name in NAMES]
    assert sorted(watched.ended) == sorted(NAMES)


def test_no_image_gives_no_result():
    assert map_images(str.upper, [], "test") == []


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_no_more_calls_than_workers_at_once(workers):
    watched = Watched(lambda _: time.sleep(0.001))
    map_images(watched, NAMES, "test", workers=workers)
    assert 1 <= watched.most_at_once <= workers


def test_names_are_taken_as_they_are_needed():
    # A list of a million names must not become a million waiting calls.
    taken, watched = [], Watched(lambda _: time.sleep(0.001))

    class Names(list):
        def __iter__(self):
            for name in super().__iter__():
                taken.append(len(taken) - len(watched.ended))
                yield name

    map_images(watched, Names(NAMES), "test", workers=2)
    assert len(taken) == len(NAMES)
    assert max(taken) <= 2 * 2


@pytest.mark.parametrize("bad", [0, 17, 39])
def test_an_error_stops_the_rest(bad):
    def work(name):
        if name == NAMES[bad]:
            raise ValueError(f"{name} is broken")
        time.sleep(0.001)

    watched = Watched(work)
    with pytest.raises(ValueError, match=f"{NAMES[bad]} is broken"):
        map_images(watched, NAMES, "test", workers=2)
    assert sorted(watched.begun) == sorted(watched.ended), "what has begun is finished"
    assert len(watched.begun) <= bad + 2 * 2
    begun = len(watched.begun)
    time.sleep(0.02)
    assert len(watched.begun) == begun, "nothing begins afterwards"


def test_those_that_wait_do_not_begin_after_an_error():
    # One worker: the first call fails while three others, each of a second, are at most waiting.
    calls = Watched(lambda name: time.sleep(0.05) if name == "bad" else time.sleep(1))

    def function(name):
        calls(name)
        if name == "bad":
            raise ValueError("bad image")

    start = time.monotonic()
    with pytest.raises(ValueError, match="bad image"):
        map_images(function, ["bad", "slow_1", "slow_2", "slow_3"], "test", workers=1)
    # The worker may have taken the next call before the error was seen, but not the one after it.
    assert len(calls.begun) <= 2
    assert time.monotonic() - start < 1.9


def test_one_error_among_several_is_the_one_raised():
    def fail(name):
        raise KeyError(name)

    with pytest.raises(KeyError, match="image_"):
        map_images(fail, NAMES, "test", workers=4)


@pytest.mark.parametrize(("in_all", "workers", "each"), [(1, 3, 1), (2, 2, 1), (4, 2, 2), (3, 1, 3)])
def test_torch_s_threads_are_dealt_out_and_put_back(threads, in_all, workers, each):
    threads(in_all)
    assert set(map_images(lambda _: torch.get_num_threads(), NAMES, "test", workers=workers)) == {each}
    assert torch.get_num_threads() == in_all
    new = []
    thread = threading.Thread(target=lambda: new.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert new == [in_all]


def in_turns(turns, workers):
    """The most that are in a block at once, and the numbers of torch's threads there."""
    watched, found = Watched(lambda _: time.sleep(0.002)), set()

    def work(name):
        with turns.take():
            watched(name)
            found.add(torch.get_num_threads())

    map_images(work, NAMES, "test", workers=workers)
    return watched.most_at_once, found


@pytest.mark.parametrize("side", [1, SMALL_SIDE])
def test_networks_look_at_small_images_side_by_side_in_a_thread_each(threads, side):
    threads(2)
    assert in_turns(Turns(torch.device("cpu"), side), workers=4) == (2, {1})


@pytest.mark.parametrize(("device", "side"), [("cpu", SMALL_SIDE + 1), ("cpu", 0), ("cuda", 64)])
def test_networks_look_at_others_one_after_the_other_with_all_threads(threads, device, side):
    threads(2)
    assert in_turns(Turns(torch.device(device), side), workers=4) == (1, {2})


def test_an_error_ends_a_turn(threads):
    threads(2)
    turns = Turns(torch.device("cpu"), 0)

    def work(name):
        with turns.take():
            raise KeyError(name)

    with pytest.raises(KeyError, match="image_"):
        map_images(work, NAMES, "test", workers=2)
    assert in_turns(turns, workers=2)[0] == 1


def cast_of(net, known):
    """The output of a layer under autocast; the weights that it was cast from have been cast before if `known`."""
    with torch.profiler.profile() as watched, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = net(torch.ones(1, 4, dtype=torch.bfloat16))
    assert any(event.name == "aten::_to_copy" for event in watched.events()) != known
    return found


def test_weights_are_cast_once_and_anew_once_they_have_changed():
    net = torch.nn.Linear(4, 2, bias=False)
    first = map_images(lambda name: cast_of(net, known=name != NAMES[0]), NAMES[:3], "test", workers=1)
    assert first[0].equal(first[2])
    with torch.autocast("cpu", torch.bfloat16):
        net(torch.ones(1, 4)).sum().backward()
    assert net.weight.grad is not None
    with torch.no_grad():
        net.weight.zero_()
    assert not map_images(lambda _: cast_of(net, known=False), NAMES[:1], "test", workers=1)[0].any()
