"""What is wrong with a pod that is yet to be made: its order, its ports, the webhook's build."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lab.explain.findings.causes import Cause
from lab.explain.situation import Situation, Trial
from lab.explain.verdict import Verdict, judge
from lab.mesh.injector import inject
from lab.mesh.injector.owners import owner_of
from lab.mesh.injector.settings import annotations
from lab.mesh.injector.settings.pod_settings import Owner, Settings
from tests.unit.explain.recorded import FETCH, PROXY
from tests.unit.explain.sample import ON, live, ours, pod_of, situation, template


def made(spec: Mapping[str, Any] | None = None, settings: Settings | None = None) -> dict[str, Any]:
    """A pod as the webhook of this build answers it."""
    pod = {**pod_of(spec=spec), "kind": "Pod"}
    pod["metadata"] = {**pod["metadata"], "generateName": "lab-explain-", "namespace": "shop"}
    found = inject.inject(pod, "shop", owner_of(pod), settings or Settings())
    return json.loads(json.dumps(found.template))  # type: ignore[no-any-return]


def answered(pod: Mapping[str, Any], **more: Any) -> Situation:
    return situation(template(), ON, trial=Trial("injected", pod=pod), **more)


def defaulted(pod: dict[str, Any]) -> dict[str, Any]:
    """With what an API server and another webhook add."""
    for one in (*pod["spec"]["containers"], *pod["spec"]["initContainers"]):
        one |= {"terminationMessagePath": "/dev/termination-log"}
        limits = (one.get("resources") or {}).get("limits") or {}
        if limits.get("memory") == "1Gi":
            limits["memory"] = "1024Mi"  # it is the other way round, and as equal
        token = {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io"}
        one["volumeMounts"] = [*one.get("volumeMounts", ()), token]
    pod["spec"]["containers"].append({"name": "other", "image": "other"})
    pod["spec"]["dnsPolicy"] = "ClusterFirst"
    pod["metadata"]["name"] = "lab-explain-x7f2p"
    return pod


def test_a_webhook_of_this_build_is_accused_of_nothing() -> None:
    assert judge(answered(defaulted(made()))).verdict is Verdict.WOULD
    native = Settings(native_sidecar=True)
    assert judge(answered(made(settings=native), settings=native)).verdict is Verdict.WOULD


def _argument(pod: dict[str, Any]) -> None:
    pod["spec"]["containers"][-1]["args"][3] = "$(POD_NAMESPACE).old"


def _variable(pod: dict[str, Any]) -> None:
    pod["spec"]["containers"][-1]["env"].append({"name": "OLD", "value": "1"})


def _order(pod: dict[str, Any]) -> None:
    pod["spec"]["initContainers"].append(pod["spec"]["containers"].pop())


def _volume(pod: dict[str, Any]) -> None:
    pod["spec"]["volumes"] = [v for v in pod["spec"]["volumes"] if v["name"] != "istio-data"]


def _annotation(pod: dict[str, Any]) -> None:
    pod["metadata"]["annotations"]["prometheus.io/port"] = "15021"


@pytest.mark.parametrize("edit", [_argument, _variable, _order, _volume, _annotation])
def test_a_webhook_that_answers_otherwise_than_kube_inject_is_of_another_build(edit: Any) -> None:
    pod = made()
    edit(pod)
    found = judge(answered(pod))
    assert (found.verdict, found.cause) == (Verdict.WOULD_FAULTY, Cause.WEBHOOK_BUILD)
    assert "kube-inject" in found.sentence
    if edit is _argument:
        told = "istio-proxy args --domain: the pod has $(POD_NAMESPACE).old, kube-inject makes $("
        assert told in found.sentence
    assert found.verdict.exit_code == 3


def test_the_webhooks_of_others_are_not_measured_by_ours() -> None:
    pod = made()
    _argument(pod)
    theirs = tuple(replace(one, service=("istio-system", "istiod")) for one in ours())
    assert judge(answered(pod, entries=theirs)).verdict is Verdict.WOULD
    assert judge(replace(answered(pod), namespace=None, entries=ours())).cause is None


def test_replicas_that_differ_are_told() -> None:
    from lab.explain.gather.api_objects import generations

    def pod(name: str, image: str, **more: Any) -> dict[str, Any]:
        ready = [{"name": "webhook", "imageID": image, "ready": True}]
        meta = {"name": name, "labels": {"pod-template-hash": "7c"}, **more}
        return {"metadata": meta, "status": {"containerStatuses": ready}}

    assert generations([pod("a", "sha256:1"), pod("b", "sha256:1")]) == ()
    leaving = pod("c", "sha256:2", deletionTimestamp="now")
    assert generations([pod("a", "sha256:1"), leaving]) == ()
    told = generations([pod("a", "sha256:1"), pod("b", "sha256:2")])
    assert [one.split()[0] for one in told] == ["a:", "b:"]
    found = judge(answered(made(), generations=told))
    assert (found.cause, "different builds" in found.sentence) == (Cause.WEBHOOK_BUILD, True)


def test_a_sidecar_of_before_is_a_remark_and_no_fault() -> None:
    pod = made()
    pod["metadata"] |= {"name": "web-1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    assert not judge(situation(live(pod), ON)).notes
    _argument(pod)
    found = judge(situation(live(pod), ON))
    assert found.verdict is Verdict.INJECTED
    assert "differs from the one that is made now" in found.notes[0]


def test_what_another_webhook_puts_behind_istio_init_is_foreseen() -> None:
    pod = made()
    pod["spec"]["initContainers"].append(FETCH)
    found = judge(answered(pod))
    assert (found.verdict, found.cause) == (Verdict.WOULD_FAULTY, Cause.INIT_BEFORE_PROXY)
    assert annotations.NATIVE_SIDECAR in found.steps[0].commands[0]


def test_a_manifests_ports_that_narrow_nothing_are_told_offline_too() -> None:
    subject = template(annotations={annotations.INCLUDE_OUTBOUND_PORTS: "8080"})
    found = judge(situation(subject, entries=None))
    assert (found.verdict, [one.cause for one in found.others]) == (
        Verdict.UNKNOWN,
        [Cause.OUTBOUND_PORTS],
    )
    assert f'"{annotations.INCLUDE_OUTBOUND_CIDRS}":""' in found.steps[0].commands[0]


def test_owner_is_named_as_the_webhook_did_for_every_kind() -> None:
    pod = made()
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7c", "controller": True}
    pod["metadata"]["labels"]["pod-template-hash"] = "7c"
    pod["metadata"]["ownerReferences"] = [owner]
    again = inject.inject(pod, "shop", owner_of(pod), Settings()).template
    by_hand = inject.inject(pod_of(), "shop", Owner("web", "Deployment", "apps/v1"), Settings())
    names = [
        next(e["value"] for e in c["env"] if e["name"] == "ISTIO_META_OWNER")
        for t in (again, by_hand.template)
        for c in t["spec"]["containers"]
        if c["name"] == PROXY
    ]
    assert names[0] == names[1]
