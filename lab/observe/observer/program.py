"""The program inside the observer: answers questions about processes and their networks.

It is piped into `docker exec -i OBSERVER python3` with procfs.py (channel.py), so that it is always
this checkout's; they use the standard library and pyroute2 only. One JSON object a line comes in
(`{"id": 1, "ask": "sockets", "pid": 42, …}`), one goes out (`{"id": 1, "ok": …}` or
`{"id": 1, "error": "…", "hint": "…"}`). Each question is answered on a thread of its own: a thread
can enter a network namespace by itself, and what it starts is in that namespace too.
"""

import ctypes
import http.client
import json
import os
import pwd
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from lab.observe.observer.procfs import PROC, UnanswerableError, inode, pod, processes, sockets

CLONE_NEWNET = 0x40000000
BODY_LIMIT = 1 << 20
DUMP_LIMIT = 64 << 20
_libc = ctypes.CDLL(None, use_errno=True)


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
