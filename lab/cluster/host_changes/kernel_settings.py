"""Settings of this machine's kernel that a node changes: noted before, put back after the last.

A node is privileged, so systemd and kubelet in it set what is the whole machine's. What is noted:
<cache root>/machine/kernel.json, name → value before. Put back is only what still has the node's
value: anything else, somebody has set since. The limits of inotify stay raised: `lab doctor` tells
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
"""Name → value. Set by systemd (sysctl.d, and as process 1) and by kubelet's container manager."""
_ROOT = Path("/proc/sys")


def note() -> None:
    """Before a node is made: how things are, where an earlier node's note is not there yet."""
    file = _file()
    if not file.exists() and _ROOT.is_dir():
        now = {name: value for name in SET_BY_A_NODE if (value := _read(name)) is not None}
        write_atomically(file, json.dumps(now, indent=1) + "\n")


def undo() -> list[str]:
    """After the last node is gone: as it was before the first. What may not be set, a sentence."""
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
    return [f"the node changed settings of this kernel: sudo sysctl {' '.join(refused)} undoes it"]


def to_set(before: Mapping[str, str], now: Mapping[str, str | None]) -> dict[str, str]:
    """What has to be set again: what a node changed, and nobody has changed since."""
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
