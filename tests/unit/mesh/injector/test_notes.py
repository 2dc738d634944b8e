"""What will not work as expected is said: notes of the CLI and warnings of the webhook, alike."""

import json
from itertools import product
from typing import Any

import pytest

from lab.mesh import contract
from lab.mesh.errors import DocumentErrors
from lab.mesh.injector import files
from lab.mesh.injector.settings import annotations
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.webhook import review as admission
from lab.mesh.workloads import WORKLOADS
from tests.unit.mesh.injector.pods import pod, review

INJECT = contract.INJECT_POD_LABEL


def told(template: dict[str, Any]) -> list[str]:
    """What CLI and webhook say of a pod; they must say the same."""
    data = json.dumps({"apiVersion": "v1", "kind": "Pod", **template}).encode()
    notes = files.inject_files([("f", data)], Settings()).notes
    by_cli = [note.partition(" without a name: ")[2] for note in notes]
    response = admission.answer(review(template), Settings()).review["response"]
    assert response.get("warnings", []) == [note for note in by_cli if note]
    return [note for note in by_cli if note]


def refused(template: dict[str, Any]) -> str:
    data = json.dumps({"apiVersion": "v1", "kind": "Pod", **template}).encode()
    with pytest.raises(DocumentErrors) as caught:
        files.inject_files([("f", data)], Settings())
    answer = admission.answer(review(template), Settings())
    assert answer.verdict == "refused"
    assert caught.value.errors[0].problem in answer.why
    return f"{caught.value.errors[0].place.field}: {caught.value.errors[0].problem}"


def labelled(group: str, key: str, value: str) -> dict[str, Any]:
    return {**pod(), "metadata": {group: {key: value}}}


# --- wishes that are neither yes nor no ---------------------------------------------------------


@pytest.mark.parametrize("value", ["False", "FALSE", "True", "no", "off", "0", "disabled", " true"])
@pytest.mark.parametrize("group", ["labels", "annotations"])
def test_a_wish_that_is_neither_true_nor_false_is_told(group: str, value: str) -> None:
    where = group.removesuffix("s")
    assert told(labelled(group, INJECT, value)) == [
        f"{where} {INJECT} is {value!r}; only true and false count, so the mesh decides"
    ]


@pytest.mark.parametrize("value", ["true", ""])
@pytest.mark.parametrize("group", ["labels", "annotations"])
def test_a_wish_that_is_clear_or_empty_is_not_remarked_on(group: str, value: str) -> None:
    assert told(labelled(group, INJECT, value)) == []


def test_a_wish_is_told_where_the_pod_is_not_injected_too() -> None:
    template = labelled("labels", INJECT, "False")
    template["spec"]["hostNetwork"] = True
    assert f"label {INJECT} is 'False'" in told(template)[0]


def test_the_wish_that_counts_is_the_one_that_is_told() -> None:
    template = labelled("labels", INJECT, "true")
    template["metadata"]["annotations"] = {INJECT: "False"}
    assert told(template) == []


@pytest.mark.parametrize("name", [annotations.NATIVE_SIDECAR, annotations.REWRITE_PROBES])
def test_other_wishes_that_are_neither_true_nor_false_are_told(name: str) -> None:
    assert told(labelled("annotations", name, "maybe")) == [
        f"annotation {name} is 'maybe'; only true and false count, so the mesh decides"
    ]
    assert told(labelled("annotations", name, "false")) == []


# --- ports of the mesh ---------------------------------------------------------------------------


@pytest.mark.parametrize("port", sorted(contract.SIDECAR_PORTS))
@pytest.mark.parametrize("group", ["containers", "initContainers"])
def test_a_declared_port_of_the_mesh_is_told(port: int, group: str) -> None:
    template = pod(**{group: [{"name": "app", "ports": [{"containerPort": port}]}]})
    template["spec"].setdefault("containers", [{"name": "app"}])
    if group == "initContainers":
        template["spec"]["containers"] = [{"name": "other"}]
    assert f"container app declares port {port}, on which istio-proxy listens" in told(template)[0]


@pytest.mark.parametrize("port", [contract.TUNNEL_PORT, contract.ENVOY_HEALTH_PORT])
def test_a_declared_port_that_passes_the_proxy_by_is_told(port: int) -> None:
    template = pod(containers=[{"name": "app", "ports": [{"containerPort": port}]}])
    said = told(template)
    assert said == [f"container app declares port {port}, which is never redirected to the proxy"]


@pytest.mark.parametrize(
    "entry",
    [
        {"containerPort": 15020, "protocol": "UDP"},
        {"containerPort": 80, "hostPort": 15020},
        {"containerPort": 15002},
    ],
)
def test_ports_that_do_no_harm_are_not_told(entry: dict[str, Any]) -> None:
    assert told(pod(containers=[{"name": "app", "ports": [entry]}])) == []


def test_the_agents_port_is_the_one_that_the_pod_chooses() -> None:
    template = labelled("annotations", annotations.STATUS_PORT, "9999")
    ports = [{"containerPort": 15020}, {"containerPort": 9999}]
    template["spec"]["containers"] = [{"name": "app", "ports": ports}]
    assert [note.split(",")[0] for note in told(template)] == ["container app declares port 9999"]


@pytest.mark.parametrize("port", [15001, "15001", "admin"])
@pytest.mark.parametrize("action", ["httpGet", "tcpSocket"])
def test_a_probe_of_a_port_of_the_mesh_is_told(port: int | str, action: str) -> None:
    probe = {action: {"port": port, "path": "/x"} if action == "httpGet" else {"port": port}}
    app = {"name": "app", "readinessProbe": probe,
           "ports": [{"name": "admin", "containerPort": 15001}]}  # fmt: skip
    assert "readinessProbe of container app asks port 15001" in told(pod(containers=[app]))[-1]


@pytest.mark.parametrize("path", ["/healthz/ready", "/app-health/app/livez"])
def test_a_probe_that_means_the_agent_is_not_told(path: str) -> None:
    app = {"name": "app", "readinessProbe": {"httpGet": {"port": 15020, "path": path}}}
    assert told(pod(containers=[app])) == []


# --- on the workload instead of its template -----------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind, one in WORKLOADS.items() if one.template])
@pytest.mark.parametrize("key", [INJECT, annotations.PROXY_CPU, annotations.REWRITE_PROBES])
def test_an_annotation_on_the_workload_is_told_with_where_it_belongs(kind: str, key: str) -> None:
    workload = WORKLOADS[kind]
    for depth in range(len(workload.template)):
        value: dict[str, Any] = {"metadata": {}, "spec": {"containers": [{"name": "app"}]}}
        for at in reversed(range(len(workload.template))):
            value = {workload.template[at]: value}
            if at == depth:
                value["metadata"] = {"annotations": {key: "true"}}
        data = {"apiVersion": workload.api_version, "kind": kind, **value}
        notes = files.inject_files([("f", json.dumps(data).encode())], Settings()).notes
        said = [note for note in notes if key in note]
        right = ".".join((*workload.template, "metadata.annotations"))
        assert len(said) == 1
        assert said[0].endswith(f"changes nothing there: it belongs in {right}")


def test_an_annotation_that_the_template_has_too_is_not_told() -> None:
    metadata = {"annotations": {annotations.PROXY_CPU: "1"}, "labels": {INJECT: "true"}}
    data = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {"template": {**pod(), "metadata": metadata}}}  # fmt: skip
    assert files.inject_files([("f", json.dumps(data).encode())], Settings()).notes == []


# --- nodes without Linux --------------------------------------------------------------------------

OS_LABELS = ("kubernetes.io/os", "beta.kubernetes.io/os")
BUILD = "node.kubernetes.io/windows-build"


def affine(*terms: list[tuple[Any, ...]], preferred: bool = False) -> dict[str, Any]:
    made = [
        {"matchExpressions": [{"key": k, "operator": o, "values": list(v)} for k, o, *v in term]}
        for term in terms
    ]
    required = {"nodeSelectorTerms": made}
    wish = "requiredDuringSchedulingIgnoredDuringExecution"
    if preferred:
        wish = "preferredDuringSchedulingIgnoredDuringExecution"
        return {"affinity": {"nodeAffinity": {wish: [{"weight": 1, "preference": made[0]}]}}}
    return {"affinity": {"nodeAffinity": {wish: required}}}


FOR_WINDOWS = [
    {"os": {"name": "windows"}},
    *({"nodeSelector": {label: "windows"}} for label in OS_LABELS),
    {"nodeSelector": {"disk": "ssd", "kubernetes.io/os": "windows"}},
    {"nodeSelector": {BUILD: "10.0.20348"}},
    *(affine([(label, "In", "windows")]) for label in OS_LABELS),
    *(affine([(label, "NotIn", "linux")]) for label in OS_LABELS),
    *(affine([(BUILD, *rest)]) for rest in (("Exists",), ("In", "10.0.1"), ("Gt", "1"))),
    affine([("disk", "In", "ssd"), (OS_LABELS[0], "In", "windows")]),
    affine([(OS_LABELS[0], "In", "windows")], [(OS_LABELS[1], "NotIn", "linux", "darwin")]),
    affine([(OS_LABELS[0], "In", "windows")], []),
]
FOR_LINUX: list[dict[str, Any]] = [
    {"os": {"name": "linux"}},
    {"nodeSelector": {OS_LABELS[0]: "linux"}},
    {"nodeSelector": {"example.com/os": "windows"}},
    affine([(OS_LABELS[0], "In", "windows", "linux")]),
    affine([(OS_LABELS[0], "In", "windows")], [("disk", "In", "ssd")]),
    affine([(OS_LABELS[0], "NotIn", "windows")]),
    affine([(OS_LABELS[0], "Exists")]),
    affine([(BUILD, "DoesNotExist")]),
    affine([(OS_LABELS[0], "In", "windows")], preferred=True),
    affine([]),
    affine(),
    *({"affinity": odd} for odd in (None, {}, {"nodeAffinity": None}, {"nodeAffinity": {"x": 1}})),
    {"tolerations": [{"key": "os", "value": "windows"}]},
]


@pytest.mark.parametrize("spec", FOR_WINDOWS, ids=str)
def test_a_pod_for_windows_nodes_is_refused_however_it_says_so(spec: dict[str, Any]) -> None:
    field = "spec.os.name" if "os" in spec else f"spec.{next(iter(spec))}"
    said = refused(pod(**spec))
    assert said.startswith(field)
    assert said.endswith(": the sidecar does not run on Windows")


@pytest.mark.parametrize("spec", FOR_LINUX, ids=str)
def test_a_pod_that_linux_nodes_may_run_is_injected(spec: dict[str, Any]) -> None:
    assert told(pod(**spec)) == []


@pytest.mark.parametrize(("label", "value"), [*product(OS_LABELS, ["darwin", "Windows"])])
def test_a_pod_for_nodes_of_another_system_is_refused_by_its_value(label: str, value: str) -> None:
    said = refused(pod(nodeSelector={label: value}))
    assert said.endswith(f"the sidecar runs only on Linux, and this field asks for {value!r}")


def test_a_pod_for_windows_that_declines_is_left_alone() -> None:
    template = {**pod(**FOR_WINDOWS[1]), "metadata": {"labels": {INJECT: "false"}}}
    assert admission.answer(review(template), Settings()).verdict == "not injected"
