"""How the program begins and ends: what the terminal cannot show, signals, and errors in one line."""

from __future__ import annotations

import errno
import io
import logging
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

_OTHER_FOLDER = "Choose another place with --out, or see to it that this one may be written."
_IN_THE_WAY = "Move the file away, or choose another place with --out."
_REMEDIES = {
    errno.EACCES: _OTHER_FOLDER,
    errno.EPERM: _OTHER_FOLDER,
    errno.EROFS: _OTHER_FOLDER,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EISDIR: "Give a file, or move the folder away.",
    errno.ENOENT: "Check the name.",
    errno.ENOSPC: "Free some space; the same command goes on.",
    errno.ENAMETOOLONG: "Choose shorter names.",
    errno.EMFILE: "Allow more open files (ulimit -n), and start again; the same command goes on.",
}
"""What to do about an error of the system."""


class StoppedError(BaseException):
    """The program was asked to stop; like KeyboardInterrupt, no handler of errors takes it for one.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def show_any_text() -> None:
    """Let standard output and error show names that their encoding cannot: as ``\\xe9`` instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def told_in_a_line(tell: Callable[[str, str], None]) -> Iterator[None]:
    """End the program with a line, not with a traceback, where its user can mend what is wrong or has stopped it.

    Ctrl-C and SIGTERM raise an exception inside the block, so that what is half written is tidied away.

    Args:
        tell: shows a line: what it is ("error", "stopped") and the text.

    Raises:
        SystemExit: 2 for an error, 130 for Ctrl-C, 143 for SIGTERM.
    """
    try:
        with _signals():
            yield
    except (StoppedError, KeyboardInterrupt) as stop:
        tell("stopped", "the same command goes on")
        sys.exit(128 + (stop.number if isinstance(stop, StoppedError) else signal.SIGINT))
    except BrokenPipeError:
        # Whoever reads the output has read enough.
        with suppress(OSError):
            sys.stdout.close()
        sys.exit(1)
    except OSError as error:
        logger.debug("where it happened", exc_info=True)
        tell("error", words_of(error))
        sys.exit(2)
    except ValueError as error:
        tell("error", str(error))
        sys.exit(2)
    except Exception as error:
        if "os error" not in str(error):
            raise
        # The library of the weights' files words errors of the system itself.
        tell("error", f"{error}. {_REMEDIES[errno.ENOSPC]}")
        sys.exit(2)


def words_of(error: OSError) -> str:
    """An error of the system in one line: where, what, and what to do.

    Args:
        error: as it was raised.

    Example:
        >>> words_of(PermissionError(13, "Permission denied", "/data/run"))
        '/data/run: Permission denied. Choose another place with --out, or see to it that this one may be written.'
    """
    if error.strerror is None or error.errno is None:
        return " ".join(str(error).split()) or type(error).__name__
    remedy = _REMEDIES.get(error.errno, "Mend it, and start again; the same command goes on.")
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror}. {remedy}"


@contextmanager
def _signals() -> Iterator[None]:
    """Raise `StoppedError` at Ctrl-C and SIGTERM inside the block; a second one ends the program at once."""
    wanted = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, _frame: Any) -> NoReturn:
        for each in wanted:
            signal.signal(each, signal.SIG_DFL)
        raise StoppedError(number)

    try:
        # A signal that is ignored, as by nohup or in the background of a script, stays so.
        before = {each: signal.getsignal(each) for each in wanted if signal.getsignal(each) != signal.SIG_IGN}
        for each in before:
            signal.signal(each, stop)
    except ValueError:  # Not in the main thread.
        before = {}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
