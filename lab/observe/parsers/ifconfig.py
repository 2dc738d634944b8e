"""Parser for the output of `ifconfig` (net-tools 2)."""

import re

from lab.errors import ObservationError
from lab.observe.parsers.text import unread
from lab.observe.readings import Interface

_HEAD = re.compile(r"(?P<name>\S+): flags=\d+<(?P<flags>[A-Z0-9,_-]*)>\s+mtu (?P<mtu>\d+)")
_COUNT = re.compile(r"(?P<way>RX|TX) packets (?P<packets>\d+)\s+bytes (?P<bytes>\d+)")


def parse_ifconfig(text: str) -> tuple[Interface, ...]:
    """Parse interfaces, and sort them by name. Raises ObservationError when the text has none."""
    blocks: list[list[str]] = []
    for row in text.splitlines():
        if _HEAD.match(row):
            blocks.append([row])
        elif row[:1].isspace() and row.strip() and blocks:
            blocks[-1].append(row.strip())
    if not blocks:
        raise ObservationError(f"no interface in the output of ifconfig: {text.strip()[:300]!r}")
    return tuple(
        sorted((_interface(block) for block in blocks), key=lambda interface: interface.name)
    )


def _interface(block: list[str]) -> Interface:
    head = _HEAD.match(block[0])
    assert head is not None
    ipv4, ipv6 = [], []
    broadcast = mac = None
    counts = {"RX": (0, 0), "TX": (0, 0)}
    for row in block[1:]:
        words = row.split()
        pairs = dict(zip(words[::2], words[1::2], strict=False))
        try:
            if words[0] == "inet":
                ipv4.append(f"{words[1]}/{_length(pairs['netmask'])}")
                broadcast = pairs.get("broadcast", broadcast)
            elif words[0] == "inet6":
                ipv6.append(f"{words[1]}/{pairs['prefixlen']}")
            elif words[0] == "ether":
                mac = words[1]
            elif counted := _COUNT.match(row):
                counts[counted["way"]] = (int(counted["packets"]), int(counted["bytes"]))
        except (KeyError, IndexError, ValueError) as bad:
            raise unread("ifconfig", row) from bad
    return Interface(
        name=head["name"],
        mtu=int(head["mtu"]),
        flags=frozenset(filter(None, head["flags"].split(","))),
        ipv4=tuple(ipv4),
        ipv6=tuple(sorted(ipv6)),
        broadcast=broadcast,
        mac=mac,
        rx_packets=counts["RX"][0],
        rx_bytes=counts["RX"][1],
        tx_packets=counts["TX"][0],
        tx_bytes=counts["TX"][1],
    )


def _length(mask: str) -> int:
    value = 0
    for part in mask.split("."):
        value = value << 8 | int(part)
    ones = value.bit_count()
    if value != (0xFFFFFFFF << (32 - ones)) & 0xFFFFFFFF:
        raise ValueError(mask)
    return ones
