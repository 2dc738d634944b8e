"""Changes as commands: for the right cluster and object, quoted, and valid for a shell."""

import json
import shlex
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.explain.changes import webhook
from lab.explain.changes.pod import EditPod, LabelNamespace, Move, Renew, joined, merge
from lab.explain.situation import Holder, Situation
from tests.unit.explain.sample import (
    INJECT,
    KEY,
    ON,
    live,
    ours,
    pod_of,
    service,
    situation,
    template,
)

EDIT = EditPod({"metadata": {"labels": {INJECT: "true"}}}, "ask")
TREES = st.recursive(
    st.none() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
PATCHES = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)
OBJECTS = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        st.text(max_size=3),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)


def test_every_command_names_its_cluster() -> None:
    words = ("kubectl", "--kubeconfig", "a b/config", "--context", "staging")
    seen = replace(situation(template()), kubectl=words)
    for change in (EDIT, LabelNamespace(ON), Renew()):
        for line in change.commands(seen):
            assert shlex.split(line)[:5] == list(words)


@pytest.mark.parametrize(
    ("kind", "start", "path"),
    [
        ("Deployment", "kubectl -n shop patch deployment web", ["spec", "template"]),
        ("StatefulSet", "kubectl -n shop patch statefulset web", ["spec", "template"]),
        (
            "CronJob",
            "kubectl -n shop patch cronjob web",
            ["spec", "jobTemplate", "spec", "template"],
        ),
    ],
)
def test_a_workload_is_patched_where_its_template_is(
    kind: str, start: str, path: list[str]
) -> None:
    (line,) = EDIT.commands(situation(template(kind=kind)))
    assert line.startswith(start)
    patch = json.loads(shlex.split(line)[-1])
    for key in path:
        patch = patch[key]
    assert patch == EDIT.patch


def test_what_cannot_be_changed_in_place_is_read_edited_and_made_again() -> None:
    (pod,) = EDIT.commands(situation(live()))
    assert pod.startswith("kubectl -n shop get pod web-1 -o json | kubectl patch --local -f -")
    assert pod.endswith("| kubectl replace --force -f -")
    (job,) = EDIT.commands(situation(template(kind="Job")))
    assert '"selector":null' in job
    assert EDIT.commands(situation(template(kind="Rollout"))) == ()


def test_a_manifest_is_edited_only_where_it_is_the_files_only_document() -> None:
    alone = replace(template(), origin="file", file="my app.yaml")
    (line,) = EDIT.commands(situation(alone))
    assert line.startswith("kubectl patch --local -f 'my app.yaml' --type merge -p ")
    assert line.endswith("| kubectl apply -n shop -f -")
    assert EDIT.commands(situation(replace(alone, alone=False))) == ()
    assert EDIT.commands(situation(replace(alone, file=""))) == ()  # it came from stdin


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("DaemonSet", "kubectl -n shop rollout restart daemonset/web"),
        ("ReplicaSet", "kubectl -n shop delete pods -l app=web"),
        ("Rollout", "kubectl -n shop delete pods -l app=web"),
    ],
)
def test_pods_are_made_anew_as_their_kind_allows(kind: str, line: str) -> None:
    assert Renew().commands(situation(template(kind=kind))) == (line,)
    assert Renew().commands(situation(template(kind="CronJob"))) == ()


def test_a_pod_of_a_replicaset_is_deleted_and_made_by_it() -> None:
    seen = situation(live(holder=Holder("ReplicaSet", "web")))
    assert Renew().commands(seen) == ("kubectl -n shop delete pod web-1",)


def test_labels_are_set_and_removed_in_one_command() -> None:
    (line,) = LabelNamespace({"a": "b", "c": None}).commands(situation())
    assert line == "kubectl label namespace shop a=b c- --overwrite"
    (line,) = LabelNamespace({"c": None}).commands(situation())
    assert line == "kubectl label namespace shop c-"


def test_a_workload_is_copied_into_a_namespace_that_is_injected() -> None:
    made, labelled, copied = Move("meshed", ON).commands(
        situation(template(namespace="kube-system"))
    )
    assert made == "kubectl create namespace meshed"
    assert labelled == "kubectl label namespace meshed istio-injection=enabled"
    assert copied.startswith("kubectl -n kube-system get deployment web -o json |")
    assert '"namespace":"meshed"' in copied


def test_the_root_gets_into_every_entry_by_lines_that_a_shell_can_read() -> None:
    seen = situation(labels=ON)
    lines = webhook.trust(seen, ours(), service()).commands(seen)
    read = "'jsonpath={.data.ca\\.crt}'"
    assert lines[0] == f"CA=$(kubectl -n sidecar-lab get secret sidecar-lab-webhook -o {read})"
    script = f"CA=abc\nkubectl() {{ printf '%s\\n' \"$@\"; }}\n{lines[1]}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    patch = json.loads(done.stdout.splitlines()[-1])
    assert {one["value"] for one in patch} == {"abc"}
    assert [one["path"] for one in patch] == [
        f"/webhooks/{one.index}/clientConfig/caBundle" for one in ours()
    ]


def test_a_service_that_selects_nothing_is_led_to_the_deployment_of_its_name() -> None:
    lost = service(selector={"app": "gone"}, ready={443: 0})
    (line,) = webhook.start_pods(situation(), lost).commands(situation())
    assert '"value":{"app":"sidecar-lab-webhook"}' in line


def test_a_webhook_that_was_scaled_away_is_scaled_back() -> None:
    (workload,) = service().workloads
    gone = service(ready={443: 0}, workloads=(replace(workload, wanted=0),))
    change = webhook.start_pods(situation(), gone)
    assert change.commands(situation()) == (
        "kubectl -n sidecar-lab scale deployment/sidecar-lab-webhook --replicas=1",
    )
    after = change.apply(situation(services={KEY: gone}))
    assert after.services[KEY].ready == {443: 1}


def test_a_lab_is_brought_back_by_lab_up_another_cluster_by_whoever_installed_it() -> None:
    lab = replace(situation(), restore=("lab", "up", "--name", "x"))
    assert webhook.reinstall(lab).commands(lab) == ("lab up --name x",)
    other: Situation = situation()
    assert webhook.reinstall(other).commands(other) == ()


@given(OBJECTS, PATCHES, PATCHES)
def test_two_merge_patches_in_one_do_what_both_do(
    target: dict[str, object], first: dict[str, object], second: dict[str, object]
) -> None:
    # A removal followed by an addition below it is the one pair that a single patch cannot say.
    if _clashes(first, second):
        return
    together = merge(target, joined(first, second))
    assert together == merge(merge(target, first), second)


def _clashes(first: dict[str, object], second: dict[str, object]) -> bool:
    for key, value in second.items():
        before = first.get(key)
        if isinstance(value, dict) and key in first:
            below = isinstance(before, dict) and not _clashes(before, value)
            if not below:
                return True
    return False


def test_a_patch_leaves_what_it_does_not_name() -> None:
    assert merge(pod_of(), {"spec": {"hostNetwork": None}}) == pod_of()
