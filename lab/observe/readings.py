"""Readings of a pod as plain frozen data. Compare two readings with `==`.

Two correct readings of the same thing can differ in counters, in comments, and in what only one of
the two readers can know. Most of these fields are not compared; the class docstrings name them.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

PROGRAM_WIDTH = 19
"""The netstat of net-tools cuts "PID/Program name" after this number of characters."""
USER_WIDTH = 8
"""The ps of procps prints at most this number of characters of a user's name."""


@dataclass(frozen=True)
class Listener:
    """A TCP socket that accepts connections.

    `address` is as netstat prints it ("0.0.0.0", "127.0.0.1", "::"). `process` is argv[0] of the
    owner as netstat prints it (of an absolute path, only the file name); None when the reader may
    not see the owner. `pid` is the owner's process id inside its container. `container` is the
    container's name; netstat does not know it, so it is None in a reading of netstat's output.
    """

    address: str
    port: int
    process: str | None = None
    pid: int | None = None
    container: str | None = None

    @property
    def program(self) -> str | None:
        """The first word of `process`, without a final colon: "nginx: master pro" → "nginx"."""
        if not self.process:
            return None
        return self.process.split()[0].rstrip(":")

    @property
    def socket(self) -> tuple[str, int]:
        """Only address and port, without the owner."""
        return self.address, self.port

    def __str__(self) -> str:
        owner = f" {self.pid}/{self.process}" if self.process else ""
        inside = f" in {self.container}" if self.container else ""
        return f"{self.address}:{self.port}{owner}{inside}"


def sockets(listeners: Iterable[Listener]) -> frozenset[tuple[str, int]]:
    """Return address and port of each listener, without the owners."""
    return frozenset(listener.socket for listener in listeners)


def ports(listeners: Iterable[Listener]) -> frozenset[int]:
    """Return the port numbers of the listeners."""
    return frozenset(listener.port for listener in listeners)


def seen_from(listeners: Iterable[Listener], container: str) -> frozenset[Listener]:
    """Return the listeners as `netstat -ntlp` in `container` prints them.

    netstat cuts long names, and does not see owners in other containers. The result is equal to
    `parse_netstat` of its output, if netstat may read every process of the container.
    """
    return frozenset(
        replace(listener, container=None, process=_cut(listener))
        if listener.container == container
        else Listener(listener.address, listener.port)
        for listener in listeners
    )


def _cut(listener: Listener) -> str | None:
    if listener.process is None or listener.pid is None:
        return listener.process
    # netstat pads with blanks, so a name that is cut after a blank loses that blank too.
    return listener.process[: PROGRAM_WIDTH - len(f"{listener.pid}/")].rstrip()


@dataclass(frozen=True)
class Interface:
    """A network interface that is up.

    `ipv4` and `ipv6` are addresses with prefix length ("10.244.0.5/24"). `flags` are the names that
    ifconfig prints ("UP", "RUNNING", …). `mtu` is in bytes, `mac` is None for loopback. The
    counters of packets and bytes, since the interface was created, are not compared.
    """

    name: str
    mtu: int
    flags: frozenset[str]
    ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()
    broadcast: str | None = None
    mac: str | None = None
    rx_packets: int = field(default=0, compare=False)
    rx_bytes: int = field(default=0, compare=False)
    tx_packets: int = field(default=0, compare=False)
    tx_bytes: int = field(default=0, compare=False)

    @property
    def address(self) -> str | None:
        """The first IPv4 address without its prefix length."""
        return self.ipv4[0].split("/")[0] if self.ipv4 else None

    def __str__(self) -> str:
        mac = f" with {self.mac}" if self.mac else ""
        flags = " ".join(sorted(self.flags))
        return " ".join([f"{self.name}{mac}", *self.ipv4, *self.ipv6, f"mtu {self.mtu}", flags])


@dataclass(frozen=True)
class Route:
    """One IPv4 route of the main table.

    `destination` is in CIDR form; the default route has "0.0.0.0/0". `gateway` is None for a
    directly connected network. `flags` are the letters that `route` prints (U up, G gateway,
    H host, ! reject).
    """

    destination: str
    gateway: str | None
    interface: str
    flags: str = "U"
    metric: int = 0

    def __str__(self) -> str:
        via = f" by {self.gateway}" if self.gateway else ""
        metric = f" metric {self.metric}" if self.metric else ""
        return f"{self.destination}{via} on {self.interface} {self.flags}{metric}"


@dataclass(frozen=True)
class Process:
    """A process as `ps -ef` in its container lists it.

    `pid` and `ppid` are ids inside the container; ppid is 0 for a process that was started from
    outside. `command` is the argument list joined by blanks. `argv`, the exact argument list, and
    `node_pid`, the id on the node, are known only to a reader outside the container, so these two
    fields are not compared.
    """

    pid: int
    ppid: int
    user: str
    command: str
    argv: tuple[str, ...] = field(default=(), compare=False)
    node_pid: int | None = field(default=None, compare=False)

    @property
    def program(self) -> str:
        """The file name of the program, from argv[0] or the first word of `command`."""
        first = self.argv[0] if self.argv else self.command
        return (first.split() or [""])[0].rstrip(":").rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return f"{self.user} {self.pid} {self.ppid} {self.command}"


def shown_user(name: str) -> str:
    """Return a user's name as procps prints it: cut to eight characters, with "+" at the end."""
    return name if len(name) <= USER_WIDTH else name[: USER_WIDTH - 1] + "+"


@dataclass(frozen=True)
class Rule:
    """One netfilter rule, in a canonical form that does not depend on the tool that printed it.

    `matches` are sorted texts such as "-p tcp", "! -d 127.0.0.1/32", "-o lo",
    "! --dport 15008", "--uid-owner 1337". `target` is a chain, or "RETURN", "REDIRECT", …
    `options` are the options of the target ("--to-ports 15001"). `goto` is True for "-g" instead of
    "-j". Counters and comment are not compared.
    """

    chain: str
    matches: tuple[str, ...] = ()
    target: str | None = None
    options: tuple[str, ...] = ()
    goto: bool = False
    comment: str | None = field(default=None, compare=False)
    packets: int | None = field(default=None, compare=False)
    bytes: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        words = ["-A", self.chain, *self.matches]
        if self.target:
            words += ["-g" if self.goto else "-j", self.target, *self.options]
        return " ".join(words)


@dataclass(frozen=True)
class Chain:
    """A chain with its rules in order. `policy` is None for a chain that is not built in.

    `references` is the kernel's count of rules that jump to this chain (only `iptables -L`
    prints it). Counters and `references` are not compared.
    """

    name: str
    policy: str | None = None
    rules: tuple[Rule, ...] = ()
    references: int | None = field(default=None, compare=False)
    packets: int | None = field(default=None, compare=False)
    bytes: int | None = field(default=None, compare=False)

    @property
    def hits(self) -> int:
        """The sum of the packet counters of all rules; 0 when counters were not read."""
        return sum(rule.packets or 0 for rule in self.rules)


@dataclass(frozen=True)
class Table:
    """A netfilter table, such as "nat". The order of its chains is not compared."""

    name: str
    chains: tuple[Chain, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.chains, key=lambda chain: chain.name))
        object.__setattr__(self, "chains", ordered)

    @property
    def names(self) -> frozenset[str]:
        """The names of all chains."""
        return frozenset(chain.name for chain in self.chains)

    @property
    def user_chains(self) -> frozenset[str]:
        """The names of the chains that are not built in (they have no policy)."""
        return frozenset(chain.name for chain in self.chains if chain.policy is None)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules of all chains, chain after chain."""
        return tuple(rule for chain in self.chains for rule in chain.rules)

    def chain(self, name: str) -> Chain:
        """Return the chain with this name. For an absent chain, return a chain without rules."""
        return next((chain for chain in self.chains if chain.name == name), Chain(name))

    def has(self, name: str) -> bool:
        """Whether the table has a chain with this name."""
        return name in self.names


@dataclass(frozen=True)
class Connect:
    """The outcome of one TCP connection attempt from a pod's network.

    "open": the handshake succeeded. "refused": the peer answered with a reset. "timed out": no
    answer came within the time limit. "unreachable": any other error, such as no route. `detail` is
    the text of the error, `seconds` the duration; both are not compared.
    """

    outcome: Literal["open", "refused", "timed out", "unreachable"]
    detail: str = field(default="", compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def open(self) -> bool:
        """Whether the handshake succeeded."""
        return self.outcome == "open"

    def __str__(self) -> str:
        return self.outcome


@dataclass(frozen=True)
class HttpAnswer:
    """The answer to one HTTP request from a pod's network.

    `status` is None when no answer came; then `error` has the reason. Header names are in lower
    case; of repeated headers, only the last is kept. `body` is text, cut after 1 MiB (after 64 MiB
    for an answer from 127.0.0.1, because Envoy's dumps are large). `seconds` is the duration, which
    is not compared.
    """

    status: int | None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    error: str = ""
    seconds: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        return f"status {self.status}" if self.status else f"no answer: {self.error}"


@dataclass(frozen=True)
class Ran:
    """The result of a program that the observer ran in a pod's network namespace."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def network(address: str, mask: str) -> str:
    """Return a network in CIDR form: "10.244.0.0/24" for "10.244.0.0" and "255.255.255.0"."""
    return str(ipaddress.ip_network(f"{address}/{mask}", strict=False))
