"""HTTP over sockets in network namespaces: an application that says who called, and its callers."""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

from tests.dataplane import everyones
from tests.peers import flows_matrix, flows_traffic
from tests.peers.flows_traffic import Dial

SERVE: Final = """
import json, socket, sys, threading
side, wanted = sys.argv[1], json.loads(sys.argv[2])
def answer(c, peer):
    c.settimeout(2)
    try:
        seen = b""
        while b"\\r\\n\\r\\n" not in seen and (more := c.recv(4096)):
            seen += more
        told = {"side": side, "at": c.getsockname()[1], "peer": peer[0], "port": peer[1]}
        body = json.dumps(told).encode()
        head = "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n"
        c.sendall((head % len(body)).encode() + body)
    except OSError:
        pass
    c.close()
def serve(s):
    while True:
        threading.Thread(target=answer, args=s.accept(), daemon=True).start()
for host, port in wanted:
    six = ":" in host
    s = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if six:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((host, port))
    s.listen(64)
    threading.Thread(target=serve, args=(s,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""
DIAL: Final = """
import json, os, socket, sys
TCP_SECONDS, UDP_SECONDS = 2.0, 0.4
PATHS = {15020: "/healthz/ready", 15090: "/stats/prometheus"}
def dial(one):
    six, tcp = ":" in one["host"], one["proto"] == "tcp"
    s = socket.socket(socket.AF_INET6 if six else socket.AF_INET,
                      socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    s.settimeout(TCP_SECONDS if tcp else UDP_SECONDS)
    try:
        if one["source"]:
            s.bind((one["source"], 0))
        s.connect((one["host"], one["port"]))
        if not tcp:
            s.send(b"?")
            return json.loads(s.recv(4096))
        host = "[%s]" % one["host"] if six else one["host"]
        path = PATHS.get(one["port"], "/who")
        s.sendall(("GET %s HTTP/1.1\\r\\nHost: %s:%d\\r\\nConnection: close\\r\\n\\r\\n"
                   % (path, host, one["port"])).encode())
        data = b""
        while more := s.recv(65536):
            data += more
        head, _, body = data.partition(b"\\r\\n\\r\\n")
        status = head.split(b" ")[1].decode() if head.startswith(b"HTTP/") else "no answer"
        if status != "200":
            return {"failed": status}
        if one["port"] in PATHS:
            return {"answered": True}
        return {**json.loads(body), "own": s.getsockname()[1]}
    except (OSError, ValueError) as failed:
        return {"failed": type(failed).__name__}
""" + flows_traffic.DIAL[flows_traffic.DIAL.index("for one in json.load") :]
PASSTHROUGH: Final = (flows_matrix.V4.passthrough, flows_matrix.V6.passthrough)


@contextmanager
def serving(namespace: str, side: str, wanted: Sequence[tuple[str, int]]) -> Iterator[None]:
    """An application on these addresses until the block ends."""
    argv = ["ip", "netns", "exec", namespace, everyones.python(), "-c", SERVE, side]
    with subprocess.Popen([*argv, json.dumps(wanted)], stdout=subprocess.PIPE) as server:
        try:
            flows_traffic.await_ready(server, time.monotonic() + 20)
            yield
        finally:
            server.kill()


def dial(namespace: str, dials: Sequence[Dial]) -> list[str]:
    """Dial from inside, one after the other; of each the way it went, and where it ended."""
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, everyones.python(), "-c", DIAL],
        input=json.dumps([asdict(one) for one in dials]),
        capture_output=True,
        text=True,
        timeout=10 + 3 * len(dials),
        check=True,
    )
    return [
        _text(one, json.loads(line))
        for one, line in zip(dials, done.stdout.splitlines(), strict=True)
    ]


def _text(one: Dial, answer: dict[str, object]) -> str:
    if "failed" in answer:
        return f"failed: {answer['failed']}"
    if "answered" in answer:
        return "answered"
    where = f"{answer['side']}:{answer['at']}"
    if one.proto == "udp":
        return f"udp {where}"
    # Envoy's own connection has a port of its own, whoever's address it has.
    way = "direct" if answer["port"] == answer["own"] else "captured"
    return f"{way}, to {where}"


def settle(namespace: str) -> None:
    """Until the cable carries both IP versions: neighbours are still unknown at first."""
    dials = [Dial(at.client, 80) for at in (flows_matrix.V4, flows_matrix.V6)]
    ended: list[str] = []
    for _ in range(10):
        ended = dial(namespace, dials)
        if ended == ["direct, to far:80"] * 2:
            return
    raise RuntimeError(f"the far side cannot be reached without rules: {ended}")
