"""What is said besides the cause: where a sidecar came from, and what will bite."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lab.explain.situation import Holder, Trial
from lab.explain.verdict import Verdict, judge
from lab.mesh import contract
from lab.mesh.injector.settings import annotations
from tests.unit.explain.sample import (
    INJECT,
    ON,
    live,
    ours,
    pod_of,
    situation,
    template,
    with_proxy,
)


@pytest.mark.parametrize(
    ("context", "inside"),
    [
        ({"securityContext": {"runAsUser": 1337}}, "the pod runs as 1337"),
        ({"securityContext": {"runAsGroup": 1337}}, "the pod runs as 1337"),
        (
            {"containers": [{"name": "a", "securityContext": {"runAsUser": 1337}}]},
            "container a runs as 1337",
        ),
    ],
)
def test_an_app_with_the_proxys_user_is_warned_of(context: Mapping[str, Any], inside: str) -> None:
    found = judge(situation(template(spec=context), ON))
    assert inside in "\n".join(found.notes)


def test_the_proxys_own_user_is_no_warning() -> None:
    spec = {"containers": [{"name": "istio-proxy", "securityContext": {"runAsUser": 1337}}]}
    assert not judge(situation(template(spec=spec), ON)).notes


@pytest.mark.parametrize("kind", ["Job", "CronJob"])
def test_a_job_with_a_classic_sidecar_is_warned_of_and_a_native_one_is_not(kind: str) -> None:
    seen = situation(template(kind=kind), ON, trial=Trial("injected"))
    assert "never completes" in "\n".join(judge(seen).notes)
    native = replace(seen, trial=Trial("injected", native=True))
    assert not judge(native).notes
    asked = template(annotations={annotations.NATIVE_SIDECAR: "true"}, kind=kind)
    assert not judge(situation(asked, ON)).notes
    assert not judge(situation(template(kind=kind))).notes  # it gets no sidecar at all


def test_a_status_annotation_without_a_sidecar_is_told() -> None:
    claimed = {contract.STATUS_ANNOTATION: json.dumps({"containers": ["istio-proxy"]})}
    found = judge(situation(live(pod_of(annotations=claimed)), ON))
    assert found.verdict is Verdict.NOT
    assert "copied from another pod" in "\n".join(found.notes)


def test_a_pod_injected_before_it_met_the_api_server_is_told_from_the_webhooks() -> None:
    holder = Holder("Deployment", "web", {}, with_proxy(pod_of()))
    by_hand = judge(situation(live(with_proxy(pod_of()), holder=holder)))
    assert by_hand.verdict is Verdict.INJECTED
    assert "before it reached the API server" in by_hand.sentence
    plain = Holder("Deployment", "web", {}, pod_of())
    by_webhook = judge(situation(live(with_proxy(pod_of()), holder=plain), ON))
    assert "namespace.injector.sidecar-lab.dev matches it" in by_webhook.sentence
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(with_proxy(pod_of()))}
    bare = judge(situation(live(with_proxy(pod_of(annotations=applied)))))
    assert "before it reached the API server" in bare.sentence


def test_a_native_sidecar_counts_and_a_wish_for_one_does_not() -> None:
    assert judge(situation(live(with_proxy(pod_of(), native=True)))).verdict is Verdict.INJECTED
    wish = {"containers": [{"name": "web"}, {"name": "istio-proxy", "image": "auto"}]}
    assert judge(situation(live(pod_of(spec=wish)))).verdict is Verdict.NOT


def test_what_stands_on_the_workload_without_effect_is_told() -> None:
    own = {"annotations": {annotations.PROXY_CPU: "1"}, "labels": {INJECT: "false"}}
    notes = "\n".join(judge(situation(template(own=own), ON)).notes)
    assert annotations.PROXY_CPU in notes
    assert f"{INJECT}=false on Deployment web itself has no effect" in notes


def test_a_webhook_that_may_be_passed_over_and_both_labels_are_told() -> None:
    entries = tuple(replace(one, ignores_failure=True) for one in ours())
    notes = judge(situation(labels={**ON, "istio.io/rev": "x"}, entries=entries)).notes
    assert any("failurePolicy Ignore" in one for one in notes)
    assert any("both istio-injection and istio.io/rev" in one for one in notes)


def test_the_injectors_own_warnings_are_passed_on() -> None:
    trial = Trial("injected", warnings=("mind the gap",))
    assert "mind the gap" in judge(situation(labels=ON, trial=trial)).notes
