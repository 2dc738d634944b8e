"""The interface through which a long action reports progress; renderers are in lab/console.py."""

from contextlib import AbstractContextManager
from typing import Protocol


class Task(Protocol):
    """One line of progress: what is done, how far it is, how long it has taken."""

    def update(self, detail: str, *, done: int | None = None, total: int | None = None) -> None:
        """Show what is happening now; `done` of `total` are in the task's own units."""

    def skip(self, reason: str) -> None:
        """Show that nothing had to be done, and why (for instance "cached")."""


class Progress(Protocol):
    """A visible list of tasks. A task ends when its `with` block ends; it failed if that raises."""

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Open a task; its line shows elapsed time and ends with a mark."""

    def note(self, text: str) -> None:
        """Print one line that is not a task."""


class Quiet:
    """A Progress that prints nothing: for tests, and for callers that print their own lines."""

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Open a silent task."""
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
