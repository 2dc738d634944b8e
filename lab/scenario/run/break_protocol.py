"""The proof that a check can fail: green → break → red → undo → green, for each `breaks`."""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from lab.records.model import BreakRecord, ClaimRecord, Failure
from lab.scenario.chapter import Break, Step
from lab.scenario.claims import Claim, ExpectationFailed, NotSeenError
from lab.scenario.run import coverage
from lab.scenario.run.attempt import Attempt
from lab.scenario.run.commands import Kept
from lab.scenario.waiting import deadlines_at_most
from lab.scenario.wording import show
from lab.scenario.world import World

DEADLINE = 2.0
"""Seconds that an `eventually` may take in a broken world: it has to fail, so it always does."""
REACTION = 4.0
"""Seconds in which a break must have turned the check red (the cluster follows a change late)."""
RECOVERY = 30.0
"""Seconds in which the check must be green again after the undo."""


class Go(Protocol):
    """Runs a step's commands and check (ChapterRunner.go)."""

    def __call__(
        self,
        step: Step,
        within: float | None = None,
        kept: Kept = ...,
        *,
        goes_on: bool = False,
    ) -> Attempt:
        """One attempt, repeated for `within` seconds until it holds."""


class UndoError(Exception):
    """A break could not be made or undone; the world is not what later steps expect."""


@dataclass(frozen=True)
class Proof:
    """What the breaks of one step told: each break, each expectation, the first thing amiss."""

    breaks: tuple[BreakRecord, ...] = ()
    claims: tuple[ClaimRecord, ...] = ()
    failure: Failure | None = None


class BreakProtocol:
    """Tries each break of a step that is green."""

    def __init__(self, world: World, go: Go) -> None:
        self.world = world
        self.go = go

    def all(self, step: Step, green: Attempt) -> Proof:
        """Try every break, until one fails; a step without breaks is a failure."""
        if not step.broken_by:
            nothing = Failure(
                "break",
                f"step {step.id} declares no `breaks`",
                expected="a change to the world that this check must notice",
                seen="none",
            )
            return Proof((), coverage.told(green.claims, {}, step.unbroken), nothing)
        attachments = dict(self.world.attachments)
        records = []
        red_by: dict[Claim, str] = {}
        failure: Failure | None = None
        for one in step.broken_by:
            record, failure, red = self._one(step, one, dict(enumerate(green.outputs)))
            records.append(record)
            for claim in red:
                red_by.setdefault(claim, one.what)
            if failure is not None:
                break
        self.world.attachments = attachments
        claims = coverage.told(green.claims, red_by, step.unbroken)
        failure = failure or coverage.shortfall(step.id, green.claims, red_by, step.unbroken)
        return Proof(tuple(records), claims, failure)

    def _one(
        self, step: Step, one: Break, before: Kept
    ) -> tuple[BreakRecord, Failure | None, list[Claim]]:
        started = time.monotonic()
        record = BreakRecord(one.what, False, "", False, 0.0)
        kept = {n: out for n, out in before.items() if n in step.acts or not one.rerun}
        red: list[ExpectationFailed] = []
        try:
            with broken(one, self.world):
                attempt = self._redden(step, kept)
                red = findings(attempt)
                said = "; ".join(map(_sentence, red)) or _sentence(attempt.trouble)
                record = replace(record, turned_red=bool(red), said=said)
        except UndoError as wrong:
            record = replace(record, said=record.said or str(wrong))
            blame = f"the break {one.what!r} of step {step.id}"
            seconds = time.monotonic() - started
            failure = Failure("break", blame, detail=str(wrong))
            return replace(record, seconds=seconds), failure, []
        trouble: Failure | None = None
        if not red:
            trouble = Failure(
                "break",
                f"step {step.id} although {one.what}",
                expected="its check fails",
                seen=said or "its check still passes",
            )
        after = self.go(step, within=RECOVERY, kept=kept)
        if after.trouble is not None and trouble is None:
            trouble = Failure(
                "break",
                f"step {step.id} after the break {one.what!r} was undone",
                expected=f"green again within {RECOVERY:g} s",
                seen=_sentence(after.trouble),
            )
        seconds = time.monotonic() - started
        claims = [finding.claim for finding in red if finding.claim]
        return replace(record, green_again=after.ok, seconds=seconds), trouble, claims

    def _redden(self, step: Step, kept: Kept) -> Attempt:
        end = time.monotonic() + REACTION
        with deadlines_at_most(DEADLINE):
            while True:
                attempt = self.go(step, within=0.0, kept=kept, goes_on=True)
                if findings(attempt) or time.monotonic() >= end:
                    return attempt
                time.sleep(0.1)


def findings(attempt: Attempt) -> list[ExpectationFailed]:
    """What was seen and is not as the check says: where nothing could be seen there is none."""
    return [one for one in attempt.red if not isinstance(one, NotSeenError)]


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


def _sentence(trouble: Exception | None) -> str:
    if trouble is None:
        return ""
    if isinstance(trouble, ExpectationFailed):
        return f"{trouble.what}: expected {show(trouble.expected)}, seen {show(trouble.seen)}"
    return f"{type(trouble).__name__}: {trouble}"
