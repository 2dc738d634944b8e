"""What holds for any pod: twice is once, CLI and webhook agree, out is as in, never a crash."""

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lab.mesh import contract
from lab.mesh.errors import SidecarLabError
from lab.mesh.grammar import probe_settings
from lab.mesh.injector import files, uninject
from lab.mesh.injector.settings import annotations
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.webhook import review as admission
from tests.unit.mesh.injector.pods import admit, inject, review

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
        annotations.OVERRIDES: st.just('{"containers": [{"name": "istio-proxy", "image": "i"}]}'),
        annotations.USER_VOLUME: st.just('{"v": {"emptyDir": {}}}'),
        annotations.BOOTSTRAP_OVERRIDE: st.just("b"),
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
        files.inject_files([("p.json", json.dumps(document).encode())], Settings()).text()
    )
    assert admit(document) == json.loads(text)


def bare(template: Any) -> dict[str, Any]:
    """Without empty lists and mappings where they mean the same as nothing."""
    kept = {
        holder: {k: v for k, v in template[holder].items() if v not in ({}, [])}
        for holder in ("metadata", "spec")
        if template.get(holder)
    }
    return {**template, "metadata": {}, **kept}


@given(pods, unique)
def test_taking_the_sidecar_out_gives_back_the_pod_by_meaning(
    template: dict[str, Any], inits: Any
) -> None:
    used = {c["name"] for c in template["spec"]["containers"]}
    template["spec"]["initContainers"] = [c for c in inits if c["name"] not in used]
    assert bare(uninject.strip(inject(template))) == bare(template)
    assert bare(uninject.strip(inject(inject(template)))) == bare(template)


junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), few),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([
            "metadata", "spec", "containers", "initContainers", "volumes", "name", "labels", "env",
            "annotations", "livenessProbe", "httpGet", "lifecycle", "preStop", "port", "ports",
            "tcpSocket", "grpc", "scheme", "path", "httpHeaders", "value", "timeoutSeconds",
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
            files.inject_files([("any", data)], Settings())
        except SidecarLabError as refused:
            if "any" not in refused.message:
                raise


@given(junk)
def test_an_agent_can_read_whatever_probes_it_is_handed(probe: Any) -> None:
    app = {"name": "app", "livenessProbe": probe, "lifecycle": {"preStop": probe}}
    try:
        made = inject({"spec": {"containers": [app]}})
    except SidecarLabError:
        return
    env = {e["name"]: e.get("value") for e in made["spec"]["containers"][-1]["env"]}
    probe_settings.probes(env.get(contract.PROBES_VARIABLE, ""))


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
