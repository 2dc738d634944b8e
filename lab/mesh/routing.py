"""What redirection needs beside rules: TPROXY's policy route, and Envoy's IPv6 source address."""

import subprocess

from lab.mesh.errors import ApplyError, VerifyError
from lab.mesh.redirection_settings import Settings
from lab.mesh.rules import Family

PASSTHROUGH_IPV6 = "::6"
"""IPv4 has all of 127/8 on `lo`; IPv6 has one address, so that a second must be added."""


def ensure(settings: Settings, family: Family) -> list[str]:
    """Make what is missing, read it back, and say what was done ([]: nothing had to be).

    Raises ApplyError when `ip` refuses, VerifyError when it is not there afterwards.
    """
    done = []
    if family == "ipv6" and PASSTHROUGH_IPV6 not in _addresses():
        _ip(family, "addr", "add", f"{PASSTHROUGH_IPV6}/128", "dev", "lo")
        done.append(f"added {PASSTHROUGH_IPV6} to lo")
    if settings.mode != "TPROXY":
        return done
    mark, table = f"{settings.tproxy_mark:#x}", str(settings.tproxy_route_table)
    if not _has_rule(family, mark, table):
        _ip(family, "rule", "add", "fwmark", mark, "lookup", table)
        done.append(f"packets with mark {mark} use route table {table}")
    if not _has_route(family, table):
        _ip(family, "route", "add", "local", "default", "dev", "lo", "table", table)
        done.append(f"route table {table} delivers everything locally")
    if not (_has_rule(family, mark, table) and _has_route(family, table)):
        raise VerifyError(f"the policy route of mark {mark} is not there after it was added")
    return done


def remove(settings: Settings, family: Family) -> list[str]:
    """Undo `ensure`, whatever mode the settings name; say what was done."""
    done = []
    mark, table = f"{settings.tproxy_mark:#x}", str(settings.tproxy_route_table)
    while _has_rule(family, mark, table):
        _ip(family, "rule", "del", "fwmark", mark, "lookup", table)
        done.append(f"removed the rule of mark {mark}")
    if _has_route(family, table):
        _ip(family, "route", "del", "local", "default", "dev", "lo", "table", table)
        done.append(f"removed the route of table {table}")
    if family == "ipv6" and PASSTHROUGH_IPV6 in _addresses():
        _ip(family, "addr", "del", f"{PASSTHROUGH_IPV6}/128", "dev", "lo")
        done.append(f"removed {PASSTHROUGH_IPV6} from lo")
    return done


def _addresses() -> list[str]:
    words = _ip("ipv6", "-o", "addr", "show", "dev", "lo").split()
    return [word.partition("/")[0] for word in words]


def _has_rule(family: Family, mark: str, table: str) -> bool:
    wanted = f"fwmark {mark} lookup {table}"
    return any(wanted in line for line in _ip(family, "rule", "show").splitlines())


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
