"""The interface through which a long action reports progress; renderers are in lab/console.py."""

from contextlib import AbstractContextManager
from typing import Protocol


class Task(Protocol):
    """One line of progress: the name of the task, its state, and the seconds since its start."""

    def update(self, detail: str, *, done: int | None = None, total: int | None = None) -> None:
        """Show what the task does now, and how many of its parts are done (`done` of `total`)."""

    def skip(self, reason: str) -> None:
        """Show that the task had nothing to do, and the reason (for instance "cached")."""


class Progress(Protocol):
    """Shows a list of tasks. A task ends with its `with` block, and fails if the block raises."""

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Open a task; its line shows the elapsed time, and at the end a mark: ok, stop or FAIL."""

    def note(self, text: str) -> None:
        """Print one line that is not a task."""


class Quiet:
    """A Progress that prints nothing: for tests, and for callers that print their own lines."""

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Open a task that prints nothing."""
        return _Silent()

    def note(self, text: str) -> None:
        """Print nothing."""


class _Silent(AbstractContextManager[Task]):
    def __enter__(self) -> Task:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def update(self, detail: str, *, done: int | None = None, total: int | None = None) -> None:
        """Print nothing."""

    def skip(self, reason: str) -> None:
        """Print nothing."""
