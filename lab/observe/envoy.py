"""Envoy's admin interface, read from inside the pod's network namespace (127.0.0.1:15000)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lab.errors import ObservationError
from lab.observe.readings import Answer


@dataclass(frozen=True)
class EnvoyListener:
    """A listener that Envoy has: its name and bound address."""

    name: str
    address: str
    port: int


@dataclass(frozen=True)
class Endpoint:
    """One endpoint of a cluster; `health` is Envoy's EDS health ("HEALTHY")."""

    address: str
    port: int
    health: str = "HEALTHY"


@dataclass(frozen=True)
class EnvoyCluster:
    """A cluster that Envoy has, with the endpoints that it knows now."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True)
class ServerInfo:
    """What Envoy says of itself. `state` is "LIVE" when it serves; `uptime` is in seconds.

    `options` are its command line options by Envoy's own names ("config_path", "concurrency").
    `node` is the bootstrap's node: id, cluster, metadata.
    """

    state: str
    version: str
    uptime: int
    options: Mapping[str, Any]
    node: Mapping[str, Any]


class Envoy:
    """One pod's Envoy; every call asks it anew.

    Each method raises ObservationError when the admin interface gives no answer.
    """

    def __init__(self, get: Callable[[str], Answer], who: str) -> None:
        self._get = get
        self._who = who

    def get(self, path: str) -> str:
        """The text that the admin interface answers to GET `path`."""
        answer = self._get(path)
        if answer.status != 200:
            what = answer.error or f"status {answer.status}: {answer.body[:200]}"
            raise ObservationError(
                f"Envoy's admin interface of {self._who} did not answer {path}: {what}",
                hint="is there a sidecar in this pod, and does its Envoy run?",
            )
        return answer.body

    def json(self, path: str) -> Any:
        """As `get`, decoded."""
        text = self.get(path)
        try:
            return json.loads(text)
        except ValueError as bad:
            raise ObservationError(
                f"Envoy's admin interface of {self._who} answered {path} with no JSON: "
                f"{text[:200]!r}"
            ) from bad

    def alive(self) -> bool:
        """Whether the admin interface answers and says LIVE; never raises."""
        try:
            return self.server_info().state == "LIVE"
        except ObservationError:
            return False

    def server_info(self) -> ServerInfo:
        """State, version, uptime, options and node."""
        return server_info(self.json("/server_info"))

    def config_dump(self) -> dict[str, Any]:
        """The whole configuration, endpoints included, as Envoy gives it."""
        dump: dict[str, Any] = self.json("/config_dump?include_eds")
        return dump

    def bootstrap(self) -> dict[str, Any]:
        """The bootstrap that this Envoy was started with."""
        return bootstrap_of(self.config_dump())

    def listeners(self) -> tuple[EnvoyListener, ...]:
        """Bound listeners by name, port and address."""
        return listeners_of(self.json("/listeners?format=json"))

    def clusters(self) -> tuple[EnvoyCluster, ...]:
        """Clusters by name, with their endpoints."""
        return clusters_of(self.json("/clusters?format=json"))

    def cluster(self, name: str) -> EnvoyCluster | None:
        """The cluster of that name, or None while Envoy does not have it."""
        return next((one for one in self.clusters() if one.name == name), None)

    def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges by name; `pattern` is Envoy's regular expression filter."""
        query = f"&filter={quote(pattern)}" if pattern else ""
        return stats_of(self.json(f"/stats?format=json{query}"))

    def stat(self, name: str) -> int:
        """One counter or gauge; 0 when Envoy does not have it."""
        return self.stats(f"^{name}$").get(name, 0)


def server_info(seen: Mapping[str, Any]) -> ServerInfo:
    """From the JSON of /server_info."""
    return ServerInfo(
        state=seen.get("state", "LIVE"),  # the first value of the enum is left out of JSON
        version=seen.get("version", ""),
        uptime=int(str(seen.get("uptime_current_epoch", "0s")).rstrip("s") or 0),
        options=seen.get("command_line_options", {}),
        node=seen.get("node", {}),
    )


def bootstrap_of(dump: Mapping[str, Any]) -> dict[str, Any]:
    """The bootstrap in a configuration dump; {} when there is none."""
    for part in dump.get("configs", ()):
        if part.get("@type", "").endswith("BootstrapConfigDump"):
            found: dict[str, Any] = part.get("bootstrap", {})
            return found
    return {}


def listeners_of(seen: Mapping[str, Any]) -> tuple[EnvoyListener, ...]:
    """From the JSON of /listeners."""
    found = []
    for one in seen.get("listener_statuses", ()):
        where = one.get("local_address", {}).get("socket_address", {})
        found.append(
            EnvoyListener(one["name"], where.get("address", ""), int(where.get("port_value", 0)))
        )
    return tuple(sorted(found, key=lambda one: (one.name, one.port, one.address)))


def clusters_of(seen: Mapping[str, Any]) -> tuple[EnvoyCluster, ...]:
    """From the JSON of /clusters."""
    found = []
    for one in seen.get("cluster_statuses", ()):
        ends = []
        for host in one.get("host_statuses", ()):
            where = host.get("address", {}).get("socket_address", {})
            health = host.get("health_status", {}).get("eds_health_status", "HEALTHY")
            ends.append(Endpoint(where.get("address", ""), int(where.get("port_value", 0)), health))
        ends.sort(key=lambda end: (end.address, end.port))
        found.append(EnvoyCluster(one["name"], tuple(ends)))
    return tuple(sorted(found, key=lambda one: one.name))


def stats_of(seen: Mapping[str, Any]) -> dict[str, int]:
    """From the JSON of /stats: counters and gauges; text readouts and histograms left out."""
    return {
        one["name"]: int(one["value"])
        for one in seen.get("stats", ())
        if isinstance(one.get("value"), int | str) and str(one["value"]).lstrip("-").isdigit()
    }
