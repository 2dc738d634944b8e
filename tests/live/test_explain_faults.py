"""`lab explain` on pods that are injected and do not work: the cause is named, and its mend mends.

Each is broken on the running lab, explained by the command itself, and where it prints commands,
mended by them. SIDECAR_LAB_NAME names another lab than the default one.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from lab.command import run
from lab.mesh import contract
from lab.scenario.lab_access import LabAccess
from tests.live.explained import (
    Space,
    Told,
    deployment,
    mesh_of,
    opened,
    space_of,
    stopped_deployment,
)

pytestmark = pytest.mark.live
ON = f"{contract.INJECTION_LABEL}=enabled"
FAULT = 3
TRAFFIC = "traffic.sidecar.istio.io/"
SERVER = (
    "echo 'events{{}} http{{server{{listen {};}}}}' > /tmp/n; exec nginx -c /tmp/n -g 'daemon off;'"
)


@pytest.fixture(scope="module")
def lab() -> Iterator[LabAccess]:
    yield from opened()


@pytest.fixture
def space(lab: LabAccess) -> Iterator[Space]:
    for made in space_of(lab):
        made.label(ON)
        yield made


def broken(space: Space, workload: Mapping[str, Any], cause: str) -> Told:
    """Apply it, and explain its newest pod until the cause is named."""
    space.apply(workload)
    told = space.until_told(cause)
    assert (told.code, told.verdict) == (FAULT, "injected, with a fault")
    assert told.deciding == ("works", "no")
    print(f"{cause}: {told.told['sentence']}")
    return told


def mended(space: Space, told: Told) -> None:
    space.mend(told)
    space.wait_ready()
    assert {one.code for one in space.explain("deploy/web")} == {0}


def listening(port: int, *, declared: bool = False) -> dict[str, Any]:
    """An init container that keeps running and listens there before the proxy starts."""
    ports = [{"containerPort": port}] if declared else []
    command = ["sh", "-c", SERVER.format(port)]
    return {
        "name": "own",
        "image": contract.NGINX_IMAGE,
        "restartPolicy": "Always",
        "command": command,
        "ports": ports,
    }


@pytest.mark.parametrize("port", sorted(contract.SIDECAR_PORTS - {contract.AGENT_PORT}))
def test_an_application_on_a_port_of_the_mesh(space: Space, port: int) -> None:
    inits = [listening(port, declared=port == contract.INBOUND_PORT)]
    told = broken(space, deployment(spec={"initContainers": inits}), "mesh-port-taken")
    assert f"port {port}" in told.told["sentence"]
    who = "container own" if port == contract.INBOUND_PORT else "the application"
    assert f"let {who} listen on another port" in told.told["steps"][0]["text"]


def test_an_application_on_the_agents_port_which_can_be_moved(space: Space) -> None:
    inits = [listening(contract.AGENT_PORT)]
    told = broken(space, deployment(spec={"initContainers": inits}), "mesh-port-taken")
    mended(space, told)


def test_an_application_that_comes_too_late_for_its_port(space: Space) -> None:
    late = f"sleep 5; {SERVER.format(contract.OUTBOUND_PORT)}"
    container = {"name": "web", "image": contract.NGINX_IMAGE, "command": ["sh", "-c", late]}
    told = broken(space, deployment(spec={"containers": [container]}), "mesh-port-taken")
    assert str(contract.OUTBOUND_PORT) in told.told["sentence"]


def test_name_servers_that_do_not_know_the_cluster(space: Space) -> None:
    told = broken(space, deployment(spec={"dnsPolicy": "Default"}), "dns-policy")
    mended(space, told)


def test_an_init_container_that_needs_the_network_before_the_proxy(space: Space) -> None:
    space.label(f"{contract.INJECTION_LABEL}=disabled")
    made = by_hand(space, deployment())
    asking = ["curl", "-sSk", "-m", "3", "-o", "/dev/null", "https://kubernetes.default.svc"]
    fetch = {"name": "fetch", "image": contract.NGINX_IMAGE, "command": asking}
    made["spec"]["template"]["spec"]["initContainers"].append(fetch)
    told = broken(space, made, "init-before-proxy")
    assert "init container fetch" in told.told["sentence"]
    mended(space, told)


def by_hand(space: Space, workload: Mapping[str, Any]) -> dict[str, Any]:
    """As kube-inject makes it."""
    import yaml

    mesh = mesh_of(space)
    words = [mesh.cli, "kube-inject", "-f", "-"]
    plain = json.dumps(workload)
    done = run(words, stdin=plain, env=space.lab.variables(), timeout=60)
    # Istio's ends with an empty document.
    (made,) = (one for one in yaml.safe_load_all(done.stdout) if one)
    assert isinstance(made, dict)
    return made


def test_ports_that_widen_instead_of_narrowing(space: Space) -> None:
    ports = {f"{TRAFFIC}includeOutboundPorts": "8080"}
    told = broken(space, deployment(annotations=ports), "outbound-ports-widen")
    assert "narrows nothing" in told.told["sentence"]
    mended(space, told)
    (pod,) = space.wait_ready()
    (init,) = (c for c in pod["spec"]["initContainers"] if c["name"] == contract.INIT_CONTAINER)
    words = [*init.get("command", ()), *init.get("args", ())]
    assert words[words.index("-i") + 1] == ""
    assert words[words.index("-q") + 1] == "8080"


def test_a_sidecar_image_that_cannot_be_pulled(space: Space) -> None:
    image = {"sidecar.istio.io/proxyImage": "nowhere.invalid/proxy:1"}
    told = broken(space, deployment(annotations=image), "sidecar-image")
    mended(space, told)


def test_rules_that_cannot_be_made(space: Space) -> None:
    own = {
        "name": contract.INIT_CONTAINER,
        "image": "auto",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}},
    }
    broken(space, deployment(spec={"initContainers": [own]}), "init-failed")


def test_a_sidecar_without_the_memory_that_it_needs(space: Space) -> None:
    limit = {"sidecar.istio.io/proxyMemoryLimit": "24Mi"}
    told = broken(space, deployment(annotations=limit), "sidecar-memory")
    mended(space, told)


def test_a_bootstrap_that_is_not_there(space: Space) -> None:
    override = {"sidecar.istio.io/bootstrapOverride": "nowhere"}
    told = broken(space, deployment(annotations=override), "sidecar-volume")
    mended(space, told)


def test_a_sidecar_for_which_no_node_has_room(space: Space) -> None:
    told = broken(space, deployment(annotations={"sidecar.istio.io/proxyCPU": "64"}), "unscheduled")
    mended(space, told)


def test_another_discovery_that_nobody_serves(space: Space) -> None:
    config = {"proxy.istio.io/config": "discoveryAddress: nowhere.example.svc:15012"}
    told = broken(space, deployment(annotations=config), "discovery-unreachable")
    mended(space, told)


def test_a_discovery_without_pods(space: Space) -> None:
    mesh = mesh_of(space)
    if mesh.name == "istio":
        pytest.fail("istiod is the webhook, too: without it no pod is made; deselect this one")
    with stopped_deployment(space, contract.DISCOVERY_SERVICE):
        told = broken(space, deployment(), "discovery-unreachable")
        assert "has no ready pod" in told.told["sentence"]
        mended(space, told)


@contextmanager
def changed_program(space: Space, name: str, code: str) -> Iterator[None]:
    """A Deployment of the control plane that runs other code of its image, then as before."""
    where = ("-n", mesh_of(space).control_namespace)
    before = space.get(*where, "deployment", name)["spec"]["template"]["spec"]
    (container,) = before["containers"]
    patch = [
        {
            "op": "replace",
            "path": "/spec/template/spec/containers/0/command",
            "value": ["python3", "-c", code],
        }
    ]
    words = (*where, "patch", "deployment", name, "--type", "json", "-p")
    space.kubectl(*words, json.dumps(patch))
    try:
        space.kubectl(*where, "rollout", "status", f"deployment/{name}", "--timeout=60s")
        yield
    finally:
        patch[0]["value"] = container["command"]
        space.kubectl(*words, json.dumps(patch))
        space.kubectl(*where, "rollout", "status", f"deployment/{name}", "--timeout=60s")


OLDER_WEBHOOK = """
from lab.mesh import contract
contract.CONFIG_DIR = "/etc/istio/once"
from lab.mesh.webhook import program
raise SystemExit(program.main())
"""
BAD_DISCOVERY = """
from lab.mesh.discovery import listeners, program
sound = listeners.outbound
def outbound(snapshot, backends):
    made = sound(snapshot, backends)
    broken = type(next(iter(made.values())))()
    broken.name = "broken"
    return {**made, "broken": broken}
listeners.outbound = outbound
raise SystemExit(program.main())
"""
BAD_FILTER = {
    "apiVersion": "networking.istio.io/v1alpha3",
    "kind": "EnvoyFilter",
    "metadata": {"name": "broken"},
    "spec": {
        "configPatches": [
            {
                "applyTo": "LISTENER",
                "match": {"context": "SIDECAR_OUTBOUND"},
                "patch": {"operation": "ADD", "value": {"name": "broken"}},
            }
        ]
    },
}


def test_configuration_that_envoy_refuses(space: Space) -> None:
    if mesh_of(space).name == "istio":
        space.apply(BAD_FILTER)
        told = broken(space, deployment(), "configuration-refused")
        assert "listener broken" in told.told["sentence"]
        space.kubectl("-n", space.name, "delete", "envoyfilter", "broken")
        space.wait_ready()
        return
    with changed_program(space, contract.DISCOVERY_SERVICE, BAD_DISCOVERY):
        told = broken(space, deployment(), "configuration-refused")
        assert "listener broken" in told.told["sentence"]
    space.wait_ready()
    # Envoy has it now: its log still tells of the refusal, its counters of the success after it.
    assert {one.code for one in space.explain("deploy/web")} == {0}


def test_a_webhook_of_another_build(space: Space) -> None:
    if mesh_of(space).name == "istio":
        space.apply(deployment())
        space.wait_ready()
        assert {one.code for one in space.explain("deploy/web")} == {0}
        return
    with changed_program(space, contract.WEBHOOK_SERVICE, OLDER_WEBHOOK):
        space.apply(deployment())
        told = space.template()
        assert (told.code, told.cause) == (FAULT, "webhook-build")
        assert "/etc/istio/once" in told.told["sentence"]
        print(f"webhook-build: {told.told['sentence']}")
        assert told.commands[0].startswith("lab up")
        mended(space, told)


def test_one_replica_of_the_webhook_that_is_of_another_build(space: Space) -> None:
    mesh = mesh_of(space)
    where = ("-n", mesh.control_namespace)
    template = space.get(*where, "deployment", mesh.injector_deployment)["spec"]["template"]
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": space.name, "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    }
    made["spec"]["containers"][0]["env"] = [{"name": "ANOTHER", "value": "1"}]
    space.kubectl(*where, "create", "-f", "-", stdin=made)
    try:
        space.kubectl(*where, "wait", "--for=condition=Ready", f"pod/{space.name}", "--timeout=60s")
        space.apply(deployment())
        told = space.template()
        if mesh.name == "istio":
            # Their builds are not ours to judge.
            assert (told.code, told.cause) == (0, "None")
            return
        assert (told.code, told.cause) == (FAULT, "webhook-build")
        assert "replicas come from different builds" in told.told["sentence"]
        assert f"{space.name}: " in told.told["sentence"]
        print(f"webhook-build: {told.told['sentence']}")
    finally:
        space.kubectl(*where, "delete", "pod", space.name, "--wait")
