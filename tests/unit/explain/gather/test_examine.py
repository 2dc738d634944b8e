"""What is asked for about a pod, how much of the answers is read, and what is left unasked."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.explain.gather.examine import examine
from lab.kube import kubeconfig
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError
from lab.mesh import contract
from tests.unit.explain import recorded
from tests.unit.explain.cluster import Cluster, Text, serving
from tests.unit.explain.recorded import (
    INIT,
    PROXY,
    RUNNING,
    UID,
    ended,
    event,
    injected,
    status,
    waiting,
)

BASE = "/api/v1/namespaces/shop"
POD = f"{BASE}/pods/web-1"
DISCOVERY = (contract.CONTROL_NAMESPACE, contract.DISCOVERY_SERVICE)
READY = ({"type": "Ready", "status": "True"},)
DONE = status(INIT, ended(0), ready=True)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with serving(Cluster(answers={})) as made:
        yield made


@pytest.fixture
def client(cluster: Cluster, tmp_path: Path) -> Iterator[KubeApi]:
    with KubeApi(kubeconfig.read((cluster.kubeconfig(tmp_path / "config"),), "")) as made:
        yield made


def paths(cluster: Cluster) -> list[str]:
    return [path for _, path, _ in cluster.asked]


def test_of_a_ready_pod_the_proxys_log_alone_is_read(cluster: Cluster, client: KubeApi) -> None:
    sound = (DONE, status(PROXY, RUNNING, ready=True), status("web", RUNNING, ready=True))
    cluster.answers[f"{POD}/log"] = Text(recorded.STARTED)
    seen = examine(client, injected(statuses=sound, conditions=READY), DISCOVERY)
    assert seen.log(PROXY) == recorded.STARTED
    ((method, path, query),) = cluster.asked
    assert (method, path) == ("GET", f"{POD}/log")
    assert query["container"] == [PROXY]
    assert {"tailLines", "limitBytes"} <= query.keys()


def test_of_a_broken_pod_events_and_the_logs_of_what_fails_are_read(
    cluster: Cluster, client: KubeApi
) -> None:
    crashed = status("web", waiting("CrashLoopBackOff"), last=ended(1), restarts=2)
    pod = injected(statuses=(DONE, status(PROXY, RUNNING), crashed))
    cluster.answers[f"{BASE}/events"] = {
        "items": [event("Unhealthy", "no", PROXY), event("Old", "no", PROXY, uid="another")]
    }
    cluster.answers[f"{POD}/log"] = Text(recorded.LATE)
    seen = examine(client, pod, DISCOVERY)
    assert [one.reason for one in seen.events] == ["Unhealthy"]
    assert seen.logs.keys() == {PROXY, "web"}
    asked = [(q["container"], q.get("previous")) for _, p, q in cluster.asked if p.endswith("log")]
    assert (["web"], ["true"]) in asked
    assert (["web"], None) in asked
    assert f"involvedObject.uid={UID}" in str(cluster.asked[0][2]["fieldSelector"])


def test_refused_configuration_has_envoys_counters_asked_and_the_address_looked_for(
    cluster: Cluster, client: KubeApi
) -> None:
    cluster.answers[f"{POD}/log"] = Text(recorded.ENDPOINTS)
    cluster.answers[f"{POD}:15090/proxy/stats/prometheus"] = Text(recorded.STATISTICS)
    piece = {
        "metadata": {"namespace": "shop", "name": "ext-1"},
        "endpoints": [{"addresses": ["db.example.com"]}],
    }
    cluster.answers["/apis/discovery.k8s.io/v1/endpointslices"] = {"items": [piece]}
    sound = (DONE, status(PROXY, RUNNING, ready=True))
    seen = examine(client, injected(statuses=sound, conditions=READY), DISCOVERY)
    assert seen.holders == {"db.example.com": "EndpointSlice shop/ext-1"}
    assert seen.updates is not None
    assert {one.kind for one in seen.updates} == {
        "cluster", "listener", "endpoints", "route table",
    }  # fmt: skip


def test_a_silent_proxy_has_discoverys_log_read(cluster: Cluster, client: KubeApi) -> None:
    space, name = DISCOVERY
    pods = f"/api/v1/namespaces/{space}/pods"
    cluster.answers[pods] = {"items": [{"metadata": {"name": f"{name}-1"}}]}
    cluster.answers[f"{pods}/{name}-1/log"] = Text("web-1 refused LDS: no")
    seen = examine(client, injected(statuses=(DONE, status(PROXY, RUNNING))), DISCOVERY)
    assert "refused LDS" in seen.log("discovery")


@pytest.mark.parametrize("answer", [403, 404, 500, 503])
def test_what_may_not_be_read_is_a_symptom_less(
    cluster: Cluster, client: KubeApi, answer: int
) -> None:
    for path in (f"{BASE}/events", f"{POD}/log"):
        cluster.answers[path] = answer
    seen = examine(client, injected(statuses=(DONE, status(PROXY, RUNNING))), DISCOVERY)
    assert (seen.events, seen.log(PROXY)) == ((), "")


def test_of_an_answer_without_end_a_piece_is_read(cluster: Cluster, client: KubeApi) -> None:
    cluster.answers["/endless"] = Text("x" * 65536, endless=True)
    assert len(client.excerpt("/endless", 100_000)) == 100_000


def test_an_answer_that_does_not_end_in_time_is_given_up(cluster: Cluster, client: KubeApi) -> None:
    cluster.answers["/endless"] = Text("x", endless=True)
    assert client.excerpt("/endless", 2**40, within=0.0)


def test_an_answer_that_is_no_success_is_an_error(client: KubeApi) -> None:
    with pytest.raises(ApiError) as raised:
        client.excerpt("/nowhere", 10)
    assert raised.value.status == 404


def test_the_whole_command_tells_a_fault(cluster: Cluster, tmp_path: Path) -> None:
    import json

    from click.testing import CliRunner

    from lab.explain.cli import explain

    pod: Mapping[str, Any] = injected(statuses=(DONE, status(PROXY, RUNNING)))
    cluster.answers |= {POD: pod, f"{POD}/log": Text(recorded.PORT_15001)}
    config = cluster.kubeconfig(tmp_path / "config")
    done = CliRunner().invoke(explain, ["shop/web-1", "--kubeconfig", str(config), "--json"])
    (told,) = json.loads(done.stdout)["explanations"]
    assert (done.exit_code, told["cause"]) == (3, "mesh-port-taken")
