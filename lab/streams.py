"""Standard streams and signals of our programs: a failure is one line, not a traceback.

Imports only the standard library, and little of it: `kube-inject` starts here, too.
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
"""The exit code of a program that SIGPIPE ends, as shells show it (128 + 13)."""
INTERRUPTS: Final = ("SIGTERM", "SIGHUP")
"""Signals that have the same effect as Ctrl-C."""


class OutputError(SidecarLabError):
    """Standard output cannot be written.

    The message is "" when the reader of the pipe went away (`| head`): that is no error.
    """

    def __init__(self, reason: OSError) -> None:
        gone = reason.errno in (errno.EPIPE, errno.ECONNRESET)
        why = reason.strerror or str(reason)
        super().__init__(
            "" if gone else f"standard output cannot be written: {why}",
            hint="" if gone else "send it to a terminal, a pipe, or a file on a disk with room",
        )
        self.exit_code = BROKEN_PIPE_CODE if gone else 1


class _Output(io.FileIO):
    """Descriptor 1. Its first failure is raised once, in the main thread; then nothing is written.

    It is raised once, so that what is printed while the program ends (tasks, reports) does not
    fail again. It is raised in the main thread, since in another thread it would be lost.
    """

    failed: OSError | None = None
    raised = False
    main = 0
    """The main thread's identifier."""
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
    """Prepare the streams and signals of a program: call this first.

    Opens the standard streams that are closed, guards standard output, and has the INTERRUPTS
    raise KeyboardInterrupt. `make` turns a failed write into the exception to raise. Raises
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
    """Flush standard output. Raises OutputError when not everything could be written."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Output):
        raw.make = OutputError
    sys.stdout.flush()
    if isinstance(raw, _Output) and raw.failed is not None:
        raise OutputError(raw.failed)


def _guarded(before: Any, make: Callable[[OSError], BaseException]) -> Any:
    """Returns a text stream like `before` that writes through _Output."""
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
