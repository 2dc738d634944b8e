"""Turns a Snapshot and a pod's identity into the xDS resources of one sidecar; pure.

One `Catalog` is made per Snapshot, and all sidecars share the resources that it builds. So the
work of building them does not grow with the number of sidecars.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict

from lab.mesh.discovery import clusters, listeners
from lab.mesh.discovery.envoy_filters import packed
from lab.mesh.discovery.snapshot import Snapshot
from lab.mesh.errors import DiscoveryError

_TYPE: Final = "type.googleapis.com/envoy.config."
CLUSTERS: Final = _TYPE + "cluster.v3.Cluster"
ENDPOINTS: Final = _TYPE + "endpoint.v3.ClusterLoadAssignment"
LISTENERS: Final = _TYPE + "listener.v3.Listener"
ROUTES: Final = _TYPE + "route.v3.RouteConfiguration"
PUSH_ORDER: Final = (CLUSTERS, ENDPOINTS, LISTENERS, ROUTES)
"""The order that Envoy's documentation recommends. A cluster arrives before the listeners and
routes that send traffic to it, so that no request finds its cluster missing."""
SHORT: Final = {CLUSTERS: "CDS", ENDPOINTS: "EDS", LISTENERS: "LDS", ROUTES: "RDS"}
_NODE_ID: Final = re.compile(r"(?P<kind>[^~]*)~(?P<ip>[^~]*)~(?P<pod>[^~]*)~(?P<domain>[^~]*)")


@dataclass(frozen=True)
class Identity:
    """Identifies the pod of a sidecar.

    `addresses`: the pod's IPs; the first one is the IP in Envoy's node id (`sidecar~<ip>~...`).
    """

    namespace: str
    pod: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Resource:
    """One xDS resource, ready to send.

    `needs`: the names of the resources that Envoy requests after it has received this one. For a
    listener they are its route tables; for a cluster, its endpoints.
    """

    name: str
    body: AnyMessage
    digest: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResourceSet:
    """All resources of one type. `version` is the hash of their names and contents."""

    by_name: Mapping[str, Resource]
    version: str


View = Mapping[str, ResourceSet]
"""All resources of one sidecar: type URL → the resources of this type."""


def identity_of(node: Any) -> Identity:
    """Return the identity in Envoy's Node.

    The id is `sidecar~<ip>~<pod>.<namespace>~<domain>`. NAME and NAMESPACE in the node's
    metadata override the id; INSTANCE_IPS adds addresses. Raises DiscoveryError when the id has
    another shape.
    """
    match = _NODE_ID.fullmatch(node.id)
    if match is None:
        raise DiscoveryError(
            f"node id {node.id!r} is not sidecar~<ip>~<pod>.<namespace>~<domain>",
            hint="the agent writes it from INSTANCE_IP, POD_NAME and POD_NAMESPACE",
        )
    pod, _, namespace = match["pod"].rpartition(".")
    metadata = MessageToDict(node.metadata)
    listed = str(metadata.get("INSTANCE_IPS") or "").split(",")
    addresses = [ip.strip() for ip in (match["ip"], *listed) if ip.strip()]
    return Identity(
        namespace=str(metadata.get("NAMESPACE") or namespace),
        pod=str(metadata.get("NAME") or pod),
        addresses=tuple(dict.fromkeys(addresses)),
    )


def fallback(type_url: str, name: str) -> Resource:
    """Return what to send for a name without a usable resource, so that Envoy need not wait.

    For endpoints, it is an empty list. For routes, it is a table that sends each request to the
    address that the client dialled.
    """
    if type_url == ENDPOINTS:
        return _resource(name, clusters.assignment(name))
    return _resource(name, listeners.wildcard_routes(0, (), ""), rename=True)


class Catalog:
    """Builds the resources of all sidecars from one Snapshot.

    It builds the endpoints once, the routes once per namespace, and the clusters and listeners once
    per set of inbound ports. Sidecars with the same namespace or ports share what was built.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._backends = clusters.Backends(snapshot)
        self._clusters = _resources(clusters.outbound(snapshot), _endpoint_names)
        self._listeners = _resources(
            listeners.outbound(snapshot, self._backends), _route_table_names
        )
        self._endpoints = _set(_resources(clusters.assignments(snapshot, self._backends)))
        self._routes: dict[str, ResourceSet] = {}
        self._own: dict[tuple[clusters.InboundPort, ...], tuple[ResourceSet, ResourceSet]] = {}

    def view(self, identity: Identity) -> View:
        """Return the resources of one sidecar; build those that no other sidecar has needed yet."""
        namespace = identity.namespace
        if namespace not in self._routes:
            tables = listeners.outbound_routes(self.snapshot, namespace)
            self._routes[namespace] = _set(_resources(tables))
        own = self._backends.inbound(namespace, identity.addresses)
        if own not in self._own:
            inbound = {listeners.VIRTUAL_INBOUND: listeners.inbound(own)}
            self._own[own] = (
                _set({**self._clusters, **_resources(clusters.inbound(own))}),
                _set({**self._listeners, **_resources(inbound)}),
            )
        own_clusters, own_listeners = self._own[own]
        return {
            CLUSTERS: own_clusters,
            ENDPOINTS: self._endpoints,
            LISTENERS: own_listeners,
            ROUTES: self._routes[namespace],
        }

    @property
    def sizes(self) -> dict[str, int]:
        """The number of resources that are the same for all sidecars, by short type name."""
        return {
            "CDS": len(self._clusters),
            "EDS": len(self._endpoints.by_name),
            "LDS": len(self._listeners),
        }


def _resources(
    messages: Mapping[str, Any], needs: Callable[[Any], tuple[str, ...]] | None = None
) -> dict[str, Resource]:
    return {
        name: _resource(name, message, needs=needs(message) if needs else ())
        for name, message in messages.items()
    }


def _resource(
    name: str, message: Any, *, needs: tuple[str, ...] = (), rename: bool = False
) -> Resource:
    if rename:
        message.name = name
    body = packed(message)
    digest = hashlib.sha256(body.value).hexdigest()[:16]
    return Resource(name, body, digest, needs)


def _set(resources: Mapping[str, Resource]) -> ResourceSet:
    return ResourceSet(dict(sorted(resources.items())), version_of(resources.values()))


def version_of(resources: Iterable[Resource]) -> str:
    """Return a hash of names and contents, whatever their order (16 hex digits)."""
    lines = sorted(f"{resource.name} {resource.digest}\n" for resource in resources)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _endpoint_names(cluster: Any) -> tuple[str, ...]:
    return (cluster.name,) if cluster.HasField("eds_cluster_config") else ()


def _route_table_names(listener: Any) -> tuple[str, ...]:
    names: list[str] = []
    for chain in listener.filter_chains:
        for network_filter in chain.filters:
            manager = hcm_pb2.HttpConnectionManager()
            if network_filter.typed_config.Unpack(manager) and manager.HasField("rds"):
                names.append(manager.rds.route_config_name)
    return tuple(names)
