"""Renderers of lab.progress.Progress: live lines on a terminal, plain lines in logs and CI.

In logs and CI, a long task prints a line two seconds after its start, then one line every ten
seconds, and every task prints how it ended. No colour codes are written there.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from lab.progress import Progress, Task

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

HEARTBEAT = 10.0
"""Seconds between two lines of one running task in a log."""
ANNOUNCE_AFTER = 2.0
"""Seconds after its start at which a running task prints its first line in a log."""


@dataclass
class State:
    """The state of one task. `started` is a reading of the renderer's clock, in seconds."""

    title: str
    depth: int
    started: float
    detail: str = ""
    done: int | None = None
    total: int | None = None

    def share(self) -> str:
        """Returns the count, such as `3/6`; "" when the task has no count."""
        if self.done is None:
            return ""
        return f"{self.done}/{self.total}" if self.total else str(self.done)


def line(mark: str, state: State, now: float) -> str:
    """Returns a task's line: the mark, title (indented by depth), seconds, count and detail."""
    title = "  " * state.depth + state.title
    tail = " ".join(part for part in (state.share(), state.detail) if part)
    return f"{mark:<4}  {title:<16}  {now - state.started:6.1f} s  {tail}".rstrip()


class _Base:
    """The base of both renderers: computes a task's depth, the number of open tasks around it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self._open = threading.local()

    def push(self, title: str) -> State:
        depth = getattr(self._open, "depth", 0)
        self._open.depth = depth + 1
        return State(title, depth, self.clock())

    def pop(self) -> None:
        self._open.depth -= 1

    def started(self, task: "_Open") -> None:
        raise NotImplementedError

    def ended(self, task: "_Open", mark: str) -> None:
        raise NotImplementedError


@dataclass
class _Open(AbstractContextManager[Task]):
    """One open task of a renderer (Lines or Terminal)."""

    progress: _Base
    title: str
    state: State = field(init=False)
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Task:
        self.state = self.progress.push(self.title)
        self.progress.started(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self.progress.pop()
        self.progress.ended(self, _mark(kind))

    def update(self, detail: str, *, done: int | None = None, total: int | None = None) -> None:
        """See lab.progress.Task."""
        with self.progress.lock:
            self.state.detail, self.state.done, self.state.total = detail, done, total

    def skip(self, reason: str) -> None:
        """See lab.progress.Task."""
        self.update(reason)


def _mark(kind: type[BaseException] | None) -> str:
    if kind is None:
        return "ok"
    return "stop" if issubclass(kind, KeyboardInterrupt) else "FAIL"


class Lines(_Base):
    """The renderer for logs: prints lines without colour, and repeats a running task's line."""

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        heartbeat: float = HEARTBEAT,
        announce_after: float = ANNOUNCE_AFTER,
    ) -> None:
        super().__init__(clock)
        self._stream = stream
        self._heartbeat = heartbeat
        self._announce_after = announce_after

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Open a task."""
        return _Open(self, title)

    def note(self, text: str) -> None:
        """Print one line."""
        self._print(text)

    def _print(self, text: str) -> None:
        with self.lock:
            self._stream.write(text + "\n")
            self._stream.flush()

    def started(self, task: _Open) -> None:
        """Start the thread that prints the running task's line from time to time."""
        threading.Thread(target=self._beat, args=(task,), daemon=True).start()

    def _beat(self, task: _Open) -> None:
        pause = self._announce_after
        while not task.over.wait(pause):
            with self.lock:
                if not task.over.is_set():
                    self._print(line("...", task.state, self.clock()))
            pause = self._heartbeat

    def ended(self, task: _Open, mark: str) -> None:
        """Print the task's last line, with the mark that tells how it ended."""
        self._print(line(mark, task.state, self.clock()))


class Terminal(_Base):
    """The renderer for terminals: updates the lines of running tasks, below the finished tasks."""

    def __init__(self, console: "Console", *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._console = console
        self._running: list[_Open] = []
        self._live: Live | None = None
        self._switch = threading.Lock()

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Open a task."""
        return _Open(self, title)

    def note(self, text: str) -> None:
        """Print one line above the running tasks."""
        self._console.print(text, markup=False, highlight=False)

    def started(self, task: _Open) -> None:
        """Show the task among the running tasks."""
        from rich.live import Live  # loaded only for a terminal

        with self._switch:
            with self.lock:
                self._running.append(task)
            if self._live is None:
                self._live = Live(
                    get_renderable=self._render,
                    console=self._console,
                    refresh_per_second=8,
                    transient=True,
                )
                self._live.start()

    def _render(self) -> "RenderableType":
        from rich.text import Text

        with self.lock:
            now = self.clock()
            dots = ".  ", ".. ", "..."
            mark = dots[int(now * 3) % 3]
            rows = [line(mark, task.state, now) for task in self._running]
        return Text("\n".join(rows), style="cyan", no_wrap=True, overflow="ellipsis")

    def ended(self, task: _Open, mark: str) -> None:
        """Remove the task from the running tasks and print its last line above them."""
        from rich.text import Text

        last_line = Text(line(mark, task.state, self.clock()))
        last_line.stylize({"ok": "green", "stop": "yellow"}.get(mark, "bold red"), 0, len(mark))
        # Do not hold `lock` while the display stops: its thread takes that lock to draw.
        with self._switch:
            with self.lock:
                self._running.remove(task)
            if self._live is not None and not self._running:
                self._live.stop()
                self._live = None
            self._console.print(last_line)


def progress(stream: TextIO) -> Progress:
    """Returns the renderer for `stream`: Terminal or Lines.

    Returns Terminal if the stream is a terminal and TERM is neither empty nor "dumb".
    """
    if not stream.isatty() or os.environ.get("TERM", "") in ("", "dumb"):
        return Lines(stream)
    from rich.console import Console

    return Terminal(Console(file=stream))
