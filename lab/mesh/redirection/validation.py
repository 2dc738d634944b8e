"""Dials through the rules and checks where connections land: `istio-iptables --run-validation`.

Two connections can be tested from inside a pod. A connection of Envoy's user to 127.0.0.6 is
captured as inbound. A connection of any other user to an outside address is captured as outbound.
Connections from outside (PREROUTING) cannot be made from inside. So they are not tested; for them,
only the rules can be read.
"""

import errno
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from lab.mesh.contract import INBOUND_PASSTHROUGH_SOURCE
from lab.mesh.errors import ValidationError
from lab.mesh.grammar.traffic_grammar import EVERYTHING
from lab.mesh.redirection.routes import PASSTHROUGH_IPV6
from lab.mesh.redirection.rules import Family
from lab.mesh.redirection.settings import Settings

SO_ORIGINAL_DST: Final = 80
"""Socket option that returns the destination that the client dialled, from before redirection."""
_DOCUMENTATION: Final = {
    "ipv4": ("192.0.2.1", "198.51.100.1", "203.0.113.1"),
    "ipv6": ("2001:db8::1", "3fff::1"),
}
"""Addresses that no host has: a connection to one of them succeeds only if it is redirected."""
_PASSTHROUGH: Final = {"ipv4": INBOUND_PASSTHROUGH_SOURCE, "ipv6": PASSTHROUGH_IPV6}
_NOT_PERMITTED: Final = b"not permitted"
_NO_ROUTE: Final = b"no route"


@dataclass(frozen=True)
class Probe:
    """A connection to `host`:`port`, which must arrive at the port `lands`.

    `uid`: the user who dials, None if it is this process's own user. `way`: the direction, as
    messages name it.
    """

    way: str
    host: str
    port: int
    lands: int
    uid: int | None = None

    @property
    def ipv6(self) -> bool:
        """Whether this is an IPv6 connection."""
        return ":" in self.host


@dataclass(frozen=True)
class Untestable:
    """A direction that cannot be dialled with these settings, and the reason."""

    way: str
    reason: str


@dataclass(frozen=True)
class Landing:
    """Where a probe landed: the listener's port, and the destination that the client dialled."""

    port: int
    host: str
    original_port: int


def probes(
    settings: Settings, port: int, uid: int, gid: int, family: Family = "ipv4"
) -> list[Probe | Untestable]:
    """Return, for inbound and for outbound, the connection that tests these settings.

    A process of `uid` and `gid` dials it. If it cannot, the direction is Untestable instead.
    """
    return [_inbound(settings, port, uid, family), _outbound(settings, port, uid, gid, family)]


def run(todo: list[Probe | Untestable], seconds: float, say: Callable[[str], None]) -> None:
    """Dial every probe, each within `seconds`, and report each result with `say`.

    Raises ValidationError when a probe lands elsewhere, or when no probe could be dialled.
    """
    dialled = 0
    for probe in todo:
        if isinstance(probe, Untestable):
            say(f"{probe.way}: not dialled: {probe.reason}")
            continue
        landing = dial(probe, seconds)
        if isinstance(landing, Untestable):
            say(f"{probe.way}: not dialled: {landing.reason}")
            continue
        expected = Landing(probe.lands, probe.host, probe.port)
        if landing != expected:
            raise ValidationError(
                f"{probe.way}: {probe.host}:{probe.port} landed at port {landing.port} with "
                f"original destination {landing.host}:{landing.original_port}",
                hint=f"expected port {probe.lands}: a rule is missing or another one comes first",
            )
        say(f"{probe.way}: {probe.host}:{probe.port} landed at port {probe.lands}, as it should")
        dialled += 1
    if not dialled:
        raise ValidationError(
            "no connection could be dialled, so nothing is proven",
            hint="run it as the proxy's user (1337), or with the capability SETUID",
        )


def dial(probe: Probe, seconds: float) -> Landing | Untestable:
    """Make one connection and return where it landed.

    Return Untestable if this process may not become user `probe.uid` or has no route to the host.
    Raises ValidationError when the connection does not land at `probe.lands` within `seconds`.
    """
    listener = socket.socket(socket.AF_INET6 if probe.ipv6 else socket.AF_INET)
    host = "::1" if probe.ipv6 else "127.0.0.1"
    with listener, selectors.DefaultSelector() as selector:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, probe.lands))
        except OSError as busy:
            raise ValidationError(
                f"{probe.way}: cannot listen on {host} port {probe.lands}: {busy.strerror}",
                hint="validation listens in Envoy's place: run it before Envoy starts",
            ) from busy
        listener.listen()
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ)
        answer, child = _dial_as(probe, seconds)
        try:
            selector.register(answer, selectors.EVENT_READ)
            return _await(probe, listener, answer, selector, time.monotonic() + seconds)
        finally:
            os.close(answer)
            os.waitpid(child, 0)


def original_destination(connection: socket.socket) -> tuple[str, int]:
    """Return the address and port that the client of this accepted connection dialled."""
    if connection.family == socket.AF_INET6:
        raw = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        port, packed = struct.unpack_from("!2xH4x16s", raw)
    else:
        raw = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        port, packed = struct.unpack_from("!2xH4s", raw)
    return str(ip_address(packed)), port


def _inbound(settings: Settings, port: int, uid: int, family: Family) -> Probe | Untestable:
    way, host = _WAYS[family][0], _PASSTHROUGH[family]
    first = settings.proxy_uids[0]
    if not first.isdigit():
        return Untestable(way, f"the proxy's user {first} is a range of users")
    if ip_address(host) in settings.loopback:
        return Untestable(way, f"{host} is within the loopback range {settings.loopback}")
    if port == settings.tunnel_port or port in settings.exclude_outbound_ports:
        return Untestable(way, f"port {port} is left alone")
    return Probe(way, host, port, settings.inbound_port, None if uid == int(first) else int(first))


_WAYS: Final = {
    "ipv4": ("inbound", "outbound"),
    "ipv6": ("inbound by IPv6", "outbound by IPv6"),
}


def _outbound(
    settings: Settings, port: int, uid: int, gid: int, family: Family
) -> Probe | Untestable:
    way, version = _WAYS[family][1], 4 if family == "ipv4" else 6
    if str(uid) in settings.proxy_uids or str(gid) in settings.proxy_gids:
        return Untestable(way, "this is the proxy's user, whose traffic is left alone")
    if settings.owner_groups != EVERYTHING or str(gid) in settings.exclude_owner_groups:
        return Untestable(way, "only some groups are captured")
    if port in settings.exclude_outbound_ports:
        return Untestable(way, f"port {port} is left alone")
    excluded = settings.exclude_outbound_ranges
    wanted = [ip_address(text) for text in _DOCUMENTATION[family]]
    if settings.outbound_ranges != EVERYTHING and port not in settings.outbound_ports:
        ranges = [n for n in settings.outbound_ranges if n.version == version]
        wanted = [n[0] if n.num_addresses < 4 else n[1] for n in ranges if not n.is_loopback]
    for address in wanted:
        if not any(address in network for network in excluded):
            return Probe(way, str(address), port, settings.proxy_port)
    return Untestable(way, "no captured address can be dialled")


def _dial_as(probe: Probe, seconds: float) -> tuple[int, int]:
    """Dial in a child process, which can become another user; return (pipe, the child's pid).

    The child writes its error to the pipe, and nothing if the connection succeeded.
    """
    answer, verdict = os.pipe()
    child = os.fork()
    if child:
        os.close(verdict)
        return answer, child
    failure = b""
    try:
        if probe.uid is not None:
            os.setgid(probe.uid)
            os.setuid(probe.uid)
        family = socket.AF_INET6 if probe.ipv6 else socket.AF_INET
        if not _has_route(probe, family):
            failure = _NO_ROUTE
        else:
            with socket.socket(family) as client:  # no look-up of names: its imports may fail
                client.settimeout(seconds)
                client.connect((probe.host, probe.port))
    except PermissionError as refused:
        failure = _NOT_PERMITTED if refused.filename is None else str(refused).encode()
    except OSError as failed:
        failure = str(failed.strerror or failed).encode()
    finally:
        os.write(verdict, failure)
        os._exit(0)  # never run the parent's exit handlers


def _has_route(probe: Probe, family: socket.AddressFamily) -> bool:
    """Return whether the kernel has a route to the host, without sending a packet."""
    with socket.socket(family, socket.SOCK_DGRAM) as question:
        try:
            question.connect((probe.host, probe.port))
        except OSError as failed:
            if failed.errno != errno.ENETUNREACH:
                raise
            return False
    return True


def _await(
    probe: Probe,
    listener: socket.socket,
    answer: int,
    selector: selectors.BaseSelector,
    deadline: float,
) -> Landing | Untestable:
    reason = "no answer"
    while (left := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            if key.fileobj is listener:
                connection, _ = listener.accept()
                with connection:
                    return Landing(probe.lands, *original_destination(connection))
            verdict = os.read(answer, 200)
            selector.unregister(answer)
            if verdict == _NOT_PERMITTED:
                return Untestable(probe.way, f"this process may not become user {probe.uid}")
            if verdict == _NO_ROUTE:
                return Untestable(probe.way, f"this namespace has no route to {probe.host}")
            words = verdict.decode()
            reason = words or "another listener accepted it"
            if words:
                deadline = 0.0  # it failed: nothing will arrive
    raise ValidationError(
        f"{probe.way}: {probe.host}:{probe.port} did not land at port {probe.lands}: {reason}",
        hint="a rule is missing, or another program's rule comes first: iptables -t nat -S",
    )
