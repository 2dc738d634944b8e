"""Real sockets in network namespaces: servers that say what reached them, and many dials at once.

The servers stand in for Envoy, agent and application. That is right here, because what is tested
are the rules: which socket gets a connection, and with which addresses.
"""

import json
import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from typing import Final

from tests.dataplane import everyones

SERVE: Final = """
import json, os, selectors, socket, struct, sys
side, wanted = sys.argv[1], json.loads(sys.argv[2])
chosen = selectors.DefaultSelector()
for proto, host, port, transparent, uid in wanted:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    os.seteuid(uid)  # whose a socket is, is settled when it is made
    s = socket.socket(family, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
    os.seteuid(0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if transparent:  # IP_TRANSPARENT, IPV6_TRANSPARENT
        s.setsockopt(*((41, 75, 1) if family == socket.AF_INET6 else (0, 19, 1)))
    s.bind((host, port))
    if proto == "tcp":
        s.listen(64)
    chosen.register(s, selectors.EVENT_READ)
print("ready", flush=True)
def original(c):
    try:
        if c.family == socket.AF_INET6:
            raw = c.getsockopt(41, 80, 28)
            address = socket.inet_ntop(socket.AF_INET6, raw[8:24])
        else:
            raw = c.getsockopt(0, 80, 16)
            address = socket.inet_ntoa(raw[4:8])
        return [address, struct.unpack_from("!H", raw, 2)[0]]
    except OSError:  # conntrack knows no translation
        return list(c.getsockname()[:2])
while True:
    for key, _ in chosen.select():
        s = key.fileobj
        at = s.getsockname()[1]
        if s.type == socket.SOCK_DGRAM:
            _, peer = s.recvfrom(2048)
            s.sendto(json.dumps({"side": side, "at": at}).encode(), peer)
            continue
        c, peer = s.accept()
        found = {"side": side, "at": at, "original": original(c), "peer": peer[0]}
        try:
            c.sendall(json.dumps(found).encode())
        except OSError:
            pass
        c.close()
"""
DIAL: Final = """
import json, os, socket, sys
TCP_SECONDS, UDP_SECONDS = 1.0, 0.4
def dial(one):
    family = socket.AF_INET6 if ":" in one["host"] else socket.AF_INET
    tcp = one["proto"] == "tcp"
    s = socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    s.settimeout(TCP_SECONDS if tcp else UDP_SECONDS)
    try:
        if one["source"]:
            s.bind((one["source"], 0))
        s.connect((one["host"], one["port"]))
        if not tcp:
            s.send(b"?")
        data = s.recv(4096)
        return json.loads(data) if data else {"failed": "closed"}
    except OSError as failed:
        return {"failed": type(failed).__name__}
for one in json.load(sys.stdin):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresgid(*[one["gid"]] * 3)
        os.setresuid(*[one["uid"]] * 3)
        os.write(w, json.dumps(dial(one)).encode())
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as answer:
        print(answer.read() or '{"failed": "no answer"}', flush=True)
    os.waitpid(pid, 0)
"""


@dataclass(frozen=True)
class Socket:
    """One listening socket: `proto` tcp or udp; `transparent` as TPROXY needs it; its owner."""

    proto: str
    host: str
    port: int
    transparent: bool = False
    uid: int = 0


@dataclass(frozen=True)
class Dial:
    """One connection or datagram; `source` is an address to bind to, "" for the kernel's choice."""

    host: str
    port: int
    proto: str = "tcp"
    uid: int = 1000
    gid: int = 1000
    source: str = ""


@contextmanager
def serving(namespace: str, side: str, sockets: Sequence[Socket]) -> Iterator[None]:
    """Serve inside until the block ends. Raises RuntimeError when a socket cannot be had."""
    wanted = json.dumps([astuple(one) for one in sockets])
    argv = ["ip", "netns", "exec", namespace, everyones.python(), "-c", SERVE, side, wanted]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            await_ready(server, time.monotonic() + 10)
            yield
        finally:
            server.kill()


def dial(namespace: str, dials: Sequence[Dial]) -> list[str]:
    """Dial from inside, one after the other; of each where it ended, as text.

    `pod:15001 for 10.96.0.10:80 from 10.210.0.2`, `udp pod:15053`, or `failed: WHY`.
    """
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, everyones.python(), "-c", DIAL],
        input=json.dumps([asdict(one) for one in dials]),
        capture_output=True,
        text=True,
        timeout=5 + 2 * len(dials),
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [_text(one, answer) for one, answer in zip(dials, answers, strict=True)]


def _text(one: Dial, answer: dict[str, object]) -> str:
    if "failed" in answer:
        return f"failed: {answer['failed']}"
    where = f"{answer['side']}:{answer['at']}"
    if one.proto == "udp":
        return f"udp {where}"
    original = answer["original"]
    assert isinstance(original, list)
    return f"{where} for {joined(original[0], original[1])} from {answer['peer']}"


def joined(host: str, port: int) -> str:
    """Address and port; IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def await_ready(server: "subprocess.Popen[bytes]", deadline: float) -> None:
    assert server.stdout is not None
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(server.stdout, selectors.EVENT_READ)
        while b"ready" not in seen:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise RuntimeError(f"the servers were not ready in time: {seen!r}")
            more = os.read(server.stdout.fileno(), 4096)
            if not more:
                raise RuntimeError(f"the servers ended: {seen!r}")
            seen += more
