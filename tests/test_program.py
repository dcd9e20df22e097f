"""How the program ends: with a line and a status, and with nothing half written left behind."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time

import pytest

from tag2mask.program import StoppedError, show_any_text, told_in_a_line, words_of

WAITS = """
import sys, time
from pathlib import Path
from tag2mask.disk import whole_file
from tag2mask.program import told_in_a_line

with told_in_a_line(lambda what, text: print(f"{what}: {text}", file=sys.stderr)):
    with whole_file(Path(sys.argv[1]) / "mask.png") as half:
        half.write_bytes(b"half")
        print("ready", flush=True)
        time.sleep(60)
"""


def ended(error):
    """The status and the lines with which an error ends the program."""
    lines = []
    with pytest.raises(SystemExit) as exit_, told_in_a_line(lambda *line: lines.append(line)):
        raise error
    return exit_.value.code, lines


@pytest.mark.parametrize(
    ("error", "status", "what", "part"),
    [
        (ValueError("tags.csv: expected tags."), 2, "error", "tags.csv: expected tags."),
        (PermissionError(errno.EACCES, "Permission denied", "/out/run.json"), 2, "error", "/out/run.json: Permission"),
        (FileExistsError(errno.EEXIST, "File exists", "/out"), 2, "error", "Move the file away"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/out/a"), 2, "error", "Move the file away"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error", "No space left on device. Free some space"),
        (OSError("no such\ndevice"), 2, "error", "no such device"),
        (StoppedError(signal.SIGTERM), 143, "stopped", "the same command goes on"),
        (KeyboardInterrupt(), 130, "stopped", "the same command goes on"),
    ],
)
def test_what_the_user_can_mend_is_a_line(error, status, what, part):
    code, lines = ended(error)
    assert code == status
    assert [line[0] for line in lines] == [what]
    assert part in lines[0][1]
    assert "\n" not in lines[0][1]


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), told_in_a_line(lambda *_: None):
        _ = 1 / 0


def test_signals_are_as_before_behind_the_block():
    before = signal.getsignal(signal.SIGTERM)
    with told_in_a_line(lambda *_: None):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.skipif(os.name == "nt", reason="sends signals of POSIX")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_half_file(tmp_path, number, status):
    words = [sys.executable, "-c", WAITS, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        assert list(tmp_path.iterdir()), "the file is being written"
        time.sleep(0.1)
        process.send_signal(number)
        told = process.stderr.read()
        assert process.wait(30) == status
    assert told == "stopped: the same command goes on\n"
    assert list(tmp_path.iterdir()) == []


def test_names_that_a_terminal_cannot_show_are_spelled_out(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    show_any_text()
    print("été.jpg", flush=True)
    assert raw.getvalue() == b"\\xe9t\\xe9.jpg\n"


def test_words_of_an_error_without_a_file():
    assert words_of(OSError(errno.EIO, "Input/output error")).startswith("Input/output error. Mend it")
    assert words_of(OSError()) == "OSError"
