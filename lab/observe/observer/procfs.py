"""Processes, and the sockets that they listen on, as /proc tells of them.

Part of the program inside the observer (program.py): standard library only.
"""

import os
import re
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PROC = Path("/proc")
LISTEN = "0A"
_CONTAINER = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})")


class UnanswerableError(Exception):
    """A question that has no answer now, with a hint."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def pids() -> Iterator[int]:
    """Every process that this /proc shows."""
    for name in (entry.name for entry in os.scandir(PROC)):
        if name.isdigit():
            yield int(name)


def read(pid: int, name: str) -> str:
    """A file of /proc/PID, "" when the process is gone or forbids it."""
    try:
        return (PROC / str(pid) / name).read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def owner(cgroup: str) -> tuple[str, str]:
    """Container id and pod uid in a /proc/PID/cgroup text (cgroup v1 or v2), "" if not there.

    The last id counts: in the node's own container, each path begins with that container's.
    """
    for line in cgroup.splitlines():
        path = line.split(":", 2)[-1]
        pod = _POD.search(path)
        if pod:
            ids = _CONTAINER.findall(path[pod.end() :])
            return (ids[-1] if ids else "", pod[1].replace("_", "-"))
    return "", ""


def inode(pid: int, namespace: str = "net") -> int:
    """Inode of a process's namespace; 0 when it is gone."""
    try:
        link = str((PROC / str(pid) / "ns" / namespace).readlink())
    except OSError:
        return 0
    return int(link.split("[")[1].rstrip("]"))


def describe(pid: int) -> dict[str, Any] | None:
    """What /proc says of one process; None when it is gone. Kernel threads have no argv."""
    status = read(pid, "status")
    stat = read(pid, "stat").rpartition(")")[2].split()
    if not status or len(stat) < 20:
        return None
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    command = read(pid, "cmdline")
    # A process that gave itself a shorter title (pilot-agent does) leaves NULs at the end.
    argv = command.rstrip("\0").split("\0")
    return {
        "node_pid": pid,
        "pid": int(fields.get("NSpid", str(pid)).split()[-1]),
        "node_ppid": int(fields["PPid"]),
        "uid": int(fields["Uid"].split()[1]),
        "argv": argv if command else [],
        "name": fields["Name"],
        "started": int(stat[19]),
        "zombie": fields.get("State", "").startswith("Z"),
    }


def members(pod: str = "", container: str = "") -> dict[str, list[dict[str, Any]]]:
    """Container id → its processes by pid, of one pod or one container."""
    found: dict[str, list[dict[str, Any]]] = {}
    for pid in pids():
        of, pod_uid = owner(read(pid, "cgroup"))
        if not of or (pod and pod_uid != pod) or (container and of != container):
            continue
        seen = describe(pid)
        if seen:
            found.setdefault(of, []).append(seen)
    for every in found.values():
        every.sort(key=lambda one: one["pid"])
    return found


def first(processes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A container's first process: pid 1 of its namespace, else the one started first."""
    return min(processes, key=lambda one: (one["pid"] != 1, one["started"], one["node_pid"]))


def user(pid: int, uid: int) -> str:
    """A user's name by the container's own passwd file, as its `ps` would look it up."""
    for line in read(pid, "root/etc/passwd").splitlines():
        parts = line.split(":")
        if len(parts) > 2 and parts[2] == str(uid):
            return parts[0]
    return str(uid)


def pod(uid: str) -> dict[str, Any]:
    """Each container of a pod: first process's id on the node, network namespace's inode."""
    return {
        container: {"pid": first(every)["node_pid"], "netns": inode(first(every)["node_pid"])}
        for container, every in members(pod=uid).items()
    }


def processes(container: str) -> list[dict[str, Any]]:
    """Every process of a container, as `ps -ef` there would list them."""
    every = members(container=container).get(container, [])
    inner = {one["node_pid"]: one["pid"] for one in every}
    return [
        {
            **one,
            "ppid": inner.get(one["node_ppid"], 0),
            "user": user(one["node_pid"], one["uid"]),
        }
        for one in every
    ]


# --- sockets -----------------------------------------------------------------------------
def address(text: str) -> tuple[str, int]:
    """Address and port of /proc/net/tcp's hexadecimal form (each 32 bits in host order)."""
    host, port = text.split(":")
    words = [int(host[i : i + 8], 16) for i in range(0, len(host), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)), int(port, 16)


def listening(text: str) -> Iterator[tuple[str, int, int]]:
    """Address, port and socket inode of each listener in a /proc/net/tcp text."""
    for row in text.splitlines()[1:]:
        words = row.split()
        if len(words) > 9 and words[3] == LISTEN:
            yield (*address(words[1]), int(words[9]))


def program(argv: list[str], name: str) -> str:
    """The name as netstat takes it: argv[0], without its folder when it begins with "/"."""
    if not argv:
        return name
    return argv[0].rsplit("/", 1)[-1] if argv[0].startswith("/") else argv[0]


def sockets(pid: int, uid: str = "") -> list[dict[str, Any]]:
    """Listeners of a process's network namespace with the process that holds each.

    Of several holders the one with the lowest pid counts, as in netstat. `uid` is the pod's:
    owners are looked for among its processes; without it, among all in the namespace.
    """
    if uid:
        candidates = [(of, one) for of, every in members(pod=uid).items() for one in every]
    else:
        namespace = inode(pid)
        here = (describe(each) for each in pids() if inode(each) == namespace)
        candidates = [("", one) for one in here if one]
    holders: dict[int, tuple[str, dict[str, Any]]] = {}
    for container, one in sorted(candidates, key=lambda pair: (pair[1]["pid"], pair[0])):
        for held in held_sockets(one["node_pid"]):
            holders.setdefault(held, (container, one))
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for family in ("net/tcp", "net/tcp6"):
        text = read(pid, family)
        if not text and family == "net/tcp":
            raise UnanswerableError(f"process {pid} is gone", "was its pod deleted meanwhile?")
        for host, port, number in listening(text):
            row: dict[str, Any] = {"address": host, "port": port}
            if number in holders:
                container, one = holders[number]
                row |= {
                    "process": program(one["argv"], one["name"]),
                    "pid": one["pid"],
                    "container": container or None,
                }
            found.setdefault((host, port), row)
    return list(found.values())


def held_sockets(pid: int) -> Iterator[int]:
    """Inodes of the sockets that a process has open."""
    try:
        descriptors = list(os.scandir(PROC / str(pid) / "fd"))
    except OSError:
        return
    for one in descriptors:
        try:
            link = str(Path(one.path).readlink())
        except OSError:
            continue
        if link.startswith("socket:["):
            yield int(link[8:-1])
