"""map_images: one function over many images, several at a time; Turns: how networks share the cores in it."""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Semaphore
from typing import TYPE_CHECKING, TypeVar

import torch

from tag2mask.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Result = TypeVar("Result")

SMALL_SIDE = 512
"""On a CPU, networks look at images no longer than this several at a time, in one thread each: the layers of a small
image are too short to be shared out among threads. Of larger images, several at a time would take much memory."""


def map_images(
    function: Callable[[str], Result], names: Sequence[str], title: str, *, workers: int | None = None
) -> list[Result]:
    """Call a function once per image, in threads: the heavy kernels release the interpreter lock.

    At most twice as many images as workers are under way, so memory does not grow with their number. The threads that
    torch has are dealt out to the workers. Weights that autocast casts are cast once, not for every image.

    Args:
        function: takes a name; writes its result, or returns a small one. Calls must not depend on each other. Networks
            are asked inside a block of `Turns`.
        names: of the images.
        title: beside the progress bar.
        workers: threads; ``None``: one per core, at most 8.

    Returns:
        What the calls returned, in the order of the names.

    Raises:
        Exception: the first one that a call raises; calls that have begun are finished, those waiting are dropped.
    """
    count = workers if workers is not None else min(8, os.cpu_count() or 1)
    threads = torch.get_num_threads()
    results: dict[int, Result] = {}

    def begin() -> None:
        set_own_threads(max(1, threads // count))
        # Otherwise casts were dropped whenever any thread leaves its outermost block of autocast.
        torch.autocast_increment_nesting()

    def call(index: int, name: str) -> None:
        results[index] = function(name)

    with (
        _tidied(threads),
        progress_bar(title, len(names)) as advance,
        ThreadPoolExecutor(count, initializer=begin) as pool,
    ):
        # No other future is kept: each holds a lock and a queue, a kilobyte for every image.
        under_way: set[Future[None]] = set()
        try:
            for index, name in enumerate(names):
                under_way.add(pool.submit(call, index, name))
                under_way = _finish(under_way, 2 * count - 1, advance)
            _finish(under_way, 0, advance)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [results[index] for index in range(len(results))]


def _finish(under_way: set[Future[None]], at_most: int, advance: Callable[[int, str], None]) -> set[Future[None]]:
    """Wait until no more than some calls are under way, and give those; an error of one that ended is raised."""
    while len(under_way) > at_most:
        done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
            advance(1, "")
    return under_way


class Turns:
    """How networks that are asked inside `map_images` share the cores or the GPU.

    Small images on a CPU are looked at several at a time, in one thread each. Otherwise a network has everything to
    itself for one image, while files of others are read and written, CRFs run and so on. Whose turn it is, and how
    many there are, changes nothing in what is found for an image.

    Args:
        device: of the networks.
        longest: side of the images in pixels; 0 means any.

    Example:
        >>> turns = Turns(torch.device("cpu"), 320)
        >>> with turns.take():
        ...     torch.get_num_threads()
        1
    """

    def __init__(self, device: torch.device, longest: int) -> None:
        cores = torch.get_num_threads()
        small = device.type == "cpu" and 0 < longest <= SMALL_SIDE
        self._threads = 1 if small else cores
        self._free = Semaphore(cores if small else 1)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn; the threads of torch are those of the turn inside the block."""
        with self._free, _torch_threads(self._threads):
            yield


def set_own_threads(count: int) -> None:
    """How many threads torch shares out among what the calling thread computes, which may be a new one.

    The last number that any thread sets is that of new threads, too: whoever starts some puts it back.
    """
    torch.get_num_threads()  # A thread that has never asked takes the number of all when it first computes.
    torch.set_num_threads(count)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Let torch share out what this thread computes among so many threads inside the block; put back afterwards."""
    before = torch.get_num_threads()
    if before == count:  # To set it drops what layers have prepared, also where it stays.
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _tidied(threads: int) -> Iterator[None]:
    """Put right behind the block what its workers leave behind for all threads."""
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        # Casts are wrong once the weights have changed, and gradients do not go through them.
        torch.clear_autocast_cache()
