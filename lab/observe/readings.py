"""What can be seen of a pod, as plain frozen data. Two readings are compared with `==`.

What two honest readings of the same thing may differ in (counters, comments, who the reader is)
takes no part in equality; the field's docstring says so.
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
    netstat takes it (folder cut off when it starts with "/"); None when the reader cannot know.
    `pid` is the process id inside its own container. `container` is known only to a reading
    from outside, never to netstat.
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
    """Address and port of each, owners left out."""
    return frozenset(one.socket for one in listeners)


def ports(listeners: Iterable[Listener]) -> frozenset[int]:
    """The port numbers alone."""
    return frozenset(one.port for one in listeners)


def seen_from(listeners: Iterable[Listener], container: str) -> frozenset[Listener]:
    """What `netstat -ntlp` in `container` prints of these: names cut, foreign owners unknown.

    Equal to `parse_netstat` of the real output when that netstat may look at every process
    of its own container.
    """
    return frozenset(
        replace(one, container=None, process=_cut(one))
        if one.container == container
        else Listener(one.address, one.port)
        for one in listeners
    )


def _cut(one: Listener) -> str | None:
    if one.process is None or one.pid is None:
        return one.process
    # netstat pads with blanks, so a name cut right after a blank loses that blank too.
    return one.process[: PROGRAM_WIDTH - len(f"{one.pid}/")].rstrip()


@dataclass(frozen=True)
class Interface:
    """A network interface that is up. Addresses have their prefix length ("10.244.0.5/24").

    `flags` are ifconfig's names ("UP", "RUNNING", …), `mtu` is bytes, `mac` is None on loopback.
    The counters count packets and bytes since the interface exists, and are not compared.
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

    `pid` and `ppid` are inside the container (ppid 0: started from outside). `command` is the
    argument list joined by blanks. `argv` is exact and known only to a reading from outside;
    it and `node_pid` (the id on the node) are not compared.
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
    """A user's name as procps prints it in its column of eight."""
    return name if len(name) <= USER_WIDTH else name[: USER_WIDTH - 1] + "+"


@dataclass(frozen=True)
class Rule:
    """One netfilter rule, in one canonical form whichever tool printed it.

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
    """A chain in order. `policy` is None for a user's chain. Counters are not compared.

    `references` is how many rules jump here, counted by the kernel (only `iptables -L` says).
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
    """A netfilter table ("nat"); chains compare without regard to the order they were made in."""

    name: str
    chains: tuple[Chain, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.chains, key=lambda chain: chain.name))
        object.__setattr__(self, "chains", ordered)

    @property
    def names(self) -> frozenset[str]:
        """Every chain's name."""
        return frozenset(chain.name for chain in self.chains)

    @property
    def user_chains(self) -> frozenset[str]:
        """Names of the chains that somebody made (those without a policy)."""
        return frozenset(chain.name for chain in self.chains if chain.policy is None)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule, chain after chain."""
        return tuple(rule for chain in self.chains for rule in chain.rules)

    def chain(self, name: str) -> Chain:
        """The chain of that name; an absent chain is an empty one, so that checks read simply."""
        return next((chain for chain in self.chains if chain.name == name), Chain(name))

    def has(self, name: str) -> bool:
        """Whether the chain exists."""
        return name in self.names


@dataclass(frozen=True)
class Connect:
    """What became of one TCP connection attempt from a pod's network.

    `open`: the handshake ended. `refused`: reset at once. `timed out`: no answer within the
    limit. `unreachable`: no route, or an ICMP error. `seconds` is wall time, not compared.
    """

    outcome: Literal["open", "refused", "timed out", "unreachable"]
    detail: str = field(default="", compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def open(self) -> bool:
        """Whether the handshake ended."""
        return self.outcome == "open"

    def __str__(self) -> str:
        return self.outcome


@dataclass(frozen=True)
class Answer:
    """One HTTP request from a pod's network: `status` is None when no answer came (`error`).

    Header names are lower case; of repeated headers the last is kept. `body` is text, cut
    at 1 MiB. `seconds` is wall time.
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
    """A program that was run in a pod's network namespace from the observer, and its output."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def network(address: str, mask: str) -> str:
    """CIDR text of an address and a dotted mask: ("10.244.0.0", "255.255.255.0")."""
    return str(ipaddress.ip_network(f"{address}/{mask}", strict=False))
