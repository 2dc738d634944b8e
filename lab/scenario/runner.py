"""Run one chapter: set-up, steps in order, each step's breaks, records of all of it."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lab.errors import CommandError
from lab.mesh.errors import SidecarLabError
from lab.report.records import (
    BreakRecord,
    ChapterRecord,
    CommandRecord,
    Failure,
    SetupRecord,
    StepRecord,
)
from lab.scenario import expectation
from lab.scenario.breaking import Protocol as BreakProtocol
from lab.scenario.execution import demand, execute
from lab.scenario.expectation import ExpectationFailed
from lab.scenario.model import Chapter, Setup, Step
from lab.scenario.seen import Output, Seen
from lab.scenario.world import World


class Aftermath(Protocol):
    """Looks at the world after a failure: which link broke first, and a bundle to read."""

    def __call__(self, world: World, step: str, failure: Failure) -> Failure:
        """The failure with `link`, `diagnosis` and `bundle` filled in as far as known."""


def no_aftermath(world: World, step: str, failure: Failure) -> Failure:
    """Add nothing: for worlds without a cluster."""
    return failure


@dataclass
class Attempt:
    """One go at a step: what ran and what came of it. `trouble` is None when all held."""

    outputs: list[Output]
    checked: list[str]
    seen: Seen | None = None
    trouble: Exception | None = None

    @property
    def ok(self) -> bool:
        """Whether commands, templates and check all held."""
        return self.trouble is None


class ChapterRunner:
    """One chapter on one world. Ask for a step; what it stands on runs before it, once.

    A step after a failed one, or after a failed set-up, is `not reached`.
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
        """What keeps later steps from being reached; "" if nothing does."""
        for one in self.setup:
            if one.failure is not None:
                return f"set-up: {one.name}"
        return next((f"step {one.id}" for one in self.records if not one.passed), "")

    def prepare(self) -> None:
        """Make the namespace and run every `given`, once; failures are recorded, not raised."""
        if self._prepared:
            return
        self._prepared = True
        chapter = self.chapter

        def fresh(world: World) -> None:
            world.fresh(chapter.other_namespaces, create=not chapter.makes_namespace)

        self._set_up("a fresh namespace", fresh)
        for given in chapter.setups:
            if not self.stopped_by:
                self._set_up(given.__name__.replace("_", " "), given)

    def step(self, number: int) -> StepRecord:
        """Run everything up to the step of that number (from 1); its record."""
        self.prepare()
        started = time.monotonic()
        while len(self.records) < number:
            self.records.append(self._run(self.chapter.steps[len(self.records)]))
        self._seconds += time.monotonic() - started
        return self.records[number - 1]

    def finish(self) -> ChapterRecord:
        """The chapter's record; its namespaces go away in the background."""
        try:
            self.world.leave(self.chapter.other_namespaces)
        except CommandError as trouble:
            self.setup.append(SetupRecord("removing the namespace", 0.0, failure_of(trouble)))
        return self.record()

    def record(self) -> ChapterRecord:
        """What is known so far."""
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
        trouble = attempt(lambda: what(self.world))
        seconds = time.monotonic() - started
        failure = None
        if trouble is not None:
            failure = replace(
                failure_of(trouble), what=f"set-up {name!r}: {failure_of(trouble).what}"
            )
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
        breaks: tuple[BreakRecord, ...] = ()
        failure = None if done.trouble is None else failure_of(done.trouble, step.hint)
        seconds = time.monotonic() - started
        if failure is not None:
            failure = self._explained(step.id, failure)
        elif self.breaks:
            breaks, failure = BreakProtocol(self.world, self.go).all(step, done)
        return replace(
            record,
            outcome="passed" if failure is None else "failed",
            commands=tuple(command_record(one) for one in done.outputs),
            checked=tuple(done.checked),
            attachments=attachments,
            breaks=breaks,
            failure=failure,
            seconds=seconds,
        )

    def go(self, step: Step, within: float | None = None, seen: Seen | None = None) -> Attempt:
        """Run commands and check, again until they hold or `within` seconds are over.

        With `seen` the commands are left out and the check gets that.
        """
        limit = expectation.bounded(step.within) if within is None else within
        end = time.monotonic() + limit
        while True:
            done = self._once(step, seen)
            if done.ok or time.monotonic() >= end:
                return done
            time.sleep(min(0.2, max(0.0, end - time.monotonic())))

    def _once(self, step: Step, seen: Seen | None) -> Attempt:
        outputs: list[Output] = [] if seen is None else list(seen.outputs)

        done = Attempt(outputs, [], seen)

        def body() -> None:
            if done.seen is None:
                done.seen = self._commands(step, outputs)
            step.check(self.world, done.seen)

        with expectation.noting() as done.checked:
            done.trouble = attempt(body)
        return done

    def _commands(self, step: Step, outputs: list[Output]) -> Seen:
        holes: dict[str, str] = {}
        for line, template in zip(step.commands, step.shows, strict=True):
            output = execute(line, self.world, timeout=step.timeout)
            outputs.append(output)
            demand(output, step.allow_exit)
            if template is not None:
                match = template.match(output.text)
                if not match.ok:
                    raise ExpectationFailed(
                        f"what `{output.shown}` prints", match.expected, match.seen
                    )
                holes |= match.holes
        return Seen(tuple(outputs), holes)

    def _explained(self, step: str, failure: Failure) -> Failure:
        return self.aftermath(self.world, step, failure)


def attempt(body: Callable[[], Any]) -> Exception | None:
    """What `body` raised. A fault of a check's own code is a result too: it fails its step."""
    try:
        body()
    except Exception as trouble:  # noqa: BLE001 - recorded in full; the other chapters go on
        return trouble
    return None


def failure_of(trouble: Exception, hint: str = "") -> Failure:
    """The record of an exception: expected beside seen where it has them."""
    if isinstance(trouble, ExpectationFailed):
        return Failure(
            "check", trouble.what, trouble.expected, trouble.seen, trouble.difference, hint=hint
        )
    if isinstance(trouble, CommandError):
        code = "an answer in time" if trouble.returncode is None else "exit code 0"
        seen = "no end" if trouble.returncode is None else f"exit code {trouble.returncode}"
        output = (trouble.stderr.strip() or trouble.stdout.strip())[-4000:]
        return Failure(
            "command",
            f"`{' '.join(trouble.argv)}`",
            code,
            f"{seen}\n{output}".strip(),
            hint=trouble.hint or hint,
        )
    if isinstance(trouble, SidecarLabError):
        return Failure("fault", trouble.message, hint=trouble.hint or hint)
    if isinstance(trouble, AssertionError):
        return Failure("check", str(trouble) or "an assertion", detail=_trace(trouble), hint=hint)
    return Failure(
        "fault", f"{type(trouble).__name__}: {trouble}", detail=_trace(trouble), hint=hint
    )


def command_record(output: Output) -> CommandRecord:
    """The record of one output."""
    return CommandRecord(
        output.shown, output.stdout, output.stderr, output.returncode, output.seconds
    )


def _trace(trouble: Exception) -> str:
    frames = traceback.extract_tb(trouble.__traceback__)
    # File names without folders: a report should read the same on every machine.
    return "".join(f"{Path(f.filename).name}:{f.lineno} in {f.name}: {f.line}\n" for f in frames)
