"""How the inner loops are compiled (numba, at the first call, kept on disk) and shared out among threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numba
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def kernel(function: Any = None, *, fastmath: bool = False) -> Any:
    """Compile with numba at the first call; keep the machine code on disk; release the interpreter lock.

    Args:
        function: what to compile.
        fastmath: allow sums in another order, so that they are done several at a time.
    """
    if function is None:
        return lambda later: kernel(later, fastmath=fastmath)
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # There is no folder to write to: compile anew in each process.
        return numba.njit(function, **options)


def for_each(task: Callable[[int, int], None], places: Sequence[tuple[int, int]], *, alone: bool) -> None:
    """Call task(*place) for every place, several at a time: kernels release the interpreter lock.

    Args:
        task: writes to a place of its own.
        places: two numbers each.
        alone: the work is too little for a second thread; otherwise there are ``torch.get_num_threads()``.
    """
    waiting = iter(places)

    def work() -> None:
        for first, second in waiting:
            task(first, second)

    threads = 1 if alone else min(torch.get_num_threads(), len(places))
    if threads < 2:
        work()
        return
    with ThreadPoolExecutor(threads - 1, "tag2mask") as pool:
        others = [pool.submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            other.result()
