"""Configures, starts, restarts and stops the lab's own Docker daemon.

It is used only on machines where no daemon runs and nothing else (systemd, Docker Desktop) would
start one.
"""

import contextlib
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from lab.cluster.docker import capability_shim, daemon_processes
from lab.cluster.docker.client import DEFAULT_SOCKET, docker, why_unreachable
from lab.cluster.docker.daemon_processes import Started, home, recorded
from lab.cluster.host_changes import notes
from lab.command import run
from lab.errors import HostError

RUNTIME = "sidecar-lab"
START_DEADLINE = 60.0
"""Seconds that a new daemon may take to answer. It is slow if its data root is large."""


def runs() -> bool:
    """Whether the daemon that the lab last started still runs."""
    return daemon_processes.process(recorded()) is not None


def answers() -> bool:
    """Whether the docker command talks to the daemon that the lab started."""
    if not runs():
        return False
    form = "{{.DockerRootDir}}"
    root = docker("info", "--format", form, check=False).stdout.strip()
    return bool(root) and root == str(home() / "data")


def start() -> Started | None:
    """Ensure that a daemon answers on the default socket; return the record of the lab's daemon.

    Starts the lab's daemon, or restarts it if it runs but does not answer. Returns None when a
    daemon that the lab did not start answers there; the lab then uses that daemon. Raises HostError
    with the end of the daemon's log when the daemon does not answer in time.
    """
    home().mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(home() / "lock", timeout=START_DEADLINE * 2):
            return _start()
    except Timeout as late:
        raise HostError(
            "another `lab` has been starting Docker for two minutes",
            hint=f"look at {home() / 'dockerd.log'}",
        ) from late


def _start() -> Started | None:
    living = daemon_processes.process(recorded())
    if not silent():
        if living:
            notes.settle(_notes())
        return recorded() if living else None
    if living:
        # It may only be slow; it is replaced only if it does not answer in time.
        with contextlib.suppress(HostError):
            _wait(living)
            return recorded()
        daemon_processes.end(living, 10)
    for last_try in (False, True):
        daemon_processes.clear_stale()
        record = _spawn()
        try:
            _wait(psutil.Process(record.pid))
        except (HostError, psutil.NoSuchProcess):
            # The earlier daemon's processes may still have been ending: try once more.
            if last_try or daemon_processes.process(record):
                raise
        else:
            break
    notes.settle(_notes())
    return recorded()


def _spawn() -> Started:
    """Start dockerd in a session of its own and write its record.

    Before the start, notes the machine's settings, so that the daemon's changes can be undone.
    """
    settings = home() / "settings.json"
    settings.write_text(json.dumps(_settings(), indent=1))
    log = home() / "dockerd.log"
    with log.open("a") as out:
        out.write(f"--- started by lab at {time.strftime('%F %T')}\n")
    program = shutil.which("dockerd")
    if program is None:
        raise HostError("dockerd is missing", hint="apt-get install docker.io")
    notes.before_start(_notes())
    # Not subprocess, which would wait for the daemon or warn that it still runs.
    pid = os.posix_spawn(
        program,
        ["dockerd", "--config-file", str(settings)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,  # a Ctrl-C or a closed terminal must not end it
    )
    running = psutil.Process(pid)
    record = Started(
        pid, running.create_time(), str(DEFAULT_SOCKET), str(home() / "data"), str(log)
    )
    partial = home() / "daemon.json.new"
    partial.write_text(json.dumps(asdict(record)))
    partial.replace(home() / "daemon.json")
    return record


def silent() -> str:
    """Returns why no daemon answers on the default socket; "" when one answers.

    DOCKER_HOST is ignored: the lab's daemon listens on the default socket, and must not be replaced
    because another daemon does not answer.
    """
    return why_unreachable(f"unix://{DEFAULT_SOCKET}")


def _settings() -> dict[str, object]:
    """Returns the complete configuration of the lab's daemon.

    The daemon reads it in place of the user's /etc/docker/daemon.json. With live-restore, the node
    keeps running when the daemon dies and is restarted.
    """
    settings: dict[str, object] = {
        "data-root": str(home() / "data"),
        "exec-root": str(daemon_processes.EXEC_ROOT),
        "pidfile": str(daemon_processes.EXEC_ROOT.with_suffix(".pid")),
        "hosts": [f"unix://{DEFAULT_SOCKET}"],
        "live-restore": True,
        "log-opts": {"max-size": "20m", "max-file": "2"},
    }
    lacking = lacking_capabilities()
    if lacking:
        settings["runtimes"] = {RUNTIME: {"path": str(_install_shim())}}
        settings["default-runtime"] = RUNTIME
    return settings


def lacking_capabilities() -> frozenset[str]:
    """Returns the capabilities that the kernel knows but this process's bounding set lacks."""
    try:
        last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
        has = capability_shim.bounding_set(Path("/proc/self/status").read_text())
    except OSError:
        return frozenset()  # not Linux: the daemon runs in a virtual machine
    return frozenset(capability_shim.NAMES[: last + 1]) - has


def _install_shim() -> Path:
    """Copy capability_shim.py beside the daemon's data and write a launcher; return its path.

    The daemon runs the copy, because this checkout may be deleted while the daemon still runs.
    """
    runc = shutil.which("runc")
    if runc is None:
        raise HostError("runc is missing", hint="apt-get install runc")
    code = home() / "runtime_shim.py"
    code.write_text(Path(capability_shim.__file__).read_text())
    launcher = home() / "runtime"
    python = Path(sys.executable).resolve()
    launcher.write_text(f'#!/bin/sh\nexec "{python}" -I -S "{code}" "{runc}" "$@"\n')
    launcher.chmod(0o755)
    return launcher


def _wait(running: psutil.Process) -> None:
    """Wait until the daemon answers. Raises HostError if it ends, or after START_DEADLINE."""
    deadline = time.monotonic() + START_DEADLINE
    while reason := silent():
        ended = daemon_processes.ended(running, 0.01)
        if ended or time.monotonic() > deadline:
            log = home() / "dockerd.log"
            what = "ended at once" if ended else f"did not answer in {START_DEADLINE:.0f} s"
            raise HostError(
                f"the Docker daemon {what} ({reason}); the end of its log:\n{tail(log)}",
                hint=f"the complete log is {log}",
            )
        time.sleep(0.05)  # before the condition is checked again


def tail(log: Path, lines: int = 8) -> str:
    """Returns the last lines of a log; "" when there is no log."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def stop() -> list[str] | None:
    """Stop the daemon that the lab started and undo its changes to this machine.

    Returns a sentence for each change that was not undone; None when the lab has started no daemon.
    The caller must remove all containers and networks first: because of live-restore,
    containers keep running when the daemon stops.
    """
    record = recorded()
    living = daemon_processes.process(record)
    if record is None:
        return None
    notes.settle(_notes())
    if living:
        daemon_processes.end(living, 30)
    daemon_processes.end_containerd()
    for folder in (home() / "data", daemon_processes.EXEC_ROOT):
        _unmount(folder)
    shutil.rmtree(daemon_processes.EXEC_ROOT, ignore_errors=True)
    for file in (DEFAULT_SOCKET, daemon_processes.EXEC_ROOT.with_suffix(".pid")):
        file.unlink(missing_ok=True)
    stays = notes.undo(_notes())
    # The record goes last: while it exists, the next `down --all` does all of this again.
    (home() / "daemon.json").unlink(missing_ok=True)
    return stays


def note_what_it_made() -> None:
    """Complete the note of what the running daemon changed, if an interrupted `lab` did not."""
    if runs():
        notes.settle(_notes())


def _notes() -> Path:
    return home() / "machine.json"


def _unmount(folder: Path) -> None:
    """Unmount every file system that a killed daemon left mounted at the folder or below it."""
    mounted = [partition.mountpoint for partition in psutil.disk_partitions(all=True)]
    for place in sorted(mounted, reverse=True):
        if Path(place) == folder or folder in Path(place).parents:
            run(["umount", place], check=False)
