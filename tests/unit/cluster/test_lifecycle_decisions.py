"""State, node judgement, steps, traces, kind's configuration: decided on plain data."""

import json
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cluster import bringup, cluster_step, state
from lab.cluster import up as steps
from lab.cluster.docker import client as engine
from lab.cluster.node import container as node
from lab.cluster.node import kind, leftovers
from lab.cluster.state import LabState
from lab.command import Completed
from lab.errors import ClusterError, RefusedError
from lab.mesh.errors import SidecarLabError
from lab.paths import LabPaths, lab_paths
from lab.progress import Quiet, Task
from tests.unit.cluster.labs import READY


@given(st.builds(LabState, **dict.fromkeys(("created",), st.floats(allow_nan=False))))
def test_a_state_that_was_written_reads_back_the_same(written: LabState) -> None:
    assert state.parse(written.to_json()) == written


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": 0}', '{"schema": 1}'])
def test_a_damaged_or_foreign_state_is_none(text: str) -> None:
    assert state.parse(text) is None


@given(st.data())
def test_a_state_cut_off_anywhere_is_none(data: st.DataObject) -> None:
    text = READY.to_json().rstrip()
    assert state.parse(text[: data.draw(st.integers(0, len(text) - 1))]) is None


def test_loading_needs_a_lab_that_is_ready(tmp_path: Path) -> None:
    paths = LabPaths("x", tmp_path)
    with pytest.raises(ClusterError, match="no lab"):
        state.load(paths)
    state.save(paths, replace(READY, phase="installing"))
    with pytest.raises(ClusterError, match="not complete"):
        state.load(paths)
    state.save(paths, READY)
    assert state.load(paths) == READY
    assert [one.name for one in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    ("container", "known", "folder", "action"),
    [
        (None, None, False, "create"),
        (None, READY, True, "create"),
        ("running", None, False, "create"),
        ("running", None, True, "ask"),
        ("exited", None, True, "ask"),
        ("running", replace(READY, phase="creating"), True, "create"),
        ("running", replace(READY, stage="stage:0"), True, "ask"),
        ("paused", replace(READY, stage="stage:0"), True, "ask"),
        ("exited", replace(READY, stage="stage:0"), True, "ask"),
        ("running", READY, True, "use"),
        ("restarting", READY, True, "use"),
        ("running", replace(READY, phase="installing"), True, "use"),
        ("paused", READY, True, "unpause"),
        ("exited", READY, True, "start"),
        ("created", READY, True, "start"),
        ("dead", READY, True, "create"),
        ("removing", READY, True, "create"),
    ],
)
def test_a_node_is_used_when_it_can_be_and_what_may_hold_something_is_asked_about(
    container: str | None, known: LabState | None, folder: bool, action: str
) -> None:
    assert node.judge(container, known, "stage:1", folder=folder).action == action


@given(
    container=st.sampled_from(["running", "restarting", "paused", "exited", "created"]),
    stage=st.sampled_from(["stage:0", "stage:1"]),
    phase=st.sampled_from(["creating", "installing", "ready"]),
    known=st.booleans(),
)
def test_a_node_that_can_live_is_made_anew_unasked_only_if_its_making_never_ended(
    container: str, stage: str, phase: state.Phase, known: bool
) -> None:
    recorded = replace(READY, stage=stage, phase=phase) if known else None
    found = node.judge(container, recorded, "stage:1", folder=True)
    assert (found.action == "create") == (known and phase == "creating")


def up_of(tmp_path: Path, options: bringup.Options) -> bringup.Bringup:
    return bringup.Bringup(LabPaths("x", tmp_path), options, Quiet())


CHANGED = node.NodeDecision("ask", "the node image has changed")


@pytest.mark.parametrize("options", [bringup.Options(), bringup.Options(confirm=lambda _: True)])
def test_nobody_to_ask_means_that_a_cluster_is_kept_and_recreate_named(
    tmp_path: Path, options: bringup.Options
) -> None:
    with pytest.raises(RefusedError, match="the node image has changed") as refused:
        cluster_step.agreed(up_of(tmp_path, options), CHANGED)
    assert "`lab up --name x --recreate`" in refused.value.hint


def test_a_no_keeps_the_cluster_and_a_yes_or_the_flag_makes_it_anew(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(text: str) -> bool:
        asked.append(text)
        return len(asked) > 1

    asking = up_of(tmp_path, bringup.Options(confirm_loss=answer))
    with pytest.raises(RefusedError):
        cluster_step.agreed(asking, CHANGED)
    assert cluster_step.agreed(asking, CHANGED).action == "create"
    assert "everything that runs in it is lost" in asked[0]
    flag = up_of(tmp_path, bringup.Options(recreate=True))
    assert cluster_step.agreed(flag, CHANGED) == node.NodeDecision("create", CHANGED.reason)


class SlowApi:
    """An API server that accepts and never answers."""

    def ready(self) -> str:
        return "timed out"

    def wait_ready(self, seconds: float) -> None:
        raise ClusterError(f"the API server was not ready in {seconds:.0f} s: timed out")


@pytest.mark.parametrize("action", ["use", "unpause", "start"])
@pytest.mark.parametrize(("container", "kept"), [("running", True), ("exited", False)])
def test_slowness_never_costs_a_cluster_but_a_node_that_does_not_live_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, action: node.Action, container: str, kept: bool
) -> None:
    done = Completed((), 0, "", "", 0)
    monkeypatch.setattr(node, "docker", lambda *words, **_: done)
    monkeypatch.setattr(node, "_connect", lambda name, paths: SlowApi())
    monkeypatch.setattr(engine, "container_state", lambda name: container)
    decision = node.NodeDecision(action)
    with Quiet().task("cluster") as task:
        if not kept:
            assert node.repair("x", decision, LabPaths("x", tmp_path), task) is None
            return
        with pytest.raises(ClusterError, match="runs, but the API server") as slow:
            node.repair("x", decision, LabPaths("x", tmp_path), task)
    assert "`lab up --name x` waits" in slow.value.hint
    assert "`lab up --name x --recreate` deletes" in slow.value.hint


class Recording(Quiet):
    def __init__(self) -> None:
        self.titles: list[str] = []

    def task(self, title: str) -> AbstractContextManager[Task]:
        self.titles.append(title)
        return super().task(title)


def test_steps_run_in_order_and_the_first_that_fails_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def fail(_: bringup.Bringup, __: Task) -> None:
        raise ClusterError("broken")

    made = [
        bringup.BringUpStep("one", lambda up, task: ran.append("one")),
        bringup.BringUpStep("two", fail),
        bringup.BringUpStep("three", lambda up, task: ran.append("three")),
    ]
    monkeypatch.setattr(steps, "STEPS", tuple(made))
    shown = Recording()
    up = bringup.Bringup(LabPaths("x", tmp_path), bringup.Options(), shown)
    with pytest.raises(ClusterError, match="broken"):
        steps.bring_up(up)
    assert shown.titles == ["one", "two"]
    assert ran == ["one"]


def test_kinds_configuration_follows_from_the_plan() -> None:
    plan = kind.ClusterPlan("x", "node:1", False, True, "1.37")
    made = json.loads(kind.config(plan))
    assert made["networking"]["disableDefaultCNI"] is True
    assert made["nodes"] == [{"role": "control-plane", "image": "node:1"}]
    kubeadm, kubelet = (json.loads(one) for one in made["kubeadmConfigPatches"])
    assert kubelet["failCgroupV1"] is False
    assert isinstance(kubeadm["etcd"]["local"]["extraArgs"], list)
    older = replace(plan, cgroup_v1=False, kubernetes_minor="1.35")
    kubeadm, kubelet = (
        json.loads(one) for one in json.loads(kind.config(older))["kubeadmConfigPatches"]
    )
    assert "failCgroupV1" not in kubelet
    assert isinstance(kubeadm["etcd"]["local"]["extraArgs"], dict)


def test_two_labs_share_no_name() -> None:
    one, two = lab_paths("one"), lab_paths("two")
    assert one.root != two.root
    assert kind.node_name("one") != kind.node_name("two")
    assert kind.network_name("one") != kind.network_name("two")
    assert kind.network_name("sidecar-lab") == "sidecar-lab"


TRACES = leftovers.Traces("x", "x-control-plane", "sidecar-lab-x", "/l/x/kubeconfig", ("c1",))


def test_processes_of_the_lab_are_told_from_others() -> None:
    running: list[tuple[int, list[str]]] = [
        (1, ["kubectl", "--kubeconfig", "/l/x/kubeconfig", "get", "pods"]),
        (2, ["docker", "exec", "x-control-plane", "sh"]),
        (3, ["containerd-shim", "-id", "c1"]),
        (4, ["kubectl", "--kubeconfig", "/l/y/kubeconfig"]),
        (5, ["sleep", "1"]),
    ]
    assert [pid for pid, _ in leftovers.processes(TRACES, running)] == [1, 2, 3]


def test_rules_of_a_bridge_are_found_by_whole_words() -> None:
    saved = "*nat\n:X - [0:0]\n-A POSTROUTING ! -o br-1 -j M\n-A Y -i br-12 -j A\nCOMMIT\n"
    assert leftovers.rules_of("br-1", saved) == ["-A POSTROUTING ! -o br-1 -j M"]


def test_volumes_and_bridge_are_read_from_what_docker_says() -> None:
    mounts = [{"Type": "volume", "Name": "v1"}, {"Type": "bind", "Source": "/lib/modules"}]
    assert leftovers.volumes_of([{"Mounts": mounts}, {"Mounts": None}]) == ("v1",)
    network = {"Id": "0123456789abcdef", "Options": {}}
    assert leftovers.bridge_of([network]) == "br-0123456789ab"
    assert leftovers.bridge_of([]) == ""


def test_named_namespaces_of_a_lab(tmp_path: Path) -> None:
    for name in ("sidecar-lab-x", "sidecar-lab-x-1", "sidecar-lab-y", "other"):
        (tmp_path / name).touch()
    assert leftovers.named_namespaces("x", tmp_path) == ["sidecar-lab-x", "sidecar-lab-x-1"]
    assert leftovers.named_namespaces("x", tmp_path / "absent") == []


def test_no_lab_name_reaches_another_folder() -> None:
    for name in ("../x", "a/b", "", "A", "-a", "a" * 41):
        with pytest.raises(SidecarLabError, match="not usable"):
            lab_paths(name)
