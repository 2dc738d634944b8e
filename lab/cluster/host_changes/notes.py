"""Notes what a Docker daemon of ours changes on this machine outside our folders, and undoes it.

    <cache root>/docker/machine.json   written before the daemon starts, completed once it answers

While the daemon starts, the note holds the machine's state before (`before`). Its other fields hold
what all starts added together: firewall rules and chains, the bridge, kernel settings, files. If a
start is interrupted, the next command completes the note.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.cluster.host_changes import network_rules
from lab.cluster.host_changes.network_rules import BRIDGE, Chain, DaemonRules, Rule, Rules
from lab.cluster.state import write_atomically
from lab.command import run

VARIANTS = ("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy")
PLAIN = ("iptables", "ip6tables")
SYSCTLS = (
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.ipv6.conf.default.forwarding",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
)
"""Kernel settings that dockerd sets if they have another value."""
FILES = (
    "/etc/docker/key.json",
    "/etc/docker",
    "/opt/containerd/bin",
    "/opt/containerd/lib",
    "/opt/containerd",
    "/run/docker/plugins",
    "/run/docker/libnetwork",
    "/run/docker",
)
"""What dockerd and its containerd create outside their own folders; a folder goes when empty."""


@dataclass(frozen=True)
class MachineState:
    """The machine's state. `links` are interfaces, `sysctls` name → value, `files` paths."""

    rules: Rules
    links: tuple[str, ...]
    sysctls: Mapping[str, str]
    files: tuple[str, ...]


@dataclass(frozen=True)
class DaemonNote:
    """What the daemon's starts have added so far, and the state before a start in progress."""

    rules: DaemonRules = field(default_factory=DaemonRules)
    links: tuple[str, ...] = ()
    """Network interfaces that the daemon added."""
    sysctls: Mapping[str, str] | None = None
    """Kernel settings that the daemon changed: name → the value before."""
    files: tuple[str, ...] = ()
    """Files and folders that the daemon added."""
    others: tuple[str, ...] = ()
    """Interfaces that existed before the first start."""
    before: MachineState | None = None
    """The state before the start in progress; None when no start is in progress."""


def look() -> MachineState:
    """Returns the state of this machine now."""
    programs = [name for name in VARIANTS if shutil.which(f"{name}-save")]
    programs = programs or [name for name in PLAIN if shutil.which(f"{name}-save")]
    saved = {name: run([f"{name}-save"], timeout=30, check=False).stdout for name in programs}
    net = Path("/sys/class/net")
    values = {name: _value(name) for name in SYSCTLS}
    return MachineState(
        network_rules.parse(saved),
        tuple(sorted(link.name for link in net.iterdir())) if net.is_dir() else (),
        {name: value for name, value in values.items() if value is not None},
        tuple(path for path in FILES if Path(path).exists()),
    )


def before_start(file: Path) -> None:
    """Note the machine's state before a daemon is started; an earlier note's other fields stay."""
    settle(file)
    note = read(file) or DaemonNote(others=look().links)
    _write(file, replace(note, before=look()))


def settle(file: Path) -> None:
    """Note what the started daemon added; does nothing if no start is in progress."""
    note = read(file)
    if note is not None and note.before is not None:
        _write(file, completed(note, look()))


def completed(note: DaemonNote, now: MachineState) -> DaemonNote:
    """Returns the note with what the daemon added since its `before`, which must be set."""
    was = note.before
    assert was is not None
    changed = {
        name: value
        for name, value in was.sysctls.items()
        if now.sysctls.get(name, value) != value and name not in (note.sysctls or {})
    }
    bridge = (BRIDGE,) if BRIDGE in now.links and BRIDGE not in (*was.links, *note.links) else ()
    files = tuple(path for path in now.files if path not in (*was.files, *note.files))
    return DaemonNote(
        note.rules.and_then(network_rules.difference(was.rules, now.rules)),
        note.links + bridge,
        {**(note.sysctls or {}), **changed},
        note.files + files,
        note.others,
    )


def undo(file: Path) -> list[str]:
    """Remove what the ended daemon added; returns what stays and why, in sentences."""
    settle(file)
    note = read(file)
    if note is None:
        return [
            "docker0 and the firewall rules stay: an earlier version of the lab started the daemon "
            "and noted nothing"
        ]
    now = look()
    for command in network_rules.undo(note.rules, now.rules):
        run(command, timeout=30, check=False)
    for link in note.links:
        if link in now.links:
            run(["ip", "link", "delete", link], timeout=30, check=False)
    kept = _forwarding(note, now)
    for name, value in (note.sysctls or {}).items():
        if name not in kept and now.sysctls.get(name) != value:
            _path(name).write_text(value)
    for path in sorted(note.files, key=len, reverse=True):
        _remove(Path(path))
    file.unlink(missing_ok=True)
    return [
        f"{name} stays as it is: {', '.join(links)} appeared since" for name, links in kept.items()
    ]


def _forwarding(note: DaemonNote, now: MachineState) -> dict[str, list[str]]:
    """Returns the settings of forwarding that others may need now, with the new interfaces.

    Others may need them if interfaces appeared that are not the daemon's.
    """
    new_links = [link for link in now.links if link not in (*note.others, *note.links)]
    return {name: new_links for name in note.sysctls or {} if new_links and "forward" in name}


def read(file: Path) -> DaemonNote | None:
    """Returns the note; None when it is missing or damaged."""
    try:
        return _note(json.loads(file.read_text()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, note: DaemonNote) -> None:
    write_atomically(file, json.dumps(asdict(note), indent=1) + "\n")


def _note(record: Mapping[str, Any]) -> DaemonNote:
    rules, was = record["rules"], record["before"]
    return DaemonNote(
        DaemonRules(
            tuple(Chain(**chain) for chain in rules["chains"]),
            tuple(Rule(**rule) for rule in rules["rules"]),
            tuple(Chain(**chain) for chain in rules["policies"]),
        ),
        tuple(record["links"]),
        record["sysctls"],
        tuple(record["files"]),
        tuple(record["others"]),
        was
        and MachineState(
            Rules(
                tuple(Chain(**chain) for chain in was["rules"]["chains"]),
                tuple(Rule(**rule) for rule in was["rules"]["rules"]),
            ),
            tuple(was["links"]),
            was["sysctls"],
            tuple(was["files"]),
        ),
    )


def _path(sysctl: str) -> Path:
    return Path("/proc/sys", *sysctl.split("."))


def _value(sysctl: str) -> str | None:
    try:
        return _path(sysctl).read_text().strip()
    except OSError:
        return None


def _remove(path: Path) -> None:
    """Remove a file or an empty folder; does nothing if it cannot be removed."""
    try:
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    except OSError:
        return  # the folder holds something that is not ours
