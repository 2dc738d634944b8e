"""The dry run: what is sent, and what the API server's answers mean."""

import pytest

from lab.explain import dry_run
from lab.explain.situation import Outcome
from tests.unit.explain.sample import live, pod_of, with_proxy

CALL = (
    'Internal error occurred: failed calling webhook "ns.example": failed to call webhook: '
    'Post "https://hook.mesh.svc:443/inject?timeout=10s": '
)


@pytest.mark.parametrize(
    ("status", "message", "outcome", "webhook", "words"),
    [
        (500, CALL + "service not found", "failed", "ns.example", "service not found"),
        (
            422,
            'admission webhook "ns.example" denied the request: annotation a: bad',
            "refused",
            "ns.example",
            "annotation a: bad",
        ),
        (
            403,
            'admission webhook "ns.example" denied the request',
            "refused",
            "ns.example",
            "no reason given",
        ),
        (
            403,
            'pods is forbidden: User "x" cannot create resource "pods"',
            "untried",
            "",
            "cannot create",
        ),
        (403, 'pods "x" is forbidden: violates PodSecurity "baseline"', "rejected", "", "Security"),
        (418, "", "rejected", "", "418"),
    ],
)
def test_an_error_is_read(
    status: int, message: str, outcome: Outcome, webhook: str, words: str
) -> None:
    found = dry_run.read(status, {"message": message})
    assert (found.outcome, found.webhook) == (outcome, webhook)
    assert words in found.message


def test_a_pod_that_comes_back_is_read_with_its_warnings() -> None:
    assert dry_run.read(201, pod_of()).outcome == "plain"
    found = dry_run.read(201, with_proxy(pod_of(), native=True), ['299 - "mind the \\"gap\\""'])
    assert (found.outcome, found.native) == ("injected", True)
    assert found.warnings == ('mind the \\"gap\\"',)


def test_a_certificates_long_list_of_names_is_not_repeated() -> None:
    names = ", ".join(f"host{number}.example" for number in range(20))
    found = dry_run.read(
        500, {"message": f"{CALL}x509: certificate is valid for {names}, not hook"}
    )
    assert found.message.endswith("certificate is valid for 20 other names, not hook")
    few = "x509: certificate is valid for a, b, not hook"
    assert dry_run.short(few) == few
    assert dry_run.short("an error:\n\t* bad") == "an error: * bad"


def test_the_pod_on_trial_is_new_and_keeps_what_is_looked_at() -> None:
    pod = pod_of({"x": "y"}, {"a": "b"}, {"nodeName": "n", "hostNetwork": True})
    pod["metadata"] |= {"uid": "1", "resourceVersion": "2", "name": "web-1"}
    made = dry_run.body(live({**pod, "status": {}}))
    assert set(made) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(made["metadata"]) == {"generateName", "labels", "annotations"}
    assert made["metadata"]["labels"]["x"] == "y"
    assert made["spec"]["hostNetwork"]
    assert "nodeName" not in made["spec"]


def test_a_call_that_was_passed_over_is_seen_in_the_servers_counters() -> None:
    count = 'apiserver_admission_webhook_fail_open_count{name="%s",type="admit"} %s\n'
    before = count % ("a", 1) + count % ("b", 7)
    after = count % ("a", 2) + count % ("b", 7)
    assert dry_run.failed_open(before, after, ["a"])
    assert not dry_run.failed_open(before, after, ["b"])
    assert dry_run.failed_open("", after, ["b"])
    assert not dry_run.failed_open(after, "", ["a", "b"])
