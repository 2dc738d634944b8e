"""The program inside the observer: answers questions about processes and their networks.

channel.py sends this module and procfs.py to `docker exec -i OBSERVER python3`, so the program
always matches this checkout. Both modules use only the standard library and pyroute2. A question is
one line of JSON (`{"id": 1, "ask": "sockets", "pid": 42, …}`), and so is its answer (`{"id": 1,
"ok": …}` or `{"id": 1, "error": "…", "hint": "…"}`). Each question runs in its own thread, because
entering a network namespace affects only the calling thread and the processes that it starts.
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
    """Move this thread into the network namespace of a process.

    Raises UnanswerableError when the process has ended or the kernel refuses.
    """
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
    """Read the links, the addresses, and the IPv4 routes of the main table, with pyroute2."""
    from pyroute2 import IPRoute  # the import takes half a second: only this question pays for it

    enter(pid)
    with IPRoute() as netlink:
        links = [message(link) for link in netlink.get_links()]
        addresses = [message(address) for address in netlink.get_addr()]
        routes = [message(route) for route in netlink.get_routes(family=socket.AF_INET, table=254)]
    return {"links": links, "addresses": addresses, "routes": routes}


def message(raw: Any) -> dict[str, Any]:
    """Convert a netlink message to plain JSON: its fields and the attributes that the lab uses."""
    wanted = (
        *("IFLA_IFNAME", "IFLA_MTU", "IFLA_ADDRESS", "IFLA_STATS64"),
        *("IFA_ADDRESS", "IFA_LOCAL", "IFA_BROADCAST"),
        *("RTA_DST", "RTA_GATEWAY", "RTA_OIF", "RTA_PRIORITY", "RTA_TABLE"),
    )
    plain: dict[str, Any] = {
        key: raw[key]
        for key in ("index", "flags", "family", "prefixlen", "dst_len", "type", "table")
        if key in raw
    }
    for name, value in raw["attrs"]:
        if name in wanted:
            plain[name] = dict(value) if isinstance(value, dict) else value
    return plain


def run(pid: int, argv: list[str], timeout: float) -> dict[str, Any]:
    """Run a tool in the network namespace of `pid` and return exit code and output as text."""
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
    """Return the output of `iptables-save -c`, or of `ip6tables-save -c` if `family` is 6."""
    tool = "iptables-save" if family == 4 else "ip6tables-save"
    done = run(pid, [tool, "-c"], timeout)
    if done["returncode"] != 0:
        raise UnanswerableError(f"{tool}: {done['stderr'].strip()}")
    return str(done["stdout"])


def connect(pid: int, host: str, port: int, timeout: float) -> dict[str, Any]:
    """Try to open one TCP connection. readings.Connect explains the outcomes."""
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
    """Send one HTTP request. A failed request is not raised, but is in the answer's `error`."""
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
    """Read the body of an HTTP response, until its end, `limit` bytes or the deadline."""
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
    """Answer the question in one line. If it fails, the answer has `error`; nothing is raised."""
    number: Any = None
    try:
        asked = json.loads(line)
        number = asked.pop("id")
        return {"id": number, "ok": QUESTIONS[asked.pop("ask")](**asked)}
    except UnanswerableError as error:
        return {"id": number, "error": str(error), "hint": error.hint}
    except Exception as error:  # noqa: BLE001 - the channel raises it as ObservationError
        return {"id": number, "error": f"{type(error).__name__}: {error}", "hint": ""}


def main() -> None:
    """Answer the questions on standard input, until standard input ends."""
    writing = threading.Lock()

    def work(line: bytes) -> None:
        data = json.dumps(answer(line)).encode() + b"\n"
        with writing:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    for line in sys.stdin.buffer:
        threading.Thread(target=work, args=(line,), daemon=True).start()
