"""Discovery on the running lab: what changes in the cluster reaches Envoy and every namespace."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from lab.cluster import state
from lab.command import Completed, run
from lab.mesh import contract
from lab.paths import lab_paths
from tests.live.chosen import NAME

pytestmark = pytest.mark.live

WITHIN = 5.0
"""Seconds in which a sidecar has to know of a change."""
ROOT = f"configmap/{contract.CA_CONFIG_MAP}"
CURL = ("curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code} %header{server}")


@dataclass
class Space:
    """A labelled namespace of one test module, and kubectl in it."""

    kubectl_program: str
    kubeconfig: str
    name: str

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> Completed:
        argv = [self.kubectl_program, "--kubeconfig", self.kubeconfig, "-n", self.name, *words]
        return run(argv, stdin=stdin, timeout=90, check=check)

    def apply(self, *documents: dict[str, Any]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def in_proxy(self, *argv: str) -> str:
        target = ("exec", "deploy/web", "-c", contract.PROXY_CONTAINER, "--")
        return self.kubectl(*target, *argv, check=False).stdout

    def in_app(self, *argv: str) -> str:
        return self.kubectl("exec", "deploy/web", "-c", "nginx", "--", *argv, check=False).stdout

    def admin(self, path: str) -> str:
        return self.in_proxy("curl", "-s", f"http://127.0.0.1:{contract.ENVOY_ADMIN_PORT}{path}")


@pytest.fixture(scope="module")
def space() -> Iterator[Space]:
    """An injected nginx `web` with one replica, called by Service `web` on port 8000."""
    paths = lab_paths(NAME)
    up = state.load(paths)
    assert up is not None, "no lab is up"
    made = Space(up.kubectl, up.kubeconfig, f"discovery-{uuid.uuid4().hex[:6]}")
    made.kubectl("create", "namespace", made.name)
    made.kubectl("label", "namespace", made.name, f"{contract.INJECTION_LABEL}=enabled")
    made.apply(deployment(), service("web", 8000, "http"))
    made.kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    yield made
    made.kubectl("delete", "namespace", made.name, "--wait=false")


def test_a_new_service_and_a_scaled_deployment_are_known_to_a_running_envoy(space: Space) -> None:
    before = space.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}").stdout
    space.apply(service("late", 8123, "http"))
    cluster = f"outbound|8123||late.{space.name}.svc.cluster.local"
    eventually("the new cluster", lambda: cluster in space.admin("/clusters"))
    eventually("the new listener", lambda: "0.0.0.0_8123" in space.admin("/listeners"))
    eventually("an answer", lambda: space.in_app(*CURL, "http://late:8123/") == "200 envoy")
    space.kubectl("scale", "deploy/web", "--replicas=2")
    space.kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    eventually("both endpoints", lambda: len(hosts(space.admin("/clusters"), cluster)) == 2)
    space.kubectl("scale", "deploy/web", "--replicas=1")
    eventually("one endpoint", lambda: len(hosts(space.admin("/clusters"), cluster)) == 1, 15.0)
    space.kubectl("delete", "service", "late")
    eventually("no cluster", lambda: cluster not in space.admin("/clusters"))
    after = space.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}").stdout
    assert set(after.split()) & set(before.split()) or len(after.split()) == 1


@pytest.mark.parametrize(
    ("name", "port", "port_name"),
    [("as-http", 8081, "http"), ("as-tcp", 80, "tcp"), ("sniffed", 9000, "")],
)
def test_a_service_of_each_protocol_is_answered(
    space: Space, name: str, port: int, port_name: str
) -> None:
    space.apply(service(name, port, port_name))
    url = f"http://{name}:{port}/"
    eventually(url, lambda: space.in_app(*CURL, url) == "200 envoy")


def test_the_capture_ports_dialled_directly_lead_nowhere(space: Space) -> None:
    ready = "jsonpath={.items[0].endpoints[?(@.conditions.ready==true)].addresses[0]}"
    mine = ("-l", "kubernetes.io/service-name=web", "-o", ready)
    (ip,) = space.kubectl("get", "endpointslices", *mine).stdout.split()
    for port in (contract.INBOUND_PORT, contract.OUTBOUND_PORT):
        started = time.monotonic()
        target = ("exec", "deploy/sidecar-lab-discovery", "--")
        look = f"import urllib.request as u; u.urlopen('http://{ip}:{port}/', timeout=5)"
        argv = [space.kubectl_program, "--kubeconfig", space.kubeconfig]
        done = run(
            [*argv, "-n", contract.CONTROL_NAMESPACE, *target, "python3", "-c", look],
            check=False,
            timeout=30,
        )
        assert not done.ok
        assert "RemoteDisconnected" in done.stderr or "ConnectionReset" in done.stderr, done.stderr
        assert time.monotonic() - started < WITHIN


def test_the_root_certificate_is_made_with_its_namespace_and_mended(space: Space) -> None:
    fresh = f"{space.name}-fresh"
    space.kubectl("create", "namespace", fresh)
    try:
        elsewhere = Space(space.kubectl_program, space.kubeconfig, fresh)

        def held() -> str:
            return elsewhere.kubectl("get", ROOT, "-o", "jsonpath={.data}", check=False).stdout

        eventually("the copy", lambda: "BEGIN CERTIFICATE" in held())
        good = held()
        elsewhere.kubectl("delete", ROOT)
        eventually("the copy again", lambda: held() == good)
        patch = json.dumps({"data": {contract.CA_CONFIG_MAP_KEY: "spoiled"}})
        elsewhere.kubectl("patch", ROOT, "-p", patch)
        eventually("the copy mended", lambda: held() == good)
    finally:
        space.kubectl("delete", "namespace", fresh, "--wait=false")


def test_no_sidecar_refused_anything(space: Space) -> None:
    argv = [space.kubectl_program, "--kubeconfig", space.kubeconfig, "get", "--raw"]
    proxy = f"/api/v1/namespaces/{contract.CONTROL_NAMESPACE}/pods"
    pods = json.loads(run([*argv, f"{proxy}?labelSelector=app=sidecar-lab-discovery"]).stdout)
    assert pods["items"], "discovery has no pod"
    for pod in pods["items"]:
        name = f"{pod['metadata']['name']}:{contract.CONTROL_HEALTH_PORT}"
        metrics = run([*argv, f"{proxy}/{name}/proxy/metrics"]).stdout
        refused = [line for line in metrics.splitlines() if "_nacks_total" in line]
        assert refused
        assert all(line.endswith(" 0") for line in refused), refused


def eventually(what: str, holds: Callable[[], bool], within: float = WITHIN) -> None:
    """Ask until true; kubectl's own time is the pause between two looks."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < within, f"{what}: not within {within} s"


def hosts(clusters: str, name: str) -> set[str]:
    """Endpoints of one cluster in Envoy's /clusters."""
    parts = [line.split("::") for line in clusters.splitlines()]
    return {part[1] for part in parts if part[0] == name and part[1][0].isdigit()}


def service(name: str, port: int, port_name: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"port": port, "targetPort": 80}
    if port_name:
        entry["name"] = port_name
    spec = {"selector": {"app": "web"}, "ports": [entry]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def deployment() -> dict[str, Any]:
    app = {"app": "web"}
    nginx = {
        "name": "nginx",
        "image": contract.NGINX_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": 80}],
    }
    pod = {
        "metadata": {"labels": app},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [nginx]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": app}, "template": pod},
    }
