"""The observer's program against a real network namespace: it agrees with the reader's tools."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.errors import ObservationError
from lab.observe import network
from lab.observe.observer.channel import Channel
from lab.observe.parsers import (
    parse_ifconfig,
    parse_iptables_list,
    parse_iptables_save,
    parse_netstat,
    parse_route,
)

pytestmark = pytest.mark.dataplane

RULES = """*nat
-N ISTIO_REDIRECT
-N ISTIO_OUTPUT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-port 15001
COMMIT
"""
SERVER = (
    "import http.server, sys; print('up', flush=True); "
    "http.server.ThreadingHTTPServer(('127.0.0.1', 15000), "
    "http.server.SimpleHTTPRequestHandler).serve_forever()"
)


@dataclass
class Space:
    """A network namespace held by a sleeping process, and a channel of root on this host."""

    pid: int
    channel: Channel

    def tool(self, *argv: str) -> str:
        done = self.channel.ask("run", wait=10, pid=self.pid, argv=list(argv), timeout=10)
        assert done["returncode"] == 0, done["stderr"]
        return str(done["stdout"])


@pytest.fixture
def space(tools: None) -> Iterator[Space]:
    channel = Channel([], python=sys.executable)
    holder = subprocess.Popen(["unshare", "--net", "sleep", "120"])
    try:
        own = channel.ask("netns", wait=5, pid=1)
        deadline = threading.Event()
        for _ in range(200):  # unshare needs a moment before it is in its own namespace
            if channel.ask("netns", wait=5, pid=holder.pid) not in (0, own):
                break
            deadline.wait(0.01)
        one = Space(holder.pid, channel)
        one.tool("ip", "link", "set", "lo", "up")
        one.tool("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
        one.tool("ip", "addr", "add", "10.244.9.5/24", "brd", "+", "dev", "eth0")
        one.tool("ip", "link", "set", "eth0", "up")
        one.tool("ip", "link", "set", "far0", "up")
        one.tool("ip", "route", "add", "default", "via", "10.244.9.1", "dev", "eth0")
        one.tool("ip", "route", "add", "10.9.9.9/32", "via", "10.244.9.1", "metric", "7")
        yield one
    finally:
        holder.kill()
        holder.wait()
        channel.close()


def test_links_and_routes_agree_with_ifconfig_and_route(space: Space) -> None:
    seen = space.channel.ask("network", wait=10, pid=space.pid)
    interfaces = network.interfaces(seen["links"], seen["addresses"])
    assert interfaces == parse_ifconfig(space.tool("ifconfig"))
    assert {one.name for one in interfaces} == {"lo", "eth0", "far0"}
    routes = network.routes(seen["routes"], seen["links"])
    assert set(routes) == set(parse_route(space.tool("route", "-n")))
    assert len(routes) == 3


def test_rules_agree_with_what_iptables_lists(space: Space) -> None:
    restored = subprocess.run(
        ["nsenter", "--target", str(space.pid), "--net", "iptables-restore", "--noflush"],
        input=RULES,
        text=True,
        check=True,
        capture_output=True,
    )
    assert restored.returncode == 0
    space.channel.ask("connect", wait=2, pid=space.pid, host="10.244.9.77", port=80, timeout=0.3)
    saved = parse_iptables_save(space.channel.ask("rules", wait=10, pid=space.pid))["nat"]
    listed = parse_iptables_list(space.tool("iptables", "-nvL", "-t", "nat"))
    assert listed == saved
    given = parse_iptables_save(RULES)["nat"]
    assert set(given.rules) == set(saved.rules)
    assert saved.chain("ISTIO_REDIRECT").hits > 0


def test_a_namespace_that_nothing_was_put_in_has_no_tables(space: Space) -> None:
    assert parse_iptables_save(space.channel.ask("rules", wait=10, pid=space.pid)) == {}


def test_sockets_http_and_connections_are_seen_from_outside(space: Space) -> None:
    server = subprocess.Popen(
        ["nsenter", "--target", str(space.pid), "--net", sys.executable, "-u", "-c", SERVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/proc/sys/net",
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"up\n"
        answer = {}
        for _ in range(100):
            answer = space.channel.ask(
                "http",
                wait=5,
                pid=space.pid,
                url="http://127.0.0.1:15000/?x=1",
                method="GET",
                headers={},
                timeout=2,
            )
            if answer["status"]:
                break
        assert answer["status"] == 200
        assert "ipv4" in answer["body"]
        (listener,) = space.channel.ask("sockets", wait=5, pid=space.pid)
        assert (listener["address"], listener["port"]) == ("127.0.0.1", 15000)
        assert listener["pid"] == server.pid
        (printed,) = parse_netstat(space.tool("netstat", "-ntlp"))
        assert (printed.pid, printed.process) == (server.pid, listener["process"])

        def connect(host: str, port: int) -> str:
            seen = space.channel.ask(
                "connect", wait=5, pid=space.pid, host=host, port=port, timeout=0.5
            )
            return str(seen["outcome"])

        assert connect("127.0.0.1", 15000) == "open"
        assert connect("10.244.9.5", 15000) == "refused"
        assert connect("10.244.9.77", 80) in ("timed out", "unreachable")
        space.tool("ip", "route", "del", "default")
        assert connect("192.0.2.1", 80) == "unreachable"
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


def test_a_refused_request_is_an_answer_and_a_missing_tool_an_error(space: Space) -> None:
    answer = space.channel.ask(
        "http",
        wait=5,
        pid=space.pid,
        url="http://127.0.0.1:15000/",
        method="GET",
        headers={},
        timeout=2,
    )
    assert answer["status"] is None
    assert "refused" in answer["error"]
    with pytest.raises(ObservationError, match="not in the observer's image"):
        space.tool("no-such-tool")


def test_questions_are_answered_side_by_side(space: Space) -> None:
    """A slow connection attempt does not hold up a reading."""
    slow = threading.Thread(
        target=lambda: space.channel.ask(
            "run", wait=10, pid=space.pid, argv=["sleep", "2"], timeout=5
        )
    )
    slow.start()
    space.channel.ask("hello", wait=5)
    assert slow.is_alive()
    slow.join()
