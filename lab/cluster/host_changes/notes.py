"""Notes what the lab's Docker daemon changes on this machine outside our folders, and undoes it.

    <cache root>/docker/machine.json   the note: written before the daemon starts, completed when
                                       the daemon answers

While the daemon starts, the field `before` of the note holds the machine's state before the start.
The other fields hold what all starts added together: firewall rules and chains, the bridge, kernel
settings, files. If a start is interrupted, the next `up` or `down --all` completes the note.
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
"""Kernel settings that dockerd may change."""
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
"""Files and folders that dockerd and its containerd create outside the lab's folders.

A folder is removed only if it is empty.
"""


@dataclass(frozen=True)
class MachineState:
    """The state of this machine, as far as dockerd may change it.

    `links`: names of network interfaces. `sysctls`: kernel setting → value. `files`: those of FILES
    that exist.
    """

    rules: Rules
    links: tuple[str, ...]
    sysctls: Mapping[str, str]
    files: tuple[str, ...]


@dataclass(frozen=True)
class DaemonNote:
    """What all starts of the daemon have added so far; during a start, also the state before it."""

    rules: DaemonRules = field(default_factory=DaemonRules)
    links: tuple[str, ...] = ()
    """Network interfaces that the daemon added."""
    sysctls: Mapping[str, str] | None = None
    """Kernel settings that the daemon changed: name → the value before that change."""
    files: tuple[str, ...] = ()
    """Files and folders that the daemon added."""
    others: tuple[str, ...] = ()
    """Network interfaces that existed before the daemon's first start."""
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
    """Write the machine's state into the note before the daemon starts; keep the other fields."""
    settle(file)
    note = read(file) or DaemonNote(others=look().links)
    _write(file, replace(note, before=look()))


def settle(file: Path) -> None:
    """Write what the started daemon added into the note; do nothing if no start is in progress."""
    note = read(file)
    if note is not None and note.before is not None:
        _write(file, completed(note, look()))


def completed(note: DaemonNote, now: MachineState) -> DaemonNote:
    """Returns `note` with what the daemon added or changed between `note.before` and `now`.

    `note.before` must not be None. In the result `before` is None: no start is in progress.
    """
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
    """Remove what the daemon added; the daemon must have ended.

    Returns sentences that tell what stays and why; [] when nothing stays.
    """
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
        f"{name} stays as it is: {', '.join(links)} appeared since and may need it"
        for name, links in kept.items()
    ]


def _forwarding(note: DaemonNote, now: MachineState) -> dict[str, list[str]]:
    """Returns the IP-forwarding settings that must stay, each with the interfaces that may need it.

    The interfaces are those that appeared since the daemon's first start and are not the daemon's.
    """
    new_links = [link for link in now.links if link not in (*note.others, *note.links)]
    return {name: new_links for name in note.sysctls or {} if new_links and "forward" in name}


def read(file: Path) -> DaemonNote | None:
    """Reads the note; returns None when the file is missing or damaged."""
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
