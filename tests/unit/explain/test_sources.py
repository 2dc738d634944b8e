"""What the command line and a manifest name."""

import pytest

from lab.explain.errors import ExplainError
from lab.explain.targets import Target, is_file, read, target

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: b}]}\n"
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {tier: one}}
spec:
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: a, image: b}]}
"""


@pytest.mark.parametrize(
    ("given", "space", "meant"),
    [
        ("web-1", "", Target("Pod", "web-1")),
        ("web-1", "shop", Target("Pod", "web-1", "shop")),
        ("shop/web-1", "", Target("Pod", "web-1", "shop")),
        ("shop/web-1", "shop", Target("Pod", "web-1", "shop")),
        ("deploy/web", "shop", Target("Deployment", "web", "shop")),
        ("deployments.apps/web", "", Target("Deployment", "web")),
        ("shop/sts/web", "", Target("StatefulSet", "web", "shop")),
        ("po/web-1", "", Target("Pod", "web-1")),
        ("CronJobs/web", "", Target("CronJob", "web")),
    ],
)
def test_a_pod_or_workload_is_named(given: str, space: str, meant: Target) -> None:
    assert target(given, space) == meant


@pytest.mark.parametrize(
    ("given", "space", "words"),
    [
        ("a//b", "", "names no pod"),
        ("a/b/c/d", "", "names no pod"),
        ("shop/svc/web", "", "not a kind that holds pods"),
        ("shop/web-1", "other", "names namespace shop, but -n names other"),
    ],
)
def test_what_names_nothing_is_misuse(given: str, space: str, words: str) -> None:
    with pytest.raises(ExplainError, match=words) as raised:
        target(given, space)
    assert raised.value.exit_code == 2
    assert raised.value.hint


@pytest.mark.parametrize(
    ("given", "exists", "file"),
    [
        ("-", False, True),
        ("app.yaml", False, True),
        ("Makefile", True, True),
        ("web", False, False),
    ],
)
def test_a_file_is_told_from_a_pod(given: str, exists: bool, file: bool) -> None:
    assert is_file(given, exists) == file


def test_every_pod_of_a_manifest_is_found_with_its_place_and_namespace() -> None:
    meta = "{name: shop, labels: {istio-injection: enabled}}"
    space = f"apiVersion: v1\nkind: Namespace\nmetadata: {meta}\n"
    items = "".join(f"- {'  '.join(POD.splitlines(keepends=True))}" for _ in range(2))
    listed = f"apiVersion: v1\nkind: List\nitems:\n{items}"
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
    text = "---\n".join([space, WEB, listed, config])
    found = read(text.encode(), "app.yaml", "", "default")
    assert [(one.name, one.namespace) for one in found.subjects] == [
        ("web", "shop"),
        ("p", "default"),
        ("p", "default"),
    ]
    web = found.subjects[0]
    assert web.labels == {"app": "web"}
    assert web.holder is not None
    assert web.holder.metadata["labels"] == {"tier": "one"}
    assert web.place == "app.yaml:6, document 2, field kind"
    assert not web.alone
    assert found.others == ("Namespace shop", "ConfigMap c")
    assert found.namespaces is not None
    assert found.namespaces["shop"].labels["istio-injection"] == "enabled"


def test_a_single_document_can_be_edited_in_place() -> None:
    (one,) = read(POD.encode(), "pod.yaml", "shop", "default").subjects
    assert (one.alone, one.file, one.namespace, one.title) == (True, "pod.yaml", "shop", "pod p")


def test_a_namespace_that_contradicts_the_command_line_is_misuse() -> None:
    with pytest.raises(ExplainError, match="the namespace is shop, but -n names other"):
        read(WEB.encode(), "app.yaml", "other", "default")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (WEB.replace("{containers: [{name: a, image: b}]}", "[]"), "spec.template.spec"),
        ("kind: [", "app.yaml:2, document 1"),
        ("apiVersion: v1\nkind: List\nitems: [{}]\n", "items[0]"),
    ],
)
def test_a_mistake_for_which_an_injection_refuses_the_file_is_found_with_its_place(
    text: str, place: str
) -> None:
    found = read(text.encode(), "app.yaml", "", "default")
    assert not found.subjects
    assert place in str(found.mistakes[0].place)


def test_beside_a_mistake_the_other_pods_are_still_found() -> None:
    bad = POD.replace("{name: p}", "[]")
    found = read(f"{POD}---\n{bad}".encode(), "app.yaml", "", "default")
    assert [one.name for one in found.subjects] == ["p"]
    assert [one.place.document for one in found.mistakes] == [2]
