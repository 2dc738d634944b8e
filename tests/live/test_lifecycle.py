"""One lab of its own through its life: healed, rebuilt, paused, shared, removed without a trace."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster.docker import daemon
from lab.cluster.docker.client import docker
from lab.cluster.node import kind
from lab.kube.client import KubeApi
from lab.paths import LabPaths, lab_paths

pytestmark = pytest.mark.live

NAME = "lifecycle"
LAB = [sys.executable, "-m", "lab"]


def lab(*words: str, code: int = 0, home: Path | None = None) -> str:
    environment = {**os.environ, **({"SIDECAR_LAB_HOME": str(home)} if home else {})}
    done = subprocess.run(
        [*LAB, *words, "--name", NAME],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env=environment,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def phase() -> str:
    done = subprocess.run(
        [*LAB, "status", "--json", "--name", NAME], capture_output=True, text=True, check=False
    )
    return str(json.loads(done.stdout)["lab"])


def on_machine() -> dict[str, set[str]]:
    """What Docker and the kernel hold, counted without the lab's own code."""
    listed = {
        "containers": docker("ps", "-aq", "--no-trunc").stdout,
        "volumes": docker("volume", "ls", "-q").stdout,
        "networks": docker("network", "ls", "-q", "--no-trunc").stdout,
        "interfaces": "\n".join(
            one.name for one in Path("/sys/class/net").iterdir() if one.name.startswith("br-")
        ),
        "namespaces": "\n".join(one.name for one in Path("/run/netns").glob("*")),
    }
    if shutil.which("iptables-save"):
        saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False)
        listed["rules"] = "\n".join(r for r in saved.stdout.splitlines() if r.startswith("-A"))
    return {what: set(text.splitlines()) for what, text in listed.items()}


@pytest.fixture(scope="module")
def paths() -> LabPaths:
    return lab_paths(NAME)


@pytest.fixture(scope="module", autouse=True)
def one_lab() -> Iterator[None]:
    lab("down")
    lab("up")
    yield
    assert "left over: 0" in lab("down")


NODE = kind.node_name(NAME)


def test_a_node_that_was_killed_is_started_again_and_not_made_anew() -> None:
    before = docker("inspect", "-f", "{{.Id}}", NODE).stdout
    docker("kill", NODE)
    assert phase() == "stopped"
    lab("up")
    assert phase() == "up"
    assert docker("inspect", "-f", "{{.Id}}", NODE).stdout == before


def test_a_node_that_is_gone_is_created_again() -> None:
    docker("rm", "-f", "-v", NODE)
    assert phase() == "stopped"
    assert "newly created" in lab("up")
    assert phase() == "up"


def test_a_paused_lab_is_frozen_and_comes_back() -> None:
    lab("pause")
    assert phase() == "paused"
    lab("up")
    assert phase() == "up"


def test_two_ups_at_once_wait_for_each_other() -> None:
    docker("kill", NODE)
    argv = [*LAB, "up", "--name", NAME]
    both = [
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [one.communicate(timeout=300)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert sum("waiting for it" in text for text in said) == 1, said


def test_another_folders_lab_of_this_name_is_not_touched(tmp_path: Path) -> None:
    assert "is taken by the lab in" in lab("up", code=1, home=tmp_path)
    assert "not touched" in lab("down", code=1, home=tmp_path)
    assert phase() == "up"


def test_a_lab_whose_folder_was_deleted_does_not_block_its_name(tmp_path: Path) -> None:
    lab("down")
    elsewhere = tmp_path / "labs"
    lab("up", home=elsewhere)
    shutil.rmtree(elsewhere)
    if daemon.answers():
        assert f"{elsewhere / NAME}: that folder no longer exists" in lab("up")
    else:  # such a daemon may serve others, who have that folder
        assert "--yes` removes that lab" in lab("up", code=1)
        assert "left over: 0" in lab("down", "--yes")
        lab("up")
    assert phase() == "up"


def node_id() -> str:
    return docker("inspect", "-f", "{{.Id}}", NODE).stdout.strip()


def pods(paths: LabPaths) -> set[str]:
    """The uids of every pod, by the API server."""
    api = KubeApi.from_file(paths.kubeconfig)
    api.wait_ready(60)
    listed = api.get("/api/v1/pods") or {}
    api.close()
    return {one["metadata"]["uid"] for one in listed["items"]}


def test_an_api_server_that_stands_still_for_a_minute_costs_no_pod(paths: LabPaths) -> None:
    before, node = pods(paths), node_id()
    server = docker("exec", NODE, "pgrep", "-x", "kube-apiserver").stdout.strip()
    docker("exec", NODE, "kill", "-STOP", server)
    try:
        said = lab("up", code=1)
    finally:
        docker("exec", NODE, "kill", "-CONT", server)
    assert f"`lab up --name {NAME} --recreate` deletes the cluster" in said
    assert node_id() == node
    assert before <= pods(paths)
    lab("up")
    assert node_id() == node


@pytest.mark.parametrize("change", ["another image", "damaged"])
def test_what_would_need_a_new_cluster_is_refused_without_a_terminal(
    paths: LabPaths, change: str
) -> None:
    before, node, known = pods(paths), node_id(), paths.state.read_text()
    stage = json.loads(known)["stage"]
    paths.state.write_text(known[:50] if change == "damaged" else known.replace(stage, "other:1"))
    said = lab("up", "--yes", code=1)
    assert f"`lab up --name {NAME} --recreate` deletes it" in said
    assert node_id() == node
    assert before <= pods(paths)
    paths.state.write_text(known)
    lab("up")
    assert node_id() == node


def test_a_kubeconfig_that_was_lost_is_read_from_the_node_again(paths: LabPaths) -> None:
    node = node_id()
    paths.kubeconfig.unlink()
    lab("up")
    assert node_id() == node
    assert paths.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_recreate_creates_the_cluster_again(paths: LabPaths) -> None:
    before = pods(paths)
    assert "newly created" in lab("up", "--recreate")
    assert phase() == "up"
    assert not before & pods(paths)


def test_after_down_nothing_is_left(paths: LabPaths) -> None:
    lab("down")
    before = on_machine()
    lab("up")
    assert "left over: 0" in lab("down")
    after = on_machine()
    for what, there in after.items():
        new = {one for one in there - before[what] if NAME in one or what != "containers"}
        assert not {one for one in new if _ours(one, before)}, what
    assert not paths.state.exists()
    assert not paths.kubeconfig.exists()


def _ours(one: str, before: dict[str, set[str]]) -> bool:
    """Other labs may come and go beside this test: what is no longer there was not left over."""
    now = on_machine()
    return any(one in there for there in now.values()) and not any(
        one in there for there in before.values()
    )
