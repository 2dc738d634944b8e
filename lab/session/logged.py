"""Run a command as it would run without us, and keep a copy of what it prints."""

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
    """Run `argv`; its exit code, 128 + N when signal N ended it. `fresh`: the log begins anew.

    On a terminal the command has one, too, so that it shows what it shows there. An interrupt is
    the command's to answer: it came from the terminal, or is passed on.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb" if fresh else "ab") as copy:
        terminal = _terminal() if sys.stdout.isatty() else None
        read, write = terminal or os.pipe()
        try:
            # S603: what noxfile.py runs.
            child = subprocess.Popen(argv, stdout=write, stderr=write)
        except OSError as missing:
            os.close(read)
            copy.write(f"session: {missing}\n".encode())
            raise
        finally:
            os.close(write)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _passing_on(child))
        with os.fdopen(read, "rb", buffering=0) as printed:
            _copy(printed, copy)
        code = child.wait()
        if code:
            how = f"exited {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
            copy.write(f"session: `{_shown(argv)}` {how}\n".encode())
    return code if code >= 0 else 128 - code


def _copy(printed: IO[bytes], copy: IO[bytes]) -> None:
    """Until the command's end; who reads along may go earlier."""
    out = sys.stdout.buffer
    listens = True
    while data := _read(printed):
        copy.write(data)
        copy.flush()
        if listens:
            try:
                out.write(data)
                out.flush()
            except OSError:  # closed, or full: the command goes on, the log has it all
                listens = False
    if not listens:
        # Nothing is left to be flushed into what is closed when Python ends.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _read(printed: IO[bytes]) -> bytes:
    try:
        return printed.read(CHUNK)
    except OSError:  # how a terminal of Linux says that nobody has it open any more
        return b""


def _terminal() -> tuple[int, int] | None:
    """Both ends of a terminal of the real one's size; None where there is no such thing."""
    if not hasattr(os, "openpty"):
        return None
    import termios
    import tty

    read, write = os.openpty()
    tty.setraw(write)  # a line end stays one; the real terminal makes of it what it makes
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
    """The command as a reader would name it: without this machine's Python."""
    words = list(argv)
    if words[:1] == [sys.executable] and words[1:2] == ["-m"]:
        words = words[2:]
    return " ".join(words)[:200]
