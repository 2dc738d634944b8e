"""Prepares standard streams and signals, so that failures and interrupts print no traceback.

This module imports little, so that `lab kube-inject`, which uses it, starts fast.
"""

import errno
import io
import os
import signal
import sys
from _thread import get_ident
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from lab.mesh.errors import SidecarLabError

BROKEN_PIPE_CODE: Final = 141
"""The exit code that shells show for a program that SIGPIPE ended (128 + 13)."""
INTERRUPTS: Final = ("SIGTERM", "SIGHUP")
"""Signals that we treat like Ctrl-C."""


class OutputError(SidecarLabError):
    """Standard output cannot be written.

    When the reader of a pipe has ended (`| head`), the message is "", and nothing is reported.
    """

    def __init__(self, reason: OSError) -> None:
        gone = reason.errno in (errno.EPIPE, errno.ECONNRESET)
        why = reason.strerror or str(reason)
        super().__init__(
            "" if gone else f"standard output cannot be written: {why}",
            hint=""
            if gone
            else "send the output to a terminal, a pipe, or a file on a disk with free space",
        )
        self.exit_code = BROKEN_PIPE_CODE if gone else 1


class _Output(io.FileIO):
    """File descriptor 1. After the first failed write, nothing more is written to it.

    The failure is raised only once, so that what is printed while the program ends (tasks, reports)
    does not fail again. It is raised only in the main thread, because an exception in another
    thread would be lost.
    """

    failed: OSError | None = None
    raised = False
    main = 0
    """The identifier of the main thread."""
    make: Callable[[OSError], BaseException] = OutputError

    def write(self, data: Any) -> int:
        if self.failed is None:
            try:
                return super().write(data) or 0
            except BlockingIOError:
                raise
            except OSError as error:
                self.failed = error
        if not self.raised and get_ident() == self.main:
            self.raised = True
            raise self.make(self.failed) from self.failed
        return len(memoryview(data).cast("B"))


def prepare(make: Callable[[OSError], BaseException] = OutputError) -> None:
    """Prepare the streams and signals of a program; its main function must call this first.

    Opens closed standard streams on /dev/null, replaces sys.stdout by a stream that writes through
    _Output (not on Windows), and makes INTERRUPTS raise KeyboardInterrupt unless the process
    ignores them (`nohup`). `make` returns the exception to raise for a failed write. Raises
    OutputError when standard output is closed.
    """
    for name in INTERRUPTS:
        _interrupt_at(getattr(signal, name, None))
    closed = [number for number in (0, 1, 2) if not _is_open(number)]
    for number in closed:
        # os.open takes the lowest free number, which is this one. If it stayed free, the next file
        # that the program opens would become this stream.
        os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    if 0 in closed:
        sys.stdin = os.fdopen(0)
    if 2 in closed:
        sys.stderr = os.fdopen(2, "w")
    if 1 in closed:
        raise OutputError(OSError(errno.EBADF, "it is closed"))
    if os.name != "nt":  # on Windows a console is not a file
        sys.stdout = _guarded(sys.stdout, make)


def finish() -> None:
    """Flush standard output. Raises OutputError when any part of the output was not written."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Output):
        raw.make = OutputError
    sys.stdout.flush()
    if isinstance(raw, _Output) and raw.failed is not None:
        raise OutputError(raw.failed)


def _guarded(before: Any, make: Callable[[OSError], BaseException]) -> Any:
    """Returns a text stream that writes through _Output and has the settings of `before`."""
    raw = _Output(1, "w", closefd=False)
    raw.make, raw.main = make, get_ident()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=before.line_buffering or before.write_through,
    )


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _interrupt_at(number: int | None) -> None:
    # A signal that is ignored stays ignored, so that `nohup lab up` outlives its terminal.
    if number is not None and signal.getsignal(number) == signal.SIG_DFL:
        signal.signal(number, _interrupt)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
