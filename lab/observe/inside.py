"""The program inside the observer: answers questions about processes and their networks.

It is piped into `docker exec -i OBSERVER python3`, so that it is always this checkout's; it uses
the standard library and pyroute2 only. One JSON object a line comes in
(`{"id": 1, "ask": "sockets", "pid": 42, …}`), one goes out (`{"id": 1, "ok": …}` or
`{"id": 1, "error": "…", "hint": "…"}`). Each question is answered on a thread of its own: a thread
can enter a network namespace by itself, and what it starts is in that namespace too.
"""

import ctypes
import http.client
import json
import os
import pwd
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROC = Path("/proc")
LISTEN = "0A"
CLONE_NEWNET = 0x40000000
BODY_LIMIT = 1 << 20
DUMP_LIMIT = 64 << 20
_CONTAINER = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})")
_libc = ctypes.CDLL(None, use_errno=True)


class UnanswerableError(Exception):
    """A question that has no answer now, with a hint."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


# --- processes ---------------------------------------------------------------------------
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


# --- the network namespace ---------------------------------------------------------------
def enter(pid: int) -> None:
    """Move this thread into a process's network namespace."""
    try:
        handle = os.open(PROC / str(pid) / "ns" / "net", os.O_RDONLY)
    except OSError as gone:
        raise UnanswerableError(
            f"process {pid} is gone", "was its pod deleted meanwhile?"
        ) from gone
    try:
        if _libc.setns(handle, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise UnanswerableError(
                f"cannot enter the network namespace of process {pid}: {os.strerror(number)}",
                "the observer must run privileged, in the node's pid namespace",
            )
    finally:
        os.close(handle)


def network(pid: int) -> dict[str, Any]:
    """Links with their addresses, and IPv4 routes of the main table, by pyroute2."""
    from pyroute2 import IPRoute  # half a second to import: only who asks pays

    enter(pid)
    with IPRoute() as netlink:
        links = [message(one) for one in netlink.get_links()]
        addresses = [message(one) for one in netlink.get_addr()]
        routes = [message(one) for one in netlink.get_routes(family=socket.AF_INET, table=254)]
    return {"links": links, "addresses": addresses, "routes": routes}


def message(seen: Any) -> dict[str, Any]:
    """A netlink message as plain JSON: its fields, and those attributes that we use."""
    wanted = (
        *("IFLA_IFNAME", "IFLA_MTU", "IFLA_ADDRESS", "IFLA_STATS64"),
        *("IFA_ADDRESS", "IFA_LOCAL", "IFA_BROADCAST"),
        *("RTA_DST", "RTA_GATEWAY", "RTA_OIF", "RTA_PRIORITY", "RTA_TABLE"),
    )
    plain: dict[str, Any] = {
        key: seen[key]
        for key in ("index", "flags", "family", "prefixlen", "dst_len", "type", "table")
        if key in seen
    }
    for name, value in seen["attrs"]:
        if name in wanted:
            plain[name] = dict(value) if isinstance(value, dict) else value
    return plain


def run(pid: int, argv: list[str], timeout: float) -> dict[str, Any]:
    """Run a tool in the namespace; its output as text."""
    enter(pid)
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as missing:
        raise UnanswerableError(f"{argv[0]} is not in the observer's image") from missing
    except subprocess.TimeoutExpired as late:
        raise UnanswerableError(f"{' '.join(argv)} ran longer than {timeout} s") from late
    return {
        "returncode": done.returncode,
        "stdout": done.stdout.decode(errors="replace"),
        "stderr": done.stderr.decode(errors="replace"),
    }


def rules(pid: int, family: int = 4, timeout: float = 10.0) -> str:
    """`iptables-save -c` of every table."""
    tool = "iptables-save" if family == 4 else "ip6tables-save"
    done = run(pid, [tool, "-c"], timeout)
    if done["returncode"] != 0:
        raise UnanswerableError(f"{tool}: {done['stderr'].strip()}")
    return str(done["stdout"])


def connect(pid: int, host: str, port: int, timeout: float) -> dict[str, Any]:
    """One TCP connection attempt."""
    enter(pid)
    started = time.monotonic()
    outcome, detail = "open", ""
    try:
        socket.create_connection((host, port), timeout=timeout).close()
    except ConnectionRefusedError as error:
        outcome, detail = "refused", str(error)
    except TimeoutError as error:
        outcome, detail = "timed out", str(error)
    except OSError as error:
        outcome, detail = "unreachable", str(error)
    return {"outcome": outcome, "detail": detail, "seconds": time.monotonic() - started}


def request(
    pid: int, url: str, method: str, headers: dict[str, str], timeout: float
) -> dict[str, Any]:
    """One HTTP request; what went wrong is part of the answer, not an error of ours."""
    enter(pid)
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    limit = DUMP_LIMIT if host == "127.0.0.1" else BODY_LIMIT  # configuration dumps are large
    started = time.monotonic()
    answer: dict[str, Any] = {"status": None, "headers": {}, "body": "", "error": ""}
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request(method, target, headers={"connection": "close", **headers})
        response = connection.getresponse()
        answer["status"] = response.status
        answer["headers"] = {name.lower(): value for name, value in response.getheaders()}
        answer["body"] = body(response, limit, started + timeout).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return {**answer, "seconds": time.monotonic() - started}


def body(response: http.client.HTTPResponse, limit: int, deadline: float) -> bytes:
    """The answer's body up to `limit` bytes; one that drips on is cut at the deadline."""
    parts: list[bytes] = []
    size = 0
    while size < limit and (part := response.read1(min(65536, limit - size))):
        parts.append(part)
        size += len(part)
        if time.monotonic() > deadline:
            break
    return b"".join(parts)


# --- the channel -------------------------------------------------------------------------
QUESTIONS: dict[str, Callable[..., Any]] = {
    "hello": lambda: {"pid": os.getpid(), "user": pwd.getpwuid(os.getuid()).pw_name},
    "pod": pod,
    "processes": processes,
    "sockets": sockets,
    "network": network,
    "rules": rules,
    "run": run,
    "connect": connect,
    "http": request,
    "netns": inode,
}


def answer(line: bytes) -> dict[str, Any]:
    """The answer to one line; never raises for a question that went wrong."""
    number: Any = None
    try:
        asked = json.loads(line)
        number = asked.pop("id")
        return {"id": number, "ok": QUESTIONS[asked.pop("ask")](**asked)}
    except UnanswerableError as error:
        return {"id": number, "error": str(error), "hint": error.hint}
    except Exception as error:  # noqa: BLE001 - the far side raises it, typed, with this text
        return {"id": number, "error": f"{type(error).__name__}: {error}", "hint": ""}


def main() -> None:
    """Answer until standard input ends."""
    writing = threading.Lock()

    def work(line: bytes) -> None:
        data = json.dumps(answer(line)).encode() + b"\n"
        with writing:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    for line in sys.stdin.buffer:
        threading.Thread(target=work, args=(line,), daemon=True).start()


if __name__ == "__main__":
    main()
