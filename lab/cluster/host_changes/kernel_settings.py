"""Notes the kernel settings that a node changes, and restores them when the last node is gone.

A node is a privileged container, so its systemd and kubelet change settings of the whole machine.
The note, <cache root>/machine/kernel.json, holds the values from before the first node.
A setting is restored only if it still has the value that the node set. If it has another value,
somebody else has changed it since then. The inotify limits stay raised, because `lab doctor` tells
users to raise them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lab.cluster.state import write_atomically
from lab.paths import cache_root

SET_BY_A_NODE: Final[Mapping[str, str]] = {
    "fs.file-max": "9223372036854775807",
    "fs.nr_open": "1073741816",
    "fs.protected_fifos": "1",
    "fs.protected_hardlinks": "1",
    "fs.protected_regular": "2",
    "fs.protected_symlinks": "1",
    "kernel.keys.root_maxbytes": "25000000",
    "kernel.keys.root_maxkeys": "1000000",
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "kernel.pid_max": "4194304",
    "vm.overcommit_memory": "1",
}
"""Kernel setting → the value that a node's systemd (sysctl.d, process 1) or kubelet sets."""
_ROOT = Path("/proc/sys")


def note() -> None:
    """Note the current values before a node is created, unless an earlier node's note exists."""
    file = _file()
    if not file.exists() and _ROOT.is_dir():
        now = {name: value for name in SET_BY_A_NODE if (value := _read(name)) is not None}
        write_atomically(file, json.dumps(now, indent=1) + "\n")


def undo() -> list[str]:
    """Restore the noted values after the last node is gone.

    Returns one sentence, in a list, about the settings that this user may not change; [] when there
    are no such settings.
    """
    try:
        before = dict(json.loads(_file().read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return []
    refused = []
    for name, value in to_set(before, {name: _read(name) for name in before}).items():
        try:
            _path(name).write_text(value)
        except OSError:
            refused.append(f"{name}={value}")
    _file().unlink(missing_ok=True)
    if not refused:
        return []
    return [
        f"the node changed settings of this kernel: sudo sysctl {' '.join(refused)} restores them"
    ]


def to_set(before: Mapping[str, str], now: Mapping[str, str | None]) -> dict[str, str]:
    """Returns the settings to restore: those that a node changed and nobody has changed since."""
    return {
        name: value
        for name, value in before.items()
        if name in SET_BY_A_NODE and now.get(name) == SET_BY_A_NODE[name] != value
    }


def _file() -> Path:
    return cache_root() / "machine" / "kernel.json"


def _path(name: str) -> Path:
    return _ROOT.joinpath(*name.split("."))


def _read(name: str) -> str | None:
    try:
        return _path(name).read_text().strip()
    except OSError:
        return None
