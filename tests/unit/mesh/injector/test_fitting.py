"""Found by `nox -s fuzz`: what an API server would refuse, crashed, or changed when done twice."""

import json
from typing import Any

import pytest

from lab.mesh import contract
from lab.mesh.errors import AnnotationError, DocumentError
from lab.mesh.injector import files
from lab.mesh.injector.settings import annotations
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.manifest import quantities
from lab.mesh.webhook import review as admission
from tests.unit.mesh.injector.pods import admit, annotated, container, inject, pod, review


def proxy_with(**fields: Any) -> dict[str, Any]:
    """The istio-proxy of a pod whose user brings one with these fields."""
    own = {"name": contract.PROXY_CONTAINER, "image": "auto", **fields}
    return container(inject(pod(containers=[{"name": "app"}, own])), contract.PROXY_CONTAINER)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"PROXY_CPU": "2", "PROXY_CPU_LIMIT": "1500m"}, "proxyCPU"),
        ({"PROXY_MEMORY": "1Gi", "PROXY_MEMORY_LIMIT": "1e9"}, "proxyMemory"),
        ({"USER_VOLUME": '{"istio-envoy": {"emptyDir": {}}}'}, "'istio-envoy' is a volume of the"),
        ({"USER_VOLUME_MOUNT": '{"a": {"mountPath": "/a"}}'}, "no volume 'a'"),
        (
            {
                "USER_VOLUME": '{"a": {"emptyDir": {}}}',
                "USER_VOLUME_MOUNT": '{"a": {"mountPath": "/etc/istio/proxy"}}',
            },
            "mounted at '/etc/istio/proxy' already",
        ),
    ],
)
def test_annotations_that_fit_no_pod_are_refused_by_name(values: dict[str, str], word: str) -> None:
    with pytest.raises(AnnotationError, match=word):
        inject(annotated(**values))


def test_limits_that_equal_requests_in_another_unit_fit() -> None:
    inject(annotated(PROXY_CPU="1", PROXY_CPU_LIMIT="1000m"))
    assert quantities.quantity("1Ki") == 1024 == quantities.quantity("1.024k")
    assert quantities.quantity("5e-1") == quantities.quantity("500m")


def test_a_windows_pod_is_refused_by_its_field_in_webhook_and_cli() -> None:
    windows = pod(os={"name": "windows"})
    with pytest.raises(DocumentError, match=r"field spec\.os\.name"):
        inject(windows)
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", **windows}).encode()
    with pytest.raises(Exception, match=r"f\.yaml:1, document 1, field spec\.os\.name"):
        files.inject_files([("f.yaml", text)], Settings())
    declined = {**windows, "metadata": {"labels": {contract.INJECT_POD_LABEL: "false"}}}
    assert inject(declined) == declined


def test_annotations_that_grow_too_large_are_refused() -> None:
    large = annotated(BOOTSTRAP_OVERRIDE="b")
    large["metadata"]["annotations"]["example.com/large"] = "x" * 262_000
    with pytest.raises(DocumentError, match=r"field metadata\.annotations: .* at most 262144"):
        inject(large)


def test_a_users_probe_or_hook_replaces_ours_whole() -> None:
    probe = {"tcpSocket": {"port": 1}, "periodSeconds": 7}
    own = proxy_with(startupProbe=probe)["startupProbe"]
    assert "httpGet" not in own
    assert own["tcpSocket"] == {"port": 1}
    assert own["timeoutSeconds"] == 3


@pytest.mark.parametrize(
    "grown", [{"privileged": True}, {"capabilities": {"add": ["CAP_SYS_ADMIN"]}}]
)
def test_a_user_who_wants_privilege_is_not_held_back_by_ours(grown: dict[str, Any]) -> None:
    assert "allowPrivilegeEscalation" not in proxy_with(securityContext=grown)["securityContext"]


def test_a_users_limit_or_request_is_not_contradicted_by_ours() -> None:
    own = proxy_with(resources={"limits": {"cpu": "5m"}, "requests": {"memory": "9Gi"}})
    assert own["resources"] == {"limits": {"cpu": "5m"}, "requests": {"memory": "9Gi"}}
    own = proxy_with(resources={"limits": {"cpu": "3"}, "requests": {"cpu": "1"}})
    assert own["resources"]["requests"] == {"cpu": "1", "memory": "40Mi"}
    assert own["resources"]["limits"] == {"cpu": "3", "memory": "1Gi"}


def test_a_users_port_of_our_ports_name_replaces_it() -> None:
    mine = {"name": "http-envoy-prom", "containerPort": 80}
    assert proxy_with(ports=[mine])["ports"] == [mine]


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("istio-init", {"args": ["-z", "surely"]}, r"containers\[1\]\.args: .* could not use"),
        ("istio-init", {"command": ["istio-iptables", "-p", "x"]}, r"\[1\]\.command: "),
        (
            "istio-init",
            {"env": [{"name": "A", "value": "b"}, {"name": "DUAL_STACK", "value": "maybe"}]},
            r"containers\[1\]\.env\[1\]: .*DUAL_STACK",
        ),
        ("istio-init", {"env": [{"name": "A", "value": "x" * 131_072}]}, r"\]\.env\[0\]\.value: "),
        ("istio-proxy", {"args": ["a", "x" * 131_072]}, r"containers\[1\]\.args\[1\]: would have"),
        ("istio-proxy", {"env": [{"name": "A", "value": "x" * 131_070}]}, r"\]\.env\[0\]\.value: "),
    ],
)
def test_what_a_users_own_container_brings_is_refused_by_its_field(
    name: str, fields: dict[str, Any], said: str
) -> None:
    own = {"name": name, "image": "auto", **fields}
    with pytest.raises(DocumentError, match=said):
        inject(pod(containers=[{"name": "app"}, own]))


def test_a_null_among_words_is_an_empty_word_as_to_an_api_server() -> None:
    own = {"name": "istio-proxy", "image": "auto", "args": [None]}
    made = inject(pod(containers=[{"name": "app"}, own]))
    assert container(made, "istio-proxy")["args"] == [None]
    for key in ("env", "ports", "volumeMounts"):
        with pytest.raises(DocumentError, match=rf"{key}\[0\]"):
            inject(pod(containers=[{"name": "app"}, {**own, key: [None]}]))


def test_a_field_is_named_as_it_was_given_though_the_pod_was_injected_before() -> None:
    made = inject(pod(containers=[{"name": "app"}]))
    own = {"name": "istio-proxy", "livenessProbe": {"timeoutSeconds": []}}
    inits = [{"name": "istio-init"}, own]
    made["spec"] = {"containers": [{"name": "app"}], "initContainers": inits}
    with pytest.raises(DocumentError, match=r"initContainers\[1\]\.livenessProbe\.timeoutSeconds"):
        inject(made)


def test_a_record_of_probes_that_no_api_server_would_take_is_not_put_back() -> None:
    app = {"name": "app", "livenessProbe": {"httpGet": {"port": 80, "path": "/p"}}}
    made = inject(pod(containers=[app]))
    proxy = container(made, "istio-proxy")
    (record,) = [one for one in proxy["env"] if one["name"] == "ISTIO_KUBE_APP_PROBERS"]
    record["value"] = record["value"].replace("80", "80e999")
    again = inject(made)
    assert inject(again) == again
    assert container(again, "app")["livenessProbe"]["httpGet"]["path"] == "/app-health/app/livez"


@pytest.mark.parametrize(
    ("app", "given", "budget", "fits"),
    [
        ({"limits": {"cpu": "1"}}, {"PROXY_CPU_LIMIT": "0.0001"}, {"limits": {"cpu": "1"}}, False),
        ({"requests": {"cpu": "0.9"}}, {"PROXY_CPU": "100m"}, {"requests": {"cpu": "1"}}, True),
        ({"requests": {"cpu": "0.9"}}, {"PROXY_CPU": "101m"}, {"requests": {"cpu": "1"}}, False),
        ({}, {"PROXY_MEMORY": "1Gi"}, {"requests": {"memory": "1Gi"}}, True),
        (
            {"requests": {"memory": "1"}},
            {"PROXY_MEMORY": "1Gi"},
            {"limits": {"memory": "1Gi"}},
            False,
        ),
    ],
)
def test_all_containers_together_stay_within_the_pods_own_budget(
    app: dict[str, Any], given: dict[str, str], budget: dict[str, Any], fits: bool
) -> None:
    made = annotated(**given)
    made["spec"]["resources"] = budget
    made["spec"]["containers"] = [{"name": "app", "resources": app}]
    if fits:
        inject(made)
        return
    with pytest.raises(AnnotationError, match=r"containers this is above spec\.resources"):
        inject(made)


def test_a_mount_without_a_name_is_left_to_the_api_server() -> None:
    app = {"name": "app", "volumeMounts": [{"mountPath": "/a"}]}
    volume = {"name": "istio-data", "configMap": {}}
    assert inject(pod(containers=[app], volumes=[volume]))


@pytest.mark.parametrize("odd", [{"spec": "/"}, {"ports": [{"containerPort": -1}]}, {}])
def test_a_mount_without_a_volume_is_refused_whatever_else_the_users_container_has(
    odd: dict[str, Any],
) -> None:
    given = annotated(USER_VOLUME_MOUNT='{"lost": {"mountPath": "/l"}}')
    given["spec"]["containers"].append({"name": "istio-proxy", "image": "auto", **odd})
    with pytest.raises(AnnotationError, match="the pod has no volume 'lost'"):
        inject(given)


@pytest.mark.parametrize(
    ("app", "part"),
    [
        (
            {"ports": [{"containerPort": 80, "name": "x" * 131_072}]},
            "ports in ISTIO_META_POD_PORTS",
        ),
        (
            {"livenessProbe": {"httpGet": {"port": 80, "path": "/" * 131_072}}},
            "probes in ISTIO_KUBE_APP_PROBERS",
        ),
    ],
)
@pytest.mark.parametrize("annotations", [None, {"a": "b"}])
def test_what_an_application_makes_too_long_is_refused_by_its_containers(
    app: dict[str, Any], part: str, annotations: dict[str, str] | None
) -> None:
    given = pod(containers=[{"name": "app", **app}])
    given["metadata"] = {"annotations": annotations}
    with pytest.raises(DocumentError, match=rf"field spec\.containers: their {part} would have"):
        inject(given)


def test_an_init_container_gets_no_probes_or_hooks() -> None:
    own = {"name": "istio-init", "livenessProbe": {"exec": {}}, "lifecycle": {"preStop": {}}}
    made = container(inject(pod(containers=[{"name": "app"}, own])), "istio-init")
    assert not {"livenessProbe", "lifecycle"} & made.keys()


def test_a_pods_own_budget_is_not_exceeded_by_defaults() -> None:
    made = inject(pod(resources={"limits": {"cpu": "100m"}}))
    assert container(made, "istio-proxy")["resources"] == {"requests": {}, "limits": {}}


def test_a_limit_alone_is_a_request_within_the_pods_own_budget() -> None:
    made = annotated(PROXY_CPU_LIMIT="1")
    made["spec"]["resources"] = {"requests": {"cpu": "1m"}}
    with pytest.raises(AnnotationError, match=r"proxyCPULimit: is above spec\.resources\.requests"):
        inject(made)
    made = annotated(PROXY_CPU_LIMIT="1", PROXY_CPU="1m")
    made["spec"]["resources"] = {"requests": {"cpu": "1m"}}
    inject(made)


@pytest.mark.parametrize("name", ["PROXY_CPU", "PROXY_CPU_LIMIT"])
def test_annotations_above_the_pods_own_budget_are_refused(name: str) -> None:
    made = annotated(**{name: "3"})
    made["spec"]["resources"] = {"limits": {"cpu": "1"}}
    with pytest.raises(AnnotationError, match=r"above spec\.resources\.limits\.cpu of the pod, 1"):
        inject(made)
    made["spec"]["resources"] = {"limits": {"memory": "1"}, "requests": {"cpu": "3"}}
    inject(made)


@pytest.mark.parametrize(
    ("field", "value", "at"),
    [
        ("command", 7, r"command: must be a list"),
        (
            "securityContext",
            {"capabilities": {"add": 65535}},
            r"securityContext\.capabilities\.add: ",
        ),
        ("env", [{"name": "A", "value": 1}], r"env\[0\]\.value: must be text"),
        ("resources", {"limits": []}, r"resources\.limits: must be a mapping"),
    ],
)
def test_a_wrong_type_in_a_users_own_container_is_refused_by_its_field(
    field: str, value: Any, at: str
) -> None:
    init = {"name": "istio-init", field: value}
    with pytest.raises(DocumentError, match=rf"spec\.initContainers\[0\]\.{at}"):
        inject(pod(containers=[{"name": "app"}], initContainers=[init]))


def test_a_users_record_of_probes_is_not_taken_for_the_injectors() -> None:
    probed = {"name": "app", "livenessProbe": {"httpGet": {"port": "8080"}}}
    own = {"name": "istio-proxy", "env": [{"name": "ISTIO_KUBE_APP_PROBERS", "value": "[]"}]}
    once = inject(pod(containers=[probed, own]))
    assert inject(once) == once


def test_probes_that_ask_the_agent_stay_so_when_a_user_writes_its_record() -> None:
    asks = {"httpGet": {"path": "/app-health/app/livez", "port": 15020}}
    record = json.dumps({"/app-health/app/livez": {"httpGet": {"port": 8080}}})
    own = {"name": "istio-proxy", "env": [{"name": "ISTIO_KUBE_APP_PROBERS", "value": record}]}
    once = inject(pod(containers=[{"name": "app", "livenessProbe": asks}, own]))
    assert inject(once) == once


@pytest.mark.parametrize("name", ["istio-proxy", "app"])
def test_two_containers_of_one_name_are_refused_by_field(name: str) -> None:
    twice = [{"name": "first"}, {"name": name}, {"name": name}]
    with pytest.raises(
        DocumentError, match=r"field spec\.containers\[2\]\.name: two containers are called"
    ):
        inject(pod(containers=twice))


@pytest.mark.parametrize(
    ("probe", "rewritten"),
    [
        ({"grpc": {"port": 9000}, "httpGet": {}}, False),
        ({"exec": {}, "tcpSocket": {"port": 1}}, False),
        ({"tcpSocket": {"port": 1}, "httpGet": None}, True),
    ],
)
def test_a_probe_of_two_handlers_is_left_alone(probe: dict[str, Any], rewritten: bool) -> None:
    once = inject(pod(containers=[{"name": "app", "livenessProbe": probe}]))
    made = container(once, "app")["livenessProbe"]
    assert (made != probe) is rewritten
    assert not rewritten or made["httpGet"]["path"] == "/app-health/app/livez"
    assert inject(once) == once


def test_half_a_character_in_a_configuration_is_refused_by_annotation() -> None:
    with pytest.raises(AnnotationError, match="half a UTF-16 pair"):
        inject(annotated(PROXY_CONFIG="\ud800"))


def test_a_probe_without_a_port_is_left_alone() -> None:
    bad = {
        "name": "app",
        "livenessProbe": {"tcpSocket": {"host": ""}},
        "ports": [{"containerPort": 1}],
    }
    assert container(inject(pod(containers=[bad])), "app") == bad


def test_a_status_that_names_all_containers_leaves_a_pod() -> None:
    made = pod()
    made["metadata"]["annotations"] = {contract.STATUS_ANNOTATION: '{"containers": ["app"]}'}
    once = inject(made)
    assert inject(once) == once


def test_a_deep_field_is_passed_on_or_refused_never_a_crash() -> None:
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    made = pod(unknown=deep)
    assert admit(made)["spec"]["unknown"] == deep
    made = annotated(**{})
    made["metadata"]["annotations"] = {annotations.OVERRIDES: json.dumps(
        {"containers": [{"name": "istio-proxy", "resources": deep}]})}  # fmt: skip
    answer = admission.answer(review(made), Settings())
    assert answer.verdict in ("injected", "refused")


@pytest.mark.parametrize("text", ["? " * 2_000, "{" * 3_000, "? [" * 500])
def test_keys_nested_in_keys_are_refused_by_line(text: str) -> None:
    with pytest.raises(Exception, match=r"f\.yaml:1, document 1: nested deeper than"):
        files.inject_files([("f.yaml", text.encode())], Settings())


@pytest.mark.parametrize(
    "text",
    [
        "metadata: {labels: null, name: web}\nspec: {containers: [{name: a}]}",
        "spec: {initContainers: [{name: istio-proxy}], containers: [{name: a}]}",
    ],
)
def test_what_is_injected_again_keeps_its_order(text: str) -> None:
    data = f"apiVersion: v1\nkind: Pod\n{text}\n"
    once = "".join(files.inject_files([("f", data.encode())], Settings()).text())
    assert "".join(files.inject_files([("f", once.encode())], Settings()).text()) == once


@pytest.mark.parametrize("after", ["", "\r\n", "\r\r\n"])
def test_windows_line_ends_are_kept_after_any_separator(after: str) -> None:
    text = f"---{after} {{apiVersion: v1, kind: Pod,\r\n  spec: {{containers: [{{name: a}}]}}}}\r\n"
    once = "".join(files.inject_files([("f", text.encode())], Settings()).text())
    assert once.count("\n") == once.count("\r\n")
    assert "".join(files.inject_files([("f", once.encode())], Settings()).text()) == once
