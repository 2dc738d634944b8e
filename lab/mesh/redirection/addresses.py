"""Reads this network namespace's addresses from /proc, without starting a command."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from os import PathLike
from typing import Final

_PROC: Final = "/proc/net"
File = str | PathLike[str]
_NOT_FOR_OTHERS: Final = ("10", "20")
"""Scopes in /proc/net/if_inet6 of addresses that do not count: host (10) and link (20)."""


def ipv4(proc: File = _PROC) -> list[IPv4Address]:
    """Return this namespace's IPv4 addresses that are neither loopback nor link-local."""
    found: list[IPv4Address] = []
    candidate = ""
    for line in _lines(f"{proc}/fib_trie"):
        words = line.split()
        if words[:1] == ["|--"]:
            candidate = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            address = IPv4Address(candidate)
            usable = not address.is_loopback and not address.is_link_local
            if usable and address not in found:
                found.append(address)
    return found


def ipv6(proc: File = _PROC) -> list[IPv6Address]:
    """Return this namespace's IPv6 addresses, except those of host scope, link scope or `lo`.

    The addresses of `lo` do not count because this program itself adds `::6` to it.
    """
    return [
        address
        for address, scope, device in _ipv6(proc)
        if scope not in _NOT_FOR_OTHERS and device != "lo"
    ]


def on_loopback(proc: File = _PROC) -> list[str]:
    """Return the IPv6 addresses of `lo`."""
    return [str(address) for address, _, device in _ipv6(proc) if device == "lo"]


def _ipv6(proc: File) -> list[tuple[IPv6Address, str, str]]:
    rows = [line.split() for line in _lines(f"{proc}/if_inet6")]
    return [(IPv6Address(int(row[0], 16)), row[3], row[5]) for row in rows]


def wants_ipv6(*, dual_stack: bool, proc: File = _PROC) -> bool:
    """Return whether IPv6 traffic has to be redirected, too.

    Istio redirects it if the pod's first address is an IPv6 address. The order of the addresses is
    not known here, so this function requires that the pod has an IPv6 address and no IPv4 address.
    With `dual_stack`, any IPv6 address of the pod is enough.
    """
    return bool(ipv6(proc)) and (dual_stack or not ipv4(proc))


def name_servers(resolv_conf: File = "/etc/resolv.conf") -> tuple[str, ...]:
    """Return the addresses of the `nameserver` lines; values that are no addresses are skipped.

    Raises OSError when the file cannot be read.
    """
    lines = [line.split() for line in text_of(resolv_conf).splitlines()]
    named = [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1]
    found = []
    for text in named:
        try:
            found.append(str(ip_address(text.partition("%")[0])))
        except ValueError:
            continue
    return tuple(found)


def text_of(path: File) -> str:
    """Return a file's text. Raises OSError."""
    with open(path) as file:  # noqa: PTH123  importing pathlib takes as long as this program
        return file.read()


def _lines(path: str) -> list[str]:
    try:
        return text_of(path).splitlines()
    except FileNotFoundError:  # the kernel lacks this address family
        return []
