"""Makes Envoy's listeners and their routes from a Snapshot and the pod's own ports; pure.

The listener `virtualOutbound` receives each captured outbound connection. It hands the connection
to the listener `<address>_<port>` of the dialled address, or else to `0.0.0.0_<port>`, which routes
HTTP by its Host header and passes other traffic through. If neither exists, it passes the
connection through. Only `virtualOutbound` and `virtualInbound` open a socket.
"""

import functools
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue

from lab.mesh.contract import (
    CLUSTER_DOMAIN,
    ENVOY_HEALTH_PORT,
    INBOUND_PORT,
    OUTBOUND_PORT,
    SIDECAR_PORTS,
)
from lab.mesh.discovery.clusters import (
    BLACK_HOLE,
    INBOUND_PASSTHROUGH,
    PASSTHROUGH,
    Backends,
    InboundPort,
    fqdn,
    inbound_name,
    is_ipv4,
    outbound_name,
)
from lab.mesh.discovery.envoy_filters import (
    SNIFF_SECONDS,
    address,
    chain,
    http_filter,
    original_destination,
    routes,
    sniffing,
    tcp_filter,
    virtual_host,
)
from lab.mesh.discovery.protocols import HTTP_PORTS, Protocol, merged, protocol_of
from lab.mesh.discovery.snapshot import Service, ServicePort, Snapshot

VIRTUAL_OUTBOUND: Final = "virtualOutbound"
VIRTUAL_INBOUND: Final = "virtualInbound"
NO_WILDCARD: Final = SIDECAR_PORTS | {ENVOY_HEALTH_PORT}
"""Ports of the sidecar itself, which get no listener `0.0.0.0_<port>`: Envoy would refuse it."""
LOOPING_PORTS: Final = (OUTBOUND_PORT, INBOUND_PORT)
"""Ports of the capturing listeners: a connection dialled to them would loop in the proxy."""


def outbound(snapshot: Snapshot, backends: Backends) -> dict[str, Listener]:
    """Return the outbound listeners by name; they are the same for every sidecar."""
    result = {VIRTUAL_OUTBOUND: _virtual_outbound()}
    for wildcard in wildcard_ports(snapshot):
        name = f"0.0.0.0_{wildcard}"
        result[name] = _unbound(
            name,
            address_of=("0.0.0.0", wildcard),  # noqa: S104 - a name for "any destination", no socket
            chains=[
                chain(
                    "http", http_filter(f"outbound_{name}", rds=str(wildcard)), sniffed_http=True
                ),
                chain("tcp", tcp_filter(PASSTHROUGH)),
            ],
            inspect=True,
        )
    for (ip, number), claimants in _claims(snapshot, backends).items():
        exact = [claimant for claimant in claimants if not _is_wildcard(claimant[1])]
        if not exact:
            continue
        protocol = functools.reduce(merged, (protocol_of(port) for _, port in claimants))
        described = [claimant for claimant in exact if protocol_of(claimant[1]) is not Protocol.TCP]
        service, port = (described or exact)[0]
        rds = exact_route(service, port) if described else str(claimants[0][1].port)
        name = f"{ip}_{number}"
        result[name] = _unbound(
            name,
            address_of=(ip, number),
            chains=_chains(protocol, outbound_name(service, port), f"outbound_{name}", rds),
            inspect=protocol is not Protocol.TCP,
        )
    return result


def _claims(
    snapshot: Snapshot, backends: Backends
) -> dict[tuple[str, int], list[tuple[Service, ServicePort]]]:
    """Return (address, port) → the Service ports that traffic to it may belong to, sorted by name.

    An EndpointSlice may hold any address. So a headless Service does not count for an address that
    is another Service's cluster IP.
    """
    taken = {ip for service in snapshot.services for ip in service.cluster_ips}
    claims: dict[tuple[str, int], list[tuple[Service, ServicePort]]] = defaultdict(list)
    for service, port in _service_ports(snapshot):
        for ip, number in _destinations(service, port, backends):
            if not (service.headless and ip in taken):
                claims[ip, number].append((service, port))
    return claims


def outbound_routes(snapshot: Snapshot, namespace: str) -> dict[str, RouteConfiguration]:
    """Return the route tables of pods in `namespace`.

    In them, the Services of `namespace` can be called by their name alone.
    """
    by_port: dict[int, list[tuple[Service, ServicePort]]] = defaultdict(list)
    for service, port in _service_ports(snapshot):
        if _is_wildcard(port):
            by_port[port.port].append((service, port))
    result = {
        str(number): wildcard_routes(number, by_port.get(number, ()), namespace)
        for number in wildcard_ports(snapshot)
    }
    for service, port, protocol in _exact(snapshot):
        if protocol is not Protocol.TCP:
            name = exact_route(service, port)
            host = virtual_host(name, ["*"], outbound_name(service, port))
            result[name] = routes(name, [host])
    return result


def wildcard_routes(
    number: int, services: Iterable[tuple[Service, ServicePort]], namespace: str
) -> RouteConfiguration:
    """Return the route table of one port, which routes by the Host header.

    A request for a host that is no Service's goes to the address that the client dialled.
    """
    taken: set[str] = set()
    hosts: list[VirtualHost] = []
    for service, port in services:
        names = dict.fromkeys(domains_of(service, namespace))
        domains = [name for name in names if name not in taken]
        taken.update(domains)
        if domains:
            label = f"{fqdn(service)}:{number}"
            hosts.append(virtual_host(label, domains, outbound_name(service, port)))
    return routes(str(number), [*hosts, virtual_host("allow_any", ["*"], PASSTHROUGH)])


def domains_of(service: Service, namespace: str) -> list[str]:
    """Return the names by which a pod in `namespace` may call a Service, the longest first."""
    short = f"{service.name}.{service.namespace}"
    names = [f"{short}.svc.{CLUSTER_DOMAIN}", f"{short}.svc", short]
    if service.headless:
        names += [f"*.{name}" for name in names]  # a StatefulSet's pods have names below it
    if service.namespace == namespace:
        names.append(service.name)
    return names + [ip for ip in service.cluster_ips if is_ipv4(ip)]


def exact_route(service: Service, port: ServicePort) -> str:
    """Return the name of the route table of a Service port that has its own listeners."""
    return f"{fqdn(service)}:{port.port}"


def wildcard_ports(snapshot: Snapshot) -> list[int]:
    """Return the ports on which HTTP to any destination is routed by Host, sorted.

    The usual HTTP ports are among them even without a Service, so that Envoy always treats a
    request to a bare pod as HTTP.
    """
    named = {port.port for _, port in _service_ports(snapshot) if _is_wildcard(port)}
    return sorted(named | HTTP_PORTS)


def inbound(ports: Iterable[InboundPort]) -> Listener:
    """Return the listener of inbound traffic.

    It also receives traffic to ports that are not in `ports`, and passes it through to the
    application.
    """
    ports = list(ports)
    chains = [
        chain(f"virtualInbound-blackhole-{port}", tcp_filter(BLACK_HOLE), port=port)
        for port in LOOPING_PORTS
    ]
    for own_port in ports:
        chains += _inbound_chains(own_port)
    chains += [
        chain(
            "virtualInbound-catchall-http",
            _inline_http(INBOUND_PASSTHROUGH, "inbound_passthrough"),
            sniffed_http=True,
        ),
        chain("virtualInbound", tcp_filter(INBOUND_PASSTHROUGH)),
    ]
    quiet = [port.port for port in ports if port.protocol is Protocol.TCP]
    listener = _capturing(VIRTUAL_INBOUND, INBOUND_PORT, chains)
    listener.traffic_direction = TrafficDirection.INBOUND
    _inspect(listener, [original_destination(), sniffing(except_ports=[*quiet, *LOOPING_PORTS])])
    return listener


def _inbound_chains(own: InboundPort) -> list[FilterChain]:
    cluster, name = inbound_name(own.port), f"0.0.0.0_{own.port}"
    http = _inline_http(cluster, f"inbound_{name}")
    if own.protocol is Protocol.HTTP:
        return [chain(name, http, port=own.port)]
    tcp = chain(name, tcp_filter(cluster), port=own.port)
    if own.protocol is Protocol.TCP:
        return [tcp]
    return [chain(f"{name}-http", http, port=own.port, sniffed_http=True), tcp]


def _inline_http(cluster: str, stat_prefix: str) -> Filter:
    return http_filter(stat_prefix, inline=routes(cluster, [virtual_host(cluster, ["*"], cluster)]))


def _virtual_outbound() -> Listener:
    listener = _capturing(
        VIRTUAL_OUTBOUND,
        OUTBOUND_PORT,
        [
            chain("virtualOutbound-blackhole", tcp_filter(BLACK_HOLE), port=OUTBOUND_PORT),
            chain("virtualOutbound-catchall-tcp", tcp_filter(PASSTHROUGH)),
        ],
    )
    listener.use_original_dst.value = True
    listener.traffic_direction = TrafficDirection.OUTBOUND
    return listener


def _capturing(name: str, port: int, chains: list[FilterChain]) -> Listener:
    """Return a listener with one socket for all workers, so that netstat shows one row."""
    return Listener(
        name=name,
        address=address("0.0.0.0", port),  # noqa: S104 - redirected traffic arrives on any address
        filter_chains=chains,
        enable_reuse_port=BoolValue(value=False),
    )


def _unbound(
    name: str, *, address_of: tuple[str, int], chains: list[FilterChain], inspect: bool
) -> Listener:
    listener = Listener(
        name=name,
        address=address(*address_of),
        filter_chains=chains,
        bind_to_port=BoolValue(value=False),
        traffic_direction=TrafficDirection.OUTBOUND,
    )
    if inspect:
        _inspect(listener, [sniffing()])
    return listener


def _inspect(listener: Listener, filters: list[ListenerFilter]) -> None:
    listener.listener_filters.extend(filters)
    listener.listener_filters_timeout.CopyFrom(Duration(seconds=SNIFF_SECONDS))
    listener.continue_on_listener_filters_timeout = True


def _chains(protocol: Protocol, cluster: str, stat_prefix: str, rds: str) -> list[FilterChain]:
    tcp = chain("tcp", tcp_filter(cluster))
    if protocol is Protocol.TCP:
        return [tcp]
    return [chain("http", http_filter(stat_prefix, rds=rds), sniffed_http=True), tcp]


def _destinations(
    service: Service, port: ServicePort, backends: Backends
) -> Iterable[tuple[str, int]]:
    if service.headless:
        return backends.of(service, port)
    return [(ip, port.port) for ip in service.cluster_ips if is_ipv4(ip)]


def _service_ports(snapshot: Snapshot) -> Iterable[tuple[Service, ServicePort]]:
    for service in snapshot.services:
        if not service.external_name:
            for port in service.ports:
                yield service, port


def _exact(snapshot: Snapshot) -> Iterable[tuple[Service, ServicePort, Protocol]]:
    for service, port in _service_ports(snapshot):
        if not _is_wildcard(port):
            yield service, port, protocol_of(port)


def _is_wildcard(port: ServicePort) -> bool:
    return protocol_of(port) is Protocol.HTTP and port.port not in NO_WILDCARD
