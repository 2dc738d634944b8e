"""Real connections in the test's namespaces: listeners that say what reached them, and dials."""

import json
import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.dataplane import everyones
from tests.dataplane.everyones import as_user

LISTEN = """
import json, selectors, socket, struct, sys
chosen = selectors.DefaultSelector()
for word in sys.argv[1:]:
    host, port = word.rsplit(",", 1)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if port.startswith("t"):
        s.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT
        port = port[1:]
    s.bind((host, int(port)))
    s.listen()
    chosen.register(s, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        c, peer = key.fileobj.accept()
        local = c.getsockname()[:2]
        try:
            if c.family == socket.AF_INET6:
                raw = c.getsockopt(41, 80, 28)
                address = socket.inet_ntop(socket.AF_INET6, raw[8:24])
            else:
                raw = c.getsockopt(0, 80, 16)
                address = socket.inet_ntoa(raw[4:8])
            original = [address, struct.unpack_from("!H", raw, 2)[0]]
        except OSError:  # conntrack knows no translation
            original = list(local)
        at = key.fileobj.getsockname()[1]
        c.sendall(json.dumps({"at": at, "original": original, "peer": peer[:2]}).encode())
        c.close()
"""
DIAL = """
import socket, sys
host, port, source = sys.argv[1], int(sys.argv[2]), sys.argv[3]
bound = (source, 0) if source else None
c = socket.create_connection((host, port), timeout=3, source_address=bound)
data = b""
while more := c.recv(4096):
    data += more
print(data.decode())
"""


@dataclass(frozen=True)
class Landed:
    """Which listening port accepted, where the client meant to go, and who the client was."""

    at: int
    original: tuple[str, int]
    peer: str


@contextmanager
def listening(namespace: str, addresses: Sequence[str]) -> Iterator[None]:
    """Listen on `host,port` words inside; `port` as `tPORT` listens transparently."""
    argv = ["ip", "netns", "exec", namespace, everyones.python(), "-c", LISTEN, *addresses]
    out = subprocess.PIPE
    with subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, cwd="/") as server:
        try:
            assert server.stdout is not None
            _await_ready(server, time.monotonic() + 10)
            yield
        finally:
            server.kill()


def dial(
    namespace: str,
    host: str,
    port: int,
    *,
    uid: int = 0,
    gid: int | None = None,
    source: str = "",
) -> Landed | None:
    """Connect from inside as a user; None where nobody accepted."""
    words = [*as_user(uid, gid), everyones.python(), "-c", DIAL, host, str(port), source]
    argv = ["ip", "netns", "exec", namespace, *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, cwd="/")
    if done.returncode:
        refused = ("ConnectionRefused", "TimeoutError", "timed out", "No route", "unreachable")
        assert any(word in done.stderr for word in refused), done.stderr
        return None
    told = json.loads(done.stdout)
    return Landed(told["at"], (told["original"][0], told["original"][1]), told["peer"][0])


def _await_ready(server: subprocess.Popen[bytes], deadline: float) -> None:
    assert server.stdout is not None
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(server.stdout, selectors.EVENT_READ)
        while b"ready" not in seen:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                pytest.fail(f"the listener was not ready in time: {seen!r}")
            more = os.read(server.stdout.fileno(), 4096)
            if not more:
                pytest.fail(f"the listener ended: {seen!r}")
            seen += more
