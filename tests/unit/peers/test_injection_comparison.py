"""The comparison with real Istio can fail, and its table cannot rot: shown without Istio."""

import json
from typing import Any

import pytest

from lab.mesh.injector import files
from lab.mesh.injector.settings.pod_settings import Settings
from tests.peers import cases, meaning, pods
from tests.peers.cases import Case
from tests.peers.injection import explain, judge
from tests.peers.injection_accepted import ROWS
from tests.peers.injection_rows import Row, pair
from tests.peers.istioctl import Answer, pieces
from tests.peers.meaning import ABSENT, Difference

POD = pods.pod({"initContainers": [{"name": "first", "image": "a"}]})
SERVICE = b"apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"


def ours(case: Case) -> str:
    return "".join(files.inject_files([(case.name, case.text)], Settings()).text())


def judged(given: dict[str, Any], change: Any) -> list[tuple[str, Any, Any]]:
    """What is found when Istio's answer is ours but for a change."""
    case = Case("planted", json.dumps(given).encode())
    theirs = json.loads(ours(case))
    change(theirs)
    answer = Answer(f"{json.dumps(theirs)}\n---\n", None)
    return [(d.path, d.ours, d.theirs) for d in judge(case, answer)]


def proxy(pod: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in pod["spec"]["containers"] if c["name"] == "istio-proxy")


def init(pod: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in pod["spec"]["initContainers"] if c["name"] == "istio-init")


def test_the_same_is_the_same() -> None:
    assert judged(POD, lambda pod: None) == []


PLANTED: list[tuple[Any, str, Any, Any]] = [
    (lambda p: p["spec"]["containers"].reverse(), "pod.spec.order of containers",
     ["app", "istio-proxy"], ["istio-proxy", "app"]),
    (lambda p: p["spec"]["initContainers"].reverse(), "pod.spec.order of initContainers",
     ["first", "istio-init"], ["istio-init", "first"]),
    (lambda p: p["spec"]["containers"][0].update(image="other"), "pod.spec.containers.app.image",
     "nginx", "other"),
    (lambda p: p["spec"]["containers"][0].update(securityContext={"runAsUser": 5}),
     "pod.spec.containers.app.securityContext", ABSENT, {"runAsUser": 5}),
    (lambda p: p["metadata"]["labels"].update(app="x"), "pod.metadata.labels.app", "web", "x"),
    (lambda p: p["metadata"]["annotations"].update(more=""), "pod.metadata.annotations.more",
     ABSENT, ""),
    (lambda p: p["spec"].update(dnsPolicy="None"), "pod.spec.dnsPolicy", ABSENT, "None"),
    (lambda p: p["spec"]["volumes"].pop(0), "pod.spec.volumes.istio-envoy",
     {"emptyDir": {"medium": "Memory"}}, ABSENT),
    (lambda p: proxy(p)["env"].pop(0), "pod.spec.containers.istio-proxy.env.POD_NAME",
     {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, ABSENT),
    (lambda p: init(p).update(command=["istio-iptables", "-d", "22"]),
     "pod.spec.initContainers.istio-init.iptables.-d", ["15020", "15021", "15090"], ["22"]),
    (lambda p: p.update(more=1), "object.more", ABSENT, 1),
]  # fmt: skip


@pytest.mark.parametrize(("change", "path", "mine", "theirs"), PLANTED)
def test_a_planted_difference_is_found_and_no_row_accepts_it(
    change: Any, path: str, mine: Any, theirs: Any
) -> None:
    found = judged(POD, change)
    assert (path, mine, theirs) in found
    difference = Difference("planted", path, mine, theirs, POD)
    assert not any(row.accepts(difference) for row in ROWS)
    assert "planted: " + path in explain(1, [difference], ROWS).unexplained[0]


def test_injected_by_one_only_is_one_difference() -> None:
    case = Case("declined", json.dumps(pods.pod(labels={})).encode())
    found = list(judge(case, Answer(case.text.decode() + "\n---\n", None)))
    assert [(d.path, d.ours, d.theirs) for d in found] == [("injected", True, False)]


def test_a_refusal_by_one_only_is_a_difference() -> None:
    good, bad = Case("good", SERVICE), Case("bad", b"- no object\n")
    assert [d.path for d in judge(good, Answer("", "no"))] == ["refused"]
    assert [d.path for d in judge(bad, Answer("- no object\n---\n", None))] == ["refused"]
    assert not list(judge(bad, Answer("", "no")))


def test_a_refusal_for_another_annotation_is_a_difference() -> None:
    given = pods.pod(annotations={"sidecar.istio.io/proxyCPU": "lots"})
    case = Case("bad value", json.dumps(given).encode())
    theirs = "invalid value for annotation 'sidecar.istio.io/proxyMemory': no"
    assert [d.path for d in judge(case, Answer("", theirs))] == ["refused for"]


def test_a_document_too_many_is_a_difference() -> None:
    case = Case("two", SERVICE + b"---\n" + SERVICE)
    assert [d.path for d in judge(case, Answer(SERVICE.decode(), None))] == ["documents"]


def test_a_row_that_explains_nothing_any_more_is_a_fault() -> None:
    row = Row("gone", "pod.x", "why", pair(1, 2))
    seen = Difference("c", "pod.x", 1, 2, {})
    assert explain(1, [seen, seen], [row]).accepted[0].count == 2
    assert explain(1, [seen], [row]).unexplained == ()
    assert "'gone'" in explain(1, [], [row]).unexplained[0]
    assert len(explain(1, [Difference("c", "pod.x", 1, 3, {})], [row]).unexplained) == 2


def test_no_two_rows_and_no_two_cases_have_one_name() -> None:
    found = [case.name for case in cases.corpus()]
    assert len(found) == len(set(found)) >= 80
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["-d", "1,2"], ["-d", "2, 1"], True),
        (["-d", "1,2"], ["-d", "2"], False),
        (["--level=x"], ["--level", "x"], True),
        (["-o", ""], [], True),
        (["-i", "*"], ["-i", ""], False),
        (["-u", "1"], ["-u", "2"], False),
    ],
)
def test_flags_are_compared_by_meaning(one: list[str], other: list[str], same: bool) -> None:
    assert (meaning.flags(one) == meaning.flags(other)) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (
            {"resources": {"limits": {"cpu": "0.5"}}},
            {"resources": {"limits": {"cpu": "500m"}}},
            True,
        ),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "1m"}}}, False),
        (
            {"resources": {"limits": {"memory": "1Gi"}}},
            {"resources": {"limits": {"memory": 2**30}}},
            True,
        ),
        ({"env": [{"name": "A", "value": ""}]}, {"env": [{"name": "A"}]}, True),
        ({"env": [{"name": "A", "value": "0"}]}, {"env": [{"name": "A"}]}, False),
        (
            {"ports": [{"containerPort": 1, "protocol": "TCP"}]},
            {"ports": [{"containerPort": 1}]},
            True,
        ),
        (
            {"ports": [{"containerPort": 1, "protocol": "UDP"}]},
            {"ports": [{"containerPort": 1}]},
            False,
        ),
        ({"stdin": True}, {"stdin": 1}, False),
    ],
)
def test_what_means_the_same_is_no_difference(
    one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    mine, theirs = (meaning.of_object(pods.app(**fields)) for fields in (one, other))
    assert (not list(meaning.differences(mine, theirs))) is same


def test_a_stream_of_istioctl_is_cut_at_its_separators() -> None:
    assert pieces("a: 1\n---\nb: |\n  ---\n---\n") == ["\na: 1", "b: |\n  ---"]
