"""Runs one chapter: its set-up, its steps in order, and their breaks; keeps records of them all."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol

from lab.errors import CommandError
from lab.records.model import (
    ChapterRecord,
    Failure,
    SetupRecord,
    StepRecord,
)
from lab.scenario import claims, wording
from lab.scenario.chapter import Chapter, Setup, Step
from lab.scenario.claims import ExpectationFailed
from lab.scenario.run.attempt import Attempt
from lab.scenario.run.break_protocol import BreakProtocol, Proof
from lab.scenario.run.commands import Kept, carry_out
from lab.scenario.run.failures import command_record, failure_of
from lab.scenario.seen import Output
from lab.scenario.waiting import bounded
from lab.scenario.world import World

NOTHING: Kept = MappingProxyType({})


class Aftermath(Protocol):
    """Examines the cluster after a failure: finds the first broken link and writes a bundle."""

    def __call__(self, world: World, step: str, failure: Failure) -> Failure:
        """Return `failure` with `link`, `diagnosis` and `bundle`; unknown ones stay empty.

        `step` is the step's id, or "set-up".
        """


def no_aftermath(world: World, step: str, failure: Failure) -> Failure:
    """Return the failure unchanged; for worlds without a cluster."""
    return failure


class ChapterRunner:
    """Runs one chapter in one world. Before a step, all earlier steps run; each step runs once.

    After a failed set-up or step the later steps do not run; their outcome is `not reached`.
    """

    def __init__(
        self,
        chapter: Chapter,
        world: World,
        *,
        breaks: bool = False,
        aftermath: Aftermath = no_aftermath,
        run: str = "",
    ) -> None:
        self.chapter = chapter
        self.world = world
        self.breaks = breaks
        self.aftermath = aftermath
        self.run = run
        self.setup: list[SetupRecord] = []
        self.records: list[StepRecord] = []
        self._prepared = False
        self._seconds = 0.0

    @property
    def stopped_by(self) -> str:
        """The set-up or step whose failure keeps later steps from running; "" if there is none.

        A step that failed only because its breaks did not prove its check does not stop the later
        steps, if its check was green again after each undo.
        """
        for part in self.setup:
            if part.failure is not None:
                return f"set-up: {part.name}"
        return next((f"step {record.id}" for record in self.records if _stops(record)), "")

    def prepare(self) -> None:
        """Create the namespaces and run the set-up functions; only the first call does this.

        A failure is recorded, not raised.
        """
        if self._prepared:
            return
        self._prepared = True
        chapter = self.chapter

        def fresh(world: World) -> None:
            world.fresh(chapter.other_namespaces, create=not chapter.makes_namespace)

        self._set_up("a fresh namespace", fresh)
        for setup in chapter.setups:
            if not self.stopped_by:
                self._set_up(setup.__name__.replace("_", " "), setup)

    def step(self, number: int) -> StepRecord:
        """Run the chapter up to step `number` (from 1) and return the record of this step."""
        self.prepare()
        started = time.monotonic()
        while len(self.records) < number:
            self.records.append(self._run(self.chapter.steps[len(self.records)]))
        self._seconds += time.monotonic() - started
        return self.records[number - 1]

    def finish(self) -> ChapterRecord:
        """Start the deletion of the namespaces and return the chapter's record."""
        try:
            self.world.leave(self.chapter.other_namespaces)
        except CommandError as error:
            self.setup.append(SetupRecord("removing the namespace", 0.0, failure_of(error)))
        return self.record()

    def record(self) -> ChapterRecord:
        """The chapter's record with the set-up and steps so far."""
        chapter = self.chapter
        return ChapterRecord(
            number=chapter.number,
            title=chapter.title,
            namespace=chapter.namespace,
            prose=chapter.prose or "",
            setup=tuple(self.setup),
            steps=tuple(self.records),
            run=self.run,
            seconds=self._seconds,
        )

    def _set_up(self, name: str, what: Setup) -> None:
        started = time.monotonic()
        error = attempt(lambda: what(self.world))
        seconds = time.monotonic() - started
        failure = None
        if error is not None:
            failure = replace(failure_of(error), what=f"set-up {name!r}: {failure_of(error).what}")
            failure = self._explained("set-up", failure)
        self.setup.append(SetupRecord(name, seconds, failure))
        self._seconds += seconds

    def _run(self, step: Step) -> StepRecord:
        record = StepRecord(
            id=step.id,
            name=step.name,
            title=step.title,
            prose=step.prose,
            outcome="not reached",
            proves=step.proves,
            hint=step.hint,
            templates=tuple(shown.text if shown else "" for shown in step.shows),
        )
        if self.stopped_by:
            return replace(
                record, failure=Failure("fault", f"not reached: {self.stopped_by} failed")
            )
        started = time.monotonic()
        self.world.attachments.clear()
        done = self.go(step)
        attachments = tuple(self.world.attachments.values())
        proof = Proof()
        failure = _unreadable(done.checked)
        if done.error is not None:
            failure = failure_of(done.error, step.hint)
        seconds = time.monotonic() - started
        if failure is not None:
            failure = self._explained(step.id, failure)
        elif self.breaks:
            proof = BreakProtocol(self.world, self.go).all(step, done)
            failure = proof.failure
        return replace(
            record,
            outcome="passed" if failure is None else "failed",
            commands=tuple(command_record(output) for output in done.outputs),
            checked=tuple(done.checked),
            attachments=attachments,
            breaks=proof.breaks,
            claims=proof.claims,
            failure=failure,
            seconds=seconds,
        )

    def go(
        self,
        step: Step,
        within: float | None = None,
        kept: Kept = NOTHING,
        *,
        goes_on: bool = False,
    ) -> Attempt:
        """Run the step's commands and check; repeat both until they pass or the time is over.

        The time is `within` seconds; if `within` is None, it is the step's own `within`. A command
        with an output in `kept` does not run. With `goes_on` the check does not stop at its first
        failed expectation. Returns the last attempt.
        """
        limit = bounded(step.within) if within is None else within
        end = time.monotonic() + limit
        while True:
            done = self._once(step, kept, goes_on)
            if done.ok or time.monotonic() >= end:
                return done
            time.sleep(min(0.2, max(0.0, end - time.monotonic())))

    def _once(self, step: Step, kept: Kept, goes_on: bool) -> Attempt:
        outputs: list[Output] = []

        def body() -> None:
            step.check(self.world, carry_out(step, self.world, kept, outputs))

        with claims.keeping(goes_on=goes_on) as ledger:
            raised = attempt(body)
        if isinstance(raised, ExpectationFailed) and raised not in ledger.red:
            ledger.red.append(raised)
        # An exception after a finding follows from that finding.
        error = next(iter(ledger.red), raised)
        return Attempt(outputs, ledger.sentences, error, ledger.claims, tuple(ledger.red))

    def _explained(self, step: str, failure: Failure) -> Failure:
        return self.aftermath(self.world, step, failure)


def _stops(record: StepRecord) -> bool:
    failure = record.failure
    came_back = all(break_record.green_again for break_record in record.breaks)
    return failure is not None and not (failure.kind == "break" and came_back)


def _unreadable(checked: Iterable[str]) -> Failure | None:
    for sentence in checked:
        if why := wording.fault(sentence):
            what = f"a sentence of the report is not plain text: {sentence}"
            return Failure("fault", what, detail=why, hint="word the claim in plain words")
    return None


def attempt(body: Callable[[], Any]) -> Exception | None:
    """Call `body` and return the exception that it raised; None if it raised none.

    An error in a chapter's own code must not end the run: it only fails its step or set-up.
    """
    try:
        body()
    except Exception as error:  # noqa: BLE001 - recorded in full; the other chapters go on
        return error
    return None
