"""The clock of the scripts beside this file that compare implementations."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def best_times(calls: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Milliseconds of each call, the best of some repetitions, all calls in turn."""
    times = dict.fromkeys(calls, float("inf"))
    for _ in range(repetitions + 1):  # The first round compiles and warms up.
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name] = min(times[name], time.perf_counter() - start)
    return {name: 1000 * seconds for name, seconds in times.items()}
