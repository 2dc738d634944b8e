"""Runs a command with its usual output on the terminal, and copies that output to a log."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

CHUNK = 64 * 1024


def run(argv: Sequence[str], log: Path, *, fresh: bool) -> int:
    """Run `argv` and return its exit code, or 128 + N if signal N ended the command.

    `fresh` empties the log first. If our standard output is a terminal, the command's output is a
    terminal too, so that it prints the same text and colours as without this function. The command
    handles interrupts itself: Ctrl-C reaches it from the terminal, and this function passes SIGTERM
    on to it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb" if fresh else "ab") as copy:
        terminal = _terminal() if sys.stdout.isatty() else None
        read, write = terminal or os.pipe()
        try:
            child = subprocess.Popen(argv, stdout=write, stderr=write)
        except OSError as missing:
            os.close(read)
            copy.write(f"session: {missing}\n".encode())
            raise
        finally:
            os.close(write)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _passing_on(child))
        with os.fdopen(read, "rb", buffering=0) as output:
            _copy(output, copy)
        code = child.wait()
        if code:
            ending = f"exited {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
            copy.write(f"session: `{_shown(argv)}` {ending}\n".encode())
    return code if code >= 0 else 128 - code


def _copy(output: IO[bytes], copy: IO[bytes]) -> None:
    """Copy the output to the log and to stdout until the command ends.

    If stdout can no longer be written (its reader has ended or its disk is full), copy only to the
    log.
    """
    out = sys.stdout.buffer
    open_ = True
    while data := _read(output):
        copy.write(data)
        copy.flush()
        if open_:
            try:
                out.write(data)
                out.flush()
            except OSError:  # closed or full: the command continues, the log gets everything
                open_ = False
    if not open_:
        # Otherwise Python would fail at exit, when it flushes the closed stdout.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _read(output: IO[bytes]) -> bytes:
    try:
        return output.read(CHUNK)
    except OSError:  # on Linux: nobody has the other end of the terminal open any more
        return b""


def _terminal() -> tuple[int, int] | None:
    """Returns both ends of a new pseudo-terminal with our terminal's size; None on Windows."""
    if not hasattr(os, "openpty"):
        return None
    import termios
    import tty

    read, write = os.openpty()
    tty.setraw(write)  # line ends stay as they are; the real terminal translates them
    size = shutil.get_terminal_size()
    with suppress(termios.error, AttributeError):
        termios.tcsetwinsize(write, (size.lines, size.columns))
    return read, write


def _passing_on(child: "subprocess.Popen[bytes]") -> Callable[[int, FrameType | None], Any]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        # Ctrl-C reaches the child from the terminal itself.
        if number != signal.SIGINT:
            child.send_signal(number)

    return pass_on


def _shown(argv: Sequence[str]) -> str:
    """Returns the command line to show to the user: without `PYTHON -m` at its beginning."""
    words = list(argv)
    if words[:1] == [sys.executable] and words[1:2] == ["-m"]:
        words = words[2:]
    return " ".join(words)[:200]
