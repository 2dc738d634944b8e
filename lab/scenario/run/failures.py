"""Exceptions and outputs of a step as records. Pure."""

import traceback
from pathlib import Path

from lab.errors import CommandError
from lab.mesh.errors import SidecarLabError
from lab.records.model import CommandRecord, Failure
from lab.scenario.claims import ExpectationFailed
from lab.scenario.seen import Output


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
