"""Runs package-manager commands that Ctrl-C does not reach; ends those whose `lab` has ended."""

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
"""Environment variable of a package command: pid and start time of the `lab` that started it."""
END_SECONDS = 120.0
"""Seconds that a package command may take to end: it finishes the current package first."""


@dataclass(frozen=True)
class Process:
    """Identifies a process by its pid and `born`, its start time in seconds since the epoch."""

    pid: int
    born: float

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Returns the Process with this pid; a process with this pid must run."""
        return cls(pid, psutil.Process(pid).create_time())

    def living(self) -> psutil.Process | None:
        """Returns the running process; None if it has ended, even if its pid is in use again."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.born) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def run_logged(argv: Sequence[str], log: Path) -> bool:
    """Run one package command and append its output to `log`; returns whether it succeeded.

    The command runs in its own session, so that Ctrl-C or a closed terminal does not reach it and
    interrupt dpkg in the middle of a package. When this process gets the interrupt, it asks the
    command to end, waits for that, and raises KeyboardInterrupt.
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
    """Returns the package commands that still run although the `lab` that started them has ended.

    They are recognized by VARIABLE in their environment, which they have from their start. A file
    with their pids would be written later, and could be missing if the `lab` was killed.
    """
    by_pid: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["environ", "ppid"]):
        pid, _, born = ((process.info["environ"] or {}).get(VARIABLE, "")).partition(" ")
        if pid and _alive(process) and not Process(int(pid), float(born)).living():
            by_pid[process.pid] = process
    # Without their children, which end with them. Any process may end during this search.
    return [process for process in by_pid.values() if process.info["ppid"] not in by_pid]


def end(command: psutil.Process) -> None:
    """Ask a package command to end after the current package; kill it after END_SECONDS."""
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
