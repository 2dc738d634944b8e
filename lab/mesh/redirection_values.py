"""Text of one setting of the redirection → its value, or ValueError saying what was expected.

Used for flags and environment variables; annotations carry the same texts. What Istio's program
would only find out when the kernel refuses the rules is refused here, by its name.
"""

import ipaddress
import os
import re
from typing import Final

from lab.mesh.redirection_settings import EVERYTHING, Everything, Mode, Network

MAX_OWNER_GROUPS: Final = 64
"""One rule holds a condition a group; the kernel bounds the conditions of a rule."""
MAX_ID: Final = 2**32 - 2
"""The last id; the one after it means "nobody" to the kernel."""
_INTERFACE = re.compile(r"[^\s/!]{1,15}")
_OWNER = re.compile(r"[0-9]{1,10}(-[0-9]{1,10})?")
_RANGE = re.compile(r"[0-9a-fA-F:.]+/(0|[1-9][0-9]{0,2})")
_TIME = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _number(text: str, low: int, high: int, what: str) -> int:
    plain = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")
    if not plain or not low <= int(text) <= high:  # 010 would be eight to some, ten to others
        raise ValueError(f"expected {what}, a number from {low} to {high}, found {text!r}")
    return int(text)


def port(text: str) -> int:
    """A TCP port."""
    return _number(text, 1, 65535, "a port")


def ports(text: str) -> tuple[int, ...]:
    """Ports, comma separated."""
    return tuple(port(item) for item in _items(text))


def ports_or_all(text: str) -> tuple[int, ...] | Everything:
    """Ports, or `*`."""
    return EVERYTHING if text == EVERYTHING else ports(text)


def table(text: str) -> int:
    """A route table number."""
    return _number(text, 1, 2**32 - 1, "a route table")


def mark(text: str) -> int:
    """A packet mark, decimal: Istio's program cannot make a route for another spelling."""
    return _number(text, 1, 2**32 - 1, "a packet mark")


def mode(text: str) -> Mode:
    """REDIRECT or TPROXY."""
    if text == "REDIRECT":
        return "REDIRECT"
    if text == "TPROXY":
        return "TPROXY"
    raise ValueError(f"expected REDIRECT or TPROXY, found {text!r}")


def _network(text: str) -> Network:
    if not _RANGE.fullmatch(text):  # also 10.0.0.0/255.0.0.0, which Python would take
        raise ValueError(f"expected a range such as 10.0.0.0/8, found {text!r}")
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as problem:
        raise ValueError(f"expected a range such as 10.0.0.0/8, found {text!r}") from problem


def ranges(text: str) -> tuple[Network, ...]:
    """Address ranges, comma separated; host bits are dropped."""
    return tuple(_network(item) for item in _items(text))


def ranges_or_all(text: str) -> tuple[Network, ...] | Everything:
    """Address ranges, or `*`."""
    return EVERYTHING if text == EVERYTHING else ranges(text)


def names_loopback(text: str) -> bool:
    """Whether ranges (or `*`) have one that is written with a loopback address."""
    return text != EVERYTHING and any(
        ipaddress.ip_address(item.partition("/")[0]).is_loopback for item in _items(text)
    )


def loopback(text: str) -> ipaddress.IPv4Network:
    """A range within 127.0.0.0/8."""
    network = _network(text)
    if not isinstance(network, ipaddress.IPv4Network) or not network.is_loopback:
        raise ValueError(f"expected a range within 127.0.0.0/8, found {text!r}")
    return network


def interfaces(text: str) -> tuple[str, ...]:
    """Interface names, comma separated."""
    for item in _items(text):
        if not _INTERFACE.fullmatch(item) or item == "+":
            raise ValueError(f"expected interface names of at most 15 letters, found {item!r}")
    return tuple(_items(text))


def owners(text: str) -> tuple[str, ...]:
    """User or group ids, comma separated; `LOW-HIGH` is a range."""
    return tuple(_owner(item) for item in _items(text))


def _owner(text: str) -> str:
    ends = text.split("-") if _OWNER.fullmatch(text) else []
    numbers = [int(end) for end in ends if end == "0" or end[0] != "0"]
    if not ends or len(numbers) < len(ends) or sorted(numbers) != numbers or numbers[-1] > MAX_ID:
        raise ValueError(f"expected ids such as 1337, at most {MAX_ID}, found {text!r}")
    return ends[0] if ends[0] == ends[-1] else text


def groups(text: str) -> tuple[str, ...]:
    """Group ids or names known here, comma separated."""
    return tuple(_group(item) for item in _items(text))


def groups_or_all(text: str) -> tuple[str, ...] | Everything:
    """Groups, or `*`."""
    if text == EVERYTHING:
        return EVERYTHING
    found = groups(text)
    if len(found) > MAX_OWNER_GROUPS:
        raise ValueError(f"expected at most {MAX_OWNER_GROUPS} groups, found {len(found)}")
    return found


def _group(text: str) -> str:
    if _OWNER.fullmatch(text):
        return _owner(text)
    import grp  # rarely needed: every import is paid for at each pod's start

    try:
        return str(grp.getgrnam(text).gr_gid)
    except KeyError as unknown:
        raise ValueError(
            f"expected groups that are known here, or numbers, found {text!r}"
        ) from unknown


def existing_file(text: str) -> str:
    """The path of a file that is there, such as a network namespace's."""
    if not os.access(text, os.F_OK):
        raise ValueError(f"expected a file such as /proc/PID/ns/net, found nothing at {text!r}")
    return text


def boolean(text: str) -> bool:
    """True or false."""
    if text in ("true", "True", "TRUE", "1", "t", "T"):
        return True
    if text in ("false", "False", "FALSE", "0", "f", "F"):
        return False
    raise ValueError(f"expected true or false, found {text!r}")


def duration(text: str) -> float:
    """A time such as `5s` or `1m30s`, in Go's words; returns seconds."""
    parts = _TIME.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"expected a time such as 5s, found {text!r}")
    return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))
