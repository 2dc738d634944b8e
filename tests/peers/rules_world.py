"""Run an istio-iptables in a fresh network namespace and read everything that it left behind.

The namespace and a mount namespace beside it (own resolv.conf, own lock file) belong to one shell
process: whatever happens, they go with it.
"""

import difflib
import shlex
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.dataplane.everyones import ROOT
from tests.dataplane.world import POD, POD6
from tests.peers.rules_cases import Case

TIMEOUT: Final = 90.0
"""Seconds for one case of one program; half a second is usual."""
SAVED: Final = tuple(
    f"{family}tables-{kind}-save" for kind in ("nft", "legacy") for family in ("ip", "ip6")
)
ROUTING: Final = {
    "ip rule": "ip rule show",
    "ip -6 rule": "ip -6 rule show",
    "ip route": "ip -N route show table all",
    "ip -6 route": "ip -6 -N route show table all",
}
_ADDRESSES: Final = {"ipv4": (f"{POD}/24",), "ipv6": (f"{POD6}/64 nodad",)}
_LEGACY: Final = '"$(readlink -f "$(command -v iptables-legacy)")"'
"""The program behind every name of iptables-legacy, for both families."""
_SETTLED: Final = """\
for _ in {1..250}; do
  [[ $(</proc/net/if_inet6) != *00000000000000000000000000000006* ]] && break
  [[ $(ip -6 route show table local) == *"local ::6 dev lo"* ]] && break
  sleep 0.02
done"""
"""The kernel makes the route of a new IPv6 address a moment after the call that added it."""
_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(frozen=True)
class Program:
    """One of the two programs: its name here, and the words that start it."""

    name: str
    argv: tuple[str, ...]


OURS: Final = Program(
    "ours",
    # As the proxy image's launcher: isolated, without site-packages.
    (
        *(sys.executable, "-IS", "-c"),
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from lab.mesh.redirection.program import main; main()",
    ),
)


@dataclass(frozen=True)
class Run:
    """One run: exit code, seconds, and what it printed."""

    code: int
    seconds: float
    log: str


@dataclass(frozen=True)
class Seen:
    """What a case did: its runs, and what the namespace held then.

    `tables`: (`ip6tables-nft-save`, table) → lines with chains, policies and rules in order.
    `routing`: command → what it printed.
    """

    runs: tuple[Run, ...]
    tables: Mapping[tuple[str, str], tuple[str, ...]]
    routing: Mapping[str, str]

    @property
    def codes(self) -> tuple[int, ...]:
        """The exit code of every run."""
        return tuple(run.code for run in self.runs)


def observe(program: Program, case: Case, resolv_conf: Path) -> Seen:
    """Run `case` in a namespace of its own. `resolv_conf`: a file for this call alone.

    Raises RuntimeError when the namespace cannot be made or read.
    """
    resolv_conf.write_text("".join(f"nameserver {server}\n" for server in case.servers))
    mark = f"=={uuid.uuid4().hex}=="
    done = subprocess.run(
        ["unshare", "--net", "--mount", "bash", "-c", _script(program, case, resolv_conf, mark)],
        capture_output=True,
        text=True,
        env={**_ENVIRONMENT, **dict(case.env)},
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{program.name}: {case}: no namespace:\n{done.stdout}{done.stderr}")
    return _read(done.stdout, mark)


def _script(program: Program, case: Case, resolv_conf: Path, mark: str) -> str:
    wanted = ("ipv4", "ipv6") if case.addresses == "dual" else (case.addresses,)
    links = [
        "link set lo up",
        "link add eth0 type veth peer name peer0",
        # Link-local addresses would differ from namespace to namespace.
        *(f"link set {name} addrgenmode none" for name in ("peer0", "eth0")),
        *(f"link set {name} up" for name in ("peer0", "eth0")),
        *(f"addr add {one} dev eth0" for family in wanted for one in _ADDRESSES[family]),
    ]
    lines = [
        "set -e",
        "mount --make-rprivate /",
        "mount -t tmpfs none /run",  # its own lock for iptables-legacy
        f"mount --bind {shlex.quote(str(resolv_conf))} /etc/resolv.conf",
        f"ip -batch - <<< {shlex.quote(chr(10).join(links))}",
    ]
    if case.legacy:
        lines.append("iptables-legacy -A INPUT -p udp --dport 9 -j ACCEPT")
        lines.append("ip6tables-legacy -A INPUT -p udp --dport 9 -j ACCEPT")
    if case.nft_only:
        lines.append(f"mount --bind /dev/null {_LEGACY}")
    lines.append("set +e")
    for flags in case.runs:
        lines += [
            f"echo '{mark}run'",
            "started=$EPOCHREALTIME",
            f"{shlex.join([*program.argv, *flags])} 2>&1",
            f"echo '{mark}end' $? $((${{EPOCHREALTIME/./}} - ${{started/./}}))",
        ]
    lines.append(_SETTLED)
    if case.nft_only:
        lines.append(f"umount {_LEGACY}")
    lines.append("set -e")
    for name, command in (*((one, one) for one in SAVED), *ROUTING.items()):
        lines += [f"echo '{mark}{name}'", f"{command} 2>/dev/null"]
    return "\n".join(lines)


def _read(text: str, mark: str) -> Seen:
    runs, tables, routing = [], {}, {}
    log = ""
    for section in text.split(mark)[1:]:
        title, _, body = section.partition("\n")
        if title == "run":
            log = body
        elif title.startswith("end "):
            _, code, micros = title.split()
            runs.append(Run(int(code), int(micros) / 1e6, log))
        elif title in SAVED:
            for name, lines in saved(body).items():
                tables[title, name] = lines
        else:
            routing[title] = body
    return Seen(tuple(runs), tables, routing)


def saved(text: str) -> dict[str, tuple[str, ...]]:
    """iptables-save's text by table, without comments and counters."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("*"):
            lines = found.setdefault(line[1:], [])
        elif line.startswith(":"):
            lines.append(line.partition(" [")[0])
        elif line and not line.startswith("#") and line != "COMMIT":
            lines.append(line)
    return {name: tuple(lines) for name, lines in found.items()}


def differences(ours: Seen, theirs: Seen) -> list[str]:
    """Where two namespaces differ, a line each: `-` is theirs alone, `+` is ours alone."""
    told = []
    for key in sorted({*ours.tables, *theirs.tables}):
        mine, other = (seen.tables.get(key) for seen in (ours, theirs))
        if mine != other:
            told += [f"{key[0]} {key[1]}:", *_changes(other or ("(none)",), mine or ("(none)",))]
    for name in ROUTING:
        shown, meant = (seen.routing[name].splitlines() for seen in (ours, theirs))
        if shown != meant:
            told += [f"{name}:", *_changes(meant, shown)]
    return told


def _changes(before: Sequence[str], after: Sequence[str]) -> list[str]:
    compared = difflib.unified_diff(before, after, n=1, lineterm="")
    return [f"  {line}" for line in compared if not line.startswith(("---", "+++", "@@"))]
