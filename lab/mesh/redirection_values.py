"""Text of one setting of the redirection → its value, or ValueError saying what was expected.

Used for flags and environment variables; annotations carry the same texts.
"""

import grp
import ipaddress
import re
from typing import Final

from lab.mesh.redirection_settings import EVERYTHING, Everything, Mode, Network

MAX_OWNER_GROUPS: Final = 64
"""One rule holds a condition a group; the kernel bounds the conditions of a rule."""
MAX_ID: Final = 2**32 - 2
"""The last id; the one after it means "nobody" to the kernel."""
_INTERFACE = re.compile(r"[^\s/!]{1,15}")
_OWNER = re.compile(r"\d{1,10}(-\d{1,10})?")


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _number(text: str, low: int, high: int, what: str) -> int:
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
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
    """A packet mark, decimal or 0x…."""
    try:
        value = int(text, 0)
    except ValueError:
        value = 0
    if not 0 < value < 2**32:
        raise ValueError(f"expected a packet mark, a number from 1 to {2**32 - 1}, found {text!r}")
    return value


def mode(text: str) -> Mode:
    """REDIRECT or TPROXY."""
    if text == "REDIRECT":
        return "REDIRECT"
    if text == "TPROXY":
        return "TPROXY"
    raise ValueError(f"expected REDIRECT or TPROXY, found {text!r}")


def _network(text: str) -> Network:
    if "/" not in text:
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


def loopback(text: str) -> ipaddress.IPv4Network:
    """A range within 127.0.0.0/8."""
    network = _network(text)
    if not isinstance(network, ipaddress.IPv4Network) or not network.is_loopback:
        raise ValueError(f"expected a range within 127.0.0.0/8, found {text!r}")
    return network


def interfaces(text: str) -> tuple[str, ...]:
    """Interface names, comma separated."""
    for item in _items(text):
        if not _INTERFACE.fullmatch(item):
            raise ValueError(f"expected interface names of at most 15 letters, found {item!r}")
    return tuple(_items(text))


def owners(text: str) -> tuple[str, ...]:
    """User or group ids, comma separated; `LOW-HIGH` is a range."""
    for item in _items(text):
        ends = [int(end) for end in item.split("-")] if _OWNER.fullmatch(item) else []
        if not ends or ends != sorted(ends) or ends[-1] > MAX_ID:
            raise ValueError(f"expected ids such as 1337, at most {MAX_ID}, found {item!r}")
    return tuple(_items(text))


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
        return owners(text)[0]
    try:
        return str(grp.getgrnam(text).gr_gid)
    except KeyError as unknown:
        raise ValueError(f"group {text!r} is unknown here: give its number") from unknown


def boolean(text: str) -> bool:
    """True or false."""
    if text.lower() in ("true", "1", "t"):
        return True
    if text.lower() in ("false", "0", "f"):
        return False
    raise ValueError(f"expected true or false, found {text!r}")


def duration(text: str) -> float:
    """A time such as `5s`; returns seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)?", text)
    if not match:
        raise ValueError(f"expected a time such as 5s, found {text!r}")
    return float(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}[match[2]]
