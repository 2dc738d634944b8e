"""Installs Debian packages, notes which packages were added, and removes them again.

    <cache root>/machine/apt.json   the note: which packages the lab installed, or installs now
    /usr/sbin/policy-rc.d           the policy file: while it exists, package scripts may not start
                                    services

The policy file contains MARK. If anything interrupts an installation (even SIGKILL),
the next `up`, `down` or `doctor` calls `settle`, which removes this file and completes the note.
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
"""Text by which the lab recognizes its own policy file.

In the file, the pid and the start time of the `lab` process follow this text.
"""
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", "-q", "-y")
OPTIONS = ("--no-install-recommends", "--no-upgrade")
"""Options of `apt-get install`: add no recommended packages, and upgrade no installed ones."""
GROUPS = ("docker",)
"""System groups that the scripts of the packages may create."""
_PLANNED = re.compile(r"^Inst (\S+)", re.MULTILINE)
_REMOVED = re.compile(r"^(?:Remv|Purg) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class InstallNote:
    """The note in apt.json: what the lab installed, and the installation in progress, if any."""

    installed: tuple[str, ...] = ()
    """Packages that finished installations of the lab added."""
    groups: tuple[str, ...] = ()
    """System groups that these packages added."""
    planned: tuple[str, ...] = ()
    """Packages that the installation in progress will add."""
    before: tuple[str, ...] = ()
    """Packages that were installed before the installation in progress."""
    owner: Process | None = None
    """The `lab` process that installs now; None when no installation is in progress."""
    residue: tuple[str, ...] = ()
    """Removed packages of which configuration files were left when the installation began.

    If the lab installed any of these, `remove` does not purge, so that these files stay.
    """
    new_groups: tuple[str, ...] = ()
    """Groups that did not exist before the installation and that it may create."""


def install(names: Sequence[str], log: Path) -> bool:
    """Install the packages among `names` that are missing; apt-get's output goes to `log`.

    Returns whether apt-get succeeded. After a Ctrl-C, raises KeyboardInterrupt only when the
    package command has ended.
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
    """Configure packages that an interrupted dpkg left unconfigured; update the package lists."""
    package_commands.run_logged(["dpkg", "--configure", "-a"], log)
    package_commands.run_logged([*APT, "update"], log)


def settle() -> str:
    """Clean up after an interrupted installation, if there was one.

    Returns a sentence for the user; "" when there was nothing to clean up. If a package command of
    that installation still runs, asks it to end and waits for it. Does not touch an installation
    that another `lab` process is running now.
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
        "an installation of packages was interrupted, and its remains were cleaned up; "
        "`lab up` completes the installation, `lab down --all` removes the packages"
    )


def remove(log: Path) -> list[str]:
    """Remove the packages and user groups that the lab added; apt-get's output goes to `log`.

    Returns sentences that tell which packages stay and why; [] when all were removed.
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
    """Reads the note apt.json; returns an empty note when the file is missing or damaged."""
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
    """Returns the note without an installation in progress, plus what that installation added."""
    added = added_packages(note, _packages())
    groups = [group for group in note.new_groups if _group(group)]
    return InstallNote(
        tuple(dict.fromkeys([*note.installed, *added])),
        tuple(dict.fromkeys([*note.groups, *groups])),
        residue=note.residue,
    )


def added_packages(note: InstallNote, now: Sequence[str]) -> list[str]:
    """Returns the packages that the installation added.

    Each was planned, was not installed before the installation, and is in `now`, the packages that
    are installed now.

    A new package that was not planned is left out: if the installation was interrupted, somebody
    else may have installed it since then.
    """
    return [package for package in now if package in note.planned and package not in note.before]


def _plan(names: Sequence[str]) -> tuple[str, ...]:
    """Returns every package that an installation would add, dependencies included."""
    simulated = run(["apt-get", "-s", "install", *OPTIONS, *names], timeout=60, check=False)
    return tuple(_PLANNED.findall(simulated.stdout)) or tuple(names)


def _packages(only: str = "") -> tuple[str, ...]:
    """Returns the packages whose files are installed, also the half-installed packages.

    If `only` is a state of dpkg (such as "config-files"), returns the packages in that state.
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
    """During the `with` block, forbid package scripts to start services: write the file POLICY.

    Does nothing if systemd runs or POLICY exists already.
    """
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
    """Returns the `lab` process that wrote the policy file; None if no `lab` wrote one."""
    try:
        match = re.search(rf"^{re.escape(MARK)} (\d+) ([\d.]+)$", file.read_text(), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return None
    return Process(int(match[1]), float(match[2])) if match else None
