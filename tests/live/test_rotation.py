"""The webhook's trust under load: rotated twenty times, its caBundle wiped, its Secret deleted.

All the while five pods a second are created in a labelled namespace. They are real objects that
pass admission and are stored; no node fits them, so hundreds cost nothing.
SIDECAR_LAB_NAME names another lab than the default one; it must run our own mesh.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.cluster import rotate, state
from lab.cluster.control_plane import install
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError
from lab.kube.paths import Object
from lab.mesh import contract
from lab.paths import lab_paths
from lab.progress import Quiet
from tests.live.chosen import NAME

pytestmark = pytest.mark.live

ROTATIONS = 20
PER_SECOND = 5
REPAIRED = 5.0
"""Seconds in which damage has to be repaired."""
CONFIGURATION = (
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/"
    + contract.WEBHOOK_CONFIGURATION
)


@dataclass(frozen=True)
class Creation:
    """One pod that was asked for: when, and what came of it ("" injected)."""

    at: float
    trouble: str


@dataclass
class Load:
    """Creates pods at a steady pace, from as many threads as pods a second."""

    kubeconfig: Path
    namespace: str
    done: list[Creation] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        """One thread's share: a pod a second, its turn shifted by its number."""
        api = KubeApi.from_file(self.kubeconfig)
        turn = time.monotonic() + number / PER_SECOND
        while not self.stop.wait(max(0.0, turn - time.monotonic())):
            turn += 1
            started = time.monotonic()
            self.done.append(Creation(started, self._create(api)))
        api.close()

    def _create(self, api: KubeApi) -> str:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "p-"},
            "spec": {
                "containers": [{"name": "app", "image": contract.NGINX_IMAGE}],
                "nodeSelector": {"no-such": "node"},
            },
        }
        try:
            made = api.request("POST", f"/api/v1/namespaces/{self.namespace}/pods", pod)
        except ApiError as refused:
            return f"refused: {refused.message}"
        names = [one["name"] for one in made["spec"]["containers"]]
        return "" if contract.PROXY_CONTAINER in names else f"uninjected: {names}"

    def between(self, start: float, end: float) -> list[str]:
        """What went wrong with pods asked for in that time."""
        return [one.trouble for one in self.done if start <= one.at <= end and one.trouble]


@pytest.fixture(scope="module")
def api() -> Iterator[KubeApi]:
    known = state.load(lab_paths(NAME))
    made = KubeApi.from_file(Path(known.kubeconfig))
    yield made
    made.close()


@pytest.fixture(scope="module")
def load(api: KubeApi) -> Iterator[Load]:
    known = state.load(lab_paths(NAME))
    name = f"rotation-{uuid.uuid4().hex[:6]}"
    meta = {"name": name, "labels": {contract.INJECTION_LABEL: "enabled"}}
    api.request("POST", "/api/v1/namespaces", {"metadata": meta})
    made = Load(Path(known.kubeconfig), name)
    threads = [threading.Thread(target=made.run, args=(one,)) for one in range(PER_SECOND)]
    for one in threads:
        one.start()
    begun = time.monotonic()
    try:
        yield made
    finally:
        made.stop.set()
        for one in threads:
            one.join(30)
        seconds = time.monotonic() - begun
        api.request("DELETE", f"/api/v1/namespaces/{name}")
    assert len(made.done) > 0.9 * PER_SECOND * seconds, "the load was not what the test says"
    # Whatever was done meanwhile: never in without its sidecar.
    assert not [one.trouble for one in made.done if one.trouble.startswith("uninjected")]


def seconds_until(what: str, condition: Callable[[], bool], within: float) -> float:
    """How long until the condition held; a failure when that is more than `within` seconds."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within:
            pytest.fail(f"{what}: not within {within} s")
        time.sleep(0.02)  # between two looks
    return time.monotonic() - started


def bundles(api: KubeApi) -> list[str]:
    hooks = api.request("GET", CONFIGURATION)["webhooks"]
    return [one["clientConfig"].get("caBundle", "") for one in hooks]


def written(api: KubeApi) -> Object:
    return dict((api.find(rotate.SECRET) or {}).get("data") or {})


def test_no_pod_is_refused_by_twenty_rotations(api: KubeApi, load: Load) -> None:
    start, first = time.monotonic(), written(api)
    seen = {first["tls.crt"]: first["ca.crt"]}
    slowest = 0.0
    for _ in range(ROTATIONS):
        with Quiet().task("rotation") as task:
            done = rotate.rotate(api, 60, task)
        slowest = max(slowest, done.seconds)
        now = written(api)
        seen[now["tls.crt"]] = now["ca.crt"]
        asked = len(load.done)
        seconds_until("a second's pods", lambda: len(load.done) >= asked + PER_SECOND, 10)  # noqa: B023
    end = time.monotonic()
    pods = [one for one in load.done if start <= one.at <= end]
    print(f"\n{ROTATIONS} rotations, the slowest {slowest:.1f} s; {len(pods)} pods meanwhile")
    assert len(seen) == len(set(seen.values())) == ROTATIONS + 1
    assert [one.trouble for one in pods if one.trouble] == []
    assert set(bundles(api)) == {seen[written(api)["tls.crt"]]}


def test_nor_by_twenty_that_follow_at_once(api: KubeApi, load: Load) -> None:
    start = time.monotonic()
    for _ in range(ROTATIONS):
        with Quiet().task("rotation") as task:
            rotate.rotate(api, 60, task)
    end = time.monotonic()
    seconds_until("a second's pods", lambda: load.done[-1].at > end + 1, 10)
    print(f"\n{ROTATIONS} rotations in {end - start:.1f} s")
    assert load.between(start, time.monotonic()) == []


@pytest.mark.parametrize("entry", ["every entry", "one entry"])
def test_a_wiped_ca_bundle_is_written_again(api: KubeApi, load: Load, entry: str) -> None:
    sound = bundles(api)
    wiped = range(len(sound)) if entry == "every entry" else [0]
    patch = [{"op": "remove", "path": f"/webhooks/{one}/clientConfig/caBundle"} for one in wiped]
    api.request("PATCH", CONFIGURATION, patch, "application/json-patch+json")
    start = time.monotonic()
    took = seconds_until("the caBundle", lambda: bundles(api) == sound, REPAIRED)
    print(f"\n{entry}: written again in {took:.2f} s")
    # Pods asked for from here on must pass once the API server took it up, within the time too.
    _recovers(load, start)
    refused = load.between(start - 1, time.monotonic())
    print(f"{len(refused)} pods refused, none uninjected: {sorted(set(refused))[:1]}")


def test_a_deleted_secret_is_put_back_and_nobody_notices(api: KubeApi, load: Load) -> None:
    before, start = written(api), time.monotonic()
    api.request("DELETE", rotate.SECRET)
    took = seconds_until("the Secret", lambda: written(api) == before, REPAIRED)
    print(f"\nput back in {took:.2f} s")
    _recovers(load, start)
    assert load.between(start, time.monotonic()) == []


def test_a_damaged_secret_is_put_back_and_nobody_notices(api: KubeApi, load: Load) -> None:
    before, start = written(api), time.monotonic()
    patch = {"data": {"tls.crt": "bm8gY2VydGlmaWNhdGU="}}
    api.request("PATCH", rotate.SECRET, patch, "application/merge-patch+json")
    seconds_until("the Secret", lambda: written(api) == before, REPAIRED)
    _recovers(load, start)
    assert load.between(start, time.monotonic()) == []


def test_no_pod_is_refused_while_the_webhooks_are_replaced(api: KubeApi, load: Load) -> None:
    path = f"/apis/apps/v1/namespaces/{contract.CONTROL_NAMESPACE}/deployments/"
    path += contract.WEBHOOK_SERVICE
    start = time.monotonic()
    notes = {"metadata": {"annotations": {"sidecar-lab/restarted": uuid.uuid4().hex}}}
    patch = {"spec": {"template": notes}}
    api.request("PATCH", path, patch, "application/merge-patch+json")
    seconds_until("new pods", lambda: not install.not_rolled_out(api.find(path)), 60)
    pods = f"/api/v1/namespaces/{contract.CONTROL_NAMESPACE}/pods?labelSelector=app%3D"
    pods += contract.WEBHOOK_SERVICE
    seconds_until("the old ones' end", lambda: len(api.request("GET", pods)["items"]) == 2, 60)
    assert load.between(start, time.monotonic()) == []


def test_with_controller_and_secret_gone_trust_is_made_from_nothing(
    api: KubeApi, load: Load
) -> None:
    pods = f"/api/v1/namespaces/{contract.CONTROL_NAMESPACE}/pods"
    (controller,) = (
        one["metadata"]["name"]
        for one in api.request("GET", pods)["items"]
        if one["metadata"]["name"].startswith(contract.DISCOVERY_SERVICE)
    )
    before = written(api)
    # At once, and first the one who would remember.
    api.request("DELETE", f"{pods}/{controller}?gracePeriodSeconds=0")
    api.request("DELETE", rotate.SECRET)
    seconds_until("another Secret", lambda: written(api) not in ({}, before), 60)
    start = time.monotonic()
    seconds_until("its end", lambda: "previous.crt" not in written(api), 60)
    _recovers(load, start)


def _recovers(load: Load, start: float) -> None:
    """From `start` + REPAIRED on, two seconds of pods pass; what fails before is damage."""
    due = start + REPAIRED
    seconds_until("two seconds of pods", lambda: time.monotonic() > due + 2, REPAIRED + 3)
    assert len([one for one in load.done if one.at > due]) > PER_SECOND
    assert load.between(due, time.monotonic()) == []
