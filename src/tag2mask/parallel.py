"""map_images: one function over many images, several at a time."""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from tag2mask.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Result = TypeVar("Result")


def map_images(
    function: Callable[[str], Result], names: Sequence[str], title: str, *, workers: int | None = None
) -> list[Result]:
    """Call a function once per image, in threads: the heavy kernels release the interpreter lock.

    At most twice as many images as workers are under way, so memory does not grow with their number.

    Args:
        function: takes a name; writes its result, or returns a small one. Calls must not depend on each other.
        names: of the images.
        title: beside the progress bar.
        workers: threads; ``None``: one per core, at most 8.

    Returns:
        What the calls returned, in the order of the names.

    Raises:
        Exception: the first one that a call raises; calls that have begun are finished, those waiting are dropped.
    """
    count = workers if workers is not None else min(8, os.cpu_count() or 1)
    results: dict[int, Result] = {}

    def call(index: int, name: str) -> None:
        results[index] = function(name)

    with progress_bar(title, len(names)) as advance, ThreadPoolExecutor(count) as pool:
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
