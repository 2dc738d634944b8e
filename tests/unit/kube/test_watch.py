"""Following a collection: list, events, a lost watch, a version too old, the deadline."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from lab.kube.errors import ApiError, WaitError
from lab.kube.paths import Object
from lab.kube.watch import wait, watch
from tests.unit.kube.api_server import Stream, opened

PODS = "/api/v1/namespaces/shop/pods"


def pod(name: str) -> Object:
    return {"metadata": {"name": name, "namespace": "shop"}}


def listed(*names: str, version: str = "1") -> tuple[int, Any]:
    return 200, {"metadata": {"resourceVersion": version}, "items": [pod(name) for name in names]}


def event(kind: str, name: str) -> Object:
    return {"type": kind, "object": pod(name)}


def never(objects: Sequence[Object]) -> bool:
    return False


def name_of(item: Object) -> str:
    return str(item["metadata"]["name"])


def names(objects: Sequence[Object]) -> list[str]:
    return [item["metadata"]["name"] for item in objects]


def test_each_event_gives_the_whole_collection() -> None:
    events = [event("ADDED", "b"), event("MODIFIED", "b"), event("DELETED", "a")]
    with opened(listed("a"), (200, Stream(events, stays=True))) as (server, api):
        found = watch(api, PODS, 20, {"labelSelector": "app=web"})
        assert [names(next(found)) for _ in range(4)] == [["a"], ["a", "b"], ["a", "b"], ["b"]]
        found.close()
    first, second = server.asked
    assert first == f"GET {PODS}?labelSelector=app%3Dweb"
    assert "resourceVersion=1" in second
    assert "labelSelector=app%3Dweb" in second


@pytest.mark.parametrize(
    "lost",
    [
        (200, Stream([{"type": "ERROR", "object": {"code": 410}}])),
        (200, Stream([])),
        (410, {"message": "too old"}),
        (500, {"message": "etcd"}),
    ],
    ids=["error event", "ended", "gone", "failed"],
)
def test_a_watch_that_is_lost_is_begun_again_from_a_list(lost: tuple[int, Any]) -> None:
    rest = (200, Stream([], stays=True))
    with opened(listed("a"), lost, listed("b", version="7"), rest) as (server, api):
        found = watch(api, PODS, 20)
        assert [names(next(found)) for _ in range(2)] == [["a"], ["b"]]
        found.close()
    assert len(server.asked) == 3


def test_a_server_that_starts_is_waited_for_only_by_the_patient() -> None:
    answers: tuple[tuple[int, Any], ...] = ((503, {}), listed("a"))
    with opened(*answers) as (_, api):
        assert names(next(iter(watch(api, PODS, 20)))) == ["a"]
    with opened(*answers) as (_, api), pytest.raises(ApiError, match="503"):
        next(iter(watch(api, PODS, 20, patient=False)))


@pytest.mark.parametrize("first", [(403, {}), (404, {})])
def test_a_refusal_is_never_waited_out(first: tuple[int, Any]) -> None:
    with opened(first) as (_, api), pytest.raises(ApiError):
        next(iter(watch(api, PODS, 20)))
    with opened(listed("a"), first) as (_, api), pytest.raises(ApiError):
        list(watch(api, PODS, 20))


def test_it_ends_at_its_deadline_although_the_server_says_nothing() -> None:
    with opened(listed("a"), (200, Stream([], stays=True))) as (_, api):
        began = time.monotonic()
        assert [names(objects) for objects in watch(api, PODS, 0.5)] == [["a"]]
        assert time.monotonic() - began < 5


def test_waiting_ends_with_the_objects_that_met_the_condition() -> None:
    with opened(listed("a"), (200, Stream([event("ADDED", "b")], stays=True))) as (_, api):
        found = wait(api, PODS, lambda pods: len(pods) == 2, what="two", timeout=20, describe=str)
    assert names(found) == ["a", "b"]


def test_waiting_in_vain_tells_what_was_seen_last() -> None:
    with opened(listed("a"), (200, Stream([event("ADDED", "b")], stays=True))) as (_, api):
        message = r"waited 0.5 s for three; last seen:\n  a\n  b"
        with pytest.raises(WaitError, match=message) as late:
            wait(api, PODS, never, what="three", timeout=0.5, describe=name_of)
    assert names(late.value.last) == ["a", "b"]
