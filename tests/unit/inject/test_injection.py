"""One injection for CLI and webhook: what a pod gets, and that twice is once."""

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mesh import admission, annotations, contract, documents, injection, manifests, probes
from lab.mesh.decision import Policy, Reason, Selector, decide
from lab.mesh.errors import AdmissionError, AnnotationError, DocumentError, SidecarLabError
from lab.mesh.sidecar import Owner, Settings

MANIFESTS = Path(__file__).parents[3] / "manifests"
OWNER = Owner("web", "Deployment", "apps/v1")


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app"}], **spec},
    }


def annotated(**values: str) -> dict[str, Any]:
    template = pod()
    template["metadata"]["annotations"] = {getattr(annotations, k): v for k, v in values.items()}
    return template


def inject(template: dict[str, Any], settings: Settings | None = None) -> dict[str, Any]:
    return dict(injection.inject(template, "default", OWNER, settings or Settings()).template)


def container(template: dict[str, Any], name: str) -> dict[str, Any]:
    spec = template["spec"]
    found = [c for c in [*spec["containers"], *spec.get("initContainers", [])] if c["name"] == name]
    assert len(found) == 1
    return dict(found[0])


def names(template: dict[str, Any], group: str) -> list[str]:
    return [c["name"] for c in template["spec"].get(group, [])]


def apply_patch(document: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902, written here so that the patch is not checked by the code that made it."""
    result = json.loads(json.dumps(document))  # nothing shared inside
    for operation in operations:
        keys = [k.replace("~1", "/").replace("~0", "~") for k in operation["path"].split("/")[1:]]
        holder = result
        for key in keys[:-1]:
            holder = holder[int(key)] if isinstance(holder, list) else holder[key]
        last: Any = int(keys[-1]) if isinstance(holder, list) else keys[-1]
        if operation["op"] == "remove":
            del holder[last]
        elif operation["op"] == "add" and isinstance(holder, list):
            assert last <= len(holder)
            holder.insert(last, operation["value"])
        else:
            assert operation["op"] == "add" or last in holder or isinstance(holder, list)
            holder[last] = operation["value"]
    return result


def review(template: Any, namespace: str = "default") -> bytes:
    request = {"uid": "u", "kind": {"kind": "Pod"}, "namespace": namespace, "object": template}
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(body).encode()


def admit(template: Any, settings: Settings | None = None) -> Any:
    response = admission.answer(review(template), settings or Settings()).review["response"]
    if "patch" not in response:
        return template
    return apply_patch(template, json.loads(base64.b64decode(response["patch"])))


# --- what a pod gets -----------------------------------------------------------------------
def test_the_init_container_has_a_command_the_proxy_has_args_and_both_one_image() -> None:
    made = inject(pod())
    init, proxy = container(made, "istio-init"), container(made, "istio-proxy")
    assert init["command"] == [
        "istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*",
        "-x", "", "-b", "*", "-d", "15090,15021,15020",
    ]  # fmt: skip
    assert "args" not in init
    assert "command" not in proxy
    assert proxy["args"][:4] == [
        "proxy",
        "sidecar",
        "--domain",
        "$(POD_NAMESPACE).svc.cluster.local",
    ]
    assert init["image"] == proxy["image"] == contract.PROXY_IMAGE


def test_rights_are_the_least_that_the_work_needs() -> None:
    made = inject(pod())
    init = container(made, "istio-init")["securityContext"]
    proxy = container(made, "istio-proxy")["securityContext"]
    for context in (init, proxy):
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"]["drop"] == ["ALL"]
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert init["capabilities"]["add"] == ["NET_ADMIN", "NET_RAW"]
    assert "add" not in proxy["capabilities"]
    assert (proxy["runAsUser"], proxy["runAsGroup"], proxy["runAsNonRoot"]) == (1337, 1337, True)


def test_every_mount_has_its_volume() -> None:
    made = inject(pod(volumes=[{"name": "mine"}]))
    mounts = {m["name"] for m in container(made, "istio-proxy")["volumeMounts"]}
    assert mounts | {"mine"} == {v["name"] for v in made["spec"]["volumes"]}


@pytest.mark.parametrize(
    ("wish", "containers", "inits"),
    [
        ({}, ["app", "istio-proxy"], ["user", "istio-init"]),
        ({"NATIVE_SIDECAR": "true"}, ["app"], ["istio-init", "istio-proxy", "user"]),
        ({"PROXY_CONFIG": "holdApplicationUntilProxyStarts: true"}, ["istio-proxy", "app"],
         ["user", "istio-init"]),
        ({"INTERCEPTION_MODE": "NONE"}, ["app", "istio-proxy"], ["user"]),
    ],
)  # fmt: skip
def test_the_order_of_containers(
    wish: dict[str, str], containers: list[str], inits: list[str]
) -> None:
    template = annotated(**wish)
    template["spec"]["initContainers"] = [{"name": "user"}]
    made = inject(template)
    assert names(made, "containers") == containers
    assert names(made, "initContainers") == inits


def test_a_native_sidecar_keeps_running_and_a_held_application_waits() -> None:
    native = container(inject(annotated(NATIVE_SIDECAR="true")), "istio-proxy")
    assert native["restartPolicy"] == "Always"
    held = container(inject(annotated(PROXY_CONFIG='{"holdApplicationUntilProxyStarts": true}')),
                     "istio-proxy")  # fmt: skip
    assert held["lifecycle"]["postStart"]["exec"]["command"] == ["pilot-agent", "wait"]


def test_exclusions_become_arguments_of_the_iptables_program() -> None:
    made = inject(annotated(
        EXCLUDE_INBOUND_PORTS="9090, 15020", EXCLUDE_OUTBOUND_PORTS="3306",
        INCLUDE_OUTBOUND_PORTS="80", EXCLUDE_OUTBOUND_CIDRS="10.0.0.0/8",
        INCLUDE_OUTBOUND_CIDRS="", EXCLUDE_INTERFACES="eth1", KUBEVIRT_INTERFACES="tap0",
        INCLUDE_INBOUND_PORTS="80,81",
    ))  # fmt: skip
    command = container(made, "istio-init")["command"][1:]
    flags = dict(zip(command[::2], command[1::2], strict=True))
    assert flags == {
        "-p": "15001", "-z": "15006", "-u": "1337", "-m": "REDIRECT", "-i": "",
        "-x": "10.0.0.0/8", "-b": "80,81", "-d": "15090,15021,15020,9090", "-q": "80",
        "-o": "3306", "-k": "tap0", "-c": "eth1",
    }  # fmt: skip


def test_any_resource_annotation_drops_all_default_resources() -> None:
    made = inject(annotated(PROXY_CPU="100m"))
    assert container(made, "istio-proxy")["resources"] == {"requests": {"cpu": "100m"}}


def test_a_users_own_proxy_container_wins_over_ours() -> None:
    own = {
        "name": "istio-proxy", "image": "auto", "resources": {"limits": {"cpu": "9"}},
        "env": [{"name": "TRUST_DOMAIN", "value": "td"}, {"name": "MORE", "value": "x"}],
        "volumeMounts": [{"name": "mine", "mountPath": "/mine"}],
    }  # fmt: skip
    made = inject({"spec": {"containers": [own, {"name": "app"}]}})
    proxy = container(made, "istio-proxy")
    assert proxy["image"] == contract.PROXY_IMAGE
    assert proxy["resources"]["limits"] == {"cpu": "9", "memory": "1Gi"}
    env = {e["name"]: e.get("value") for e in proxy["env"]}
    assert (env["TRUST_DOMAIN"], env["MORE"], env["ISTIO_META_CLUSTER_ID"]) == (
        "td",
        "x",
        "Kubernetes",
    )
    assert len(proxy["volumeMounts"]) == 5
    assert names(made, "containers") == ["app", "istio-proxy"]
    assert inject(made) == made


def test_probes_go_through_the_agent_and_named_ports_are_resolved() -> None:
    app = {
        "name": "app",
        "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/r", "port": "web"}, "timeoutSeconds": 3},
        "livenessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 5},
        "startupProbe": {"grpc": {"port": 9000, "service": "s"}},
    }
    made = inject({"spec": {"containers": [app, {"name": "e", "livenessProbe": {"exec": {}}}]}})
    changed = container(made, "app")
    for probe, end in probes.PATHS.items():
        assert changed[probe]["httpGet"] == {"path": end.format("app"), "port": 15020}
    assert changed["livenessProbe"]["periodSeconds"] == 5
    env = {e["name"]: e.get("value") for e in container(made, "istio-proxy")["env"]}
    assert json.loads(env["ISTIO_KUBE_APP_PROBERS"]) == {
        "/app-health/app/readyz": {"httpGet": {"path": "/r", "port": 8080}, "timeoutSeconds": 3},
        "/app-health/app/livez": {"tcpSocket": {"port": 8080}},
        "/app-health/app/startupz": {"grpc": {"port": 9000, "service": "s"}},
    }
    assert container(made, "e")["livenessProbe"] == {"exec": {}}


def test_lifecycle_hooks_over_http_go_through_the_agent_and_commands_stay() -> None:
    hooks = {"preStop": {"httpGet": {"path": "/bye", "port": 8080}}, "postStart": {"exec": {}}}
    made = inject({"spec": {"containers": [{"name": "app", "lifecycle": hooks}]}})
    changed = container(made, "app")["lifecycle"]
    assert changed["preStop"] == {"httpGet": {"path": "/app-lifecycle/app/prestopz", "port": 15020}}
    assert changed["postStart"] == {"exec": {}}
    assert inject(made) == made
    assert injection.strip(made)["spec"]["containers"][0]["lifecycle"] == hooks


def test_probes_stay_when_asked_or_when_they_ask_elsewhere() -> None:
    probe = {"httpGet": {"port": 80}}
    template = annotated(REWRITE_PROBES="false")
    template["spec"]["containers"][0]["livenessProbe"] = probe
    assert container(inject(template), "app")["livenessProbe"] == probe
    for target in ({"port": "unknown"}, {"port": 15020}, {"port": 80, "host": "10.0.0.1"}):
        app = {"name": "app", "livenessProbe": {"httpGet": target}}
        assert container(inject({"spec": {"containers": [app]}}), "app") == app


def test_labels_and_annotations_that_a_mesh_reader_looks_for() -> None:
    metadata = inject(pod())["metadata"]
    assert metadata["labels"] == {
        "app": "web",
        "service.istio.io/canonical-name": "web",
        "service.istio.io/canonical-revision": "latest",
    }
    assert metadata["annotations"]["kubectl.kubernetes.io/default-container"] == "app"
    assert metadata["annotations"]["prometheus.io/port"] == "15020"
    status = json.loads(metadata["annotations"][contract.STATUS_ANNOTATION])
    assert (status["initContainers"], status["containers"]) == (["istio-init"], ["istio-proxy"])


def test_a_user_of_the_proxys_own_uid_is_warned() -> None:
    result = injection.inject(pod(securityContext={"runAsUser": 1337}), "d", OWNER, Settings())
    assert "runs as 1337" in result.warnings[0]


# --- whether ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("labels", "annotation", "spec", "namespace", "policy", "reason"),
    [
        ({}, None, {"hostNetwork": True}, "kube-system", Policy(), Reason.HOST_NETWORK),
        ({contract.INJECT_POD_LABEL: "true"}, None, {}, "kube-public", Policy(),
         Reason.IGNORED_NAMESPACE),
        ({contract.INJECT_POD_LABEL: "false"}, "true", {}, "d", Policy(), Reason.DECLINED),
        ({contract.INJECT_POD_LABEL: "true"}, "false", {}, "d", Policy("disabled"), Reason.ASKED),
        ({contract.INJECT_POD_LABEL: "maybe"}, "false", {}, "d", Policy(), Reason.POLICY),
        ({}, "false", {}, "d", Policy(), Reason.DECLINED),
        ({"a": "b"}, None, {}, "d", Policy(never=(Selector((("a", "b"),)),)),
         Reason.NEVER_SELECTOR),
        ({}, None, {}, "d", Policy(never=(Selector(),)), Reason.POLICY),
        ({"a": "b"}, None, {}, "d",
         Policy("disabled", always=(Selector((), (("a", "Exists", ()),)),)),
         Reason.ALWAYS_SELECTOR),
        ({}, None, {}, "d", Policy("disabled"), Reason.POLICY_DISABLED),
        ({}, None, {}, "d", Policy("perhaps"), Reason.POLICY_UNKNOWN),
    ],
)  # fmt: skip
def test_the_order_of_the_decision(
    labels: dict[str, str], annotation: str | None, spec: dict[str, Any], namespace: str,
    policy: Policy, reason: Reason,
) -> None:  # fmt: skip
    given_annotations = {contract.INJECT_POD_LABEL: annotation} if annotation else {}
    template = {"metadata": {"labels": labels, "annotations": given_annotations}, "spec": spec}
    decision = decide(template, namespace, policy)
    assert decision.reason is reason
    assert decision.sentence


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("INTERCEPTION_MODE", ["REDIRECT", "TPROXY", "NONE"], ["redirect", ""]),
        ("PROXY_CPU", ["1", "100m", "1.5", "2e3", "1Ki"], ["-1", "1 m", "x", "1mm", ""]),
        ("STATUS_PORT", ["0", "15020"], ["65536", "-1", "", "٣"]),
        ("PERIOD", ["1"], ["0", "1.5"]),
        ("INCLUDE_OUTBOUND_CIDRS", ["*", "", "10.0.0.0/8,fd00::/8"], ["10.0.0.1", "*,10.0.0.0/8"]),
        ("EXCLUDE_OUTBOUND_CIDRS", ["", "1.2.3.4/32"], ["*", "10.0.0.0/33"]),
        ("INCLUDE_INBOUND_PORTS", ["*", "", "80, 81"], ["http", "80,*", "70000"]),
        ("EXCLUDE_INBOUND_PORTS", ["80"], ["*", "80,,81"]),
        ("EXCLUDE_OUTBOUND_PORTS", ["80"], ["-1"]),
        ("EXCLUDE_INTERFACES", ["eth0,tap1"], ["a b", "averyveryverylongname"]),
        ("PROXY_CONFIG", ["", "{}", "concurrency: 2", "holdApplicationUntilProxyStarts: true"],
         ["- a", "nonsense: 1", "concurrency: two", "a: [", "concurrency: -1",
          "concurrency: true"]),
    ],
)  # fmt: skip
def test_annotation_values_are_taken_or_refused_by_name(
    name: str, good: list[str], bad: list[str]
) -> None:
    for value in good:
        inject(annotated(**{name: value}))
    for value in bad:
        with pytest.raises(AnnotationError, match=getattr(annotations, name)):
            inject(annotated(**{name: value}))


# --- properties ------------------------------------------------------------------------------
few = st.sampled_from(["app", "b", "istio-proxy", "istio-init", "c"])
probe = st.fixed_dictionaries(
    {}, optional={
        "httpGet": st.fixed_dictionaries(
            {"port": st.sampled_from([80, "web", "none", 15020])},
            optional={"path": st.just("/x"), "scheme": st.just("HTTPS")}),
        "tcpSocket": st.fixed_dictionaries({"port": st.sampled_from([80, "web"])}),
        "exec": st.just({"command": ["true"]}),
        "periodSeconds": st.integers(1, 9), "timeoutSeconds": st.integers(1, 9),
    },
)  # fmt: skip
one_container = st.fixed_dictionaries(
    {"name": few}, optional={
        "image": st.sampled_from(["auto", "nginx"]),
        "livenessProbe": probe, "readinessProbe": probe,
        "lifecycle": st.fixed_dictionaries({}, optional={
            "preStop": st.just({"httpGet": {"port": 80}}), "postStart": st.just({"exec": {}})}),
        "ports": st.just([{"name": "web", "containerPort": 8080}]),
        "env": st.just([{"name": "A", "value": "y"}]),
        "volumeMounts": st.just([{"name": "v", "mountPath": "/v"}]),
    },
)  # fmt: skip
unique = st.lists(one_container, min_size=1, max_size=4, unique_by=lambda c: str(c["name"]))
some_annotations = st.fixed_dictionaries(
    {}, optional={
        annotations.NATIVE_SIDECAR: st.sampled_from(["true", "false"]),
        annotations.PROXY_CONFIG: st.sampled_from(["holdApplicationUntilProxyStarts: true", ""]),
        annotations.INTERCEPTION_MODE: st.sampled_from(annotations.MODES),
        annotations.STATUS_PORT: st.sampled_from(["0", "15020", "15030"]),
        "prometheus.io/port": st.just("9"), "kubectl.kubernetes.io/default-container": st.just("b"),
    },
)  # fmt: skip
pods = st.fixed_dictionaries({
    "metadata": st.fixed_dictionaries({}, optional={
        "labels": st.dictionaries(
            st.sampled_from(["app", "version", "service.istio.io/canonical-name"]),
            st.sampled_from(["x", "y"])),
        "annotations": some_annotations,
        "name": st.just("p"),
        "ownerReferences": st.just([
            {"kind": "Job", "name": "a-28473920", "controller": True, "apiVersion": "batch/v1"}]),
    }),
    "spec": st.fixed_dictionaries({"containers": unique}, optional={
        "volumes": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["v", "istio-envoy"])}),
                            max_size=1),
        "hostNetwork": st.booleans(), "restartPolicy": st.just("Never"),
    }),
})  # fmt: skip


@given(pods, unique)
def test_injecting_twice_equals_injecting_once(template: dict[str, Any], inits: Any) -> None:
    used = {c["name"] for c in template["spec"]["containers"]}
    template["spec"]["initContainers"] = [c for c in inits if c["name"] not in used]
    before = copy.deepcopy(template)
    once = inject(template)
    assert template == before
    assert inject(once) == once


@given(pods)
def test_the_webhooks_patch_makes_the_pod_that_the_cli_makes(template: dict[str, Any]) -> None:
    document = {"apiVersion": "v1", "kind": "Pod", **template}
    text = "".join(
        manifests.inject_files([("p.json", json.dumps(document).encode())], Settings()).text()
    )
    assert admit(document) == json.loads(text)


@given(pods)
def test_taking_the_sidecar_out_gives_back_the_pod_by_meaning(template: dict[str, Any]) -> None:
    ours = ("istio-proxy", "istio-init")
    containers = [c for c in template["spec"]["containers"] if c["name"] not in ours]
    if not containers or "volumes" in template["spec"]:
        return
    for one in containers:
        for kind in probes.PATHS:
            if (
                one.get(kind, {}).get("httpGet", one.get(kind, {}).get("tcpSocket", {})).get("port")
                == "web"
            ):
                one.pop(kind)  # comes back as the number it stands for
    template["spec"]["containers"] = containers
    back = dict(injection.strip(inject(template)))
    for holder in (template["metadata"], back["metadata"]):
        for key in ("labels", "annotations"):
            if not holder.get(key, True):
                del holder[key]
    assert back == template


junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), few),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([
            "metadata", "spec", "containers", "initContainers", "volumes", "name", "labels", "env",
            "annotations", "livenessProbe", "httpGet", "lifecycle", "preStop", "port", "ports",
            "ownerReferences",
            "securityContext", contract.STATUS_ANNOTATION, annotations.OVERRIDES, "runAsUser",
            annotations.PROXY_CONFIG, "hostNetwork",
        ]), inner, max_size=4),
    ), max_leaves=25,
)  # fmt: skip


@given(junk)
def test_any_object_is_injected_or_refused_by_name_never_a_crash(value: Any) -> None:
    answer = admission.answer(review(value), Settings())
    assert answer.verdict in ("injected", "not injected", "refused")
    for kind, version in (("Pod", "v1"), ("Deployment", "apps/v1"), ("CronJob", "batch/v1")):
        base = value if isinstance(value, dict) else {"spec": value}
        data = json.dumps({**base, "apiVersion": version, "kind": kind}).encode()
        try:
            manifests.inject_files([("any", data)], Settings())
        except SidecarLabError as refused:
            if "any" not in refused.message:
                raise


@given(junk, pods)
def test_a_status_annotation_of_any_content_does_no_harm(
    value: Any, template: dict[str, Any]
) -> None:
    known = template["metadata"].setdefault("annotations", {})
    known[contract.STATUS_ANNOTATION] = json.dumps(value)
    try:
        once = inject(template)
    except SidecarLabError:
        return
    assert inject(once) == once


# --- admission -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content_type", "length", "status"),
    [("application/json", 0, 400), ("text/plain", 5, 415), ("", 5, 415),
     ("application/json", admission.MAX_BODY + 1, 413)],
)  # fmt: skip
def test_bad_requests_get_their_status(content_type: str, length: int, status: int) -> None:
    with pytest.raises(AdmissionError) as caught:
        admission.check_request(content_type, length)
    assert caught.value.status == status


def test_a_content_type_with_a_character_set_is_json_too() -> None:
    admission.check_request("application/json; charset=utf-8", 5)


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b"{}", b'{"kind":"AdmissionReview"}', b"[" * 100_000, b"\xff",
             b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}'],
)  # fmt: skip
def test_a_body_that_is_no_review_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(AdmissionError) as caught:
        admission.answer(body, Settings())
    assert caught.value.status == 400


def test_a_bad_annotation_is_refused_by_name_in_the_answer() -> None:
    answer = admission.answer(review(annotated(PROXY_CPU="lots")), Settings())
    response = answer.review["response"]
    assert response["allowed"] is False
    assert response["uid"] == "u"
    assert "sidecar.istio.io/proxyCPU" in response["status"]["message"]


def test_a_pod_of_a_deployment_is_named_by_it_and_the_same_as_the_clis() -> None:
    text = (MANIFESTS / "jiuxi-deployment.yaml").read_bytes()
    plain = documents.read(text, "f")[0].value
    injected = manifests.inject_files([("f", text)], Settings()).files[0][0].value
    hashed = {"pod-template-hash": "5d59f98"}
    owner = {
        "kind": "ReplicaSet",
        "name": "jiuxi-5d59f98",
        "controller": True,
        "apiVersion": "apps/v1",
    }

    def created(template: dict[str, Any]) -> dict[str, Any]:
        metadata = template["metadata"]
        labels = {**metadata["labels"], **hashed}
        owned = {
            **metadata,
            "labels": labels,
            "generateName": "jiuxi-5d59f98-",
            "ownerReferences": [owner],
        }
        return {"metadata": owned, "spec": template["spec"]}

    by_webhook = admit(created(plain["spec"]["template"]))
    assert by_webhook == created(injected["spec"]["template"])
    assert admit(by_webhook) == by_webhook


def test_a_field_of_the_wrong_type_is_named() -> None:
    with pytest.raises(DocumentError, match=r"spec\.containers\[0\]\.name"):
        inject({"spec": {"containers": [{"name": 3}]}})
