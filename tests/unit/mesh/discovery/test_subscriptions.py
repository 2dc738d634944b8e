"""The xDS conversation, message by message."""

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from lab.mesh.discovery.resources import (
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    PUSH_ORDER,
    ROUTES,
    Catalog,
    Identity,
    View,
)
from lab.mesh.discovery.snapshot import (
    Service,
    ServicePort,
    Slice,
    SliceEndpoint,
    SlicePort,
    Snapshot,
)
from lab.mesh.discovery.subscriptions import Kind, Session

ME = Identity("shop", "client", ("10.244.0.9",))
WEB = "outbound|80||web.shop.svc.cluster.local"


def view(*ips: str, port: int = 80) -> View:
    web = Service("shop", "web", (ServicePort(port, "http"),), ("10.96.0.1",))
    ends = tuple(SliceEndpoint(ip) for ip in ips)
    one = Slice("shop", "web", "s", (SlicePort("http", 80),), ends)
    return Catalog(Snapshot((web,), (one,))).view(ME)


def ask(url: str, *names: str, after: DiscoveryResponse | None = None) -> DiscoveryRequest:
    nonce, version = (after.nonce, after.version_info) if after else ("", "")
    return DiscoveryRequest(
        type_url=url, resource_names=names, response_nonce=nonce, version_info=version
    )


def opened(at: View) -> tuple[Session, dict[str, DiscoveryResponse]]:
    """A session that has asked for everything and been answered."""
    session = Session()
    for url in (CLUSTERS, LISTENERS):
        assert session.receive(ask(url)) is Kind.SUBSCRIBE
    session.receive(ask(ENDPOINTS, WEB))
    session.receive(ask(ROUTES, "80"))
    return session, {each.type_url: each for each in session.due(at)}


def test_everything_is_sent_once_in_an_order_without_gaps() -> None:
    session, answers = opened(view("10.0.0.1"))
    assert tuple(answers) == PUSH_ORDER
    assert list(session.due(view("10.0.0.1"))) == []


def test_an_ack_is_not_answered() -> None:
    session, answers = opened(view())
    for url, names in ((CLUSTERS, ()), (ENDPOINTS, (WEB,)), (LISTENERS, ()), (ROUTES, ("80",))):
        assert session.receive(ask(url, *names, after=answers[url])) is Kind.ACK
    assert list(session.due(view())) == []


def test_only_what_changed_is_sent() -> None:
    session, _ = opened(view("10.0.0.1"))
    (only,) = session.due(view("10.0.0.1", "10.0.0.2"))
    assert only.type_url == ENDPOINTS
    assert len(only.resources) == 1


def test_a_refused_answer_is_not_repeated_until_something_changes() -> None:
    session, answers = opened(view("10.0.0.1"))
    refusal = ask(LISTENERS, after=answers[LISTENERS])
    refusal.error_detail.message = "no"
    assert session.receive(refusal) is Kind.NACK
    assert list(session.due(view("10.0.0.1"))) == []
    changed = {each.type_url for each in session.due(view("10.0.0.1", port=81))}
    assert LISTENERS in changed


def test_a_stale_request_changes_nothing() -> None:
    session, answers = opened(view("10.0.0.1"))
    list(session.due(view("10.0.0.2")))
    assert session.receive(ask(ENDPOINTS, "x", after=answers[ENDPOINTS])) is Kind.STALE
    assert list(session.due(view("10.0.0.2"))) == []


def test_a_new_name_is_answered_alone_and_one_given_up_is_sent_again() -> None:
    session, answers = opened(view("10.0.0.1"))
    now = answers[ROUTES]
    assert session.receive(ask(ROUTES, "80", "8080", after=now)) is Kind.SUBSCRIBE
    (now,) = session.due(view("10.0.0.1"))
    assert len(now.resources) == 1
    session.receive(ask(ROUTES, "8080", after=now))
    assert list(session.due(view("10.0.0.1"))) == []
    session.receive(ask(ROUTES, "80", "8080", after=now))
    (now,) = session.due(view("10.0.0.1"))
    assert len(now.resources) == 1


def test_a_name_that_no_service_has_is_answered_all_the_same() -> None:
    session = Session()
    session.receive(ask(ENDPOINTS, "outbound|1||gone.shop.svc.cluster.local"))
    session.receive(ask(ROUTES, "4711"))
    endpoints, routes = session.due(view())
    assert (len(endpoints.resources), len(routes.resources)) == (1, 1)


def test_a_cluster_that_comes_back_gets_its_endpoints_again_without_asking() -> None:
    session, _ = opened(view("10.0.0.1"))
    list(session.due(Catalog(Snapshot()).view(ME)))
    again = [each.type_url for each in session.due(view("10.0.0.1"))]
    assert again == [CLUSTERS, ENDPOINTS, ROUTES], "HTTP on port 80 is listened for anyway"


def test_a_type_we_do_not_serve_is_left_unanswered() -> None:
    session = Session()
    assert session.receive(ask("type.googleapis.com/x.Secret")) is Kind.UNKNOWN_TYPE
    assert list(session.due(view())) == []
