"""What a long action says while it runs: the interface; renderers are in lab/console.py."""

from contextlib import AbstractContextManager
from typing import Protocol


class Task(Protocol):
    """One line of progress: what, how far, how long."""

    def update(self, detail: str, *, done: int | None = None, total: int | None = None) -> None:
        """Say what is happening now; `done` of `total` in the task's own units."""

    def skip(self, reason: str) -> None:
        """Nothing had to be done, and why (for instance "cached")."""


class Progress(Protocol):
    """A visible list of tasks. A task ends with its block: ok, or failed if it raises."""

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Open a task; its line shows elapsed time and ends with a mark."""

    def note(self, text: str) -> None:
        """Say one thing that is not a task."""


class Quiet:
    """A Progress that says nothing: for tests and for callers that speak themselves."""

    def task(self, title: str) -> AbstractContextManager[Task]:
        """Open a silent task."""
        return _Silent()

    def note(self, text: str) -> None:
        """Say nothing."""


class _Silent(AbstractContextManager[Task]):
    def __enter__(self) -> Task:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def update(self, detail: str, *, done: int | None = None, total: int | None = None) -> None:
        """Say nothing."""

    def skip(self, reason: str) -> None:
        """Say nothing."""
