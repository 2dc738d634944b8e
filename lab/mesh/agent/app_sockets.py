"""Tells whether the pod's application still uses the network, from the kernel's socket tables.

The agent must outlive the application: kubelet stops all containers of a pod at once, but an
application with a preStop hook, or with requests in progress, goes on for seconds. The application
needs its proxy until it has closed its sockets. The containers of a pod share one network
namespace, so the tables list the application's sockets together with those of the agent and of
Envoy. The sockets of these two are recognised by their inodes and do not count. Source:
proc_pid_net(5), "tcp" and "tcp6"; include/net/tcp_states.h.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

IN_USE: Final = frozenset({"01", "02", "08", "0A"})
"""ESTABLISHED, SYN_SENT, CLOSE_WAIT (the peer is done, the owner is not) and LISTEN."""
MOST_BYTES: Final = 4 * 2**20
"""How many bytes of a table are read at most. They describe about 27,000 sockets; so many sockets
already show that the application is running."""


def inodes_in_use(table: str) -> set[int]:
    """Return the inodes of those sockets in a table whose state is one of IN_USE."""
    inodes = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] in IN_USE and fields[9].isdigit():
            inodes.add(int(fields[9]))
    return inodes - {0}  # 0: a socket without an owner


def application_in_use(own: Iterable[int], proc: Path = Path("/proc")) -> bool:
    """Return whether a process other than those with the pids `own` uses a TCP socket.

    Returns False if the tables cannot be read, because then nothing is known of the application.
    """
    used: set[int] = set()
    for name in ("tcp", "tcp6"):
        try:
            with (proc / "self" / "net" / name).open("rb") as file:
                table = file.read(MOST_BYTES)
        except OSError:
            continue
        used |= inodes_in_use(table.decode("ascii", "replace"))
    return bool(used - _inodes_of(own, proc)) if used else False


def _inodes_of(pids: Iterable[int], proc: Path) -> set[int]:
    inodes = set()
    for pid in pids:
        try:
            links = [entry.readlink() for entry in (proc / str(pid) / "fd").iterdir()]
        except OSError:
            continue  # the process, or a descriptor of it, is gone
        for link in map(str, links):
            if link.startswith("socket:["):
                inodes.add(int(link[8:-1]))
    return inodes
