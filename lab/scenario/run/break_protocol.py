"""Proves that the check of a step can fail, with the step's breaks (deliberate faults).

Each break is applied to a world in which the check passes (green). Then the check must fail (red).
The break is undone, and the check must pass again.
"""

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
"""Time limit in seconds of each `eventually` while a break is in effect. It is short, because an
`eventually` that fails always lasts until its time limit."""
REACTION = 4.0
"""Seconds within which the check must fail after a break; the cluster needs time to react to it."""
RECOVERY = 30.0
"""Seconds within which the check must pass again after the undo of a break."""


class Go(Protocol):
    """The type of `ChapterRunner.go`, the method that runs a step's commands and check."""

    def __call__(
        self,
        step: Step,
        within: float | None = None,
        kept: Kept = ...,
        *,
        goes_on: bool = False,
    ) -> Attempt:
        """Attempt the step until it passes or `within` seconds are over; return the last attempt.

        See `ChapterRunner.go` for the other parameters.
        """


class UndoError(Exception):
    """Raised if a break cannot be applied or undone: later steps would find a wrong state."""


@dataclass(frozen=True)
class Proof:
    """The result of trying the breaks of one step: records of the breaks and of the claims.

    `failure` says why the breaks did not prove that the check can fail; None if they did.
    """

    breaks: tuple[BreakRecord, ...] = ()
    claims: tuple[ClaimRecord, ...] = ()
    failure: Failure | None = None


class BreakProtocol:
    """Tries the breaks of a step whose check passes, and records whether they make it fail."""

    def __init__(self, world: World, go: Go) -> None:
        self.world = world
        self.go = go

    def all(self, step: Step, green: Attempt) -> Proof:
        """Try the breaks in order, and stop after the first that does not work.

        `green` is the attempt that passed before the breaks. The returned Proof has a failure if a
        break cannot be applied or undone, if the check passes in spite of a break or still fails
        after its undo, if the step has no breaks, or if `coverage.shortfall` finds one.
        """
        if not step.broken_by:
            nothing = Failure(
                "break",
                f"step {step.id} declares no `breaks`",
                expected="a change to the world that this check must notice",
                seen="none",
            )
            return Proof((), coverage.claim_records(green.claims, {}, step.unbroken), nothing)
        attachments = dict(self.world.attachments)
        records = []
        red_by: dict[Claim, str] = {}
        failure: Failure | None = None
        for break_ in step.broken_by:
            record, failure, red = self._prove(step, break_, dict(enumerate(green.outputs)))
            records.append(record)
            for claim in red:
                red_by.setdefault(claim, break_.what)
            if failure is not None:
                break
        self.world.attachments = attachments
        claims = coverage.claim_records(green.claims, red_by, step.unbroken)
        failure = failure or coverage.shortfall(step.id, green.claims, red_by, step.unbroken)
        return Proof(tuple(records), claims, failure)

    def _prove(
        self, step: Step, break_: Break, before: Kept
    ) -> tuple[BreakRecord, Failure | None, list[Claim]]:
        started = time.monotonic()
        record = BreakRecord(break_.what, False, "", False, 0.0)
        kept = {n: out for n, out in before.items() if n in step.acts or not break_.rerun}
        red: list[ExpectationFailed] = []
        try:
            with broken(break_, self.world):
                attempt = self._redden(step, kept)
                red = findings(attempt)
                said = "; ".join(map(_sentence, red)) or _sentence(attempt.error)
                record = replace(record, turned_red=bool(red), said=said)
        except UndoError as error:
            record = replace(record, said=record.said or str(error))
            blame = f"the break {break_.what!r} of step {step.id}"
            seconds = time.monotonic() - started
            return replace(record, seconds=seconds), Failure("break", blame, detail=str(error)), []
        failure: Failure | None = None
        if not red:
            failure = Failure(
                "break",
                f"step {step.id} when {break_.what}",
                expected="its check fails",
                seen=said or "its check still passes",
            )
        after = self.go(step, within=RECOVERY, kept=kept)
        if after.error is not None and failure is None:
            failure = Failure(
                "break",
                f"step {step.id} after the break {break_.what!r} was undone",
                expected=f"green again within {RECOVERY:g} s",
                seen=_sentence(after.error),
            )
        seconds = time.monotonic() - started
        claims = [finding.claim for finding in red if finding.claim]
        return replace(record, green_again=after.ok, seconds=seconds), failure, claims

    def _redden(self, step: Step, kept: Kept) -> Attempt:
        end = time.monotonic() + REACTION
        with deadlines_at_most(DEADLINE):
            while True:
                attempt = self.go(step, within=0.0, kept=kept, goes_on=True)
                if findings(attempt) or time.monotonic() >= end:
                    return attempt
                time.sleep(0.1)


def findings(attempt: Attempt) -> list[ExpectationFailed]:
    """Return the failed expectations of an attempt, except those whose value could not be read."""
    return [finding for finding in attempt.red if not isinstance(finding, NotSeenError)]


@contextmanager
def broken(break_: Break, world: World) -> Iterator[None]:
    """Apply the break for the `with` block and then always undo it.

    Raises UndoError if the break cannot be applied or undone.
    """
    undo = _applied(break_, world)
    try:
        yield
    finally:
        _guarded(f"undoing {break_.what!r}", undo)


def _applied(break_: Break, world: World) -> Callable[[], object]:
    if not inspect.isgeneratorfunction(break_.apply):
        undo = _guarded(f"breaking ({break_.what})", lambda: break_.apply(world))
        return undo if callable(undo) else lambda: None
    course = break_.apply(world)
    _guarded(f"breaking ({break_.what})", lambda: next(course))

    def rest() -> None:
        try:
            next(course)
        except StopIteration:
            return
        raise UndoError("the break's function yields more than once")

    return rest


def _guarded(what: str, body: Callable[[], object]) -> object:
    try:
        return body()
    except UndoError:
        raise
    except Exception as error:
        raise UndoError(f"{what}: {type(error).__name__}: {error}") from error


def _sentence(error: Exception | None) -> str:
    if error is None:
        return ""
    if isinstance(error, ExpectationFailed):
        return f"{error.what}: expected {show(error.expected)}, seen {show(error.observed)}"
    return f"{type(error).__name__}: {error}"
