"""Sets up what redirection needs besides rules: TPROXY's policy route, Envoy's IPv6 address."""

import subprocess
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from lab.mesh.errors import ApplyError, VerifyError
from lab.mesh.redirection import addresses
from lab.mesh.redirection.rules import Family
from lab.mesh.redirection.settings import Settings

PASSTHROUGH_IPV6: Final = "::6"
"""IPv6 address from which Envoy connects to the application. This program adds it to `lo`, because
`lo` has only the IPv6 address ::1; of IPv4, it has all of 127.0.0.0/8."""
_NO_TABLE: Final = "does not exist"
_LOCAL_DEFAULT: Final = ("2 default dev lo", "local default dev lo")
"""How `ip` prints a default route to `lo`. With -N the type may be a number: 2 is RTN_LOCAL."""


def ensure(settings: Settings, family: Family, stale: Collection[str] = ()) -> list[str]:
    """Add the policy route and the IPv6 address if they are needed and missing.

    Returns phrases that say what was done, [] if nothing was. `stale`: packet marks (such as
    `0x539`) of an earlier run, whose policy routes are removed unless this run needs them. Raises
    ApplyError when `ip` refuses a command, VerifyError when an added route cannot be read back.
    """
    done = []
    # As in Istio: without inbound ports TPROXY marks no packet, so it needs no route.
    wanted = settings.mode == "TPROXY" and settings.inbound_ports != ()
    mark, table = f"{settings.tproxy_mark:#x}", str(settings.tproxy_route_table)
    current = _read_state(family, table) if wanted or stale else _RouteState()
    for old, used in current.rules:
        if old in stale and not (wanted and (old, used) == (mark, table)):
            done += _remove(family, old, used)
    if done and wanted:
        current = _read_state(family, table)  # the old mark may have used the same table
    if family == "ipv6" and PASSTHROUGH_IPV6 not in addresses.on_loopback():
        _ip(family, f"addr add {PASSTHROUGH_IPV6}/128 dev lo")
        done.append(f"added {PASSTHROUGH_IPV6} to lo")
    if not wanted:
        return done
    todo = []
    if (mark, table) not in current.rules:
        todo.append(f"rule add fwmark {mark} lookup {table}")
        done.append(f"packets with mark {mark} use route table {table}")
    if not current.delivers:
        todo.append(f"route add local default dev lo table {table}")
        done.append(f"route table {table} delivers everything locally")
    if todo:
        after = _read_state(family, table, *todo)
        if (mark, table) not in after.rules or not after.delivers:
            raise VerifyError(f"the policy route of mark {mark} is missing after it was added")
    return done


def remove(settings: Settings, family: Family, stale: Collection[str] = ()) -> list[str]:
    """Remove the policy routes and the IPv6 address of this program; return phrases that say so.

    `settings.mode` does not matter here: an earlier run may have used TPROXY. The policy routes of
    `settings.tproxy_mark` and of the marks in `stale` (those of earlier runs) are removed.
    """
    done = []
    marks = {f"{settings.tproxy_mark:#x}", *stale}
    for mark, table in _read_state(family, str(settings.tproxy_route_table)).rules:
        if mark in marks:
            done += _remove(family, mark, table)
    if family == "ipv6" and PASSTHROUGH_IPV6 in addresses.on_loopback():
        _ip(family, f"addr del {PASSTHROUGH_IPV6}/128 dev lo")
        done.append(f"removed {PASSTHROUGH_IPV6} from lo")
    return done


class _RouteState(NamedTuple):
    """The policy routing that the kernel has now.

    `rules`: (mark, table) of each policy rule that matches a mark. `delivers`: whether the route
    table that was read delivers everything locally.
    """

    rules: Sequence[tuple[str, str]] = ()
    delivers: bool = False


def _remove(family: Family, mark: str, table: str) -> list[str]:
    todo = [f"rule del fwmark {mark} lookup {table}"]
    if _read_state(family, table).delivers:
        todo.append(f"route del local default dev lo table {table}")
    _ip(family, *todo)
    return [f"removed the policy route of mark {mark}, table {table}"]


def _read_state(family: Family, table: str, *first: str) -> _RouteState:
    """Run the commands `first`, then read policy rules and one route table, in one process."""
    rules, delivers = [], False
    for line in _ip(family, *first, "rule show", f"route show table {table}").splitlines():
        words = line.split()
        if line.startswith(_LOCAL_DEFAULT):
            delivers = True
        elif "fwmark" in words and "lookup" in words:
            at, to = words.index("fwmark"), words.index("lookup")
            rules.append((words[at + 1], words[to + 1]))
    return _RouteState(rules, delivers)


def _ip(family: Family, *commands: str) -> str:
    # One process for all commands: a start costs as much as the work. -N prints 254, not "main".
    argv = ["ip", "-4" if family == "ipv4" else "-6", "-N", "-batch", "-"]
    text = "\n".join(commands) + "\n"
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=30, check=False
        )
    except FileNotFoundError as missing:
        raise ApplyError("`ip` is not installed", hint="install iproute2") from missing
    if done.returncode and _NO_TABLE not in done.stderr:
        raise ApplyError(f"`ip` refused a command of {'; '.join(commands)}: {done.stderr.strip()}")
    return done.stdout
