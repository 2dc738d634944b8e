"""Which addresses a namespace has, read from /proc's own text."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from lab.mesh.redirection import addresses

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.244.0.0/24 2 0 2
        |-- 10.244.0.11
           /32 host LOCAL
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     |-- 169.254.7.7
        /32 host LOCAL
"""
IF_INET6 = """00000000000000000000000000000001 01 80 10 80       lo
00000000000000000000000000000006 01 80 00 80       lo
fe80000000000000a49c06fffe0ad77a 02 40 20 80     eth0
fd000210000000000000000000000002 02 40 00 80     eth0
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "fib_trie").write_text(FIB_TRIE)
    (tmp_path / "if_inet6").write_text(IF_INET6)
    return tmp_path


def test_only_addresses_that_others_can_reach_count(proc: Path) -> None:
    assert addresses.ipv4(proc) == [IPv4Address("10.244.0.11")]
    assert addresses.ipv6(proc) == [IPv6Address("fd00:210::2")]


def test_what_lo_has_beside_its_own_address_is_told(proc: Path) -> None:
    assert addresses.on_loopback(proc) == ["::1", "::6"]


def test_ipv6_is_wanted_alone_or_when_asked(proc: Path) -> None:
    assert not addresses.wants_ipv6(dual_stack=False, proc=proc)
    assert addresses.wants_ipv6(dual_stack=True, proc=proc)
    (proc / "fib_trie").write_text("")
    assert addresses.wants_ipv6(dual_stack=False, proc=proc)
    (proc / "if_inet6").unlink()  # a kernel without IPv6
    assert not addresses.wants_ipv6(dual_stack=True, proc=proc)


def test_name_servers_are_read_from_resolv_conf(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(
        "search a.b\nnameserver 10.96.0.10\n# nameserver 1.1.1.1\nnameserver fe80::1%eth0\n"
        "nameserver\nnameserver dns.example\nnameserver FD00:0::A # the second\n"
    )
    assert addresses.name_servers(file) == ("10.96.0.10", "fe80::1", "fd00::a")
