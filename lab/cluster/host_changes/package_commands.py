"""Runs package commands that no interrupt cuts off, and ends those whose `lab` has ended."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from lab.errors import CommandError

VARIABLE = "SIDECAR_LAB_INSTALLS"
"""Environment variable of package commands: the `lab` that runs them (pid, start time)."""
END_SECONDS = 120.0
"""Seconds that an interrupted package command may take until it ends between two packages."""


@dataclass(frozen=True)
class Process:
    """A process by its pid and its start time in seconds since the epoch."""

    pid: int
    born: float

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Returns the process of that pid, which must be alive."""
        return cls(pid, psutil.Process(pid).create_time())

    def living(self) -> psutil.Process | None:
        """Returns the process if it is alive; None if it ended or another process has its pid."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.born) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def run_logged(argv: Sequence[str], log: Path) -> bool:
    """Run one package command and append its output to `log`; returns whether it succeeded.

    It runs in its own session: what ends this process (a closed terminal, a Ctrl-C) must not
    interrupt dpkg in the middle of a package. On an interrupt, the command is asked to end and
    waited for.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as out:
        out.write(f"$ {' '.join(argv)}\n")
        out.flush()
        me = Process.of(os.getpid())
        marked = {VARIABLE: f"{me.pid} {me.born}", "DEBIAN_FRONTEND": "noninteractive"}
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **marked},
                start_new_session=True,
            )
        except FileNotFoundError as missing:
            raise CommandError(argv, 127, "", f"{argv[0]}: not found") from missing
        try:
            return process.wait() == 0
        except KeyboardInterrupt:
            end(psutil.Process(process.pid))
            process.wait()
            raise


def orphans() -> list[psutil.Process]:
    """Returns the package commands that still run although their `lab` has ended.

    They are recognized by their environment, which they have from their first moment; a note of
    their pid might be written too late.
    """
    by_pid: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["environ", "ppid"]):
        pid, _, born = ((process.info["environ"] or {}).get(VARIABLE, "")).partition(" ")
        if pid and _alive(process) and not Process(int(pid), float(born)).living():
            by_pid[process.pid] = process
    # Without their children, which end with them. Any process may end during this search.
    return [process for process in by_pid.values() if process.info["ppid"] not in by_pid]


def end(command: psutil.Process) -> None:
    """Ask a package command to end; it does so between two packages. Kill it after two minutes."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [command, *command.children(recursive=True)]
        command.send_signal(signal.SIGINT)
        deadline = time.monotonic() + END_SECONDS
        while _alive(command) and time.monotonic() < deadline:
            time.sleep(0.1)  # between two checks of the condition
        if _alive(command):
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
