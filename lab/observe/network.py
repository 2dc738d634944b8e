"""Netlink's view of a network namespace, turned into what ifconfig and route would say. Pure."""

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
"""Interface flags by ifconfig's names (linux/if.h); others ifconfig does not print."""
AF_INET = 2
RTN_UNICAST = 1
RTN_REJECTING = frozenset({6, 7, 8})
"""Blackhole, unreachable, prohibit: route prints "!"."""


def interfaces(links: Sequence[Message], addresses: Sequence[Message]) -> tuple[Interface, ...]:
    """The interfaces that are up, by name."""
    found = [_interface(link, addresses) for link in links if link["flags"] & 1]
    return tuple(sorted(found, key=lambda one: one.name))


def _interface(link: Message, addresses: Sequence[Message]) -> Interface:
    flags = frozenset(name for bit, name in FLAGS.items() if link["flags"] & bit)
    mine = [one for one in addresses if one["index"] == link["index"]]
    four = [one for one in mine if one["family"] == AF_INET]
    six = [one for one in mine if one["family"] != AF_INET]
    counts = link.get("IFLA_STATS64") or {}
    return Interface(
        name=link["IFLA_IFNAME"],
        mtu=link["IFLA_MTU"],
        flags=flags,
        ipv4=tuple(f"{_own(one)}/{one['prefixlen']}" for one in four),
        ipv6=tuple(sorted(f"{_own(one)}/{one['prefixlen']}" for one in six)),
        broadcast=next((one["IFA_BROADCAST"] for one in four if "IFA_BROADCAST" in one), None),
        mac=None if "LOOPBACK" in flags else link.get("IFLA_ADDRESS"),
        rx_packets=counts.get("rx_packets", 0),
        rx_bytes=counts.get("rx_bytes", 0),
        tx_packets=counts.get("tx_packets", 0),
        tx_bytes=counts.get("tx_bytes", 0),
    )


def _own(address: Message) -> str:
    # On a point-to-point link IFA_ADDRESS is the far end's.
    return str(address.get("IFA_LOCAL") or address["IFA_ADDRESS"])


def routes(seen: Sequence[Message], links: Sequence[Message]) -> tuple[Route, ...]:
    """The main table's unicast and rejecting routes in the kernel's order."""
    names = {link["index"]: link["IFLA_IFNAME"] for link in links}
    return tuple(
        _route(one, names)
        for one in seen
        if one["type"] == RTN_UNICAST or one["type"] in RTN_REJECTING
    )


def _route(seen: Message, names: Mapping[int, str]) -> Route:
    gateway = seen.get("RTA_GATEWAY")
    rejecting = seen["type"] in RTN_REJECTING
    flags = ("!" if rejecting else "U") + "G" * bool(gateway)
    if seen["dst_len"] == 32:
        flags += "H"
    return Route(
        destination=f"{seen.get('RTA_DST', '0.0.0.0')}/{seen['dst_len']}",  # noqa: S104
        gateway=gateway,
        interface=names.get(seen.get("RTA_OIF", 0), "-" if rejecting else "*"),
        flags=flags,
        metric=seen.get("RTA_PRIORITY", 0),
    )
