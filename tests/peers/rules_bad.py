"""Values that istio-iptables may not accept, drawn from a seed: each must fail in both programs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st

from tests.peers.rules_cases import LONG, Case, drawn, variable

BASE: Final = {"-m": "TPROXY", "-i": "*", "-b": "*", "-x": "", "-d": "15090"}
"""A setting in which every value is used: Istio's program looks at no other."""
OWNERS_VARIABLE: Final = "ISTIO_OUTBOUND_OWNER_GROUPS"
LOOPBACK_VARIABLE: Final = "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"


@dataclass(frozen=True)
class BadValue:
    """`value` of `name` (a flag or a variable): the parts of `told` must be in our message."""

    name: str
    value: str
    case: Case
    told: tuple[str, ...]


@dataclass(frozen=True)
class BadRow:
    """Bad values that Istio's program accepts, and why ours does not."""

    name: str
    reason: str
    applies: Callable[[BadValue], bool]


_PORT: Final = (
    "x",
    "-1",
    "65536",
    "99999999999",
    "80 90",
    "80,90",
    "",
    "8x",
    "é",
    "1e3",
    "*",
    "1.5",
)
_GAPS: Final = ("80,,443", "80,", ",80")
_OCTAL: Final = ("0443", "00080", "80,010")
_PATTERNS: Final = ("eth+", "veth0@if3", "1eth", "eth0,,eth1")
_PORTS: Final = (
    "x",
    "-1",
    "65536",
    "80,x",
    "80,-1",
    "80 90",
    "1e3",
    "80,*",
    "é",
    "80;90",
    "8080x",
    *_OCTAL,
)
_RANGES: Final = (
    *("10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "10.0.0.0/08", "x", "*,10.0.0.0/8"),
    *("10.0.0.0/255.0.0.0", "10.0.0.0/8,x", "::1", "fd00::/129", "fe80::1%eth0/64", "256.0.0.1/8"),
    *("10.0.0.0/8/8", "/8", "10.0.0.0/", "010.0.0.0/8", "10.0.0.0/+8", "10.0.0.0/８"),  # noqa: RUF001
)
_OWNERS: Final = ("no-such-user", "-5", "20-10", "4294967296", "1337,x", "1 2", "1-2-3", "1337.5")
_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "-p": _PORT,
    "-z": _PORT,
    "-e": (*_PORT, "65537"),
    "-u": _OWNERS,
    "-g": _OWNERS,
    "-m": ("redirect", "tproxy", "NONE"),
    "-b": (*_PORTS, *_GAPS),
    "-d": (*_PORTS, *_GAPS, "*"),
    "-i": _RANGES,
    "-x": (*_RANGES[:-1], "*"),
    "-q": (*_PORTS, "*"),
    "-o": (*_PORTS, *_GAPS, "*"),
    "-c": ("sixteen-letters-", "eth0,a-name-far-too-long", "eth 0", *_PATTERNS),
    "-k": ("sixteen-letters-", "eth0,a-name-far-too-long", "eth 0", *_PATTERNS),
    "-t": ("x", "0x539", "-1", "1.5", "", "4294967296", "1337/0xff", "1 2"),
    "-r": ("x", "main", "1.5", "", "0x85", "1 2"),
    "--redirect-dns": ("maybe", "2", "yes", ""),
    "--dual-stack": ("maybe", "2", "on"),
    "--drop-invalid": ("maybe", "tRUE"),
    "--cleanup-only": ("maybe",),
    "--probe-timeout": ("5", "soon", "5 s", "5d"),
    "--iptables-probe-port": ("70000", "x", "-1"),
    OWNERS_VARIABLE: ("no-such-group", ",".join(map(str, range(65))), "202,*", "4294967296", "9-8"),
    LOOPBACK_VARIABLE: (
        "10.0.0.0/8",
        "127.0.0.1",
        "::1/128",
        "127.0.0.1/7",
        "",
        "x",
        "127.0.0.0/33",
    ),
}
_LABEL: Final = {short: f"{short}/--{name}" for short, name in LONG.items()}


@st.composite
def _bad(draw: st.DrawFn) -> BadValue:
    name = draw(st.sampled_from(list(_VALUES)))
    value = draw(st.sampled_from(_VALUES[name]))
    return _given(name, value, name in LONG and name != "-p" and draw(st.booleans()))


def _given(name: str, value: str, by_variable: bool) -> BadValue:
    """The value as a flag of an otherwise ordinary call, or as its variable."""
    env: tuple[tuple[str, str], ...] = ()
    given = {flag: text for flag, text in BASE.items() if flag != name}
    flags = [word for pair in given.items() for word in pair]
    label = _LABEL.get(name, name)
    if by_variable or name in (OWNERS_VARIABLE, LOOPBACK_VARIABLE):
        key = variable(LONG[name]) if by_variable else name
        label, env = f"${key}", ((key, value),)
    elif name.startswith("--"):
        flags.append(f"{name}={value}")
    elif value.startswith("-"):
        flags.append(f"--{LONG[name]}={value}")  # a shell's user has to write it so, too
    else:
        flags += [name, value]
    return BadValue(name, value, Case(tuple(flags), env), (f"{label}: expected ", repr(value)))


def bad_values(count: int, number: int) -> list[BadValue]:
    """`count` different bad values, the same ones for the same seed `number`.

    One of each accepted row comes first: a row is never without a case, whatever the seed draws.
    """
    every = [_given(name, value, False) for name, values in _VALUES.items() for value in values]
    first = [next(bad for bad in every if row.applies(bad)) for row in BAD_ROWS]
    return list(dict.fromkeys([*first, *drawn(_bad(), count, number)]))[:count]


BAD_ROWS: Final = (
    BadRow(
        "an unknown interception mode",
        "Istio's program takes any word but TPROXY as REDIRECT, so that a slip of the pen changes "
        "how traffic is captured; its annotation allows only the two",
        lambda bad: bad.name == "-m",
    ),
    BadRow(
        "nothing between two commas",
        "Istio's program passes over it, its annotations of the same setting refuse it; ours have "
        "one grammar, the annotation's",
        lambda bad: bad.value in (*_GAPS, "eth0,,eth1"),
    ),
    BadRow(
        "an interface by a pattern, or by a name with other letters",
        "Istio's program hands it to iptables, its annotations refuse it; ours have one grammar, "
        "the annotation's",
        lambda bad: bad.name in ("-c", "-k") and bad.value in _PATTERNS,
    ),
    BadRow(
        "a port with zeros in front",
        "iptables reads 0443 as the octal number of port 291, an annotation's reader as 443",
        lambda bad: bad.value in _OCTAL,
    ),
)
