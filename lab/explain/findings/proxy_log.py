"""What istio-proxy's log says went wrong: refused configuration, taken ports, lost names. Pure.

The lines are Envoy's and the agent's, ours or Istio's; whatever else stands there is passed over.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lab.explain.symptoms import LOG_BYTES, Kind, clean, moment

_KINDS: Final[Mapping[str, Kind]] = {
    "envoy.config.listener.v3.Listener": "listener",
    "envoy.config.cluster.v3.Cluster": "cluster",
    "envoy.config.route.v3.RouteConfiguration": "route table",
    "envoy.config.endpoint.v3.ClusterLoadAssignment": "endpoints",
    "envoy.extensions.transport_sockets.tls.v3.Secret": "secret",
}
_SHORT: Final[Mapping[str, Kind]] = {
    "LDS": "listener", "CDS": "cluster", "RDS": "route table", "EDS": "endpoints", "SDS": "secret",
}  # fmt: skip
_REJECTED: Final = re.compile(
    r"gRPC config for type\.googleapis\.com/(?P<type>[\w.]+) rejected: (?P<why>[^\n]*)"
)
_TOLD: Final = re.compile(r"(?<![\w.-])(?P<pod>[\w.-]+) refused (?P<type>[A-Z]DS): (?P<why>[^\n]*)")
_NAMED: Final = re.compile(
    r"Error adding/updating (?:listener|cluster)\(s\) (?P<name>\S+?): (?P<why>.*)"
)
_TAKEN: Final = re.compile(
    r"cannot bind '(?P<a>[^']*):(?P<port>\d{1,5})': Address already in use"
    r"|cannot listen on port (?P<port2>\d{1,5}): \[Errno 98\]"
    r"|listen tcp \S*:(?P<port3>\d{1,5}): bind: address already in use"
)
_UNRESOLVED: Final = re.compile(
    r"xDS: (?P<host>[\w.-]+):\d+: \[Errno -\d\]"
    r"|dial tcp: lookup (?P<host2>[\w.-]+)\b"
)
_UNREACHED: Final = re.compile(r"xDS: (?P<where>[\w.-]+:\d+): (?P<why>[^;\n]*)")
_KILLED: Final = re.compile(r"Envoy \(pid \d+\) was killed by SIGKILL")


@dataclass(frozen=True)
class Rejection:
    """Configuration that Envoy refused; `time` in seconds, None where the line has none."""

    kind: Kind
    name: str
    why: str
    time: float | None = None


def rejections(log: str) -> tuple[Rejection, ...]:
    """The last refusal of each resource, in the order of the log."""
    last: dict[tuple[Kind, str], Rejection] = {}
    for line in log[-LOG_BYTES:].splitlines():
        match = _REJECTED.search(line)
        kind = _KINDS.get(match["type"]) if match else None
        if match is None or kind is None:
            continue
        rejection = _rejection(kind, match["why"], moment(line.split(maxsplit=1)[0]))
        last.pop((kind, rejection.name), None)
        last[(kind, rejection.name)] = rejection
    return tuple(last.values())


def told_discovery(log: str, pod: str) -> tuple[Rejection, ...]:
    """The same from discovery's log: what the proxy of a pod answered there."""
    last = {}
    for line in log[-LOG_BYTES:].splitlines():
        match = _TOLD.search(line)
        if match is not None and match["pod"] == pod and match["type"] in _SHORT:
            rejection = _rejection(_SHORT[match["type"]], match["why"], None)
            last[(rejection.kind, rejection.name)] = rejection
    return tuple(last.values())


def _rejection(kind: Kind, why: str, time: float | None) -> Rejection:
    named = _NAMED.match(why)
    if named is None:
        return Rejection(kind, "", clean(why), time)
    return Rejection(kind, clean(named["name"], 120), clean(named["why"]), time)


def taken_ports(log: str) -> Iterator[int]:
    """Ports that the proxy could not have because another process has them."""
    for match in _TAKEN.finditer(log[-LOG_BYTES:]):
        yield int(match["port"] or match["port2"] or match["port3"])


def unresolved(log: str) -> str:
    """The host of discovery that no name server knew, "" if none."""
    hosts = [match["host"] or match["host2"] for match in _UNRESOLVED.finditer(log[-LOG_BYTES:])]
    return clean(hosts[-1], 120) if hosts else ""


def unreached(log: str) -> str:
    """Where discovery was not reached and why, "" if it always was."""
    failures = list(_UNREACHED.finditer(log[-LOG_BYTES:]))
    return clean(f"{failures[-1]['where']}: {failures[-1]['why']}") if failures else ""


def kills(log: str) -> int:
    """How often Envoy was killed from outside, as the kernel does when memory is used up."""
    return len(_KILLED.findall(log[-LOG_BYTES:]))


_IN_USE: Final = re.compile(r"address already in use|EADDRINUSE|address in use", re.I)
_NUMBER: Final = re.compile(r"(?<!\d)(1\d{4})(?!\d)")


def application_ports(log: str, ports: frozenset[int]) -> int | None:
    """The port of `ports` that an application says it could not have, None if it says none."""
    for line in reversed(log[-LOG_BYTES:].splitlines()):
        if _IN_USE.search(line):
            for number in _NUMBER.findall(line):
                if int(number) in ports:
                    return int(number)
    return None


def hint(log: str) -> str:
    """What our own programs advise when they give up, "" where nothing is."""
    hints = [line for line in log[-LOG_BYTES:].splitlines() if line.startswith("hint: ")]
    return clean(hints[-1].removeprefix("hint: ")) if hints else ""


def last_words(log: str, most: int = 300) -> str:
    """The end of a log in one line: `error:` lines where there are any, else the last line."""
    lines = [line for line in log[-LOG_BYTES:].splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith(("error:", "Error:"))]
    last = (wrong or lines or [""])[-1]
    return clean(last.removeprefix("error: ") if wrong else last, most)
