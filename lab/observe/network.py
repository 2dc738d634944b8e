"""Turns netlink messages of a network namespace into interfaces and routes. Pure.

The results are equal to those of the parsers for the output of `ifconfig` and `route`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lab.observe.readings import Interface, Route

Message = Mapping[str, Any]

FLAGS = {
    0x1: "UP",
    0x2: "BROADCAST",
    0x4: "DEBUG",
    0x8: "LOOPBACK",
    0x10: "POINTOPOINT",
    0x20: "NOTRAILERS",
    0x40: "RUNNING",
    0x80: "NOARP",
    0x100: "PROMISC",
    0x200: "ALLMULTI",
    0x1000: "MULTICAST",
}
"""Interface flags (linux/if.h) and the names that ifconfig prints for them."""
AF_INET = 2
RTN_UNICAST = 1
RTN_REJECTING = frozenset({6, 7, 8})
"""Route types blackhole, unreachable and prohibit. `route` prints them with the flag "!"."""


def interfaces(links: Sequence[Message], addresses: Sequence[Message]) -> tuple[Interface, ...]:
    """Return the interfaces that are up, sorted by name."""
    up = [_interface(link, addresses) for link in links if link["flags"] & 1]
    return tuple(sorted(up, key=lambda interface: interface.name))


def _interface(link: Message, addresses: Sequence[Message]) -> Interface:
    flags = frozenset(name for bit, name in FLAGS.items() if link["flags"] & bit)
    mine = [address for address in addresses if address["index"] == link["index"]]
    four = [address for address in mine if address["family"] == AF_INET]
    six = [address for address in mine if address["family"] != AF_INET]
    counts = link.get("IFLA_STATS64") or {}
    return Interface(
        name=link["IFLA_IFNAME"],
        mtu=link["IFLA_MTU"],
        flags=flags,
        ipv4=tuple(f"{_own(address)}/{address['prefixlen']}" for address in four),
        ipv6=tuple(sorted(f"{_own(address)}/{address['prefixlen']}" for address in six)),
        broadcast=next(
            (address["IFA_BROADCAST"] for address in four if "IFA_BROADCAST" in address), None
        ),
        mac=None if "LOOPBACK" in flags else link.get("IFLA_ADDRESS"),
        rx_packets=counts.get("rx_packets", 0),
        rx_bytes=counts.get("rx_bytes", 0),
        tx_packets=counts.get("tx_packets", 0),
        tx_bytes=counts.get("tx_bytes", 0),
    )


def _own(address: Message) -> str:
    # On a point-to-point link IFA_ADDRESS is the address of the far end.
    return str(address.get("IFA_LOCAL") or address["IFA_ADDRESS"])


def routes(messages: Sequence[Message], links: Sequence[Message]) -> tuple[Route, ...]:
    """Return the unicast and rejecting routes among `messages`, in the kernel's order."""
    names = {link["index"]: link["IFLA_IFNAME"] for link in links}
    return tuple(
        _route(message, names)
        for message in messages
        if message["type"] == RTN_UNICAST or message["type"] in RTN_REJECTING
    )


def _route(message: Message, names: Mapping[int, str]) -> Route:
    gateway = message.get("RTA_GATEWAY")
    rejecting = message["type"] in RTN_REJECTING
    flags = ("!" if rejecting else "U") + "G" * bool(gateway)
    if message["dst_len"] == 32:
        flags += "H"
    return Route(
        destination=f"{message.get('RTA_DST', '0.0.0.0')}/{message['dst_len']}",  # noqa: S104
        gateway=gateway,
        interface=names.get(message.get("RTA_OIF", 0), "-" if rejecting else "*"),
        flags=flags,
        metric=message.get("RTA_PRIORITY", 0),
    )
