"""What discovery generates, taken up by the real Envoy over the real protocol."""

from collections.abc import Callable
from typing import Any

from lab.mesh.discovery.resources import CLUSTERS, LISTENERS, PUSH_ORDER, ROUTES, Catalog, Identity
from lab.mesh.discovery.snapshot import (
    Service,
    ServicePort,
    Slice,
    SliceEndpoint,
    SlicePort,
    Snapshot,
)

POD = "10.244.0.9"
"""The address that the test's Envoy says it has."""
ME = Identity("shop", "client", (POD,))


def service(name: str, ip: str | None, *ports: ServicePort, namespace: str = "shop") -> Service:
    return Service(namespace, name, ports, (ip,) if ip else ())


def endpoints(name: str, *ports: SlicePort, ips: tuple[str, ...], namespace: str = "shop") -> Slice:
    ready = tuple(SliceEndpoint(ip) for ip in ips)
    return Slice(namespace, name, name + "-abc", ports, ready)


EVERYTHING = Snapshot(
    services=(
        service("web", "10.96.0.1", ServicePort(80), ServicePort(9090, "http-metrics")),
        service("own", "10.96.0.2", ServicePort(80, "http"), ServicePort(3306, "mysql")),
        service("sniffed", "10.96.0.3", ServicePort(7000), ServicePort(80, "tcp-raw")),
        service("sniffed", "10.96.0.4", ServicePort(7000), namespace="other"),
        service("grpc", "10.96.0.5", ServicePort(50051, "grpc", "kubernetes.io/h2c")),
        service("headless", None, ServicePort(80, "http"), ServicePort(5432, "tcp-db")),
        service("takes-ours", "10.96.0.6", ServicePort(15001, "http"), ServicePort(15090, "http")),
        service("dual", "10.96.0.7", ServicePort(80, "http")),
        Service("shop", "v6", (ServicePort(80),), ("fd00::1",)),
        Service("shop", "elsewhere", (ServicePort(80),), (), external_name=True),
        service("web", "10.96.0.8", ServicePort(80), namespace="other"),
        service("empty", "10.96.0.9", ServicePort(80)),
    ),
    slices=(
        endpoints("web", SlicePort("", 80), ips=("10.244.0.1", "10.244.0.2")),
        endpoints("own", SlicePort("http", 8081), SlicePort("mysql", 3306), ips=(POD,)),
        endpoints("sniffed", SlicePort("", 7001), ips=(POD, "10.244.0.3")),
        endpoints("headless", SlicePort("tcp-db", 5432), ips=("10.244.0.4",)),
        endpoints("grpc", SlicePort("grpc", 50051), ips=("10.244.0.5",)),
    ),
)


def test_envoy_takes_up_every_kind_of_resource(
    server: Any, start_envoy: Callable[[], Any], wait_for: Callable[..., Any]
) -> None:
    server.publish(EVERYTHING)
    envoy = start_envoy()
    view = Catalog(EVERYTHING).view(ME)

    def configured() -> bool:
        return '"LIVE"' in envoy.get("/server_info") and names(envoy.dump()) == {
            url: set(view[url].by_name) for url in PUSH_ORDER if url != PUSH_ORDER[1]
        }

    wait_for("all of it in Envoy", configured)
    assert not server.hub.counts.nacks, envoy.log()
    assert "error_state" not in envoy.get("/config_dump")
    hosts = envoy.get("/clusters")
    for known in ("10.244.0.1:80", "10.244.0.2:80", "10.244.0.9:8081"):
        assert known in hosts
    assert "outbound|80||web.shop.svc.cluster.local::10.244.0.1:80" in hosts


def test_an_added_service_and_a_scaled_one_arrive_within_seconds_and_leave_again(
    server: Any, start_envoy: Callable[[], Any], wait_for: Callable[..., Any]
) -> None:
    server.publish(Snapshot())
    envoy = start_envoy()
    wait_for("first configuration", lambda: "virtualInbound" in envoy.get("/listeners"))
    web = service("web", "10.96.0.1", ServicePort(81, "http"))
    for ips in (("10.244.0.1",), ("10.244.0.1", "10.244.0.2"), ("10.244.0.2",)):
        server.publish(Snapshot((web,), (endpoints("web", SlicePort("http", 80), ips=ips),)))

        def scaled(expected: tuple[str, ...] = ips) -> bool:
            lines = envoy.get("/clusters").splitlines()
            seen = {line.split("::")[1] for line in lines if line.startswith("outbound|81||web")}
            return {ip for ip in seen if ip.startswith("10.")} == {f"{ip}:80" for ip in expected}

        wait_for(f"endpoints {ips}", scaled, within=2)
    wait_for("listener", lambda: "0.0.0.0_81" in envoy.get("/listeners"), within=2)
    server.publish(Snapshot())
    wait_for("no listener", lambda: "0.0.0.0_81" not in names(envoy.dump())[LISTENERS], within=2)
    wait_for("no cluster", lambda: "|81|" not in envoy.get("/clusters"), within=2)
    # Once more: Envoy waits for endpoints and routes that it asked for before.
    server.publish(Snapshot((web,), (endpoints("web", SlicePort("http", 80), ips=("10.1.1.1",)),)))
    wait_for("endpoint again", lambda: "10.1.1.1:80" in envoy.get("/clusters"), within=2)
    wait_for("listener again", lambda: "0.0.0.0_81" in names(envoy.dump())[LISTENERS], within=2)
    assert not server.hub.counts.nacks


def test_a_refused_resource_is_counted_told_and_does_not_stop_the_others(
    server: Any, start_envoy: Callable[[], Any], wait_for: Callable[..., Any], caplog: Any
) -> None:
    server.publish(Snapshot((service("bad", "10.96.0.999", ServicePort(9000, "tcp")),)))
    envoy = start_envoy()
    wait_for("a NACK", lambda: server.hub.counts.nacks["LDS"])
    assert "malformed IP address" in caplog.text
    assert "client refused LDS" in caplog.text
    pushed = server.hub.counts.pushes["LDS"]
    server.publish(Snapshot((service("good", "10.96.0.1", ServicePort(9000, "tcp")),)))
    wait_for("the mended listener", lambda: "10.96.0.1_9000" in names(envoy.dump())[LISTENERS])
    assert server.hub.counts.pushes["LDS"] == pushed + 1, "a refused answer is not repeated"


def test_envoy_connects_anew_with_a_rotated_certificate(
    server: Any, start_envoy: Callable[[], Any], wait_for: Callable[..., Any], issue: Any
) -> None:
    server.publish(Snapshot())
    first = start_envoy()
    wait_for("the first stream", lambda: server.hub.counts.streams == 1)
    first.close()
    wait_for("no stream", lambda: server.hub.counts.streams == 0)
    issue(server.certificates)
    second = start_envoy()  # trusts the new certificate alone
    wait_for("a stream", lambda: server.hub.counts.streams == 1)
    wait_for("configuration", lambda: "virtualInbound" in second.get("/listeners"))


def names(dump: dict[str, Any]) -> dict[str, set[str]]:
    """Dynamic resources that are active, by type URL."""
    found: dict[str, set[str]] = {CLUSTERS: set(), LISTENERS: set(), ROUTES: set()}
    for part in dump["configs"]:
        for each in part.get("dynamic_active_clusters", ()):
            found[CLUSTERS].add(each["cluster"]["name"])
        for each in part.get("dynamic_listeners", ()):
            if "active_state" in each:
                found[LISTENERS].add(each["name"])
        for each in part.get("dynamic_route_configs", ()):
            found[ROUTES].add(each["route_config"]["name"])
    return found


def test_a_bad_endpoint_costs_its_own_cluster_and_no_other(
    server: Any, start_envoy: Callable[[], Any], wait_for: Callable[..., Any]
) -> None:
    many = [service(f"s{n}", f"10.96.1.{n}", ServicePort(80, "http")) for n in range(40)]
    slices = [
        endpoints(f"s{n}", SlicePort("http", 80), ips=(f"10.0.1.{n if n not in (3, 17) else 999}",))
        for n in range(40)
    ]
    server.publish(Snapshot(tuple(many), tuple(slices)))
    envoy = start_envoy()
    good = {f"10.0.1.{n}:80" for n in range(40) if n not in (3, 17)}

    def held() -> set[str]:
        lines = envoy.get("/clusters").splitlines()
        return {line.split("::")[1] for line in lines if line.startswith("outbound|80||s")}

    wait_for("the good endpoints", lambda: good <= held())
    wait_for("Envoy to be live", lambda: '"LIVE"' in envoy.get("/server_info"))
    (proxy,) = server.hub.status()
    refused = proxy["types"]["EDS"]["refused"]
    assert "malformed IP address: 10.0.1.999" in refused["reason"]
    assert server.hub.refused() == {"EDS": 1}
    assert all("10.0.1.999" not in line for line in held())
    # Once the objects are right again nothing is refused.
    mended = [endpoints(f"s{n}", SlicePort("http", 80), ips=(f"10.0.2.{n}",)) for n in range(40)]
    server.publish(Snapshot(tuple(many), tuple(mended)))
    wait_for("all endpoints", lambda: {f"10.0.2.{n}:80" for n in range(40)} <= held())
    wait_for("no refusal", lambda: not server.hub.refused())
