"""Debian packages that the lab installs: noted before, marked while it goes on, taken away again.

    <cache root>/machine/apt.json   what was there before, what is being done, what came of it
    /usr/sbin/policy-rc.d           forbids package scripts to start services meanwhile; marked ours

Whatever cuts an installation off (a signal, SIGKILL too), the next `up`, `down` or `doctor` calls
`settle`, which removes the mark and completes the note; `down --all` removes the packages.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from lab.cluster.state import write_atomically
from lab.command import run
from lab.errors import CommandError
from lab.paths import cache_root

POLICY = Path("/usr/sbin/policy-rc.d")
MARK = "# made by sidecar-lab while it installs packages; it removes this file again:"
"""Stands in that file, before the process that made it."""
VARIABLE = "SIDECAR_LAB_INSTALLS"
"""In the environment of package commands: the `lab` that runs them (pid, start time)."""
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", "-q", "-y")
OPTIONS = ("--no-install-recommends", "--no-upgrade")
"""No package that the user has is changed."""
GROUPS = ("docker",)
"""Groups that the scripts of those packages make."""
END_SECONDS = 120.0
"""How long a package command that was interrupted may take to end at a point that holds."""
_PLANNED = re.compile(r"^Inst (\S+)", re.MULTILINE)
_REMOVED = re.compile(r"^(?:Remv|Purg) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Process:
    """A process by its pid and its start time in seconds since the epoch."""

    pid: int
    born: float

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process of that pid, which lives."""
        return cls(pid, psutil.Process(pid).create_time())

    def living(self) -> psutil.Process | None:
        """It, if it lives; None when it ended, or its pid is another's now."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.born) < 1.0
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True)
class Note:
    """What the lab did. `planned` and `before` are of an installation that goes on."""

    installed: tuple[str, ...] = ()
    """Packages that are there because of the lab."""
    groups: tuple[str, ...] = ()
    """Groups of the system that came with them."""
    planned: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    owner: Process | None = None
    """The `lab` that installs."""
    residue: tuple[str, ...] = ()
    """Packages of which the user had kept the settings: those are not taken away."""
    new_groups: tuple[str, ...] = ()
    """Groups that are not there yet, and may come."""


def install(names: Sequence[str], log: Path) -> bool:
    """Install packages, of those not there; what it prints goes to `log`. Whether all are there.

    Raises KeyboardInterrupt once the package command has ended in good order.
    """
    settle()
    note = replace(
        read(),
        planned=_plan(names),
        before=_packages(),
        residue=_packages("config-files"),
        new_groups=tuple(one for one in GROUPS if not _group(one)),
        owner=Process.of(os.getpid()),
    )
    _save(note)
    try:
        with _no_service_starts():
            return _logged([*APT, "install", *OPTIONS, *names], log)
    finally:
        _save(_completed(read()))


def refresh(log: Path) -> None:
    """Complete what another package command left half-way, and read the archives' lists."""
    _logged(["dpkg", "--configure", "-a"], log)
    _logged([*APT, "update"], log)


def settle() -> str:
    """Take away what an installation that was cut off left; a sentence about it, "" when none was.

    Its package command, if it still runs, is asked to end and waited for. An installation that
    another `lab` carries out now is left alone.
    """
    note = read()
    if note.owner is not None and note.owner.living() and note.owner.pid != os.getpid():
        return ""
    cut_off = bool(note.owner)
    maker = _maker(POLICY)
    if note.owner or maker:
        for command in _orphans():
            _end(command)
    if maker and not maker.living() and os.access(POLICY.parent, os.W_OK):
        POLICY.unlink(missing_ok=True)
        cut_off = True
    for stray in POLICY.parent.glob(f"{POLICY.name}.sidecar-lab-*"):
        pid = stray.name.removesuffix(".new").rpartition("-")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            with contextlib.suppress(PermissionError):
                stray.unlink()
    if note.owner is not None:
        _save(_completed(note))
    if not cut_off:
        return ""
    return (
        "an installation of packages was cut off: what it held back is free again; "
        "`lab up` completes it, `lab down --all` removes the packages"
    )


def remove(log: Path) -> list[str]:
    """Remove the packages and groups that came by the lab; says what stays, and why."""
    settle()
    note = read()
    there = [one for one in note.installed if one in _packages()]
    said = []
    if there:
        said = _remove_packages(there, log)
    if not said:
        for group in note.groups:
            if _group(group) and not _members(group) and shutil.which("groupdel"):
                run(["groupdel", group], timeout=30, check=False)
        _file().unlink(missing_ok=True)
    return said


def _remove_packages(there: Sequence[str], log: Path) -> list[str]:
    names = ", ".join(there)
    others = [one for one in psutil.process_iter(["name"]) if one.info["name"] == "dockerd"]
    if others:
        return [f"the packages {names} stay: a Docker daemon that is not the lab's uses them"]
    # Purging docker.io would empty a data folder there, which a Docker of the user's filled.
    kept = set(read().residue) & set(there)
    verb = "remove" if kept or Path("/var/lib/docker").exists() else "purge"
    simulated = run(["apt-get", "-s", verb, *there], timeout=60, check=False)
    also = set(_REMOVED.findall(simulated.stdout)) - set(there)
    if not simulated.ok or also:
        why = f"{', '.join(sorted(also))} need them" if also else "apt-get does not agree"
        return [f"the packages {names} stay: {why}"]
    if not _logged([*APT, verb, *there], log):
        return [f"the packages {names} stay: apt-get failed; the log is {log}"]
    return []


def read() -> Note:
    """The note; an empty one when there is none that is sound."""
    try:
        told = json.loads(_file().read_text())
        told["owner"] = told["owner"] and Process(**told["owner"])
        for name in ("installed", "groups", "planned", "before", "residue", "new_groups"):
            told[name] = tuple(told[name])
        return Note(**told)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Note()


def _save(note: Note) -> None:
    write_atomically(_file(), json.dumps(asdict(note), indent=1) + "\n")


def _file() -> Path:
    return cache_root() / "machine" / "apt.json"


def _completed(note: Note) -> Note:
    """With what is there now, was planned, and was not there before."""
    fresh = came(note, _packages())
    groups = [one for one in note.new_groups if _group(one)]
    return Note(
        tuple(dict.fromkeys([*note.installed, *fresh])),
        tuple(dict.fromkeys([*note.groups, *groups])),
        residue=note.residue,
    )


def came(note: Note, now: Sequence[str]) -> list[str]:
    """What an installation brought: others may have installed, too, since it was cut off."""
    return [one for one in now if one in note.planned and one not in note.before]


def _plan(names: Sequence[str]) -> tuple[str, ...]:
    """Every package that would come, dependencies too."""
    simulated = run(["apt-get", "-s", "install", *OPTIONS, *names], timeout=60, check=False)
    return tuple(_PLANNED.findall(simulated.stdout)) or tuple(names)


def _packages(only: str = "") -> tuple[str, ...]:
    """Packages of which any program is there, half-installed ones too; or those in one state."""
    form = "${db:Status-Status} ${Package}\n"
    listed = run(["dpkg-query", "-W", "-f", form], timeout=30, check=False).stdout
    rows = (line.split(maxsplit=1) for line in listed.splitlines())
    gone = ("not-installed", "config-files")
    wanted = [row for row in rows if len(row) == 2]
    return tuple(row[1] for row in wanted if (row[0] == only if only else row[0] not in gone))


def _group(name: str) -> bool:
    return bool(_members_line(name))


def _members(name: str) -> str:
    return _members_line(name).rpartition(":")[2]


def _members_line(name: str) -> str:
    try:
        rows = Path("/etc/group").read_text().splitlines()
    except OSError:
        return ""
    return next((row for row in rows if row.startswith(f"{name}:")), "")


def _logged(argv: Sequence[str], log: Path) -> bool:
    """Run one package command, its output into the log; whether it ended well.

    In a session of its own: what ends this process (a closed terminal, a Ctrl-C) must not tear a
    package in two. An interrupt is handed on as one that apt-get takes where it can.
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
            _end(psutil.Process(process.pid))
            process.wait()
            raise


def _orphans() -> list[psutil.Process]:
    """Package commands whose `lab` ended without them; told by their environment.

    That is theirs from their first moment: a note of their pid might come too late.
    """
    found: dict[int, psutil.Process] = {}
    for one in psutil.process_iter(["environ", "ppid"]):
        pid, _, born = ((one.info["environ"] or {}).get(VARIABLE, "")).partition(" ")
        if pid and _alive(one) and not Process(int(pid), float(born)).living():
            found[one.pid] = one
    # What they started ends with them. Any may end by itself while it is looked at.
    return [one for one in found.values() if one.info["ppid"] not in found]


def _end(command: psutil.Process) -> None:
    """Ask a package command to end; it does so between two packages. Kill it after two minutes."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [command, *command.children(recursive=True)]
        command.send_signal(signal.SIGINT)
        deadline = time.monotonic() + END_SECONDS
        while _alive(command) and time.monotonic() < deadline:
            time.sleep(0.1)  # between two looks at the condition
        if _alive(command):
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Forbid package scripts to start services, unless systemd is there to own them."""
    made = not Path("/run/systemd/system").is_dir() and not POLICY.exists()
    if made:
        beside = POLICY.with_name(f"{POLICY.name}.sidecar-lab-{os.getpid()}")
        maker = Process.of(os.getpid())
        text = f"#!/bin/sh\n{MARK} {maker.pid} {maker.born}\nexit 101\n"
        write_atomically(beside, text, 0o755)
        # Whole from its first moment, and never in the place of somebody else's.
        with contextlib.suppress(FileExistsError):
            POLICY.hardlink_to(beside)
        beside.unlink()
    try:
        yield
    finally:
        if made and _maker(POLICY):
            POLICY.unlink(missing_ok=True)


def _maker(file: Path) -> Process | None:
    """The `lab` that made a policy file; None: it is somebody else's, or there is none."""
    try:
        found = re.search(rf"^{re.escape(MARK)} (\d+) ([\d.]+)$", file.read_text(), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return None
    return Process(int(found[1]), float(found[2])) if found else None
