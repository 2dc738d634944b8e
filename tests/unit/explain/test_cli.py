"""`lab explain` from its arguments to its exit code, against an API server of plain answers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lab.explain.cli import explain
from lab.explain.errors import ExplainError
from lab.mesh import contract
from tests.unit.explain.cluster import CONFIGURATIONS, SLICES, Cluster, serving
from tests.unit.explain.sample import ON, pod_of, with_proxy

DEPLOYMENT = "/apis/apps/v1/namespaces/shop/deployments/web"
PODS = "/api/v1/namespaces/shop/pods"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with serving(Cluster()) as made:
        made.answers[DEPLOYMENT] = {
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": pod_of()},
        }
        made.answers[PODS] = {"items": []}
        yield made


@pytest.fixture
def config(cluster: Cluster, tmp_path: Path) -> Path:
    return cluster.kubeconfig(tmp_path / "config", token="secret")


def run(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(explain, words, input=stdin)


def asked(*words: str, config: Path) -> tuple[int, list[dict[str, Any]]]:
    done = run(*words, "--kubeconfig", str(config), "--json")
    whole = json.loads(done.stdout)
    assert whole["schema"] == 1
    assert whole["exit_code"] == done.exit_code
    return done.exit_code, whole["explanations"]


def labelled(cluster: Cluster) -> None:
    cluster.answers["/api/v1/namespaces/shop"]["metadata"]["labels"] = ON


def pod(name: str, made: dict[str, Any], **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "shop", "creationTimestamp": "2025-01-01T00:00:00Z", **more}
    return {**made, "metadata": {**made["metadata"], **meta}}


def test_a_workload_is_explained_with_its_pods(cluster: Cluster, config: Path) -> None:
    labelled(cluster)
    cluster.trial = with_proxy(pod_of())
    leaving = pod("web-0", pod_of(), deletionTimestamp="now")
    cluster.answers[PODS] = {
        "items": [pod("web-1", pod_of()), pod("web-2", with_proxy(pod_of())), leaving]
    }
    code, told = asked("deploy/web", "-n", "shop", config=config)
    assert [one["verdict"] for one in told] == [
        "would be injected",
        "not injected",
        "injected",
    ]
    assert (code, told[1]["cause"]) == (1, "pod-older")
    (command,) = told[1]["steps"][0]["commands"]
    assert command == f"kubectl --kubeconfig {config} -n shop rollout restart deployment/web"


def test_it_reads_and_the_one_thing_it_sends_is_a_dry_run(cluster: Cluster, config: Path) -> None:
    asked("deploy/web", "-n", "shop", config=config)
    sent = [one for one in cluster.asked if one[0] != "GET"]
    assert [(method, path, query["dryRun"]) for method, path, query in sent] == [
        ("POST", PODS, ["All"])
    ]
    before = len(sent)
    asked("deploy/web", "-n", "shop", "--no-trial", config=config)
    assert len([one for one in cluster.asked if one[0] != "GET"]) == before
    assert {one["authorization"] for one in cluster.headers} == {"Bearer secret"}


def test_a_pods_workload_is_found_through_its_owners(cluster: Cluster, config: Path) -> None:
    owner = {"kind": "ReplicaSet", "name": "web-7", "controller": True}
    above = {"kind": "Deployment", "name": "web", "controller": True}
    cluster.answers[f"{PODS}/web-1"] = pod("web-1", pod_of(), ownerReferences=[owner])
    cluster.answers["/apis/apps/v1/namespaces/shop/replicasets/web-7"] = {
        "metadata": {"name": "web-7", "namespace": "shop", "ownerReferences": [above]},
        "spec": {"template": pod_of()},
    }
    code, (told,) = asked("shop/web-1", config=config)
    assert (code, told["cause"], told["title"]) == (1, "namespace-unlabelled", "pod web-1")
    assert "rollout restart deployment/web" in told["steps"][1]["commands"][0]


def test_an_injected_pod_is_not_tried(cluster: Cluster, config: Path) -> None:
    cluster.answers[f"{PODS}/web-1"] = pod("web-1", with_proxy(pod_of()))
    code, (told,) = asked("shop/web-1", config=config)
    assert (code, told["verdict"]) == (0, "injected")
    assert all(method == "GET" for method, _, _ in cluster.asked)


def test_what_may_not_be_read_is_told_and_is_no_yes(cluster: Cluster, config: Path) -> None:
    labelled(cluster)
    cluster.answers[CONFIGURATIONS] = 403
    cluster.status, cluster.trial = 403, {"message": 'cannot create resource "pods" in API'}
    code, (told,) = asked("deploy/web", "-n", "shop", config=config)
    assert (code, told["verdict"]) == (2, "cannot tell")
    assert told["unknown"] == ["webhook configurations (status 403)"]


def test_what_may_not_be_read_is_a_gap_for_every_pod_that_it_is_about(
    cluster: Cluster, config: Path
) -> None:
    labelled(cluster)
    cluster.answers[CONFIGURATIONS] = 403
    cluster.status, cluster.trial = 403, {"message": 'cannot create resource "pods" in API'}
    cluster.answers[PODS] = {"items": [pod("web-1", pod_of()), pod("web-2", pod_of())]}
    code, told = asked("deploy/web", "-n", "shop", config=config)
    assert code == 1
    gap = "webhook configurations (status 403)"
    assert [explanation["unknown"] for explanation in told] == [[gap]] * 3


def test_an_owner_that_may_not_be_read_is_a_gap(cluster: Cluster, config: Path) -> None:
    owner = {"kind": "ReplicaSet", "name": "web-7", "controller": True}
    cluster.answers[f"{PODS}/web-1"] = pod("web-1", pod_of(), ownerReferences=[owner])
    cluster.answers["/apis/apps/v1/namespaces/shop/replicasets/web-7"] = 403
    _, (told,) = asked("shop/web-1", config=config)
    assert told["unknown"] == ["ReplicaSet web-7 (status 403)"]


def test_a_refused_call_and_the_services_endpoints_tell_one_story(
    cluster: Cluster, config: Path
) -> None:
    labelled(cluster)
    cluster.answers[SLICES] = {"items": []}
    name = "namespace.injector.sidecar-lab.dev"
    cluster.status = 500
    cluster.trial = {"message": f'failed calling webhook "{name}": connection refused'}
    code, (told,) = asked("deploy/web", "-n", "shop", config=config)
    assert (code, told["verdict"], told["cause"]) == (1, "cannot be created", "webhook-unreachable")


def test_without_a_dry_run_the_workloads_events_tell(cluster: Cluster, config: Path) -> None:
    labelled(cluster)
    name = "namespace.injector.sidecar-lab.dev"
    message = f'failed calling webhook "{name}": failed to call webhook: Post "https://x": x509: y'
    event = {
        "reason": "FailedCreate",
        "involvedObject": {"kind": "ReplicaSet", "name": "web-7"},
        "message": message,
    }
    other = {**event, "involvedObject": {"name": "api-7"}, "message": "something else"}
    cluster.answers["/api/v1/namespaces/shop/events"] = {"items": [event, other]}
    _, (told,) = asked("deploy/web", "-n", "shop", "--no-trial", config=config)
    assert told["cause"] == "ca-bundle"


def test_a_call_passed_over_is_found_in_the_servers_counters(
    cluster: Cluster, config: Path
) -> None:
    labelled(cluster)
    for hook in cluster.answers[CONFIGURATIONS]["items"][0]["webhooks"]:
        hook["failurePolicy"] = "Ignore"
    cluster.answers["/metrics"] = {}
    _, (told,) = asked("deploy/web", "-n", "shop", config=config)
    assert told["cause"] == "webhook-missed"
    paths = [path for method, path, _ in cluster.asked if method == "POST" or path == "/metrics"]
    assert paths == [PODS, "/metrics", PODS, "/metrics"]


def test_a_manifest_brings_its_namespace_where_the_cluster_has_none(
    cluster: Cluster, config: Path, tmp_path: Path
) -> None:
    file = tmp_path / "all.yaml"
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new", "labels": ON}}
    made = {"apiVersion": "v1", "kind": "Pod", **pod_of()}
    made["metadata"] = {"name": "p", "namespace": "new"}
    file.write_text(f"{json.dumps(space)}\n{json.dumps(made)}\n")
    code, (told,) = asked(str(file), config=config)
    assert (code, told["verdict"]) == (0, "would be injected")
    assert not [one for one in cluster.asked if one[0] == "POST"]


def test_the_text_marks_one_line_and_shows_the_commands(cluster: Cluster, config: Path) -> None:
    done = run("deploy/web", "-n", "shop", "--kubeconfig", str(config))
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "pod template of Deployment web in namespace shop: would not be injected"
    (marked,) = (one for one in lines if "->" in one)
    assert "namespace.injector.sidecar-lab.dev: namespace" in marked
    assert "label namespace shop istio-injection=enabled" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("change", "code", "verdict"),
    [({}, 2, "cannot tell"), ({"hostNetwork": True}, 1, "would not be injected")],
)
def test_offline_says_what_it_cannot_know(change: Any, code: int, verdict: str) -> None:
    made = {"apiVersion": "v1", "kind": "Pod", **pod_of(spec=change)}
    done = run("-", "--offline", "--json", stdin=json.dumps(made))
    (told,) = json.loads(done.stdout)["explanations"]
    assert (done.exit_code, told["verdict"], len(told["unknown"])) == (code, verdict, 2)


def test_a_manifest_without_pods_is_a_no() -> None:
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    done = run("-", "--offline", "--json", stdin=json.dumps(made))
    (told,) = json.loads(done.stdout)["explanations"]
    assert (done.exit_code, told["cause"]) == (1, "not-a-pod")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["web", "--offline"], "needs a FILE"),
        (["web", "--name", "x", "--context", "y"], "cannot be combined"),
        (["no-such.yaml", "--offline"], "cannot read no-such.yaml"),
        (["web", "--name", "Not Usable"], "is not usable"),
        (["web", "--name", "nobody-made-this"], "there is no lab"),
    ],
)
def test_misuse_is_no_no(words: list[str], message: str) -> None:
    done = run(*words)
    assert isinstance(done.exception, ExplainError)
    assert done.exception.exit_code == 2
    assert message in done.exception.message


def test_a_pod_that_is_not_there_is_answered_with_those_that_are(
    cluster: Cluster, config: Path
) -> None:
    cluster.answers[PODS] = {"items": [pod("web-1", pod_of())]}
    done = run("shop/web-2", "--kubeconfig", str(config))
    assert isinstance(done.exception, ExplainError)
    assert done.exception.hint == "the namespace has: web-1"


def test_a_cluster_that_does_not_answer_is_no_no(tmp_path: Path) -> None:
    with serving(Cluster()) as gone:
        config = gone.kubeconfig(tmp_path / "config")
    done = run("shop/web", "--kubeconfig", str(config))
    assert isinstance(done.exception, ExplainError)
    assert "does not answer" in done.exception.message


def test_istios_policy_is_asked_for_where_the_webhook_is_istios(
    cluster: Cluster, config: Path
) -> None:
    labelled(cluster)
    base = "/api/v1/namespaces/istio-system"
    service = {"namespace": "istio-system", "name": "istiod", "port": 443}
    for hook in cluster.answers[CONFIGURATIONS]["items"][0]["webhooks"]:
        hook["clientConfig"]["service"] = service
    cluster.answers[f"{base}/services/istiod"] = 403
    cluster.answers[f"{base}/configmaps/istio-sidecar-injector"] = {
        "data": {"config": "policy: disabled\ntemplates: {sidecar: '{{ template }}'}\n"}
    }
    code, (told,) = asked("deploy/web", "-n", "shop", config=config)
    assert (code, told["cause"]) == (1, "policy")
    assert contract.INJECT_POD_LABEL in told["steps"][0]["commands"][0]
