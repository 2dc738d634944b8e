"""Parses the settings of the redirection: text → value. Pure; needs only the standard library.

The same settings come from annotations of pods and from flags and variables of istio-iptables. The
injector checks annotations with this module and istio-iptables parses its flags with it, so both
accept the same texts. For any other text, a parser raises ValueError, which states what was
expected and found.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    Network: TypeAlias = IPv4Network | IPv6Network

Everything = Literal["*"]
EVERYTHING: Final[Everything] = "*"
Mode = Literal["REDIRECT", "TPROXY"]
MODES: Final[tuple[Mode, ...]] = ("REDIRECT", "TPROXY")
"""How the rules redirect inbound traffic. A pod can also choose NONE: then it has no rules."""

MAX_OWNER_GROUPS: Final = 64
"""The most groups: a rule has a condition for each, and the kernel limits a rule's conditions."""
MAX_ID: Final = 2**32 - 2
"""The highest id of a user or group; to the kernel, the id after it means "no id"."""
MAX_INTERFACE: Final = 15
"""The most characters that Linux allows in the name of a network interface."""
_SHOWN: Final = 300
"""The most characters of a value that a message repeats."""
IMAGE_GROUPS: Final = {
    **{"root": 0, "daemon": 1, "bin": 2, "sys": 3, "adm": 4, "tty": 5, "disk": 6, "lp": 7},
    **{"mail": 8, "news": 9, "uucp": 10, "man": 12, "proxy": 13, "kmem": 15, "dialout": 20},
    **{"fax": 21, "voice": 22, "cdrom": 24, "floppy": 25, "tape": 26, "sudo": 27, "audio": 29},
    **{"dip": 30, "www-data": 33, "backup": 34, "operator": 37, "list": 38, "irc": 39, "src": 40},
    **{"shadow": 42, "utmp": 43, "video": 44, "sasl": 45, "plugdev": 46, "staff": 50, "games": 60},
    **{"users": 100, "nogroup": 65534, "istio-proxy": 1337},
}
"""Ids of the groups in the proxy's image, by name: Debian's own groups, and the proxy's."""

# A pattern is compiled at its first use, which for most pods never comes.
_INTERFACE: Final = r"[A-Za-z][A-Za-z0-9_.-]*"
_OWNER: Final = r"[0-9]{1,10}(-[0-9]{1,10})?"
_RANGE: Final = r"[0-9a-fA-F:.]+/(0|[1-9][0-9]{0,2})"
_TIME: Final = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)"
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def shown(text: str) -> str:
    """Returns a text as messages show it: in quotes, and cut if it is long."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r} and so on"


def entries(text: str) -> list[str]:
    """Returns the entries of a comma-separated text, without the blanks around them.

    A blank text has no entries. An entry may be empty.
    """
    return [entry.strip() for entry in text.split(",")] if text.strip() else []


def number(text: str, low: int, high: int, what: str) -> int:
    """Parses a decimal number from `low` to `high`; `what` describes it in the message."""
    plain = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")
    # 010 would be eight to iptables and ten to Go. A long text is not even converted.
    if not plain or len(text) > 10 or not low <= int(text) <= high:
        raise ValueError(f"expected {what}, a number from {low} to {high}, found {shown(text)}")
    return int(text)


def port(text: str) -> int:
    """Parses a TCP port on which a program can listen, so not 0."""
    return number(text, 1, 65535, "a port")


def any_port(text: str) -> int:
    """Parses a port, which can be 0 in a packet. Ignores blanks around it, as Istio does."""
    return number(text.strip(), 0, 65535, "a port")


def ports(text: str) -> tuple[int, ...]:
    """Parses comma-separated ports."""
    return tuple(any_port(entry) for entry in entries(text))


def ports_with_gaps(text: str) -> tuple[int, ...]:
    """Parses comma-separated ports and ignores empty entries.

    Istio accepts empty entries in includeOutboundPorts, since only its iptables program parses it.
    """
    return tuple(any_port(entry) for entry in text.split(",") if entry) if text.strip() else ()


def ports_or_all(text: str) -> tuple[int, ...] | Everything:
    """Parses comma-separated ports; `*` means all ports."""
    return EVERYTHING if text == EVERYTHING else ports(text)


def table(text: str) -> int:
    """Parses the number of a route table."""
    return number(text, 1, 2**32 - 1, "a route table")


def mark(text: str) -> int:
    """Parses a decimal packet mark. Refuses any other spelling, for which Istio makes no route."""
    return number(text, 1, 2**32 - 1, "a packet mark")


def mode(text: str) -> Mode:
    """Returns the text if it is REDIRECT or TPROXY."""
    for known in MODES:
        if text == known:
            return known
    raise ValueError(f"expected {' or '.join(MODES)}, found {shown(text)}")


def network(text: str) -> "Network":
    """Parses an address range such as 10.0.0.0/8; host bits in it are cleared."""
    import ipaddress  # 2 ms that few pods need

    problem = f"expected a range such as 10.0.0.0/8 or fd00::/8, found {shown(text)}"
    if not re.fullmatch(_RANGE, text):  # also 10.0.0.0/255.0.0.0, which Python would take
        raise ValueError(problem)
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(problem) from None


def ranges(text: str) -> "tuple[Network, ...]":
    """Parses address ranges that are separated by commas without blanks, as in Istio."""
    return tuple(network(entry) for entry in text.split(",")) if text else ()


def ranges_or_all(text: str) -> "tuple[Network, ...] | Everything":
    """Parses comma-separated address ranges; `*` means all addresses."""
    return EVERYTHING if text == EVERYTHING else ranges(text)


def names_loopback(text: str) -> bool:
    """Whether one of the ranges is written with a loopback address; False for `*`."""
    import ipaddress

    return text not in ("", EVERYTHING) and any(
        ipaddress.ip_address(entry.partition("/")[0]).is_loopback for entry in text.split(",")
    )


def loopback(text: str) -> "IPv4Network":
    """Parses an address range within 127.0.0.0/8."""
    import ipaddress

    allowed = network(text)
    if not isinstance(allowed, ipaddress.IPv4Network) or not allowed.is_loopback:
        raise ValueError(f"expected a range within 127.0.0.0/8, found {shown(text)}")
    return allowed


def interfaces(text: str) -> tuple[str, ...]:
    """Parses comma-separated interface names. A wildcard of iptables (eth+) is refused."""
    names = tuple(entry.strip() for entry in text.split(",")) if text else ()
    for entry in names:
        if len(entry) > MAX_INTERFACE or not re.fullmatch(_INTERFACE, entry):
            raise ValueError(
                f"expected interface names such as eth1,tap0 of at most {MAX_INTERFACE} letters, "
                f"found {shown(entry)}"
            )
    return names


def owners(text: str) -> tuple[str, ...]:
    """Parses comma-separated ids of users or groups; an entry `LOW-HIGH` is a range of ids."""
    return tuple(_owner(entry) for entry in entries(text) if entry)


def _owner(text: str) -> str:
    ends = text.split("-") if re.fullmatch(_OWNER, text) else []
    numbers = [int(end) for end in ends if end == "0" or end[0] != "0"]
    if not ends or len(numbers) < len(ends) or sorted(numbers) != numbers or numbers[-1] > MAX_ID:
        raise ValueError(f"expected ids such as 1337, at most {MAX_ID}, found {shown(text)}")
    return ends[0] if ends[0] == ends[-1] else text


def groups_known(number_of: Callable[[str], int | None]) -> Callable[[str], tuple[str, ...]]:
    """Returns a parser of comma-separated group ids or names.

    `number_of` takes the name of a group; it returns the group's id, or None if it does not exist.
    """

    def group(text: str) -> str:
        if re.fullmatch(_OWNER, text):
            return _owner(text)
        if (known := number_of(text)) is None:
            raise ValueError(f"expected names of known groups, or ids, found {shown(text)}")
        return str(known)

    return lambda text: tuple(group(entry) for entry in entries(text) if entry)


def at_most(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Returns `groups`; raises ValueError if they are too many for one redirection rule."""
    if len(groups) > MAX_OWNER_GROUPS:
        raise ValueError(f"expected at most {MAX_OWNER_GROUPS} groups, found {len(groups)}")
    return groups


def boolean(text: str) -> bool:
    """Parses a truth value as Go does (1, t, true, ...)."""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(f"expected true or false, found {shown(text)}")


def duration(text: str) -> float:
    """Parses a time in Go's notation, such as `5s` or `1m30s`, into seconds."""
    parts = re.findall(_TIME, text) if re.fullmatch(f"(?:{_TIME})+", text) else ()
    if not parts:
        raise ValueError(f"expected a time such as 5s, found {shown(text)}")
    return float(sum(float(count) * _SECONDS[unit] for count, unit in parts))
