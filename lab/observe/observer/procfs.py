"""Reads processes and their listening sockets from /proc.

This module is a part of the program inside the observer (program.py), so it uses only the standard
library.
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
    """The program cannot answer the question. `hint` tells the user what to check."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def pids() -> Iterator[int]:
    """Yield the id of every process in /proc."""
    for name in (entry.name for entry in os.scandir(PROC)):
        if name.isdigit():
            yield int(name)


def read(pid: int, name: str) -> str:
    """Return the text of /proc/PID/`name`; "" when the process has ended or access is denied."""
    try:
        return (PROC / str(pid) / name).read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def owner(cgroup: str) -> tuple[str, str]:
    """Return the container id and the pod uid in the text of /proc/PID/cgroup.

    An id that the text does not contain is "".
    Works for cgroup v1 and v2. Of several container ids in the path, the last one counts, because
    the path can begin with the id of the node's own container.
    """
    for line in cgroup.splitlines():
        path = line.split(":", 2)[-1]
        pod = _POD.search(path)
        if pod:
            ids = _CONTAINER.findall(path[pod.end() :])
            return (ids[-1] if ids else "", pod[1].replace("_", "-"))
    return "", ""


def inode(pid: int, namespace: str = "net") -> int:
    """Return the inode of a process's namespace; 0 when the process has ended."""
    try:
        link = str((PROC / str(pid) / "ns" / namespace).readlink())
    except OSError:
        return 0
    return int(link.split("[")[1].rstrip("]"))


def describe(pid: int) -> dict[str, Any] | None:
    """Read one process from /proc; None when the process has ended. Kernel threads have no argv."""
    status = read(pid, "status")
    stat = read(pid, "stat").rpartition(")")[2].split()
    if not status or len(stat) < 20:
        return None
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    command = read(pid, "cmdline")
    # A process that sets a shorter title (pilot-agent does) leaves NULs at the end.
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
    """Return the processes of one pod or of one container.

    `pod` is the pod's uid, `container` the container's id; "" stands for every pod or container.
    The keys of the result are container ids, and each list of processes is sorted by pid.
    """
    by_container: dict[str, list[dict[str, Any]]] = {}
    for pid in pids():
        container_id, pod_uid = owner(read(pid, "cgroup"))
        if (
            not container_id
            or (pod and pod_uid != pod)
            or (container and container_id != container)
        ):
            continue
        process = describe(pid)
        if process:
            by_container.setdefault(container_id, []).append(process)
    for group in by_container.values():
        group.sort(key=lambda member: member["pid"])
    return by_container


def first(processes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return a container's first process: that with pid 1, else the one that started first."""
    return min(
        processes,
        key=lambda process: (process["pid"] != 1, process["started"], process["node_pid"]),
    )


def user(pid: int, uid: int) -> str:
    """Return the name that the container's /etc/passwd gives to `uid`.

    Returns `uid` as text when it has no name there.
    """
    for line in read(pid, "root/etc/passwd").splitlines():
        parts = line.split(":")
        if len(parts) > 2 and parts[2] == str(uid):
            return parts[0]
    return str(uid)


def pod(uid: str) -> dict[str, Any]:
    """Return the first process of each container of the pod with this uid.

    The keys of the result are container ids. In each value, `pid` is the process's id on the node,
    and `netns` is the inode of its network namespace.
    """
    return {
        container: {"pid": first(group)["node_pid"], "netns": inode(first(group)["node_pid"])}
        for container, group in members(pod=uid).items()
    }


def processes(container: str) -> list[dict[str, Any]]:
    """Return all processes of a container, each with its user's name and its parent.

    The name and the parent's pid are those inside the container; the pid of a parent outside is 0.
    Returns [] when the container has no process.
    """
    listed = members(container=container).get(container, [])
    inner = {process["node_pid"]: process["pid"] for process in listed}
    return [
        {
            **process,
            "ppid": inner.get(process["node_ppid"], 0),
            "user": user(process["node_pid"], process["uid"]),
        }
        for process in listed
    ]


# --- sockets -----------------------------------------------------------------------------
def address(text: str) -> tuple[str, int]:
    """Decode a hexadecimal address and port of /proc/net/tcp (32-bit words in host byte order)."""
    host, port = text.split(":")
    words = [int(host[i : i + 8], 16) for i in range(0, len(host), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)), int(port, 16)


def listening(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield address, port and socket inode of each listening socket in a text of /proc/net/tcp."""
    for row in text.splitlines()[1:]:
        words = row.split()
        if len(words) > 9 and words[3] == LISTEN:
            yield (*address(words[1]), int(words[9]))


def program(argv: list[str], name: str) -> str:
    """Return the name that netstat prints for a process.

    It is argv[0], but only the file name of an absolute path; without argv, it is `name`.
    """
    if not argv:
        return name
    return argv[0].rsplit("/", 1)[-1] if argv[0].startswith("/") else argv[0]


def sockets(pid: int, uid: str = "") -> list[dict[str, Any]]:
    """Return the listening sockets in a process's network namespace, with their owners.

    The owner is the process that has the socket open. If several processes have it open, the owner
    is the one with the lowest pid, as in netstat. With a pod's `uid`, owners are searched among the
    pod's processes; without it, among all processes in the network namespace. A socket without a
    known owner has only the keys `address` and `port`.
    """
    if uid:
        candidates = [
            (container_id, process)
            for container_id, group in members(pod=uid).items()
            for process in group
        ]
    else:
        namespace = inode(pid)
        here = (describe(each) for each in pids() if inode(each) == namespace)
        candidates = [("", process) for process in here if process]
    holders: dict[int, tuple[str, dict[str, Any]]] = {}
    for container, holder in sorted(candidates, key=lambda pair: (pair[1]["pid"], pair[0])):
        for socket_inode in held_sockets(holder["node_pid"]):
            holders.setdefault(socket_inode, (container, holder))
    listeners: dict[tuple[str, int], dict[str, Any]] = {}
    for family in ("net/tcp", "net/tcp6"):
        text = read(pid, family)
        if not text and family == "net/tcp":
            raise UnanswerableError(f"process {pid} is gone", "was its pod deleted meanwhile?")
        for host, port, number in listening(text):
            row: dict[str, Any] = {"address": host, "port": port}
            if number in holders:
                container, holder = holders[number]
                row |= {
                    "process": program(holder["argv"], holder["name"]),
                    "pid": holder["pid"],
                    "container": container or None,
                }
            listeners.setdefault((host, port), row)
    return list(listeners.values())


def held_sockets(pid: int) -> Iterator[int]:
    """Yield the inodes of the sockets that a process has open."""
    try:
        descriptors = list(os.scandir(PROC / str(pid) / "fd"))
    except OSError:
        return
    for descriptor in descriptors:
        try:
            link = str(Path(descriptor.path).readlink())
        except OSError:
            continue
        if link.startswith("socket:["):
            yield int(link[8:-1])
