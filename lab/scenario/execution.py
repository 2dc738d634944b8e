"""Run one command line of a step: every stage through lab.command, output handed on, no shell."""

import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from lab import command
from lab.errors import CommandError
from lab.scenario.commandline import CommandLine
from lab.scenario.seen import Output
from lab.scenario.world import World


def execute(line: CommandLine, world: World, *, timeout: float) -> Output:
    """Fill the placeholders and run; a stage that fails ends the pipeline.

    The exit code is the first that is not 0; `demand` judges it.
    Raises CommandError when a stage cannot be started or takes longer than `timeout` seconds.
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
    """Raise CommandError unless the exit code is 0 or one of `also`."""
    if output.returncode and output.returncode not in also:
        raise CommandError(output.argv, output.returncode, output.stdout, output.stderr)


def _found(argv: tuple[str, ...], path: str) -> tuple[str, ...]:
    # Windows looks a program up in this process's PATH, not in the one handed to the child.
    if os.name != "nt" or Path(argv[0]).parent != Path():
        return argv
    return (shutil.which(argv[0], path=path) or argv[0], *argv[1:])
