"""Runs the long commands of a build; writes their output to a log and passes each line on.

lab.command.run returns output only when the command has ended. A build takes minutes, so its
progress must be shown while it runs.
"""

import logging
import os
import shlex
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import psutil

from lab.errors import BuildError
from lab.paths import cache_root

log = logging.getLogger("lab.command")
TAIL_LINES = 12


def build_log(name: str) -> Path:
    """Returns the path for a new log file in the cache; its name has date, pid and `name`."""
    folder = cache_root() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    return folder / f"{stamp}-{os.getpid()}-{name}.log"


def stream(
    argv: Sequence[str | Path],
    *,
    what: str,
    logfile: Path,
    on_line: Callable[[str], None] | None = None,
    env: Mapping[str, str] | None = None,
    base: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
    hint: str = "",
) -> float:
    """Run `argv` to its end and return its wall time in seconds.

    The command's output (stdout and stderr) is appended to `logfile`, and each line that is not
    empty is passed to `on_line`. If `stdout` is given, standard output goes to that file, and only
    stderr to the log and to `on_line`. `stdin` and `stdout` must be open files with a descriptor.
    The command's environment is `base` (None: this process's environment) plus `env`.
    On Ctrl-C or another exception, ends the command and its children before raising it.
    Raises BuildError with `what`, the log's path and its last lines when the command fails.
    """
    words = [str(word) for word in argv]
    log.debug("$ %s", shlex.join(words))
    started = time.monotonic()
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with logfile.open("a", encoding="utf-8") as sink:
        sink.write(f"$ {shlex.join(words)}\n")
        sink.flush()
        try:
            process = subprocess.Popen(
                words,
                stdin=stdin if stdin is not None else subprocess.DEVNULL,
                stdout=stdout if stdout is not None else subprocess.PIPE,
                stderr=subprocess.PIPE if stdout is not None else subprocess.STDOUT,
                env={**(os.environ if base is None else base), **(env or {})},
                cwd=cwd,
            )
        except FileNotFoundError as missing:
            raise BuildError(
                f"{what} failed: {words[0]} was not found", hint=hint or f"install {words[0]}"
            ) from missing
        source = process.stderr if stdout is not None else process.stdout
        assert source is not None
        try:
            for raw in source:
                line = raw.decode(errors="replace").rstrip()
                sink.write(line + "\n")
                if line:
                    tail.append(line)
                    if on_line is not None:
                        on_line(line)
            code = process.wait()
        except BaseException:
            _end_tree(process)
            raise
        finally:
            source.close()
        seconds = time.monotonic() - started
        sink.write(f"# exit {code} after {seconds:.1f} s\n")
    if code != 0:
        last = "\n".join(f"    {line}" for line in tail)
        raise BuildError(
            f"{what} failed (exit {code}); log {logfile}; its last lines:\n{last}", hint=hint
        )
    return seconds


def _end_tree(process: "subprocess.Popen[bytes]") -> None:
    """Terminate the command and its children; kill those that still run after five seconds."""
    try:
        family = [psutil.Process(process.pid)]
        family += family[0].children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(family, timeout=5)
    for member in alive:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
