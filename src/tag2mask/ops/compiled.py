"""How the inner loops are compiled: with numba, at the first call, kept on disk."""

from __future__ import annotations

from typing import Any

import numba


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
