"""A lab that cannot be worked with is named so before anything begins, with what mends it."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lab import cli
from lab.cluster import gate, state
from lab.cluster.docker import client as engine
from lab.cluster.docker import provision
from lab.cluster.gate import NodeState
from lab.errors import ClusterError, CommandError
from lab.paths import LabPaths
from tests.unit.cluster.labs import READY

CANNOT = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?"
START = provision.DockerRemedy("start", "Docker is installed but not running: `lab up` starts it")
BY_HAND = provision.DockerRemedy("instruct", "Docker is stopped", "sudo systemctl start docker")


@pytest.mark.parametrize(
    ("seen", "api", "remedy", "kind", "said", "mends"),
    [
        (NodeState("paused"), "", None, "paused", "is paused", "`lab up --name x` thaws it"),
        (NodeState("exited"), "", None, "stopped", "node n is exited", "`lab up --name x` starts"),
        (NodeState(), "", None, "gone", "node of the lab 'x' is gone", "`lab up --name x` creates"),
        (NodeState("running"), "timed out", None, "silent", "API server does not", "`lab up"),
        (NodeState("", CANNOT), "", START, "no docker", CANNOT, "run `lab up --name x`"),
        (NodeState("", CANNOT), "", BY_HAND, "no docker", CANNOT, "systemctl start docker; then"),
    ],
)
def test_each_trouble_is_named_with_the_command_that_mends_it(
    seen: NodeState,
    api: str,
    remedy: provision.DockerRemedy | None,
    kind: str,
    said: str,
    mends: str,
) -> None:
    found = gate.judge("x", "`lab up --name x`", "n", seen, api, remedy)
    assert found is not None
    assert found.kind == kind
    assert said in found.message
    assert mends in found.hint
    assert "\n" not in found.message


@given(st.sampled_from(["", "running", "paused", "exited", "dead", "created", "odd"]), st.text())
def test_only_a_running_node_whose_api_answers_is_let_through(word: str, api: str) -> None:
    found = gate.judge("x", "`lab up`", "n", NodeState(word), api, None)
    assert (found is None) == (word == "running" and not api)


COMMANDS = [["e2e"], ["e2e", "--breaks"], ["walk"], ["docs"], ["rotate"]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIDECAR_LAB_HOME", str(tmp_path))
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("words", COMMANDS)
def test_a_lab_that_was_never_made_is_named_so_and_no_folder_is_made(
    words: list[str], home: Path
) -> None:
    done = CliRunner().invoke(cli.lab, [*words, "--name", "nosuch"])
    assert isinstance(done.exception, ClusterError)
    assert "there is no lab 'nosuch'" in done.exception.message
    assert done.exception.hint == "run `lab up --name nosuch`"
    assert done.output == ""
    assert not (home / "nosuch").exists()


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize(
    ("seen", "said"),
    [(NodeState("paused"), "is paused"), (NodeState("", CANNOT), "stopped: Docker does not")],
)
def test_every_command_asks_at_the_gate(
    words: list[str], seen: NodeState, said: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "container", lambda node: seen)
    paths = LabPaths("x", home / "x")
    state.save(paths, replace(READY, kubeconfig=str(home / "none")))
    done = CliRunner().invoke(cli.lab, [*words, "--name", "x"])
    assert isinstance(done.exception, ClusterError), done.output
    assert said in done.exception.message


@pytest.mark.parametrize(
    ("stderr", "reached"),
    [("Error: No such object: n", True), ("Error response: No such container: n", True),
     (CANNOT, False), ("context \"x\": context not found", False)],
)  # fmt: skip
def test_a_node_that_is_gone_is_told_from_a_docker_that_is_silent(
    stderr: str, reached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab.command import Completed

    monkeypatch.setattr(gate, "docker", lambda *_, **__: Completed((), 1, "", stderr, 0))
    monkeypatch.setattr(engine, "why_unreachable", lambda: "" if reached else stderr)
    assert gate.container("n") == (NodeState() if reached else NodeState("", stderr))


def test_a_docker_that_hangs_is_one_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*words: str, **_: object) -> None:
        raise CommandError(["docker", *words], None, "", "")

    monkeypatch.setattr(gate, "docker", hang)
    assert "timed out" in gate.container("n").unreachable
