"""Readings of a pod as plain frozen data. Compare two readings with `==`.

Two correct readings of the same thing may differ in counters, comments and what only one of the
readers can know. These fields take no part in equality; the class docstrings name them.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

PROGRAM_WIDTH = 19
"""Characters that net-tools' netstat keeps of "PID/Program name"."""
USER_WIDTH = 8
"""Characters that procps keeps of a user's name; a longer one ends in "+"."""


@dataclass(frozen=True)
class Listener:
    """A TCP socket that accepts connections.

    `address` is as netstat prints it ("0.0.0.0", "127.0.0.1", "::"). `process` is argv[0] as
    netstat prints it (without the folder if it starts with "/"); None when the reader may not
    know it. `pid` is the process id inside its own container. Only a reading from outside the
    pod knows `container`; netstat does not.
    """

    address: str
    port: int
    process: str | None = None
    pid: int | None = None
    container: str | None = None

    @property
    def program(self) -> str | None:
        """The first word of `process` without a trailing colon: "nginx: master pro" → "nginx"."""
        if not self.process:
            return None
        return self.process.split()[0].rstrip(":")

    @property
    def socket(self) -> tuple[str, int]:
        """Address and port alone."""
        return self.address, self.port

    def __str__(self) -> str:
        owner = f" {self.pid}/{self.process}" if self.process else ""
        inside = f" in {self.container}" if self.container else ""
        return f"{self.address}:{self.port}{owner}{inside}"


def sockets(listeners: Iterable[Listener]) -> frozenset[tuple[str, int]]:
    """Address and port of each listener, without owners."""
    return frozenset(listener.socket for listener in listeners)


def ports(listeners: Iterable[Listener]) -> frozenset[int]:
    """The port numbers of the listeners."""
    return frozenset(listener.port for listener in listeners)


def seen_from(listeners: Iterable[Listener], container: str) -> frozenset[Listener]:
    """The listeners as `netstat -ntlp` in `container` prints them.

    netstat cuts long names and does not know the owners in other containers. The result equals
    `parse_netstat` of the real output if that netstat may read every process of its container.
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
    """A network interface that is up. Addresses have their prefix length ("10.244.0.5/24").

    `flags` are ifconfig's names ("UP", "RUNNING", …), `mtu` is bytes, `mac` is None on loopback.
    The counters cover the interface's lifetime, in packets and bytes, and are not compared.
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
    """One IPv4 route of the main table; `destination` in CIDR form, "0.0.0.0/0" is default.

    `flags` are route's letters (U up, G gateway, H host, ! reject); `gateway` is None on a
    directly connected network; `metric` is a plain number.
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

    `pid` and `ppid` are ids inside the container (ppid 0: started from outside). `command` is
    the argument list joined by blanks. Only a reading from outside knows `argv`, the exact
    argument list, and `node_pid`, the id on the node; both are not compared.
    """

    pid: int
    ppid: int
    user: str
    command: str
    argv: tuple[str, ...] = field(default=(), compare=False)
    node_pid: int | None = field(default=None, compare=False)

    @property
    def program(self) -> str:
        """The file name of argv[0], without a trailing colon."""
        first = self.argv[0] if self.argv else self.command
        return (first.split() or [""])[0].rstrip(":").rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return f"{self.user} {self.pid} {self.ppid} {self.command}"


def shown_user(name: str) -> str:
    """A user's name as procps prints it: at most eight characters, a cut name ends in "+"."""
    return name if len(name) <= USER_WIDTH else name[: USER_WIDTH - 1] + "+"


@dataclass(frozen=True)
class Rule:
    """One netfilter rule, in a canonical form that does not depend on the tool that printed it.

    `matches` are sorted texts such as "-p tcp", "! -d 127.0.0.1/32", "-o lo",
    "! --dport 15008", "--uid-owner 1337". `target` is a chain or "RETURN", "REDIRECT", …;
    `options` are the target's ("--to-ports 15001"). Counters and comment are not compared.
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
    """A chain with its rules in order. `policy` is None for a user's chain.

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
        """Packets that matched any rule of this chain (0 when counters were not read)."""
        return sum(rule.packets or 0 for rule in self.rules)


@dataclass(frozen=True)
class Table:
    """A netfilter table ("nat"). The order in which chains were created is not compared."""

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
        """All rules, chain after chain."""
        return tuple(rule for chain in self.chains for rule in chain.rules)

    def chain(self, name: str) -> Chain:
        """The chain with that name; an empty chain when it is absent, which keeps checks simple."""
        return next((chain for chain in self.chains if chain.name == name), Chain(name))

    def has(self, name: str) -> bool:
        """Whether the chain exists."""
        return name in self.names


@dataclass(frozen=True)
class Connect:
    """The outcome of one TCP connection attempt from a pod's network.

    `open`: the handshake succeeded. `refused`: the peer reset it at once. `timed out`: no answer
    came within the limit. `unreachable`: no route, or an ICMP error. `detail` is the error's
    text and `seconds` the wall time; both are not compared.
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

    `status` is None when no answer came; `error` then has the reason. Header names are lower
    case; of repeated headers the last is kept. `body` is text, cut at 1 MiB (at 64 MiB from
    127.0.0.1, for Envoy's dumps). `seconds` is wall time and not compared.
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
    """CIDR text of an address and a dotted mask, for instance "10.244.0.0" and "255.255.255.0"."""
    return str(ipaddress.ip_network(f"{address}/{mask}", strict=False))
