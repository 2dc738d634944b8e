"""Reads Envoy's admin interface from inside the pod's network namespace (127.0.0.1:15000)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lab.errors import ObservationError
from lab.observe.readings import HttpAnswer


@dataclass(frozen=True)
class EnvoyListener:
    """One of Envoy's listeners: its name and bound address."""

    name: str
    address: str
    port: int


@dataclass(frozen=True)
class Endpoint:
    """One endpoint of an Envoy cluster. `health`: its health as EDS gave it, such as "HEALTHY"."""

    address: str
    port: int
    health: str = "HEALTHY"


@dataclass(frozen=True)
class EnvoyCluster:
    """One of Envoy's clusters, with its current endpoints."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True)
class ServerInfo:
    """What Envoy reports at /server_info.

    `state` is "LIVE" when Envoy serves traffic. `uptime` is in seconds. `options` are the command
    line options by the names that Envoy uses ("config_path", "concurrency"). `node` is how
    Envoy identifies itself to discovery (id, cluster, metadata); it is no node of Kubernetes.
    """

    state: str
    version: str
    uptime: int
    options: Mapping[str, Any]
    node: Mapping[str, Any]


class Envoy:
    """Reads the state of one pod's Envoy. Every call asks the admin interface; nothing is cached.

    Each method raises ObservationError when the admin interface gives no answer.
    """

    def __init__(self, get: Callable[[str], HttpAnswer], who: str) -> None:
        self._get = get
        self._who = who

    def get(self, path: str) -> str:
        """GET `path` from the admin interface and return the answer's body as text."""
        answer = self._get(path)
        if answer.status != 200:
            what = answer.error or f"status {answer.status}: {answer.body[:200]}"
            raise ObservationError(
                f"Envoy's admin interface of {self._who} did not answer {path}: {what}",
                hint="is there a sidecar in this pod, and does its Envoy run?",
            )
        return answer.body

    def json(self, path: str) -> Any:
        """GET `path` and return the decoded JSON."""
        text = self.get(path)
        try:
            return json.loads(text)
        except ValueError as bad:
            raise ObservationError(
                f"Envoy's admin interface of {self._who} did not answer {path} with JSON: "
                f"{text[:200]!r}"
            ) from bad

    def alive(self) -> bool:
        """Whether Envoy is in the state LIVE; False when the admin interface gives no answer."""
        try:
            return self.server_info().state == "LIVE"
        except ObservationError:
            return False

    def server_info(self) -> ServerInfo:
        """Return what Envoy reports at /server_info."""
        return server_info(self.json("/server_info"))

    def config_dump(self) -> dict[str, Any]:
        """Return Envoy's whole configuration dump, including endpoints, as decoded JSON."""
        dump: dict[str, Any] = self.json("/config_dump?include_eds")
        return dump

    def bootstrap(self) -> dict[str, Any]:
        """Return the bootstrap configuration with which this Envoy was started."""
        return bootstrap_of(self.config_dump())

    def listeners(self) -> tuple[EnvoyListener, ...]:
        """Return the bound listeners, sorted by name, port and address."""
        return listeners_of(self.json("/listeners?format=json"))

    def clusters(self) -> tuple[EnvoyCluster, ...]:
        """Return Envoy's clusters with their endpoints, sorted by name."""
        return clusters_of(self.json("/clusters?format=json"))

    def cluster(self, name: str) -> EnvoyCluster | None:
        """Return the Envoy cluster with this name; None when Envoy does not have it."""
        return next((cluster for cluster in self.clusters() if cluster.name == name), None)

    def stats(self, pattern: str = "") -> dict[str, int]:
        """Return counters and gauges by name. `pattern`: a regular expression for their names."""
        query = f"&filter={quote(pattern)}" if pattern else ""
        return stats_of(self.json(f"/stats?format=json{query}"))

    def stat(self, name: str) -> int:
        """Return the value of one counter or gauge; 0 when Envoy does not have it."""
        return self.stats(f"^{name}$").get(name, 0)


def server_info(info: Mapping[str, Any]) -> ServerInfo:
    """Parse the JSON of /server_info."""
    return ServerInfo(
        state=info.get("state", "LIVE"),  # the first value of the enum is left out of JSON
        version=info.get("version", ""),
        uptime=int(str(info.get("uptime_current_epoch", "0s")).rstrip("s") or 0),
        options=info.get("command_line_options", {}),
        node=info.get("node", {}),
    )


def bootstrap_of(dump: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bootstrap part of a configuration dump; {} when there is none."""
    for part in dump.get("configs", ()):
        if part.get("@type", "").endswith("BootstrapConfigDump"):
            bootstrap: dict[str, Any] = part.get("bootstrap", {})
            return bootstrap
    return {}


def listeners_of(answer: Mapping[str, Any]) -> tuple[EnvoyListener, ...]:
    """Parse the JSON of /listeners; sort by name, port and address."""
    listeners = []
    for status in answer.get("listener_statuses", ()):
        where = status.get("local_address", {}).get("socket_address", {})
        listeners.append(
            EnvoyListener(status["name"], where.get("address", ""), int(where.get("port_value", 0)))
        )
    return tuple(
        sorted(listeners, key=lambda listener: (listener.name, listener.port, listener.address))
    )


def clusters_of(answer: Mapping[str, Any]) -> tuple[EnvoyCluster, ...]:
    """Parse the JSON of /clusters; sort clusters by name, endpoints by address and port."""
    clusters = []
    for status in answer.get("cluster_statuses", ()):
        ends = []
        for host in status.get("host_statuses", ()):
            where = host.get("address", {}).get("socket_address", {})
            health = host.get("health_status", {}).get("eds_health_status", "HEALTHY")
            ends.append(Endpoint(where.get("address", ""), int(where.get("port_value", 0)), health))
        ends.sort(key=lambda end: (end.address, end.port))
        clusters.append(EnvoyCluster(status["name"], tuple(ends)))
    return tuple(sorted(clusters, key=lambda cluster: cluster.name))


def stats_of(answer: Mapping[str, Any]) -> dict[str, int]:
    """Parse the JSON of /stats. Return counters and gauges by name; skip texts and histograms."""
    return {
        stat["name"]: int(stat["value"])
        for stat in answer.get("stats", ())
        if isinstance(stat.get("value"), int | str) and str(stat["value"]).lstrip("-").isdigit()
    }
