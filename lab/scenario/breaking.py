"""The proof that a check can fail: green → break → red → undo → green, for each `breaks`."""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Protocol as Interface

from lab.errors import CommandError
from lab.report.records import BreakRecord, Failure
from lab.scenario import expectation
from lab.scenario.expectation import ExpectationFailed
from lab.scenario.model import Break, Step
from lab.scenario.seen import Seen
from lab.scenario.world import World

if TYPE_CHECKING:
    from lab.scenario.runner import Attempt

DEADLINE = 2.0
"""Seconds that an `eventually` may take in a broken world: it has to fail, so it always does."""
REACTION = 4.0
"""Seconds in which a break must have turned the check red (the cluster follows a change late)."""
RECOVERY = 30.0
"""Seconds in which the check must be green again after the undo."""


class Go(Interface):
    """Runs a step's commands and check (ChapterRunner.go)."""

    def __call__(
        self, step: Step, within: float | None = None, seen: Seen | None = None
    ) -> "Attempt":
        """One attempt, repeated for `within` seconds until it holds."""


class UndoError(Exception):
    """A break could not be made or undone; the world is not what later steps expect."""


class Protocol:
    """Tries each break of a step that is green."""

    def __init__(self, world: World, go: Go) -> None:
        self.world = world
        self.go = go

    def all(self, step: Step, green: "Attempt") -> tuple[tuple[BreakRecord, ...], Failure | None]:
        """Records of every break, and the first failure; a step without breaks is a failure."""
        if not step.broken_by:
            return (), Failure(
                "break",
                f"step {step.id} declares no `breaks`",
                expected="a change to the world that this check must notice",
                seen="none",
            )
        attachments = dict(self.world.attachments)
        records = []
        for one in step.broken_by:
            record, failure = self._one(step, one, green.seen)
            records.append(record)
            if failure is not None:
                return tuple(records), failure
        self.world.attachments = attachments
        return tuple(records), None

    def _one(
        self, step: Step, one: Break, before: Seen | None
    ) -> tuple[BreakRecord, Failure | None]:
        started = time.monotonic()
        record = BreakRecord(one.what, False, "", False, 0.0)
        seen = None if one.rerun else before
        try:
            with broken(one, self.world):
                trouble = self._redden(step, one, seen)
                red = _is_red(trouble, one)
                said = _sentence(trouble)
                record = replace(record, turned_red=red, said=said)
        except UndoError as wrong:
            record = replace(record, said=record.said or str(wrong))
            blame = f"the break {one.what!r} of step {step.id}"
            seconds = time.monotonic() - started
            return replace(record, seconds=seconds), Failure("break", blame, detail=str(wrong))
        failure: Failure | None = None
        if not red:
            failure = Failure(
                "break",
                f"step {step.id} although {one.what}",
                expected="its check fails",
                seen=said or "its check still passes",
            )
        after = self.go(step, within=RECOVERY, seen=seen)
        if after.trouble is not None and failure is None:
            failure = Failure(
                "break",
                f"step {step.id} after the break {one.what!r} was undone",
                expected=f"green again within {RECOVERY:g} s",
                seen=_sentence(after.trouble),
            )
        seconds = time.monotonic() - started
        return replace(record, green_again=after.ok, seconds=seconds), failure

    def _redden(self, step: Step, one: Break, seen: Seen | None) -> Exception | None:
        end = time.monotonic() + REACTION
        with expectation.deadlines_at_most(DEADLINE):
            while True:
                trouble = self.go(step, within=0.0, seen=seen).trouble
                if trouble is not None or time.monotonic() >= end:
                    return trouble
                time.sleep(0.1)


@contextmanager
def broken(one: Break, world: World) -> Iterator[None]:
    """Break the world, and restore it whatever happens. Raises UndoError if either fails."""
    undo = _applied(one, world)
    try:
        yield
    finally:
        _guarded(f"undoing {one.what!r}", undo)


def _applied(one: Break, world: World) -> Callable[[], object]:
    if not inspect.isgeneratorfunction(one.apply):
        made = _guarded(f"breaking ({one.what})", lambda: one.apply(world))
        return made if callable(made) else lambda: None
    course = one.apply(world)
    _guarded(f"breaking ({one.what})", lambda: next(course))

    def rest() -> None:
        try:
            next(course)
        except StopIteration:
            return
        raise UndoError("the break yields more than once")

    return rest


def _guarded(what: str, body: Callable[[], object]) -> object:
    try:
        return body()
    except UndoError:
        raise
    except Exception as wrong:
        raise UndoError(f"{what}: {type(wrong).__name__}: {wrong}") from wrong


def _is_red(trouble: Exception | None, one: Break) -> bool:
    if isinstance(trouble, ExpectationFailed):
        return True
    return one.command_fails and isinstance(trouble, CommandError)


def _sentence(trouble: Exception | None) -> str:
    if trouble is None:
        return ""
    if isinstance(trouble, ExpectationFailed):
        seen = expectation.show(trouble.seen)
        return f"{trouble.what}: expected {expectation.show(trouble.expected)}, seen {seen}"
    return f"{type(trouble).__name__}: {trouble}"
