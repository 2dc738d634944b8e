"""The matrix of flows: who calls whom, under which settings, and by which path that must go. Pure.

A path is written as `tests.peers.flows_traffic.dial` tells it. Every row says both how it goes when
it is captured and how it goes when it is left alone; a setting says which rows it changes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from tests.dataplane.world import CLIENT, CLIENT6, INJECTED, POD, POD6
from tests.peers.flows_traffic import Dial, Socket, joined

APP, ENVOY, GROUP = 1000, 1337, 2000
Way = Literal["captured", "direct"]
NO_PASSTHROUGH: Final = "failed: OSError"
"""The address ::6 is there only where the program has made rules for IPv6."""


@dataclass(frozen=True)
class Family:
    """The addresses of one IP version. `service` and `other` are nobody's: the far side has all."""

    pod: str
    client: str
    service: str
    other: str
    loopback: str
    passthrough: str
    anywhere: str


V4: Final = Family(
    POD,
    CLIENT,
    "10.96.0.10",
    "198.51.100.7",
    "127.0.0.1",
    "127.0.0.6",
    "0.0.0.0",
)
V6: Final = Family(POD6, CLIENT6, "fd00:96::10", "fd00:51::7", "::1", "::6", "::")
FAR_NETWORKS: Final = (
    ("-4", "10.96.0.0/16"),
    ("-4", "198.51.100.0/24"),
    ("-6", "fd00:96::/64"),
    ("-6", "fd00:51::/64"),
)
"""What the far side has beside its own address: services, and a range elsewhere."""
NAMESERVERS: Final = ("10.96.0.53", "fd00:96::53")
OTHER_RANGES: Final = "198.51.100.0/24,fd00:51::/64"


@dataclass(frozen=True)
class Flow:
    """One row: `side` dials (pod or client); both paths; `way` is the one of the default rules."""

    name: str
    side: str
    dial: Dial
    captured: str
    direct: str
    way: Way
    version: int = 4

    def path(self, way: Way) -> str:
        """The path that is expected when it goes this way."""
        return {"captured": self.captured, "direct": self.direct}[way]


def flows() -> list[Flow]:
    """Every row, for IPv4 and then for IPv6."""
    rows = [*_rows(V4, NAMESERVERS[0])]
    six = [replace(one, name=f"{one.name} (IPv6)", version=6) for one in _rows(V6, NAMESERVERS[1])]
    return rows + six


def _rows(at: Family, nameserver: str) -> Iterator[Flow]:
    def out(name: str, host: str, port: int, way: Way, **more: object) -> Flow:
        one = Dial(host, port, **more)  # type: ignore[arg-type]
        goal = joined(host, port)
        if one.proto == "udp":
            return Flow(name, "pod", one, "udp pod:15053", f"udp far:{port}", way)
        caught = f"pod:15001 for {goal} from {at.pod}"
        return Flow(name, "pod", one, caught, f"far:{port} for {goal} from {at.pod}", way)

    def own(name: str, host: str, port: int, way: Way, **more: object) -> Flow:
        one = Dial(host, port, **more)  # type: ignore[arg-type]
        origin = one.source or host
        tail = f"for {joined(host, port)} from {origin}"
        return Flow(name, "pod", one, f"pod:15006 {tail}", f"pod:{port} {tail}", way)

    def into(name: str, port: int, way: Way) -> Flow:
        tail = f"for {joined(at.pod, port)} from {at.client}"
        caught, direct = f"pod:15006 {tail}", f"pod:{port} {tail}"
        return Flow(name, "client", Dial(at.pod, port), caught, direct, way)

    envoy = {"uid": ENVOY, "gid": ENVOY}
    yield out("app → service", at.service, 80, "captured")
    yield out("app → service, another port", at.service, 443, "captured")
    yield out("app → port 8443", at.service, 8443, "captured")
    yield out("app → port 9090", at.service, 9090, "captured")
    yield out("app → another range", at.other, 80, "captured")
    yield out("root → service", at.service, 80, "captured", uid=0, gid=0)
    yield out("app of group 2000 → service", at.service, 80, "captured", gid=GROUP)
    yield out("Envoy → service", at.service, 80, "direct", **envoy)
    yield out("uid 1337 of another group → service", at.service, 80, "direct", uid=ENVOY)
    yield out("gid 1337 of another user → service", at.service, 80, "direct", gid=ENVOY)
    yield own("app → own pod address", at.pod, 80, "direct")
    yield own("app → localhost", at.loopback, 80, "direct")
    yield own("Envoy → app", at.pod, 80, "direct", source=at.passthrough, **envoy)
    # The second half of app → own service: Envoy chose the pod itself.
    yield own("Envoy → own pod address", at.pod, 80, "captured", **envoy)
    yield own("uid 1337 of another group → own pod address", at.pod, 80, "captured", uid=ENVOY)
    # The rule for users comes first and lets it go.
    yield own("gid 1337 of another user → own pod address", at.pod, 80, "direct", gid=ENVOY)
    yield own("Envoy → localhost", at.loopback, 80, "direct", **envoy)
    yield own("Envoy → own tunnel port", at.pod, 15008, "direct", **envoy)
    yield into("client → app", 80, "captured")
    yield into("client → port 9000", 9000, "captured")
    yield into("client → tunnel port", 15008, "direct")
    yield into("kubelet → agent's port", 15020, "direct")
    yield into("kubelet → health port", 15021, "direct")
    yield into("scraper → statistics", 15090, "direct")
    yield out("app → UDP", at.service, 9999, "direct", proto="udp")
    yield out("app → DNS by UDP", nameserver, 53, "direct", proto="udp")
    yield out("app → another DNS server by UDP", at.other, 53, "direct", proto="udp")
    # Where DNS is captured it goes to the agent, see `Setting.paths`.
    yield out("app → DNS by TCP", nameserver, 53, "captured")
    yield out("Envoy → DNS by UDP", nameserver, 53, "direct", proto="udp", **envoy)


def sockets(side: str) -> list[Socket]:
    """What listens on a side: the pod's programs, or the far side's, which answers for all."""
    found = []
    for family in (V4, V6):
        at = family.anywhere
        if side == "pod":
            ports = (80, 9000, 15001, 15008, 15020, 15021, 15090)
            found += [Socket("tcp", at, port) for port in ports]
            found.append(Socket("tcp", at, 15006, transparent=True))
            # As Istio's agent: an answer must come from the address that REDIRECT chose, and
            # from the user whose packets have a conntrack zone of their own.
            found += [Socket(proto, family.loopback, 15053, uid=ENVOY) for proto in ("tcp", "udp")]
        else:
            found += [Socket("tcp", at, port) for port in (53, 80, 443, 8443, 9090)]
    if side != "pod":
        # Each at its own address: a datagram's answer must come from where the question went.
        for one, nameserver in zip((V4, V6), NAMESERVERS, strict=True):
            wanted = ((one.service, 9999), (nameserver, 53), (one.other, 53))
            found += [Socket("udp", host, port, transparent=True) for host, port in wanted]
    return found


@dataclass(frozen=True)
class Setting:
    """Flags beyond the injected ones, what they change, and whether IPv6 has rules too.

    `ways`: row → how it goes instead, with and without " (IPv6)" alike unless a row with it is
    named. `paths`: row → a path of its own.
    """

    name: str
    flags: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    dual: bool = False
    ways: Mapping[str, Way] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)

    def expected(self, flow: Flow) -> str:
        """The path by which a flow must go under this setting."""
        if flow.version == 6 and not self.dual:
            return NO_PASSTHROUGH if flow.dial.source == V6.passthrough else flow.direct
        plain = flow.name.removesuffix(" (IPv6)")
        for name in (flow.name, plain):
            if name in self.paths:
                return self.paths[name]
            if name in self.ways:
                return flow.path(self.ways[name])
        return flow.path(flow.way)


def _all(way: Way, *, side: str = "", but: tuple[str, ...] = ()) -> dict[str, Way]:
    """Every captured row that dials from `side` (or any) goes this way."""
    return {
        one.name: way
        for one in flows()
        if one.way == "captured" and side in ("", one.side) and one.name not in but
    }


HAIRPIN: Final = ("Envoy → own pod address", "uid 1337 of another group → own pod address")
"""Redirected by the nat table, in TPROXY mode, too."""
_OUT: Final = _all("direct", side="pod", but=HAIRPIN)


def _only(*captured: str) -> dict[str, Way]:
    """Of what leaves the pod only these rows are captured."""
    kept = {*captured, *(f"{name} (IPv6)" for name in captured)}
    return {name: way for name, way in _OUT.items() if name not in {*kept, *HAIRPIN}} | {
        f"{name} (IPv6)": "captured" for name in HAIRPIN
    }


_TPROXY: Final[dict[str, Way]] = {
    # Istio's rules for TPROXY look at packets, in PREROUTING: what comes over lo is marked there
    # whoever sent it, and the tunnel's port is spared in the nat table alone.
    "gid 1337 of another user → own pod address": "captured",
    "Envoy → own tunnel port": "captured",
    "client → tunnel port": "captured",
}
_DNS: Final[dict[str, Way]] = {"app → DNS by UDP": "captured"}


def _dns_tcp(*names: str) -> dict[str, str]:
    both = {}
    for name in names:
        both[name] = f"pod:15053 for {joined(NAMESERVERS[0], 53)} from {POD}"
        both[f"{name} (IPv6)"] = f"pod:15053 for {joined(NAMESERVERS[1], 53)} from {POD6}"
    return both


def _both(*base: Setting) -> Iterator[Setting]:
    for one in base:
        yield one
        flags = (*one.flags, "--dual-stack")
        yield replace(one, name=f"{one.name}, dual stack", flags=flags, dual=True)


SETTINGS: Final = tuple(
    _both(
        Setting("as injected"),
        Setting("a port excluded", ("-o", "8443"), ways={"app → port 8443": "direct"}),
        Setting("a range excluded", ("-x", OTHER_RANGES), ways={"app → another range": "direct"}),
        Setting("one range included", ("-i", OTHER_RANGES), ways=_only("app → another range")),
        Setting(
            "one range and one port included",
            ("-i", OTHER_RANGES, "-q", "9090"),
            ways=_only("app → another range", "app → port 9090"),
        ),
        Setting("nothing outbound", ("-i", ""), ways=_only()),
        Setting(
            "an inbound port excluded",
            ("-d", "15090,15021,15020,9000"),
            ways={"client → port 9000": "direct"},
        ),
        Setting("one inbound port", ("-b", "80"), ways={"client → port 9000": "direct"}),
        Setting("nothing inbound", ("-b", ""), ways=_all("direct", side="client")),
        Setting("TPROXY", ("-m", "TPROXY"), ways=_TPROXY),
        Setting(
            "DNS of the pod's servers captured",
            ("--redirect-dns",),
            ways=_DNS,
            paths=_dns_tcp("app → DNS by TCP"),
        ),
        Setting(
            "all DNS captured",
            ("--redirect-dns", "--capture-all-dns"),
            ways={**_DNS, "app → another DNS server by UDP": "captured"},
            paths=_dns_tcp("app → DNS by TCP"),
        ),
        Setting(
            "only group 2000",
            env={"ISTIO_OUTBOUND_OWNER_GROUPS": "2000"},
            ways=_only("app of group 2000 → service"),
        ),
        Setting(
            "group 2000 excluded",
            env={"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE": "2000"},
            ways={"app of group 2000 → service": "direct"},
        ),
        Setting(
            "eth0 excluded",
            ("-c", "eth0"),
            ways={**_only(), **_all("direct", side="client")},
        ),
        Setting("drop invalid", ("--drop-invalid",)),
    )
)


def flags_of(setting: Setting) -> tuple[str, ...]:
    """The program's whole command line: the injected arguments, then the setting's.

    A flag that comes again has the last word.
    """
    return (*INJECTED, *setting.flags)
