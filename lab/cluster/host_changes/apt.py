"""Installs Debian packages, notes which packages that added, and removes them again.

    <cache root>/machine/apt.json   the packages before, those being installed, those installed
    /usr/sbin/policy-rc.d           while we install, forbids package scripts to start services

The policy file carries a mark of ours. Whatever interrupts an installation (even SIGKILL), the
next `up`, `down` or `doctor` calls `settle`, which removes that file and completes the note.
`down --all` removes the packages.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from lab.cluster.host_changes import package_commands
from lab.cluster.host_changes.package_commands import Process
from lab.cluster.state import write_atomically
from lab.command import run
from lab.paths import cache_root

POLICY = Path("/usr/sbin/policy-rc.d")
MARK = "# made by sidecar-lab while it installs packages; it removes this file again:"
"""Our mark in the policy file; the process that wrote the file follows it."""
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", "-q", "-y")
OPTIONS = ("--no-install-recommends", "--no-upgrade")
"""Options with which apt-get changes no package that the user has."""
GROUPS = ("docker",)
"""Groups that the packages' scripts may create."""
_PLANNED = re.compile(r"^Inst (\S+)", re.MULTILINE)
_REMOVED = re.compile(r"^(?:Remv|Purg) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class InstallNote:
    """What the lab installed. `planned` and `before` belong to the installation in progress."""

    installed: tuple[str, ...] = ()
    """Packages that the lab's installations added."""
    groups: tuple[str, ...] = ()
    """Groups of the system that those packages added."""
    planned: tuple[str, ...] = ()
    """Packages that the installation in progress adds."""
    before: tuple[str, ...] = ()
    """Packages that were installed before it."""
    owner: Process | None = None
    """The `lab` that installs now; None when no installation is in progress."""
    residue: tuple[str, ...] = ()
    """Packages whose settings the user had kept; with any of them, `remove` does not purge."""
    new_groups: tuple[str, ...] = ()
    """Groups that did not exist before and that the installation may create."""


def install(names: Sequence[str], log: Path) -> bool:
    """Install those packages that are missing; apt-get's output goes to `log`.

    Returns whether apt-get succeeded. Raises KeyboardInterrupt, but only after the package
    command has ended.
    """
    settle()
    note = replace(
        read(),
        planned=_plan(names),
        before=_packages(),
        residue=_packages("config-files"),
        new_groups=tuple(group for group in GROUPS if not _group(group)),
        owner=Process.of(os.getpid()),
    )
    _save(note)
    try:
        with _no_service_starts():
            return package_commands.run_logged([*APT, "install", *OPTIONS, *names], log)
    finally:
        _save(_completed(read()))


def refresh(log: Path) -> None:
    """Complete what an interrupted package command left half-done, and update the package lists."""
    package_commands.run_logged(["dpkg", "--configure", "-a"], log)
    package_commands.run_logged([*APT, "update"], log)


def settle() -> str:
    """Clean up after an interrupted installation; returns a sentence about it, "" without one.

    A package command of it that still runs is asked to end and waited for. An installation that
    another `lab` carries out now is not touched.
    """
    note = read()
    if note.owner is not None and note.owner.living() and note.owner.pid != os.getpid():
        return ""
    cut_off = bool(note.owner)
    maker = _maker(POLICY)
    if note.owner or maker:
        for command in package_commands.orphans():
            package_commands.end(command)
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
        "an installation of packages was cut off, and what it left behind is cleaned up; "
        "`lab up` completes it, `lab down --all` removes the packages"
    )


def remove(log: Path) -> list[str]:
    """Remove the packages and groups that the lab added; returns what stays and why, in sentences.

    apt-get's output goes to `log`.
    """
    settle()
    note = read()
    present = [package for package in note.installed if package in _packages()]
    reasons = []
    if present:
        reasons = _remove_packages(present, log)
    if not reasons:
        for group in note.groups:
            if _group(group) and not _members(group) and shutil.which("groupdel"):
                run(["groupdel", group], timeout=30, check=False)
        _file().unlink(missing_ok=True)
    return reasons


def _remove_packages(present: Sequence[str], log: Path) -> list[str]:
    names = ", ".join(present)
    if any(process.info["name"] == "dockerd" for process in psutil.process_iter(["name"])):
        return [f"the packages {names} stay: a Docker daemon that is not the lab's uses them"]
    # Purging docker.io would delete the data in /var/lib/docker, which may be the user's.
    kept = set(read().residue) & set(present)
    verb = "remove" if kept or Path("/var/lib/docker").exists() else "purge"
    simulated = run(["apt-get", "-s", verb, *present], timeout=60, check=False)
    also = set(_REMOVED.findall(simulated.stdout)) - set(present)
    if not simulated.ok or also:
        why = f"{', '.join(sorted(also))} need them" if also else "apt-get cannot remove them"
        return [f"the packages {names} stay: {why}"]
    if not package_commands.run_logged([*APT, verb, *present], log):
        return [f"the packages {names} stay: apt-get failed; the log is {log}"]
    return []


def read() -> InstallNote:
    """Returns the note on disk; an empty one when it is missing or damaged."""
    try:
        fields = json.loads(_file().read_text())
        fields["owner"] = fields["owner"] and Process(**fields["owner"])
        for name in ("installed", "groups", "planned", "before", "residue", "new_groups"):
            fields[name] = tuple(fields[name])
        return InstallNote(**fields)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return InstallNote()


def _save(note: InstallNote) -> None:
    write_atomically(_file(), json.dumps(asdict(note), indent=1) + "\n")


def _file() -> Path:
    return cache_root() / "machine" / "apt.json"


def _completed(note: InstallNote) -> InstallNote:
    """Returns the note of a finished installation: with the packages and groups that it added."""
    added = added_packages(note, _packages())
    groups = [group for group in note.new_groups if _group(group)]
    return InstallNote(
        tuple(dict.fromkeys([*note.installed, *added])),
        tuple(dict.fromkeys([*note.groups, *groups])),
        residue=note.residue,
    )


def added_packages(note: InstallNote, now: Sequence[str]) -> list[str]:
    """Returns the packages that an installation added: planned, installed now, and not before.

    Not simply all that are new: others may have installed packages since it was interrupted.
    """
    return [package for package in now if package in note.planned and package not in note.before]


def _plan(names: Sequence[str]) -> tuple[str, ...]:
    """Returns every package that an installation would add, dependencies included."""
    simulated = run(["apt-get", "-s", "install", *OPTIONS, *names], timeout=60, check=False)
    return tuple(_PLANNED.findall(simulated.stdout)) or tuple(names)


def _packages(only: str = "") -> tuple[str, ...]:
    """Returns the packages whose files are installed, even half-installed ones.

    With `only`, returns the packages in just that state of dpkg's.
    """
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


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Forbid package scripts to start services, unless systemd runs or a policy file exists."""
    forbid = not Path("/run/systemd/system").is_dir() and not POLICY.exists()
    if forbid:
        beside = POLICY.with_name(f"{POLICY.name}.sidecar-lab-{os.getpid()}")
        maker = Process.of(os.getpid())
        text = f"#!/bin/sh\n{MARK} {maker.pid} {maker.born}\nexit 101\n"
        write_atomically(beside, text, 0o755)
        # A hard link: the file is complete from the start, and never replaces somebody else's.
        with contextlib.suppress(FileExistsError):
            POLICY.hardlink_to(beside)
        beside.unlink()
    try:
        yield
    finally:
        if forbid and _maker(POLICY):
            POLICY.unlink(missing_ok=True)


def _maker(file: Path) -> Process | None:
    """Returns the `lab` that wrote a policy file; None if nobody or somebody else wrote it."""
    try:
        match = re.search(rf"^{re.escape(MARK)} (\d+) ([\d.]+)$", file.read_text(), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return None
    return Process(int(match[1]), float(match[2])) if match else None
