"""Finds the processes of the Docker daemon that the lab started, and ends them.

The daemon's record (daemon.json) has its pid and its start time, since the system reuses pids.
"""

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from lab.paths import cache_root

EXEC_ROOT = Path("/run/sidecar-lab-docker")


@dataclass(frozen=True)
class Started:
    """The record of a daemon that the lab started. `born`: start time, seconds since the epoch."""

    pid: int
    born: float
    socket: str
    data_root: str
    log: str


def home() -> Path:
    """Returns the folder of the daemon's data, settings, log and record, below the cache root."""
    return cache_root() / "docker"


def recorded() -> Started | None:
    """Returns the record of the daemon that the lab last started, even if that daemon has ended.

    Returns None when there is no record or it is damaged.
    """
    try:
        return Started(**json.loads((home() / "daemon.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def process(started: Started | None) -> psutil.Process | None:
    """Returns the daemon's process; None when it has ended, even if its pid is in use again."""
    if started is None:
        return None
    try:
        candidate = psutil.Process(started.pid)
        same = abs(candidate.create_time() - started.born) < 1.0
        return candidate if same and candidate.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def clear_stale() -> None:
    """Remove the daemon's pid files that do not name a running dockerd or containerd.

    The system reuses pids: a pid file of a killed daemon may name another program. dockerd does not
    start if its pid file names any running process. If containerd's pid file names any running
    process, dockerd takes this process for containerd.
    """
    for file, program in (
        (EXEC_ROOT.with_suffix(".pid"), "dockerd"),
        (EXEC_ROOT / "containerd" / "containerd.pid", "containerd"),
        (EXEC_ROOT / "containerd" / "docker-containerd.pid", "containerd"),
    ):
        try:
            candidate = psutil.Process(int(file.read_text()))
            # A zombie has ended, but can still be signalled: both programs would think it runs.
            alive = candidate.name() == program and candidate.status() != psutil.STATUS_ZOMBIE
        except FileNotFoundError:
            continue
        except (ValueError, psutil.NoSuchProcess):
            alive = False
        if not alive:
            file.unlink(missing_ok=True)


def end_containerd() -> None:
    """End the containerd of the lab's daemon that still runs because the daemon was killed."""
    for candidate in psutil.process_iter(["name", "cmdline"]):
        words = candidate.info["cmdline"] or []
        if candidate.info["name"] == "containerd" and any(str(EXEC_ROOT) in word for word in words):
            end(candidate, 10)


def end(running: psutil.Process, patience: float) -> None:
    """Terminate a process; kill it when it has not ended after `patience` seconds."""
    with contextlib.suppress(psutil.NoSuchProcess):
        running.terminate()
        if not ended(running, patience):
            running.kill()
            ended(running, 10)


def ended(running: psutil.Process, seconds: float) -> bool:
    """Wait at most `seconds` for the process to end; return whether it did.

    A zombie has ended: its parent, process 1 of a container, may never reap it.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if not running.is_running() or running.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)  # before the condition is checked again
    return False


def still_there() -> list[str]:
    """Returns a line (pid, command) for each dockerd, containerd and shim of the lab's daemon."""
    marks = (str(EXEC_ROOT), str(home() / "settings.json"))
    lines = []
    for candidate in psutil.process_iter(["pid", "cmdline"]):
        words = candidate.info["cmdline"] or []
        if candidate.pid != os.getpid() and any(mark in word for word in words for mark in marks):
            lines.append(f"{candidate.pid} {' '.join(words)[:120]}")
    return lines
