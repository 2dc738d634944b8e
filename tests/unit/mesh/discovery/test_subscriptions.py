"""The xDS conversation, message by message."""

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
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
from lab.mesh.discovery.subscriptions import MOST_PENDING, Kind, Session

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


def refused(url: str, *names: str, after: DiscoveryResponse) -> DiscoveryRequest:
    request = ask(url, *names, after=after)
    request.error_detail.message = "malformed"
    return request


def many(count: int) -> View:
    services = tuple(
        Service("shop", f"s{n}", (ServicePort(80, "http"),), (f"10.96.1.{n}",))
        for n in range(count)
    )
    slices = tuple(
        Slice("shop", f"s{n}", f"s{n}", (SlicePort("http", 80),), (SliceEndpoint(f"10.0.1.{n}"),))
        for n in range(count)
    )
    return Catalog(Snapshot(services, slices)).view(ME)


def converse(bad: set[str], at: View, names: list[str]) -> tuple[Session, dict[str, bytes], int]:
    """Play an Envoy that refuses each response with a bad resource, and skips the rest of it."""
    session, held, responses = Session(), {}, 0
    session.receive(ask(ENDPOINTS, *names))
    while answers := list(session.due(at)):
        (response,) = answers
        responses += 1
        assert responses < 200, "it never ends"
        whole = True
        for body in response.resources:
            content = ClusterLoadAssignment.FromString(body.value)
            if content.cluster_name in bad and content.endpoints:
                whole = False
                break
            held[content.cluster_name] = body.value
        reply = ask if whole else refused
        session.receive(reply(ENDPOINTS, *names, after=response))
    return session, held, responses


@pytest.mark.parametrize("bad", [set(), {3}, {0}, {0, 31}, {5, 6, 20}, set(range(32))])
def test_the_rest_of_a_refused_response_is_sent_again_and_the_bad_one_is_replaced(
    bad: set[int],
) -> None:
    at = many(32)
    names = sorted(at[ENDPOINTS].by_name)
    wrong = {names[n] for n in bad}
    session, held, responses = converse(wrong, at, names)
    for name in names:
        content = ClusterLoadAssignment.FromString(held[name])
        assert bool(content.endpoints) == (name not in wrong)
    assert responses <= 1 + 12 * max(1, len(bad))
    status = session.status()[ENDPOINTS]
    assert not status.pending
    assert (status.refusal is None) == (not bad)
    if status.refusal:
        assert status.refusal.reason == "malformed"
        assert set(status.refusal.names) <= wrong
        assert len(status.refusal.names) == 1


def test_a_refused_resource_is_tried_again_when_it_changes_and_then_forgotten() -> None:
    session = Session()
    session.receive(ask(ENDPOINTS, WEB))
    (first,) = session.due(view("10.0.0.1"))
    session.receive(refused(ENDPOINTS, WEB, after=first))
    (empty,) = session.due(view("10.0.0.1"))
    assert not ClusterLoadAssignment.FromString(empty.resources[0].value).endpoints
    session.receive(ask(ENDPOINTS, WEB, after=empty))
    assert list(session.due(view("10.0.0.1"))) == []
    assert session.status()[ENDPOINTS].refusal is not None
    (second,) = session.due(view("10.0.0.2"))
    session.receive(ask(ENDPOINTS, WEB, after=second))
    status = session.status()[ENDPOINTS]
    assert status == (second.version_info, second.version_info, False, None)


def test_accepted_is_what_envoy_acknowledged_not_what_was_sent() -> None:
    session = Session()
    session.receive(ask(ENDPOINTS, WEB))
    (first,) = session.due(view("10.0.0.1"))
    assert session.status()[ENDPOINTS] == (first.version_info, "", True, None)
    (second,) = session.due(view("10.0.0.2"))
    assert session.receive(ask(ENDPOINTS, WEB, after=first)) is Kind.STALE
    assert session.status()[ENDPOINTS] == (second.version_info, first.version_info, True, None)
    session.receive(ask(ENDPOINTS, WEB, after=second))
    assert session.status()[ENDPOINTS] == (second.version_info, second.version_info, False, None)


def test_a_refused_set_of_listeners_is_reported_with_its_reason() -> None:
    session, answers = opened(view("10.0.0.1"))
    session.receive(refused(LISTENERS, after=answers[LISTENERS]))
    refusal = session.status()[LISTENERS].refusal
    assert refusal is not None
    assert (refusal.type_url, refusal.reason) == (LISTENERS, "malformed")
    assert "virtualOutbound" in refusal.names


def test_a_sidecar_that_never_answers_is_sent_a_few_responses_and_then_the_latest() -> None:
    session = Session()
    session.receive(ask(ENDPOINTS, WEB))
    sent = [response for n in range(50) for response in session.due(view(f"10.0.0.{n}"))]
    assert len(sent) == MOST_PENDING
    session.receive(ask(ENDPOINTS, WEB, after=sent[-1]))
    (latest,) = session.due(view("10.0.0.49"))
    assert b"10.0.0.49" in latest.resources[0].value


def test_a_half_that_is_no_longer_wanted_does_not_keep_the_other_from_being_sent() -> None:
    at = many(2)
    first, second = sorted(at[ENDPOINTS].by_name)
    session = Session()
    session.receive(ask(ENDPOINTS, first, second))
    (both,) = session.due(at)
    session.receive(refused(ENDPOINTS, second, after=both))
    (rest,) = session.due(at)
    (body,) = rest.resources
    assert ClusterLoadAssignment.FromString(body.value).cluster_name == second
