"""A pod's symptoms as plain data: its status, events, logs and Envoy's counters. Pure.

Any program can have written these texts. So this module removes control characters and shortens
long texts. A field of an unexpected type counts as absent.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from lab.mesh import contract

LOG_LINES: Final = 500
"""Number of lines that are requested from the end of a container's log."""
LOG_BYTES: Final = 256 * 1024
STATISTICS_BYTES: Final = 2 * 1024 * 1024
"""At most this number of bytes of Envoy's counters is read."""
_WORDS: Final = 400
"""Longer messages are cut after this number of characters."""
_EVENTS: Final = 60
OURS: Final = (contract.INIT_CONTAINER, contract.PROXY_CONTAINER)
Kind = Literal["listener", "cluster", "route table", "endpoints", "secret"]


def clean(text: object, most: int = _WORDS) -> str:
    """Returns `text` as one line without control characters.

    A text of more than `most` characters is cut there, and ends with "...".
    """
    plain = "".join(c if c.isprintable() else " " for c in str(text)[: 20 * most])
    plain = " ".join(plain.split())
    return plain if len(plain) <= most else f"{plain[:most]}..."


@dataclass(frozen=True)
class Container:
    """One container's status.

    `lasting`: whether it is an init container that keeps running, as a native sidecar does.
    `ended`: whether it has ended and is not running again. `waiting`: kubelet's reason why it waits
    to start, "" if it does not wait. `message`: kubelet's message about the wait or the last end.
    `exit_code`, `last_reason`: exit code and reason of the last end. If the container has not ended
    yet, they are None and "".
    """

    name: str
    init: bool = False
    lasting: bool = False
    ready: bool = False
    running: bool = False
    ended: bool = False
    waiting: str = ""
    message: str = ""
    exit_code: int | None = None
    last_reason: str = ""
    restarts: int = 0

    @property
    def done(self) -> bool:
        """Whether the container has ended with exit code 0."""
        return self.ended and self.exit_code == 0

    @property
    def failing(self) -> bool:
        """Whether the container ended with an error and is not running again."""
        return not self.running and self.exit_code not in (None, 0)


@dataclass(frozen=True)
class Event:
    """A warning event. `container`: the container's name, "" if it is about the whole pod."""

    reason: str
    message: str
    container: str = ""


@dataclass(frozen=True)
class Update:
    """Envoy's counters of the updates that it got from discovery for one subscription.

    `name`: name of the subscribed resource, "" for a subscription to all listeners or
    clusters. `rejected`: number of rejected updates. `time`: Unix time of the last successful
    update, 0 if there was none.
    """

    kind: Kind
    name: str = ""
    rejected: int = 0
    time: float = 0.0


@dataclass(frozen=True)
class Symptoms:
    """What shows a pod's health: its status, events, logs and Envoy's counters.

    `age`: the pod's age in seconds. `unscheduled`: the scheduler's message if no node can run the
    pod, else "". `logs`: log texts by container name; "discovery" is the log of discovery.
    `updates`: None if Envoy's counters were not read. `holders`: for each
    malformed address that Envoy refused, the EndpointSlice that contains this address, if any.
    """

    age: float = 0.0
    ready: bool = False
    unscheduled: str = ""
    containers: tuple[Container, ...] = ()
    events: tuple[Event, ...] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    updates: tuple[Update, ...] | None = None
    holders: Mapping[str, str] = field(default_factory=dict)

    def container(self, name: str) -> Container | None:
        """Returns the status of the container `name`, None if there is none."""
        return next((container for container in self.containers if container.name == name), None)

    def log(self, name: str) -> str:
        """Returns a container's log, "" if it was not read."""
        return self.logs.get(name, "")


def unready(symptoms: Symptoms) -> Container | None:
    """Returns the status of the sidecar's container if the sidecar is not ready, else None."""
    proxy = symptoms.container(contract.PROXY_CONTAINER)
    return proxy if proxy is not None and not proxy.ready else None


def of_pod(pod: Mapping[str, Any]) -> Symptoms:
    """Returns the symptoms that the status of the pod's object shows."""
    status = _mapping(pod.get("status"))
    spec = _mapping(pod.get("spec"))
    lasting = {
        init_container.get("name")
        for init_container in _mappings(spec.get("initContainers"))
        if init_container.get("restartPolicy") == "Always"
    }
    statuses = [
        _container(
            status_entry, init=group.startswith("init"), lasting=status_entry.get("name") in lasting
        )
        for group in ("initContainerStatuses", "containerStatuses")
        for status_entry in _mappings(status.get(group))
    ]
    conditions = {
        condition.get("type"): condition for condition in _mappings(status.get("conditions"))
    }
    scheduled = conditions.get("PodScheduled", {})
    return Symptoms(
        ready=conditions.get("Ready", {}).get("status") == "True",
        unscheduled=clean(scheduled.get("message") or "no node was found")
        if scheduled.get("status") == "False"
        else "",
        containers=tuple(statuses),
    )


def _container(status: Mapping[str, Any], *, init: bool, lasting: bool) -> Container:
    state, last = _mapping(status.get("state")), _mapping(status.get("lastState"))
    waiting = _mapping(state.get("waiting"))
    now = _mapping(state.get("terminated"))
    end = now or _mapping(last.get("terminated"))
    code = end.get("exitCode")
    restarts = status.get("restartCount")
    return Container(
        name=clean(status.get("name", "")),
        init=init,
        lasting=lasting,
        ready=status.get("ready") is True,
        running="running" in state,
        ended="terminated" in state,
        waiting=clean(waiting.get("reason", "")),
        message=clean(waiting.get("message") or end.get("message") or ""),
        exit_code=code if isinstance(code, int) else None,
        last_reason=clean(end.get("reason", "")),
        restarts=restarts if isinstance(restarts, int) else 0,
    )


_FIELD: Final = re.compile(r"spec\.\w+\{(?P<name>[^}]*)\}")


def events(event_objects: Iterable[Mapping[str, Any]], uid: str) -> tuple[Event, ...]:
    """Returns the warnings about one pod, newest last.

    `uid`: the pod's uid. Events of an earlier pod with the same name have another uid.
    """
    mine = []
    for event in event_objects:
        about = _mapping(event.get("involvedObject"))
        if event.get("type") != "Warning" or about.get("uid") != uid:
            continue
        match = _FIELD.match(str(about.get("fieldPath") or ""))
        when = str(event.get("lastTimestamp") or event.get("eventTime") or "")
        warning = Event(
            clean(event.get("reason", "")),
            clean(event.get("message", "")),
            clean(match["name"]) if match else "",
        )
        mine.append((when, warning))
    mine.sort(key=lambda pair: pair[0])
    return tuple(warning for _, warning in mine[-_EVENTS:])


_SAMPLE: Final = re.compile(
    r"envoy_(?P<what>\w+)_update_(?P<field>rejected|time)"
    r"(?:\{(?P<labels>[^}]*)\})? (?P<value>[0-9.e+]+)"
)
_CLUSTER: Final = re.compile(r'envoy_cluster_name="(?P<name>[^"]*)"')
_ROUTES: Final = re.compile(r"http_\w+?_rds_(?P<name>\w+)")
_MANAGERS: Final[Mapping[str, Kind]] = {
    "listener_manager_lds": "listener",
    "cluster_manager_cds": "cluster",
}


def updates(statistics: str) -> tuple[Update, ...]:
    """Parses Envoy's counters (Prometheus' text format); returns those of each subscription."""
    counters: dict[tuple[Kind, str, str], dict[str, float]] = {}
    for line in statistics[:STATISTICS_BYTES].splitlines():
        match = _SAMPLE.fullmatch(line)
        if match is None:
            continue
        try:
            value = float(match["value"])
        except ValueError:
            continue
        kind, name = _subscription(match["what"], match["labels"] or "")
        if kind is not None:
            # Envoy puts a part of a cluster's name into the metric's name: the key needs both.
            counters.setdefault((kind, name, match["what"]), {})[match["field"]] = value
    return tuple(
        Update(kind, name, int(values.get("rejected", 0)), values.get("time", 0) / 1000)
        for (kind, name, _), values in counters.items()
    )


def _subscription(what: str, labels: str) -> tuple[Kind | None, str]:
    if what in _MANAGERS:
        return _MANAGERS[what], ""
    if match := _ROUTES.fullmatch(what):
        return "route table", clean(match["name"])
    if what.startswith("cluster_") and (match := _CLUSTER.search(labels)):
        return "endpoints", clean(match["name"])
    return None, ""


def moment(text: str) -> float | None:
    """Converts a time in the format of RFC 3339 to Unix time; None for any other text."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item
