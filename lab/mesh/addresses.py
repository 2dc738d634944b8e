"""The addresses of this network namespace, from /proc: no command, no library."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc/net")
_GLOBAL_SCOPE: Final = "00"


def ipv4(proc: Path = _PROC) -> list[IPv4Address]:
    """IPv4 addresses of this namespace that are neither loopback nor link-local."""
    found: list[IPv4Address] = []
    candidate = ""
    for line in _lines(proc / "fib_trie"):
        words = line.split()
        if words[:1] == ["|--"]:
            candidate = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            address = IPv4Address(candidate)
            usable = not address.is_loopback and not address.is_link_local
            if usable and address not in found:
                found.append(address)
    return found


def ipv6(proc: Path = _PROC) -> list[IPv6Address]:
    """Global IPv6 addresses of this namespace. `::6`, which we add to `lo`, is not among them."""
    found = []
    for line in _lines(proc / "if_inet6"):
        digits, _, _, scope, _, device = line.split()
        if scope == _GLOBAL_SCOPE and device != "lo":
            found.append(IPv6Address(int(digits, 16)))
    return found


def wants_ipv6(*, dual_stack: bool, proc: Path = _PROC) -> bool:
    """Whether IPv6 is to be redirected too.

    As Istio: where the pod's first address is IPv6, that is where it has no IPv4 address; with
    `dual_stack` where it has any.
    """
    return bool(ipv6(proc)) and (dual_stack or not ipv4(proc))


def name_servers(resolv_conf: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """Addresses of the `nameserver` lines. Raises OSError when the file cannot be read."""
    lines = (line.split() for line in resolv_conf.read_text().splitlines())
    return tuple(words[1].partition("%")[0] for words in lines if words[:1] == ["nameserver"])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:  # the kernel has no such family
        return []
