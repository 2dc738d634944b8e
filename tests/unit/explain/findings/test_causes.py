"""Every cause is found, its line says no and is marked, and the change leads to a sidecar."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lab.explain import verdict as judging
from lab.explain.changes.pod import Advice, Renew
from lab.explain.findings.causes import Cause
from lab.explain.situation import Holder, Namespace, Port, Situation, Trial
from lab.explain.verdict import Verdict, judge
from lab.mesh import contract
from lab.mesh.injector.decision import Policy
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.label_selectors import LabelSelector, Requirement
from tests.unit.explain.findings.test_faults import CASES as FAULTS
from tests.unit.explain.sample import (
    INJECT,
    KEY,
    ON,
    PEM,
    live,
    ours,
    pod_of,
    revisioned,
    service,
    situation,
    template,
)

ENTRY = "namespace.injector.sidecar-lab.dev"
IGNORING = tuple(replace(one, ignores_failure=True) for one in ours())
NO_CA = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
NEVER = Policy(never=(LabelSelector((Requirement("app", "In", ("web",)),)),))
PORT = "traffic.sidecar.istio.io/excludeInboundPorts"


def failed(words: str) -> Situation:
    return situation(labels=ON, trial=Trial("failed", ENTRY, words))


def behind(**changes: Any) -> Situation:
    return situation(labels=ON, services={KEY: service(**changes)})


def on_port(number: int) -> Situation:
    entries = tuple(replace(one, port=number) for one in ours())
    return situation(labels=ON, entries=entries)


CASES: list[tuple[Cause, str, Situation]] = [
    (Cause.HOST_NETWORK, "host-network", situation(template(spec={"hostNetwork": True}), ON)),
    (Cause.IGNORED_NAMESPACE, "ignored-namespace", situation(template(namespace="kube-system"))),
    (
        Cause.IGNORED_NAMESPACE,
        "ignored-namespace",
        situation(template(namespace="kube-system"), ON),
    ),
    (Cause.POD_DECLINES, "objects", situation(template({INJECT: "false"}), ON)),
    (Cause.POD_DECLINES, "own-label", situation(template(annotations={INJECT: "false"}), ON)),
    (Cause.POLICY, "policy", situation(labels=ON, settings=Settings(policy=Policy("disabled")))),
    (
        Cause.POLICY,
        "never-selector",
        situation(labels=ON, settings=Settings(policy=NEVER)),
    ),
    (Cause.NO_CONFIGURATION, "configuration", situation(labels=ON, entries=())),
    (
        Cause.RULES,
        "configuration",
        situation(labels=ON, entries=tuple(replace(one, sees_pods=False) for one in ours())),
    ),
    (
        Cause.NAMESPACE_ABSENT,
        "namespace",
        situation(namespace=Namespace("shop", exists=False)),
    ),
    (Cause.NAMESPACE_UNLABELLED, "namespaces", situation()),
    (Cause.NAMESPACE_LABEL_VALUE, "namespaces", situation(labels={"istio-injection": "true"})),
    (Cause.NAMESPACE_LABEL_TYPO, "namespaces", situation(labels={"istio-inject": "enabled"})),
    (Cause.NAMESPACE_LABEL_TYPO, "namespaces", situation(labels={"istio_injection": "enabled"})),
    (Cause.NAMESPACE_DECLINES, "namespaces", situation(labels={"istio-injection": "disabled"})),
    (
        Cause.NAMESPACE_LABEL_MISPLACED,
        "namespaces",
        situation(template({"istio-injection": "enabled"})),
    ),
    (
        Cause.NAMESPACE_LABEL_MISPLACED,
        "namespaces",
        situation(template(own={"labels": ON})),
    ),
    (
        Cause.POD_LABEL_MISPLACED,
        "objects",
        situation(template(own={"labels": {INJECT: "true"}})),
    ),
    (
        Cause.POD_LABEL_MISPLACED,
        "objects",
        situation(template(own={"annotations": {INJECT: "true"}})),
    ),
    (Cause.POD_LABEL_IS_ANNOTATION, "objects", situation(template(annotations={INJECT: "true"}))),
    (Cause.POD_LABEL_VALUE, "objects", situation(template({INJECT: "yes"}))),
    (Cause.POD_LABEL_TYPO, "objects", situation(template({"sidecar.istio.io/injct": "true"}))),
    (
        Cause.BOTH_LABELS,
        "namespaces",
        situation(labels={**ON, "istio.io/rev": "canary"}, entries=revisioned("canary")),
    ),
    (
        Cause.REVISION_UNKNOWN,
        "namespaces",
        situation(labels={"istio.io/rev": "old"}, entries=revisioned("canary")),
    ),
    (Cause.REVISION_UNKNOWN, "objects", situation(template({"istio.io/rev": "old"}))),
    (Cause.BAD_ANNOTATION, "annotations", situation(template(annotations={PORT: "eighty"}), ON)),
    (
        Cause.BAD_ANNOTATION,
        "annotations",
        situation(
            template(annotations={PORT: "eighty"}),
            ON,
            trial=Trial("refused", ENTRY, f"annotation {PORT}: no port"),
        ),
    ),
    (Cause.WEBHOOK_UNREACHABLE, "reachable", behind(ready={443: 0})),
    (Cause.WEBHOOK_UNREACHABLE, "reachable", behind(exists=False, ports=(), ready={})),
    (Cause.WEBHOOK_UNREACHABLE, "reachable", behind(selector={"app": "gone"}, ready={443: 0})),
    (Cause.WEBHOOK_UNREACHABLE, "reachable", failed("dial tcp 10.0.0.1:443: i/o timeout")),
    (Cause.WEBHOOK_PORT, "reachable", on_port(444)),
    (Cause.WEBHOOK_PORT, "reachable", behind(ports=(Port(443, "https", "9"),))),
    (
        Cause.WEBHOOK_PATH,
        "reachable",
        failed("the server could not find the requested resource"),
    ),
    (
        Cause.WEBHOOK_ERROR,
        "reachable",
        failed('an error on the server ("Internal Server Error") has prevented the request'),
    ),
    (Cause.CA_BUNDLE, "trust", failed(NO_CA)),
    (
        Cause.CA_BUNDLE,
        "trust",
        situation(labels=ON, entries=tuple(replace(one, authority="") for one in ours())),
    ),
    (
        Cause.CA_BUNDLE,
        "trust",
        situation(
            labels=ON,
            entries=tuple(replace(one, authority=PEM.format("BBBB")) for one in IGNORING),
            trial=Trial("plain", passed_over=True),
        ),
    ),
    (
        Cause.CERTIFICATE_EXPIRED,
        "trust",
        failed("x509: certificate has expired or is not yet valid: current time is after"),
    ),
    (Cause.CERTIFICATE_NAME, "trust", failed("x509: certificate is valid for a, not b.svc")),
    (
        Cause.INJECTOR_REFUSES,
        "annotations",
        situation(labels=ON, trial=Trial("refused", ENTRY, "two containers of one name")),
    ),
    (
        Cause.INJECTOR_REFUSES,
        "annotations",
        situation(template(spec={"os": {"name": "windows"}}), ON),
    ),
    (
        Cause.BAD_ANNOTATION,
        "annotations",
        situation(template(annotations={PORT: "eighty"}), entries=None),
    ),
    (
        Cause.POD_SECURITY,
        "created",
        situation(labels=ON, trial=Trial("rejected", message='violates PodSecurity "baseline"')),
    ),
    (
        Cause.REFUSED_ELSEWHERE,
        "created",
        situation(labels=ON, trial=Trial("rejected", message="exceeded quota")),
    ),
    (
        Cause.REFUSED_ELSEWHERE,
        "created",
        situation(labels=ON, trial=Trial("refused", "policy.example", "no tag latest")),
    ),
    (
        Cause.REFUSED_ELSEWHERE,
        "created",
        situation(labels=ON, trial=Trial("failed", "policy.example", "timeout")),
    ),
    (
        Cause.WEBHOOK_MISSED,
        "reachable",
        situation(labels=ON, entries=IGNORING, trial=Trial("plain", passed_over=True)),
    ),
    (Cause.UNEXPLAINED, "created", situation(labels=ON, trial=Trial("plain"))),
]


@pytest.mark.parametrize(
    ("cause", "line", "seen"), CASES, ids=[f"{one[0].value}-{i}" for i, one in enumerate(CASES)]
)
def test_a_cause_is_named_its_line_marked_and_its_change_leads_on(
    cause: Cause, line: str, seen: Situation
) -> None:
    found = judge(seen)
    assert (found.cause, found.verdict.exit_code) == (cause, 1)
    assert found.sentence
    (marked,) = (one for one in found.lines if one.decides)
    assert (marked.key, marked.answer) == (line, "no")
    assert found.steps
    assert all(step.text for step in found.steps)
    change = judging.find(seen)
    assert change is not None
    findings, after = judging.plan(seen, change)
    if not any(isinstance(one.change, Advice) for one in findings):
        assert judging.find(after) is None
        assert all(step.commands for step in found.steps)


def test_every_cause_has_a_case() -> None:
    elsewhere = {Cause.NOT_A_POD, Cause.MANIFEST, Cause.POD_OLDER}
    limits = {Cause.QUOTA, Cause.LIMIT_RANGE}
    faults = {cause for _, cause, _, _ in FAULTS} | {Cause.WEBHOOK_BUILD}
    assert {cause for cause, _, _ in CASES} | elsewhere | limits | faults == set(Cause)


def test_a_wrong_trust_is_not_blamed_where_no_pod_stands_behind_the_service() -> None:
    # What the API server meets there differs with the network around the cluster.
    seen = replace(behind(ready={443: 0}), trial=Trial("failed", ENTRY, NO_CA))
    assert judge(seen).cause is Cause.WEBHOOK_UNREACHABLE


@pytest.mark.parametrize(
    ("ignores", "verdict"), [(False, Verdict.REFUSED), (True, Verdict.WOULD_NOT)]
)
def test_the_failure_policy_decides_whether_a_pod_can_be_created(
    ignores: bool, verdict: Verdict
) -> None:
    entries = IGNORING if ignores else ours()
    seen = situation(labels=ON, entries=entries, services={KEY: service(ready={443: 0})})
    found = judge(seen)
    assert found.verdict is verdict
    assert f"failurePolicy {'Ignore' if ignores else 'Fail'}" in found.sentence


def test_what_the_api_server_shows_beats_what_is_reckoned() -> None:
    injected = replace(situation(), trial=Trial("injected"))
    assert judge(injected).verdict is Verdict.WOULD


def test_several_causes_come_out_as_several_changes_the_pods_edits_in_one() -> None:
    subject = template({INJECT: "false"}, spec={"hostNetwork": True})
    found = judge(situation(subject, {"istio-injection": "disabled"}))
    assert found.cause is Cause.HOST_NETWORK
    assert [one.cause for one in found.others] == [Cause.POD_DECLINES, Cause.NAMESPACE_DECLINES]
    namespace, pod = found.steps
    assert "istio-injection=enabled" in namespace.commands[0]
    assert '"hostNetwork":null' in pod.commands[0]
    assert f'"{INJECT}":null' in pod.commands[0]


@pytest.mark.parametrize(
    ("created", "since", "cause"),
    [
        ("2026-01-02T10:00:00Z", "2026-01-02T10:00:05Z", Cause.POD_OLDER),
        ("2026-01-02T10:00:05Z", "2026-01-02T10:00:05Z", Cause.POD_OLDER),
        ("2026-01-02T10:00:06Z", "2026-01-02T10:00:05Z", Cause.WEBHOOK_MISSED),
        ("2025-12-31T10:00:00Z", "2025-12-30T10:00:00Z", Cause.POD_OLDER),
    ],
    ids=["before the label", "in its second", "after it", "before the configuration"],
)
def test_a_pod_is_blamed_by_its_age_only_when_it_is_older(
    created: str, since: str, cause: Cause
) -> None:
    space = Namespace("shop", labels=ON, since={contract.INJECTION_LABEL: since})
    found = judge(situation(live(created=created), namespace=space))
    assert (found.verdict, found.cause) == (Verdict.NOT, cause)
    (marked,) = (one for one in found.lines if one.decides)
    assert (marked.key, marked.answer) == ("age", "no")
    assert isinstance(judging._late(situation(live(), ON)).change, Renew)
    assert found.steps[-1].commands


def test_a_change_of_the_namespace_alone_leaves_pods_to_be_made_anew() -> None:
    holder = Holder("Deployment", "web", {}, pod_of())
    labelled, renewed = judge(situation(live(holder=holder))).steps
    assert "label namespace shop istio-injection=enabled" in labelled.commands[0]
    assert renewed.commands == ("kubectl -n shop rollout restart deployment/web",)


@pytest.mark.parametrize(
    ("labels", "pod", "line"),
    [(ON, {}, "policy"), ({}, {INJECT: "true"}, "own-label"), (ON, {INJECT: "true"}, "own-label")],
)
def test_a_yes_names_what_decided_for_it(
    labels: Mapping[str, str], pod: Mapping[str, str], line: str
) -> None:
    found = judge(situation(template(pod), labels))
    assert (found.verdict, found.cause, found.steps) == (Verdict.WOULD, None, ())
    (marked,) = (one for one in found.lines if one.decides)
    assert (marked.key, marked.answer) == (line, "yes")


@pytest.mark.parametrize("missing", ["entries", "namespace"])
def test_what_is_not_known_is_no_yes(missing: str) -> None:
    gaps: dict[str, Any] = {missing: None}
    found = judge(situation(labels=ON, **gaps))
    assert (found.verdict, found.verdict.exit_code) == (Verdict.UNKNOWN, 2)
    declined = judge(situation(template({INJECT: "false"}), ON, **gaps))
    assert declined.verdict is Verdict.WOULD_NOT


def test_what_was_refused_before_the_change_is_no_further_cause() -> None:
    words = f"annotation {PORT}: no port"
    past = f'admission webhook "{ENTRY}" denied the request: {words}'
    subject = template(annotations={PORT: "eighty"})
    found = judge(situation(subject, ON, trial=Trial("refused", ENTRY, words), refusals=(past,)))
    assert (found.cause, found.others, len(found.steps)) == (Cause.BAD_ANNOTATION, (), 1)
