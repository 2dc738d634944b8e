"""Flag sets of istio-iptables to compare, drawn by hypothesis from a seed.

Biased to what interacts: lists with duplicates and both families, ports of the mesh itself,
loopback ranges, several owners, TPROXY with nothing to capture, DNS capture with servers of one
family only, a second run over an earlier one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.dataplane.world import INJECTED

T = TypeVar("T")
Addresses = Literal["ipv4", "ipv6", "dual"]


@dataclass(frozen=True)
class Case:
    """One flag set, and the namespace that it meets.

    `before`: flags of an earlier run in the same namespace. `legacy`: somebody else's rule is there
    in iptables-legacy. `nft_only`: iptables-legacy cannot be run. `servers`: nameserver lines of
    /etc/resolv.conf.
    """

    flags: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    addresses: Addresses = "ipv4"
    servers: tuple[str, ...] = ("10.96.0.10",)
    legacy: bool = False
    nft_only: bool = False
    before: tuple[str, ...] | None = None

    @property
    def runs(self) -> tuple[tuple[str, ...], ...]:
        """The flags of every run, in order."""
        return (self.flags,) if self.before is None else (self.before, self.flags)

    def __str__(self) -> str:
        words = [f"{name}={value!r}" for name, value in self.env]
        words += ["istio-iptables", *(word or repr(word) for word in self.flags)]
        told = f"{' '.join(words)}  [{self.addresses}; resolv.conf {','.join(self.servers)}"
        told += "; a legacy rule of others" if self.legacy else ""
        told += "; no iptables-legacy" if self.nft_only else ""
        if self.before is not None:
            told += f"; after a run with {' '.join(word or repr(word) for word in self.before)}"
        return f"{told}]"


PORTS: Final = (80, 443, 53, 1, 65535, 8080, 15001, 15006, 15008, 15020, 15021, 15053, 15090)
RANGES: Final = (
    *("10.0.0.0/8", "10.1.2.3/8", "172.16.0.0/12", "192.168.1.1/32", "0.0.0.0/0", "0.0.0.0/1"),
    *("127.0.0.1/32", "127.0.0.0/8", "127.0.0.1/4", "::1/128", "::1/64", "::/0", "::6/128"),
    *("fd00::/8", "2001:db8::1/64", "2001:db8:1:2:3:4:5:6/127", "::ffff:10.0.0.0/104"),
)
INTERFACES: Final = ("eth0", "eth9", "net1", "vnet0", "tap0", "cali12345678901", "a.b-c_d")
OWNERS: Final = ("1337", "1338", "0", "65534", "4294967294", "1000-1005", "7-7")
GROUPS: Final = ("202", "203", "0", "root", "nogroup", "1000-1010", "3-3")
LOOPBACKS: Final = ("127.0.0.1/32", "127.0.0.0/8", "127.1.2.3/16", "127.0.0.6/32")
SERVERS: Final = (
    *((), ("10.96.0.10",), ("10.96.0.10", "1.1.1.1"), ("fd00:10:96::a",), ("127.0.0.11",)),
    *(("10.96.0.10", "fd00:10:96::a", "8.8.8.8"), ("FD00:0::A", "not-an-address", "10.0.0.1")),
)
LONG: Final = {
    "-p": "envoy-port",
    "-z": "inbound-capture-port",
    "-e": "inbound-tunnel-port",
    "-u": "proxy-uid",
    "-g": "proxy-gid",
    "-m": "istio-inbound-interception-mode",
    "-b": "istio-inbound-ports",
    "-d": "istio-local-exclude-ports",
    "-i": "istio-service-cidr",
    "-x": "istio-service-exclude-cidr",
    "-q": "istio-outbound-ports",
    "-o": "istio-local-outbound-ports-exclude",
    "-c": "istio-exclude-interfaces",
    "-k": "kube-virt-interfaces",
    "-t": "istio-inbound-tproxy-mark",
    "-r": "istio-inbound-tproxy-route-table",
}
SECOND_VARIABLE: Final = {
    "redirect-dns": "ISTIO_META_DNS_CAPTURE",
    "drop-invalid": "INVALID_DROP",
    "dual-stack": "ISTIO_DUAL_STACK",
}


def variable(name: str) -> str:
    """The environment variable of a flag's long name."""
    return name.upper().replace("-", "_")


def listed(items: st.SearchStrategy[str], most: int) -> st.SearchStrategy[str]:
    """One to `most` items, comma separated; an item may come twice."""
    return st.lists(items, min_size=1, max_size=most).map(",".join)


_port = st.one_of(st.sampled_from(PORTS), st.integers(1, 65535)).map(str)
_any_port = st.one_of(_port, st.just("0"))
_ranges = listed(
    st.one_of(
        st.sampled_from(RANGES),
        st.builds("{}/{}".format, st.ip_addresses(v=4), st.integers(1, 32)),
        st.builds("{}/{}".format, st.ip_addresses(v=6), st.integers(1, 128)),
    ),
    4,
)
_id = st.one_of(st.sampled_from(OWNERS), st.integers(0, 2**32 - 2).map(str))
_group = st.one_of(st.sampled_from(GROUPS), st.integers(0, 2**32 - 2).map(str))
_interfaces = listed(st.sampled_from(INTERFACES), 3)
_everything = st.just("*")
_VALUES: Final[dict[str, tuple[int, st.SearchStrategy[str]]]] = {
    # flag: (given in how many of a hundred sets, with which values)
    "-p": (30, _port),
    "-z": (30, _port),
    "-e": (20, _port),
    "-u": (50, listed(_id, 3)),
    "-g": (30, listed(_id, 3)),
    "-m": (60, st.sampled_from(["REDIRECT", "TPROXY", "TPROXY"])),
    "-b": (80, st.one_of(_everything, _everything, st.just(""), listed(_any_port, 15))),
    "-d": (60, st.one_of(st.just("15090,15021,15020"), listed(_any_port, 6))),
    "-i": (80, st.one_of(_everything, _everything, st.just(""), _ranges)),
    "-x": (45, st.one_of(st.just(""), _ranges)),
    "-q": (25, listed(_any_port, 4)),
    "-o": (30, listed(_any_port, 4)),
    "-c": (20, _interfaces),
    "-k": (25, _interfaces),
    "-t": (25, st.one_of(st.sampled_from(["1338", "1", "4294967295"]), _port)),
    "-r": (25, st.sampled_from(["133", "1", "254", "255", "256", "1000", "100000"])),
}
_SWITCHES: Final = {
    "redirect-dns": 40,
    "capture-all-dns": 25,
    "drop-invalid": 25,
    "dual-stack": 35,
    "reconcile": 25,
    "force-apply": 6,
    "cleanup-only": 6,
    "skip-rule-apply": 3,
    "dry-run": 3,
}


def _chance(draw: st.DrawFn, percent: int) -> bool:
    return draw(st.integers(1, 100)) <= percent


@st.composite
def _given(draw: st.DrawFn) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """A flag set, part of it by environment."""
    words: list[tuple[str, ...]] = []
    env: dict[str, str] = {}
    for short, (percent, values) in _VALUES.items():
        if not _chance(draw, percent):
            continue
        name, value = LONG[short], draw(values)
        form = draw(st.sampled_from(["short", "short", "long", "assigned", "variable"]))
        if form == "variable" and short != "-p":
            env[variable(name)] = value
        elif form == "long":
            words.append((f"--{name}", value))
        elif form == "assigned":
            words.append((f"--{name}={value}",))
        else:
            words.append((short, value))
    for name, percent in _SWITCHES.items():
        if not _chance(draw, percent):
            continue
        form = draw(st.sampled_from(["", "", "=true", "=false", "=T", "variable", "second"]))
        if form == "variable":
            env[variable(name)] = draw(st.sampled_from(["true", "1", "false"]))
        elif form == "second" and name in SECOND_VARIABLE:
            env[SECOND_VARIABLE[name]] = draw(st.sampled_from(["true", "false"]))
        else:
            words.append((f"--{name}{form if form.startswith('=') else ''}",))
    if _chance(draw, 5):
        words.append(("--network-namespace", "/proc/self/ns/net"))
    shuffled = draw(st.permutations(words))
    env |= draw(_owners_and_loopback())
    return tuple(word for pair in shuffled for word in pair), tuple(sorted(env.items()))


@st.composite
def _owners_and_loopback(draw: st.DrawFn) -> dict[str, str]:
    env = {}
    if _chance(draw, 20):
        some = st.one_of(listed(_group, 5), listed(st.integers(1, 9999).map(str), 64))
        env["ISTIO_OUTBOUND_OWNER_GROUPS"] = draw(st.one_of(_everything, st.just(""), some))
    if _chance(draw, 20):
        env["ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"] = draw(listed(_group, 5))
    if _chance(draw, 20):
        env["ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"] = draw(st.sampled_from(LOOPBACKS))
    return env


@st.composite
def _cases(draw: st.DrawFn) -> Case:
    flags, env = draw(_given())
    legacy, before = _chance(draw, 20), _before(draw, flags)
    return Case(
        flags,
        env,
        addresses=draw(st.sampled_from(["ipv4", "ipv4", "ipv6", "dual", "dual"])),
        servers=draw(st.sampled_from(SERVERS)),
        legacy=legacy,
        # Istio's own first look at iptables-legacy makes its second run choose it: one fixed case
        # shows that, the others are to show how an earlier run is treated.
        nft_only=not legacy and before is not None,
        before=before,
    )


def _before(draw: st.DrawFn, flags: tuple[str, ...]) -> tuple[str, ...] | None:
    """An earlier run: none, with the same flags, or with others."""
    how = draw(st.integers(1, 100))
    if how <= 80:
        return None
    return flags if how <= 88 else draw(st.sampled_from([INJECTED, draw(_given())[0]]))


def drawn(strategy: st.SearchStrategy[T], count: int, number: int) -> list[T]:
    """`count` different values of a strategy, the same ones for the same seed `number`."""
    found: dict[T, None] = {}

    @seed(number)
    @settings(
        max_examples=3 * count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: T) -> None:
        if len(found) < count:
            found[value] = None

    collect()
    if len(found) < count:
        raise ValueError(f"seed {number} gave {len(found)} different cases, wanted {count}")
    return list(found)


def flag_sets(count: int, number: int, fixed: Sequence[Case]) -> list[Case]:
    """`count` cases: the fixed ones first, then drawn ones."""
    return list(dict.fromkeys([*fixed, *drawn(_cases(), count, number)]))[:count]
