"""What redirection needs beside rules: TPROXY's policy route, and Envoy's IPv6 source address."""

import subprocess
from collections.abc import Collection

from lab.mesh.errors import ApplyError, VerifyError
from lab.mesh.redirection_settings import Settings
from lab.mesh.rules import Family

PASSTHROUGH_IPV6 = "::6"
"""IPv4 has all of 127/8 on `lo`; IPv6 has one address, so that a second must be added."""


def ensure(settings: Settings, family: Family, stale: Collection[str] = ()) -> list[str]:
    """Make what is missing, read it back, and say what was done ([]: nothing had to be).

    `stale` are marks (`0x539`) of an earlier run whose policy routes go, unless still wanted.
    Raises ApplyError when `ip` refuses, VerifyError when it is not there afterwards.
    """
    done = []
    tproxy = settings.mode == "TPROXY"
    mark, table = f"{settings.tproxy_mark:#x}", str(settings.tproxy_route_table)
    for old, used in _rules(family) if stale else ():
        if old in stale and not (tproxy and (old, used) == (mark, table)):
            done += _remove(family, old, used)
    if family == "ipv6" and PASSTHROUGH_IPV6 not in _addresses():
        _ip(family, "addr", "add", f"{PASSTHROUGH_IPV6}/128", "dev", "lo")
        done.append(f"added {PASSTHROUGH_IPV6} to lo")
    if not tproxy:
        return done
    if (mark, table) not in _rules(family):
        _ip(family, "rule", "add", "fwmark", mark, "lookup", table)
        done.append(f"packets with mark {mark} use route table {table}")
    if not _has_route(family, table):
        _ip(family, "route", "add", "local", "default", "dev", "lo", "table", table)
        done.append(f"route table {table} delivers everything locally")
    if (mark, table) not in _rules(family) or not _has_route(family, table):
        raise VerifyError(f"the policy route of mark {mark} is not there after it was added")
    return done


def remove(settings: Settings, family: Family, stale: Collection[str] = ()) -> list[str]:
    """Undo `ensure`, whatever mode the settings name; say what was done."""
    done = []
    marks = {f"{settings.tproxy_mark:#x}", *stale}
    for mark, table in _rules(family):
        if mark in marks:
            done += _remove(family, mark, table)
    if family == "ipv6" and PASSTHROUGH_IPV6 in _addresses():
        _ip(family, "addr", "del", f"{PASSTHROUGH_IPV6}/128", "dev", "lo")
        done.append(f"removed {PASSTHROUGH_IPV6} from lo")
    return done


def _remove(family: Family, mark: str, table: str) -> list[str]:
    _ip(family, "rule", "del", "fwmark", mark, "lookup", table)
    if _has_route(family, table):
        _ip(family, "route", "del", "local", "default", "dev", "lo", "table", table)
    return [f"removed the policy route of mark {mark}, table {table}"]


def _rules(family: Family) -> list[tuple[str, str]]:
    """(mark, table) of every policy rule that goes by a mark."""
    found = []
    for line in _ip(family, "rule", "show").splitlines():
        words = line.split()
        if "fwmark" in words and "lookup" in words:
            at, to = words.index("fwmark"), words.index("lookup")
            found.append((words[at + 1], words[to + 1]))
    return found


def _addresses() -> list[str]:
    words = _ip("ipv6", "-o", "addr", "show", "dev", "lo").split()
    return [word.partition("/")[0] for word in words]


def _has_route(family: Family, table: str) -> bool:
    shown = _ip(family, "route", "show", "table", table, missing_ok=True)
    return any(line.startswith("local default dev lo") for line in shown.splitlines())


def _ip(family: Family, *words: str, missing_ok: bool = False) -> str:
    argv = ["ip", "-4" if family == "ipv4" else "-6", *words]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError as missing:
        raise ApplyError("`ip` is not installed", hint="install iproute2") from missing
    if done.returncode and not (missing_ok and "does not exist" in done.stderr):
        raise ApplyError(f"`{' '.join(argv)}` failed: {done.stderr.strip()}")
    return done.stdout
