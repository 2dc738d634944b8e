"""Converts exceptions and outputs of a step into records. Pure."""

import traceback
from pathlib import Path

from lab.errors import CommandError
from lab.mesh.errors import SidecarLabError
from lab.records.model import CommandRecord, Failure
from lab.scenario.claims import ExpectationFailed
from lab.scenario.seen import Output


def failure_of(error: Exception, hint: str = "") -> Failure:
    """Return the record of an exception, with the expected and the seen value if it has them."""
    if isinstance(error, ExpectationFailed):
        return Failure(
            "check", error.what, error.expected, error.observed, error.difference, hint=hint
        )
    if isinstance(error, CommandError):
        code = "an answer in time" if error.returncode is None else "exit code 0"
        outcome = "no end" if error.returncode is None else f"exit code {error.returncode}"
        output = (error.stderr.strip() or error.stdout.strip())[-4000:]
        return Failure(
            "command",
            f"`{' '.join(error.argv)}`",
            code,
            f"{outcome}\n{output}".strip(),
            hint=error.hint or hint,
        )
    if isinstance(error, SidecarLabError):
        return Failure("fault", error.message, hint=error.hint or hint)
    if isinstance(error, AssertionError):
        return Failure("check", str(error) or "an assertion", detail=_trace(error), hint=hint)
    return Failure("fault", f"{type(error).__name__}: {error}", detail=_trace(error), hint=hint)


def command_record(output: Output) -> CommandRecord:
    """The record of a command's output."""
    return CommandRecord(
        output.shown, output.stdout, output.stderr, output.returncode, output.seconds
    )


def _trace(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    # File names without folders: a report should read the same on every machine.
    return "".join(f"{Path(f.filename).name}:{f.lineno} in {f.name}: {f.line}\n" for f in frames)
