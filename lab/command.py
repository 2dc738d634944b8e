"""Runs commands from argv lists, never from shell strings, and returns typed results."""

import logging
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import CommandError

log = logging.getLogger("lab.command")


@dataclass(frozen=True)
class Completed:
    """A command that has ended.

    `seconds`: wall time. In `stdout` and `stderr`, bytes that are not UTF-8 are replaced.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.returncode == 0


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    base: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    check: bool = True,
) -> Completed:
    """Run `argv` to its end and return its exit code and output.

    The command's environment is `base` (None: this process's environment) plus `env`. `timeout`
    is in seconds. Raises CommandError when the program is not found, when the time is over, or,
    with `check`, when the exit code is not 0.
    """
    words = tuple(str(word) for word in argv)
    log.debug("$ %s", shlex.join(words))
    started = time.monotonic()
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(
            words,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env={**(os.environ if base is None else base), **(env or {})},
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as missing:
        raise CommandError(words, 127, "", f"{words[0]}: not found") from missing
    except subprocess.TimeoutExpired as late:
        out, err = (late.stdout or b""), (late.stderr or b"")
        raise CommandError(words, None, _text(out), _text(err)) from late
    seconds = time.monotonic() - started
    result = Completed(words, done.returncode, _text(done.stdout), _text(done.stderr), seconds)
    log.debug("  exit %d in %.2f s", result.returncode, seconds)
    if check and not result.ok:
        raise CommandError(words, result.returncode, result.stdout, result.stderr)
    return result


class Held:
    """A command that `hold` left running. `first_line` is the first line that it printed."""

    def __init__(self, process: "subprocess.Popen[str]", first_line: str) -> None:
        self._process, self.first_line = process, first_line

    def wait(self, seconds: float) -> None:
        """Wait until the command has ended. Raises subprocess.TimeoutExpired after `seconds`."""
        self._process.communicate(timeout=seconds)


def hold(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Held:
    """Start `argv`, wait until it has printed its first line, and leave it running.

    The command's environment is this process's plus `env`. Raises CommandError when the program is
    not found, or when the command ends before it has printed a line.
    """
    words = tuple(argv)
    log.debug("$ %s &", shlex.join(words))
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **env} if env else None,
            cwd=cwd,
        )
    except FileNotFoundError as missing:
        raise CommandError(words, 127, "", f"{words[0]}: not found") from missing
    assert process.stdout is not None
    first_line = process.stdout.readline().strip()
    if not first_line:
        out, err = process.communicate()
        raise CommandError(words, process.returncode, out, err)
    return Held(process, first_line)


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode(errors="replace")
