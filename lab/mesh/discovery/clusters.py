"""Makes Envoy's clusters and endpoints from a Snapshot; pure."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import BindConfig, SocketAddress
from envoy.config.endpoint.v3.endpoint_components_pb2 import (
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from lab.mesh.contract import CLUSTER_DOMAIN, INBOUND_PASSTHROUGH_SOURCE, SIDECAR_PORTS
from lab.mesh.discovery.envoy_filters import address, ads, packed
from lab.mesh.discovery.protocols import Protocol, merged, protocol_of
from lab.mesh.discovery.snapshot import Service, ServicePort, Slice, SliceEndpoint, Snapshot

PASSTHROUGH: Final = "PassthroughCluster"
"""The cluster that sends outbound traffic to the very address that the application dialled."""
BLACK_HOLE: Final = "BlackHoleCluster"
"""Cluster without endpoints: it ends connections that would otherwise loop through Envoy."""
INBOUND_PASSTHROUGH: Final = "InboundPassthroughCluster"
"""Cluster of inbound traffic to a port that no Service names."""
CONNECT_TIMEOUT: Final = Duration(seconds=10)
_UNLIMITED: Final = UInt32Value(value=2**32 - 1)
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, order=True)
class InboundPort:
    """A port of a pod to which some Service sends traffic. `port`: the container's port number."""

    port: int
    protocol: Protocol


def fqdn(service: Service) -> str:
    """Return the full DNS name of a Service."""
    return f"{service.name}.{service.namespace}.svc.{CLUSTER_DOMAIN}"


def outbound_name(service: Service, port: ServicePort) -> str:
    """Return the name of a Service port's cluster, as Istio writes it."""
    return f"outbound|{port.port}||{fqdn(service)}"


def inbound_name(port: int) -> str:
    """Return the name of the cluster of one of the pod's own ports."""
    return f"inbound|{port}||"


def is_ipv4(text: str) -> bool:
    """Return whether the address `text` is IPv4. IPv6 traffic goes to the passthrough cluster."""
    return ":" not in text


class Backends:
    """The EndpointSlices of a Snapshot, indexed by Service and by pod address."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._slices: dict[tuple[str, str], list[Slice]] = defaultdict(list)
        for endpoint_slice in snapshot.slices:
            key = endpoint_slice.namespace, endpoint_slice.service
            self._slices[key].append(endpoint_slice)
        ports: dict[tuple[str, str], dict[int, Protocol]] = defaultdict(dict)
        for service in snapshot.services:
            if not service.external_name:
                self._collect_inbound(service, ports)
        self._inbound = {
            pod: tuple(InboundPort(port, protocols[port]) for port in sorted(protocols))
            for pod, protocols in ports.items()
        }

    def of(self, service: Service, port: ServicePort) -> list[tuple[str, int]]:
        """Return the (address, port)s that take the traffic of one Service port, sorted.

        They belong to the endpoints that are ready. If none is ready, they belong to the endpoints
        that still serve while they end.
        """
        backends = list(self._of(service, port))
        ready = [(e, p) for e, p in backends if e.ready]
        chosen = ready or [(e, p) for e, p in backends if e.serving]
        return sorted({(endpoint.address, number) for endpoint, number in chosen})

    def inbound(self, namespace: str, addresses: Iterable[str]) -> tuple[InboundPort, ...]:
        """Return a pod's ports to which Services send traffic; () if there are none.

        The pod is in `namespace` and has `addresses`. Only Services of its own namespace count,
        because an EndpointSlice of another namespace may hold any address. Endpoints that are not
        ready count, too, because the sidecar is configured before its pod is ready.
        """
        for ip in addresses:
            if (namespace, ip) in self._inbound:
                return self._inbound[namespace, ip]
        return ()

    def _of(self, service: Service, port: ServicePort) -> Iterable[tuple[SliceEndpoint, int]]:
        for endpoint_slice in self._slices.get((service.namespace, service.name), ()):
            for slice_port in endpoint_slice.ports:
                if slice_port.name == port.name:
                    for endpoint in endpoint_slice.endpoints:
                        if is_ipv4(endpoint.address):
                            yield endpoint, slice_port.port

    def _collect_inbound(
        self, service: Service, ports: dict[tuple[str, str], dict[int, Protocol]]
    ) -> None:
        for port in service.ports:
            protocol = protocol_of(port)
            for endpoint, number in self._of(service, port):
                if number not in SIDECAR_PORTS:
                    mine = ports[service.namespace, endpoint.address]
                    mine[number] = merged(mine.get(number, protocol), protocol)


def outbound(snapshot: Snapshot) -> dict[str, Cluster]:
    """Return the outbound clusters by name; they are the same for every sidecar.

    Each port of a Service has one, except for ExternalName Services. PASSTHROUGH and BLACK_HOLE
    are for all other traffic.
    """
    result = {
        PASSTHROUGH: _original_destination(PASSTHROUGH),
        BLACK_HOLE: _cluster(BLACK_HOLE, Cluster.STATIC),
    }
    for service in snapshot.services:
        for port in () if service.external_name else service.ports:
            name = outbound_name(service, port)
            if service.headless:
                # Its name resolves to the pods' own addresses: the client has chosen the pod.
                result[name] = _original_destination(name)
            else:
                cluster = _cluster(name, Cluster.EDS)
                cluster.eds_cluster_config.eds_config.CopyFrom(ads())
                result[name] = cluster
    return result


def assignments(snapshot: Snapshot, backends: Backends) -> dict[str, ClusterLoadAssignment]:
    """Return cluster name → endpoints, for each cluster whose endpoints Envoy gets by EDS."""
    return {
        outbound_name(service, port): assignment(
            outbound_name(service, port), backends.of(service, port)
        )
        for service in snapshot.services
        if not service.external_name and not service.headless
        for port in service.ports
    }


def assignment(name: str, addresses: Iterable[tuple[str, int]] = ()) -> ClusterLoadAssignment:
    """Return the endpoints of one cluster, all with the same weight."""
    endpoints = [LbEndpoint(endpoint=Endpoint(address=address(ip, port))) for ip, port in addresses]
    localities = [LocalityLbEndpoints(lb_endpoints=endpoints)] if endpoints else []
    return ClusterLoadAssignment(cluster_name=name, endpoints=localities)


def inbound(ports: Iterable[InboundPort]) -> dict[str, Cluster]:
    """Return the clusters towards the pod's own application.

    Envoy connects to the address that the client dialled, so it reaches an application that listens
    on the pod's address or on all addresses. It connects from INBOUND_PASSTHROUGH_SOURCE, and the
    redirection rules do not capture connections from this address again.
    """
    names = [INBOUND_PASSTHROUGH, *(inbound_name(port.port) for port in ports)]
    source = BindConfig(source_address=SocketAddress(address=INBOUND_PASSTHROUGH_SOURCE))
    source.source_address.port_value = 0
    return {name: _original_destination(name, source) for name in names}


def _original_destination(name: str, source: BindConfig | None = None) -> Cluster:
    cluster = _cluster(name, Cluster.ORIGINAL_DST)
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    if source is not None:
        cluster.upstream_bind_config.CopyFrom(source)
    return cluster


def _cluster(name: str, kind: int) -> Cluster:
    """Return a cluster without limits; Envoy speaks the client's protocol to its endpoints.

    It uses round robin instead of Istio's least request, so that all replicas answer in turn.
    """
    cluster = Cluster(name=name, type=kind, connect_timeout=CONNECT_TIMEOUT)
    cluster.lb_policy = Cluster.ROUND_ROBIN
    cluster.circuit_breakers.thresholds.append(
        CircuitBreakers.Thresholds(
            max_connections=_UNLIMITED,
            max_pending_requests=_UNLIMITED,
            max_requests=_UNLIMITED,
            max_retries=_UNLIMITED,
        )
    )
    options = HttpProtocolOptions()
    options.use_downstream_protocol_config.http_protocol_options.SetInParent()
    options.use_downstream_protocol_config.http2_protocol_options.SetInParent()
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))
    return cluster
