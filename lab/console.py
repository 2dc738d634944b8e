"""Renderers of lab.progress.Progress: a live line on a terminal, plain lines elsewhere.

Elsewhere means logs and CI: a long task says that it started, then at most one line every ten
seconds, and every task says how it ended. No colour codes reach a file.
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
"""Seconds between two lines of one task where there is no terminal."""
ANNOUNCE_AFTER = 2.0
"""Seconds after which a task counts as long and says that it started."""


@dataclass
class State:
    """What is known of one task. `started` is a reading of the progress's clock, in seconds."""

    title: str
    depth: int
    started: float
    detail: str = ""
    done: int | None = None
    total: int | None = None

    def share(self) -> str:
        """`3/6`, or "" where the task does not count."""
        if self.done is None:
            return ""
        return f"{self.done}/{self.total}" if self.total else str(self.done)


def line(mark: str, state: State, now: float) -> str:
    """One line of a task: mark, title (indented by depth), seconds, count, detail."""
    title = "  " * state.depth + state.title
    tail = " ".join(part for part in (state.share(), state.detail) if part)
    return f"{mark:<4}  {title:<16}  {now - state.started:6.1f} s  {tail}".rstrip()


class _Base:
    """Keeps the stack of open tasks of each thread, which gives a task its depth."""

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
    """One open task of either renderer."""

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
    """For logs: plain lines, a heartbeat, no colour."""

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
        """Begin the task's heartbeat."""
        threading.Thread(target=self._beat, args=(task,), daemon=True).start()

    def _beat(self, task: _Open) -> None:
        pause = self._announce_after
        while not task.over.wait(pause):
            with self.lock:
                if not task.over.is_set():
                    self._print(line("...", task.state, self.clock()))
            pause = self._heartbeat

    def ended(self, task: _Open, mark: str) -> None:
        """Print how it ended."""
        self._print(line(mark, task.state, self.clock()))


class Terminal(_Base):
    """For people: finished tasks above, running tasks live below."""

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
        """Show the task below."""
        from rich.live import Live  # only where there is a terminal

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
            rows = [line(mark, one.state, now) for one in self._running]
        return Text("\n".join(rows), style="cyan", no_wrap=True, overflow="ellipsis")

    def ended(self, task: _Open, mark: str) -> None:
        """Move the task's line from below to above."""
        from rich.text import Text

        said = Text(line(mark, task.state, self.clock()))
        said.stylize({"ok": "green", "stop": "yellow"}.get(mark, "bold red"), 0, len(mark))
        # `lock` is not held while the display stops: its thread takes that lock to draw.
        with self._switch:
            with self.lock:
                self._running.remove(task)
            if self._live is not None and not self._running:
                self._live.stop()
                self._live = None
            self._console.print(said)


def progress(stream: TextIO) -> Progress:
    """The renderer that fits `stream`: live on a terminal that can, lines everywhere else."""
    if not stream.isatty() or os.environ.get("TERM", "") in ("", "dumb"):
        return Lines(stream)
    from rich.console import Console

    return Terminal(Console(file=stream))
