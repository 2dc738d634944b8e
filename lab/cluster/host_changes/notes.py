"""What a Docker daemon of ours changes on this machine outside our folders, noted and undone.

    <cache root>/docker/machine.json   written before the daemon starts, completed once it answers

The note holds how things were (`before`, while the daemon starts) and what all starts made together
(`made`): firewall rules and chains, the bridge, settings of the kernel, files. What was cut off
between the two is completed by the next command.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.cluster.host_changes import network_rules
from lab.cluster.host_changes.network_rules import BRIDGE, Chain, Made, Rule, Rules
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
"""What dockerd sets when it finds it otherwise."""
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
"""What dockerd and its containerd make beside their own folders; a folder goes when it is empty."""


@dataclass(frozen=True)
class Machine:
    """How things are. `links` are network interfaces, `sysctls` name → value, `files` are paths."""

    rules: Rules
    links: tuple[str, ...]
    sysctls: Mapping[str, str]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """What was made so far, and how things were before the start that goes on now."""

    rules: Made = field(default_factory=Made)
    links: tuple[str, ...] = ()
    sysctls: Mapping[str, str] | None = None
    """Name → the value before."""
    files: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Interfaces that were there before the first start."""
    before: Machine | None = None


def look() -> Machine:
    """How things are on this machine now."""
    programs = [one for one in VARIANTS if shutil.which(f"{one}-save")]
    programs = programs or [one for one in PLAIN if shutil.which(f"{one}-save")]
    saved = {one: run([f"{one}-save"], timeout=30, check=False).stdout for one in programs}
    net = Path("/sys/class/net")
    values = {name: _value(name) for name in SYSCTLS}
    return Machine(
        network_rules.parse(saved),
        tuple(sorted(one.name for one in net.iterdir())) if net.is_dir() else (),
        {name: value for name, value in values.items() if value is not None},
        tuple(one for one in FILES if Path(one).exists()),
    )


def before_start(file: Path) -> None:
    """Note how things are, before a daemon is started. What it adds to an earlier note stays."""
    settle(file)
    note = read(file) or Note(others=look().links)
    _write(file, replace(note, before=look()))


def settle(file: Path) -> None:
    """Note what the daemon that was started made; does nothing where that is noted already."""
    note = read(file)
    if note is not None and note.before is not None:
        _write(file, completed(note, look()))


def completed(note: Note, now: Machine) -> Note:
    """The note with what the daemon made since its `before`."""
    was = note.before
    assert was is not None
    changed = {
        name: value
        for name, value in was.sysctls.items()
        if now.sysctls.get(name, value) != value and name not in (note.sysctls or {})
    }
    bridge = (BRIDGE,) if BRIDGE in now.links and BRIDGE not in (*was.links, *note.links) else ()
    files = tuple(one for one in now.files if one not in (*was.files, *note.files))
    return Note(
        note.rules.and_then(network_rules.difference(was.rules, now.rules)),
        note.links + bridge,
        {**(note.sysctls or {}), **changed},
        note.files + files,
        note.others,
    )


def undo(file: Path) -> list[str]:
    """Take away what the daemon, which has ended, made; says what had to stay, and why."""
    settle(file)
    note = read(file)
    if note is None:
        return ["docker0 and the firewall rules of a daemon that an earlier version started stay"]
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
    for one in sorted(note.files, key=len, reverse=True):
        _remove(Path(one))
    file.unlink(missing_ok=True)
    return [f"{name} stays as it is: {', '.join(why)} came since" for name, why in kept.items()]


def _forwarding(note: Note, now: Machine) -> dict[str, list[str]]:
    """Settings that others may have come to need: interfaces appeared that are not the daemon's."""
    came = [one for one in now.links if one not in (*note.others, *note.links)]
    return {name: came for name in note.sysctls or {} if came and "forward" in name}


def read(file: Path) -> Note | None:
    """The note; None when there is no (sound) one."""
    try:
        return _note(json.loads(file.read_text()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, note: Note) -> None:
    write_atomically(file, json.dumps(asdict(note), indent=1) + "\n")


def _note(told: Mapping[str, Any]) -> Note:
    rules, was = told["rules"], told["before"]
    return Note(
        Made(
            tuple(Chain(**one) for one in rules["chains"]),
            tuple(Rule(**one) for one in rules["rules"]),
            tuple(Chain(**one) for one in rules["policies"]),
        ),
        tuple(told["links"]),
        told["sysctls"],
        tuple(told["files"]),
        tuple(told["others"]),
        was
        and Machine(
            Rules(
                tuple(Chain(**one) for one in was["rules"]["chains"]),
                tuple(Rule(**one) for one in was["rules"]["rules"]),
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
    """A file, or a folder that is empty."""
    try:
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    except OSError:
        return  # something that is not ours is in it
