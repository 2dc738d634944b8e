"""Finds failures in logs, such as refused configuration, ports in use and unknown hosts. Pure.

The patterns match lines of Envoy, of the agents of the lab and of Istio, of discovery and, for
ports in use, of applications. All other lines are ignored.
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
_REPORTED: Final = re.compile(
    r"(?<![\w.-])(?P<pod>[\w.-]+) refused (?P<type>[A-Z]DS): (?P<why>[^\n]*)"
)
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
    """A resource that Envoy refused. `time`: Unix time of the log line, None if it has none."""

    kind: Kind
    name: str
    why: str
    time: float | None = None


def rejections(log: str) -> tuple[Rejection, ...]:
    """Returns Envoy's last refusal of each resource, in the order of Envoy's log."""
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


def reported_to_discovery(log: str, pod: str) -> tuple[Rejection, ...]:
    """Returns Envoy's last refusal of each resource, as discovery logged it for `pod`."""
    last = {}
    for line in log[-LOG_BYTES:].splitlines():
        match = _REPORTED.search(line)
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
    """Yields the ports on which the sidecar could not listen, because they were in use."""
    for match in _TAKEN.finditer(log[-LOG_BYTES:]):
        yield int(match["port"] or match["port2"] or match["port3"])


def unresolved(log: str) -> str:
    """Returns discovery's host name if the agent could not resolve it, else ""."""
    hosts = [match["host"] or match["host2"] for match in _UNRESOLVED.finditer(log[-LOG_BYTES:])]
    return clean(hosts[-1], 120) if hosts else ""


def unreached(log: str) -> str:
    """Returns discovery's address and why the agent did not reach it.

    Returns "" if the log shows no such failure.
    """
    failures = list(_UNREACHED.finditer(log[-LOG_BYTES:]))
    return clean(f"{failures[-1]['where']}: {failures[-1]['why']}") if failures else ""


def kills(log: str) -> int:
    """Returns how often Envoy was killed by SIGKILL, as happens when memory is used up."""
    return len(_KILLED.findall(log[-LOG_BYTES:]))


_IN_USE: Final = re.compile(r"address already in use|EADDRINUSE|address in use", re.I)
_NUMBER: Final = re.compile(r"(?<!\d)(1\d{4})(?!\d)")


def application_ports(log: str, ports: frozenset[int]) -> int | None:
    """Returns the port of `ports` that an application's log last reports as in use, else None."""
    for line in reversed(log[-LOG_BYTES:].splitlines()):
        if _IN_USE.search(line):
            for number in _NUMBER.findall(line):
                if int(number) in ports:
                    return int(number)
    return None


def hint(log: str) -> str:
    """Returns the last hint that one of the lab's programs logged, "" if there is none."""
    hints = [line for line in log[-LOG_BYTES:].splitlines() if line.startswith("hint: ")]
    return clean(hints[-1].removeprefix("hint: ")) if hints else ""


def last_words(log: str, most: int = 300) -> str:
    """Returns the last `error:` line of a log, or the last line if no line is an error."""
    lines = [line for line in log[-LOG_BYTES:].splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith(("error:", "Error:"))]
    last = (wrong or lines or [""])[-1]
    return clean(last.removeprefix("error: ") if wrong else last, most)
