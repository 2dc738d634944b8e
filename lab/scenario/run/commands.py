"""Runs the command lines of a step, and connects the commands of a pipeline, without a shell."""

import os
import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from lab import command
from lab.errors import CommandError, ObservationError
from lab.scenario import claims
from lab.scenario.chapter import Step
from lab.scenario.claims import Claim, ExpectationFailed
from lab.scenario.command_line import CommandLine
from lab.scenario.seen import Output, Seen
from lab.scenario.template import Match
from lab.scenario.waiting import bounded
from lab.scenario.world import World

Kept = Mapping[int, Output]
"""Maps the numbers (from 0) of commands that do not run again to their earlier outputs."""
PAUSE = 0.2
"""Seconds between two tries of a command that the step's `waits` repeats."""


def carry_out(step: Step, world: World, kept: Kept, outputs: list[Output]) -> Seen:
    """Run the step's commands, except those in `kept`, and return their outputs for the check.

    Each output is also appended to `outputs`, so that the caller has it even if a later command
    fails. Raises CommandError if a command fails, and ExpectationFailed if an output does not fit
    its template.
    """
    holes: dict[str, str] = {}
    for number in range(len(step.commands)):
        if number in kept:
            outputs.append(kept[number])
            match = _fit(step, number, world, kept[number])
        else:
            match = _awaited(step, number, world, outputs)
            _claim(step, number, outputs[-1], match)
        holes |= match.holes
    return Seen(tuple(outputs), holes)


def _awaited(step: Step, number: int, world: World, outputs: list[Output]) -> Match:
    end = time.monotonic() + bounded(step.waits.get(number, 0.0))
    del outputs[number:]
    while True:
        late = time.monotonic() >= end
        try:
            output = execute(step.commands[number], world, timeout=step.timeout)
            outputs[number:] = [output]
            demand(output, step.allow_exit)
            match = _fit(step, number, world, output)
            if match.ok or late:
                return match
        except (CommandError, ObservationError):
            if late:
                raise
        time.sleep(PAUSE)


def _fit(step: Step, number: int, world: World, output: Output) -> Match:
    template = step.shows[number]
    return template.fill(world.names.resolve).match(output.text) if template else Match()


def _claim(step: Step, number: int, output: Output, match: Match) -> None:
    if step.shows[number] is None:
        return
    claim = Claim(f"what `{step.commands[number].shown}` prints", "shows")
    if match.ok:
        claims.held(claim)
        return
    what = f"what `{output.shown}` prints"
    claims.failed(ExpectationFailed(what, match.expected, match.observed, claim=claim))


def execute(line: CommandLine, world: World, *, timeout: float) -> Output:
    """Fill the placeholders and run the commands of the pipeline, up to the first that fails.

    The exit code in the output is that of the last command that ran; `demand` checks it. Raises
    CommandError if a command cannot be started or the pipeline takes longer than `timeout` seconds.
    """
    filled = line.fill(world.names.resolve)
    environment = world.environment()
    started = time.monotonic()
    data: str | None = None
    errors: list[str] = []
    code = 0
    argv: tuple[str, ...] = ()
    for argv in filled.argvs:
        left = max(0.1, started + timeout - time.monotonic())
        done = command.run(
            _found(argv, environment["PATH"]),
            stdin=data,
            env=environment,
            cwd=world.workdir,
            timeout=left,
            check=False,
        )
        data, code = done.stdout, done.returncode
        errors.append(done.stderr)
        if code:
            break
    text, file = data or "", None
    if filled.into is not None:
        (world.workdir / filled.into.meaning).write_text(text, newline="")
        text, file = "", text
    return Output(
        shown=filled.shown,
        argv=argv,
        stdout=text,
        stderr="".join(errors),
        returncode=code,
        seconds=time.monotonic() - started,
        file=file,
    )


def demand(output: Output, also: Collection[int] = ()) -> None:
    """Raise CommandError unless the exit code in `output` is 0 or one of `also`."""
    if output.returncode and output.returncode not in also:
        raise CommandError(output.argv, output.returncode, output.stdout, output.stderr)


def _found(argv: tuple[str, ...], path: str) -> tuple[str, ...]:
    # Windows searches a program in the PATH of this process, not in that of the child.
    if os.name != "nt" or Path(argv[0]).parent != Path():
        return argv
    return (shutil.which(argv[0], path=path) or argv[0], *argv[1:])
