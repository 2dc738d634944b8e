"""Snapshot → Envoy configuration: decisions one by one, then properties of any cluster."""

import random
from dataclasses import replace
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from hypothesis import example, given
from hypothesis import strategies as st

from lab.mesh.discovery import clusters, listeners
from lab.mesh.discovery.clusters import Backends, InboundPort
from lab.mesh.discovery.protocols import Protocol, protocol_of
from lab.mesh.discovery.resources import (
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    ROUTES,
    Catalog,
    Identity,
    View,
    identity_of,
)
from lab.mesh.discovery.snapshot import (
    Service,
    ServicePort,
    Slice,
    SliceEndpoint,
    SlicePort,
    Snapshot,
)
from lab.mesh.errors import DiscoveryError

ME = Identity("shop", "client", ("10.244.0.9",))
WEB = Service("shop", "web", (ServicePort(80),), ("10.96.0.1",))


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (ServicePort(80), Protocol.HTTP),
        (ServicePort(8080), Protocol.HTTP),
        (ServicePort(9000, "http"), Protocol.HTTP),
        (ServicePort(9000, "http-admin"), Protocol.HTTP),
        (ServicePort(9000, "grpc-web"), Protocol.HTTP),
        (ServicePort(9000, "", "kubernetes.io/h2c"), Protocol.HTTP),
        (ServicePort(80, "tcp"), Protocol.TCP),
        (ServicePort(443, "https"), Protocol.TCP),
        (ServicePort(80, "http", "tcp"), Protocol.TCP),
        (ServicePort(3306), Protocol.TCP),
        (ServicePort(9000), Protocol.SNIFF),
        (ServicePort(9000, "httpd"), Protocol.SNIFF),
    ],
)
def test_a_port_speaks_what_its_owner_declared(port: ServicePort, expected: Protocol) -> None:
    assert protocol_of(port) is expected


def test_a_neighbour_is_called_by_short_name_and_a_stranger_only_by_namespace() -> None:
    assert listeners.domains_of(WEB, "shop") == [
        "web.shop.svc.cluster.local",
        "web.shop.svc",
        "web.shop",
        "web",
        "10.96.0.1",
    ]
    assert "web" not in listeners.domains_of(WEB, "other")


def test_a_host_that_is_no_service_goes_where_the_client_dialled() -> None:
    table = listeners.outbound_routes(Snapshot((WEB,)), "shop")["80"]
    last = table.virtual_hosts[-1]
    assert (list(last.domains), last.routes[0].route.cluster) == (["*"], "PassthroughCluster")


def test_http_to_a_bare_pod_is_seen_as_http_with_no_service_at_all() -> None:
    found = listeners.outbound(Snapshot(), Backends(Snapshot()))
    assert set(found) == {"virtualOutbound", "0.0.0.0_80", "0.0.0.0_8080"}


def test_two_services_with_one_port_and_different_protocols_do_not_meet() -> None:
    raw = Service("shop", "raw", (ServicePort(80, "tcp"),), ("10.96.0.2",))
    found = listeners.outbound(Snapshot((WEB, raw)), Backends(Snapshot((WEB, raw))))
    assert {"0.0.0.0_80", "10.96.0.2_80"} <= set(found)


def test_a_service_on_a_port_of_the_sidecar_gets_a_listener_on_its_own_address() -> None:
    snapshot = Snapshot((Service("shop", "a", (ServicePort(15001, "http"),), ("10.96.0.3",)),))
    found = listeners.outbound(snapshot, Backends(snapshot))
    assert "10.96.0.3_15001" in found
    assert "0.0.0.0_15001" not in found


def test_an_external_name_is_no_trap() -> None:
    external = Service("shop", "out", (ServicePort(80, "http"),), (), external_name=True)
    plain = Catalog(Snapshot()).view(ME)
    assert Catalog(Snapshot((external,))).view(ME) == plain


def test_only_ready_endpoints_take_traffic_unless_none_is_ready() -> None:
    ends = (SliceEndpoint("10.0.0.1"), SliceEndpoint("10.0.0.2", ready=False, serving=True))
    ports = (SlicePort("", 80),)
    both = Backends(Snapshot((WEB,), (Slice("shop", "web", "s", ports, ends),)))
    assert both.of(WEB, WEB.ports[0]) == [("10.0.0.1", 80)]
    ending = Backends(Snapshot((WEB,), (Slice("shop", "web", "s", ports, ends[1:]),)))
    assert ending.of(WEB, WEB.ports[0]) == [("10.0.0.2", 80)]


def test_the_pods_own_ports_are_known_before_it_is_ready() -> None:
    unready = (SliceEndpoint("10.244.0.9", ready=False, serving=False),)
    own = Slice("shop", "web", "s", (SlicePort("", 8081),), unready)
    backends = Backends(Snapshot((WEB,), (own,)))
    assert backends.inbound("shop", ME.addresses) == (InboundPort(8081, Protocol.HTTP),)
    assert backends.inbound("shop", ("10.9.9.9",)) == ()


def test_services_that_disagree_on_a_pods_port_leave_it_to_sniffing() -> None:
    raw = Service("shop", "raw", (ServicePort(9, "tcp"),), ("10.96.0.2",))
    ends = (SliceEndpoint("10.244.0.9"),)
    snapshot = Snapshot(
        (WEB, raw),
        (
            Slice("shop", "web", "a", (SlicePort("", 8081),), ends),
            Slice("shop", "raw", "b", (SlicePort("tcp", 8081),), ends),
        ),
    )
    assert Backends(snapshot).inbound("shop", ME.addresses) == (InboundPort(8081, Protocol.SNIFF),)


def test_inbound_reaches_the_application_from_the_address_that_rules_let_pass() -> None:
    found = clusters.inbound([InboundPort(80, Protocol.HTTP)])
    assert set(found) == {"inbound|80||", "InboundPassthroughCluster"}
    for each in found.values():
        assert each.upstream_bind_config.source_address.address == "127.0.0.6"
        assert each.type == Cluster.ORIGINAL_DST


def test_dialling_the_capture_ports_ends_in_the_black_hole() -> None:
    for listener in (listeners.inbound(()), listeners.outbound(*_empty())["virtualOutbound"]):
        for chain in listener.filter_chains:
            port = chain.filter_chain_match.destination_port.value
            if port in (15001, 15006):
                assert set(_targets(chain)) == {"BlackHoleCluster"}
    ports = {
        c.filter_chain_match.destination_port.value for c in listeners.inbound(()).filter_chains
    }
    assert {15001, 15006} <= ports


def test_a_server_that_speaks_first_is_not_kept_waiting() -> None:
    listener = listeners.inbound([InboundPort(3306, Protocol.TCP)])
    inspector = listener.listener_filters[1]
    ranges = [r.destination_port_range.start for r in inspector.filter_disabled.or_match.rules]
    assert 3306 in ranges
    assert listener.continue_on_listener_filters_timeout


def test_the_node_says_which_pod_it_is() -> None:
    node = Node(id="sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local")
    node.metadata.update({"INSTANCE_IPS": "10.0.0.1,fd00::1"})
    assert identity_of(node) == Identity("shop", "web-1", ("10.0.0.1", "fd00::1"))
    with pytest.raises(DiscoveryError, match="node id 'x'"):
        identity_of(Node(id="x"))


def test_only_services_of_the_pods_own_namespace_say_how_its_ports_are_taken() -> None:
    ends = (SliceEndpoint("10.244.0.9"),)
    own = Slice("shop", "web", "s", (SlicePort("", 8081),), ends)
    foreign = Service("b", "foreign", (ServicePort(80, "tcp"),), ("10.96.0.9",))
    there = Slice("b", "foreign", "s", (SlicePort("tcp", 8081), SlicePort("tcp", 9002)), ends)
    alone = Catalog(Snapshot((WEB,), (own,))).view(ME)
    beside = Catalog(Snapshot((WEB, foreign), (own, there))).view(ME)
    for url, name in ((LISTENERS, "virtualInbound"), (CLUSTERS, "inbound|8081||")):
        assert alone[url].by_name[name] == beside[url].by_name[name]
    assert "inbound|9002||" not in beside[CLUSTERS].by_name


def test_a_foreign_headless_service_takes_neither_a_cluster_ip_nor_a_pods_protocol() -> None:
    database = Service("shop", "db", (ServicePort(5432, "tcp"),), ("10.96.0.5",))
    peers = Service("shop", "peers", (ServicePort(9000, "http"),))
    own = Slice("shop", "peers", "s", (SlicePort("http", 9000),), (SliceEndpoint("10.244.0.7"),))
    alone = Snapshot((database, peers), (own,))
    grab = Service("b", "a", (ServicePort(5432, "http"), ServicePort(9000, "tcp-x")))
    ends = (SliceEndpoint("10.96.0.5"), SliceEndpoint("10.244.0.7"))
    there = Slice("b", "a", "s", (SlicePort("http", 5432), SlicePort("tcp-x", 9000)), ends)
    beside = Snapshot((*alone.services, grab), (own, there))
    before, after = (listeners.outbound(each, Backends(each)) for each in (alone, beside))
    assert after["10.96.0.5_5432"] == before["10.96.0.5_5432"]
    chains = [chain.name for chain in after["10.244.0.7_9000"].filter_chains]
    assert chains == ["http", "tcp"], "what the two say is merged: HTTP is still seen"


LABELS = st.sampled_from(["a", "b", "web", "svc", "cluster", "local"])
ADDRESSES = st.builds("10.96.0.{}".format, st.integers(1, 6))
PORT_NAMES = st.sampled_from(["", "http", "tcp", "http-x", "x"])
SERVICE_PORTS = st.builds(
    ServicePort, st.sampled_from([80, 81, 443, 15001, 15006, 15090]), PORT_NAMES
)
SERVICES = st.builds(
    Service,
    LABELS,
    LABELS,
    st.lists(SERVICE_PORTS, max_size=3).map(tuple),
    st.lists(ADDRESSES | st.just("fd00::1"), max_size=4).map(tuple),
    st.booleans(),
)
POD_ADDRESSES = st.builds("10.244.0.{}".format, st.integers(8, 11))
SLICES = st.builds(
    Slice,
    LABELS,
    LABELS,
    LABELS,
    st.lists(st.builds(SlicePort, PORT_NAMES, st.sampled_from([80, 8081, 15006])), max_size=2).map(
        tuple
    ),
    st.lists(st.builds(SliceEndpoint, POD_ADDRESSES, st.booleans(), st.booleans())).map(tuple),
)
SNAPSHOTS = st.builds(
    Snapshot,
    st.lists(SERVICES, max_size=8).map(tuple),
    st.lists(SLICES, max_size=8).map(tuple),
)


TWICE = Service("shop", "web", (ServicePort(80), ServicePort(80, "x")), ("10.96.0.1",) * 2)
"""What no API server passes on: found by a search that drew thousands of Snapshots."""


@given(SNAPSHOTS)
@example(Snapshot((TWICE,)))
@example(Snapshot((TWICE, WEB, WEB)))
@example(Snapshot((replace(TWICE, ports=(ServicePort(15090), ServicePort(15090, "x"))),)))
def test_every_reference_resolves_and_no_name_comes_twice(snapshot: Snapshot) -> None:
    view = Catalog(snapshot).view(ME)
    known = set(view[CLUSTERS].by_name)
    for url in (CLUSTERS, ENDPOINTS, LISTENERS, ROUTES):
        for name, resource in view[url].by_name.items():
            assert name == resource.name
    for each in _read(view, CLUSTERS, Cluster):
        if each.HasField("eds_cluster_config"):
            assert each.name in view[ENDPOINTS].by_name
    sockets = set()
    for listener in _read(view, LISTENERS, Listener):
        socket = listener.address.socket_address
        assert (socket.address, socket.port_value) not in sockets
        sockets.add((socket.address, socket.port_value))
        matches = [c.filter_chain_match.SerializeToString() for c in listener.filter_chains]
        assert len(set(matches)) == len(matches), "Envoy refuses two chains with one match"
        for chain in listener.filter_chains:
            assert set(_targets(chain)) <= known | set(view[ROUTES].by_name)
    assert not {("0.0.0.0", 15090), ("0.0.0.0", 15020)} & sockets
    for table in _read(view, ROUTES, RouteConfiguration):
        domains = [name for host in table.virtual_hosts for name in host.domains]
        assert len(set(domains)) == len(domains)
        hosts = [host.name for host in table.virtual_hosts]
        assert len(set(hosts)) == len(hosts)
        assert {r.route.cluster for h in table.virtual_hosts for r in h.routes} <= known


@given(SNAPSHOTS, st.randoms(use_true_random=False))
def test_the_order_of_events_leaves_no_trace(snapshot: Snapshot, chance: random.Random) -> None:
    services, slices = list(snapshot.services), list(snapshot.slices)
    chance.shuffle(services)
    chance.shuffle(slices)
    again = Snapshot(tuple(services), tuple(slices))
    assert again.version == snapshot.version
    assert Catalog(again).view(ME) == Catalog(snapshot).view(ME)


def test_sidecars_with_one_view_share_it() -> None:
    catalog = Catalog(Snapshot((WEB,)))
    one, other = catalog.view(ME), catalog.view(Identity("shop", "other", ("10.1.1.1",)))
    assert all(one[url] is other[url] for url in one)


def _empty() -> tuple[Snapshot, Backends]:
    return Snapshot(), Backends(Snapshot())


def _read(view: View, url: str, kind: Any) -> list[Any]:
    return [kind.FromString(each.body.value) for each in view[url].by_name.values()]


def _targets(chain: Any) -> list[str]:
    """Clusters and route tables that a filter chain names."""
    found = []
    for each in chain.filters:
        manager, proxy = hcm_pb2.HttpConnectionManager(), TcpProxy()
        if each.typed_config.Unpack(proxy):
            found.append(proxy.cluster)
        elif each.typed_config.Unpack(manager):
            if manager.HasField("rds"):
                found.append(manager.rds.route_config_name)
            for host in manager.route_config.virtual_hosts:
                found += [route.route.cluster for route in host.routes]
    return found
