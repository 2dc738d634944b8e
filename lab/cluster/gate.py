"""Checks, before a command that needs a running lab begins, whether the lab can be used now.

If the lab is absent, incomplete, paused, stopped, or its API server does not answer, this is
reported at once, with the command that fixes it. Otherwise the command would fail later, with an
error that is harder to understand.
"""

from dataclasses import dataclass
from typing import Literal

from lab.cluster import state
from lab.cluster.docker import client as engine
from lab.cluster.docker import provision
from lab.cluster.docker.client import docker
from lab.cluster.state import LabState
from lab.errors import ClusterError, CommandError
from lab.kube.client import KubeApi
from lab.paths import LabPaths

DOCKER_SECONDS = 10.0
API_SECONDS = 4.0
"""Seconds that the API server may take to answer one request."""

Kind = Literal["no docker", "gone", "paused", "stopped", "silent"]


@dataclass(frozen=True)
class NodeState:
    """The state of a node's container.

    `state`: Docker's term for the state (running, paused, …); "" when there is no such container.
    `unreachable`: why Docker does not answer; "" when it answers.
    """

    state: str = ""
    unreachable: str = ""


@dataclass(frozen=True)
class Obstacle:
    """Why a lab cannot be used now, and how to fix that."""

    kind: Kind
    message: str
    hint: str

    def error(self) -> ClusterError:
        """Returns the obstacle as an exception to raise."""
        return ClusterError(self.message, hint=self.hint)


def require(paths: LabPaths) -> LabState:
    """Returns the lab's state. Raises ClusterError with the reason if it cannot be used now."""
    known = state.load(paths)
    if found := obstacle(paths, known):
        raise found.error()
    return known


def obstacle(paths: LabPaths, known: LabState) -> Obstacle | None:
    """Returns why a lab that was brought up cannot be used now; None when it can be used."""
    node = container(known.node)
    api = "" if node.unreachable or node.state != "running" else _api(paths)
    remedy = provision.plan(provision.look(node.unreachable)) if node.unreachable else None
    return judge(paths.name, state.up_command(paths), known.node, node, api, remedy)


def judge(
    name: str,
    up: str,
    node: str,
    node_state: NodeState,
    api: str,
    remedy: provision.DockerRemedy | None,
) -> Obstacle | None:
    """Computes the result of `obstacle` from plain data; does no I/O.

    `up`: the command that brings the lab up. `node`: the name of the node's container. `api`: why
    the API server does not answer; "" when it answers. `remedy`: what to do if Docker does not
    answer; None when it answers.
    """
    if node_state.unreachable:
        reason = _line(node_state.unreachable)
        by_hand = remedy.instruction if remedy else ""
        hint = f"{by_hand}; then {up}" if by_hand else f"run {up}"
        return Obstacle(
            "no docker",
            f"the lab {name!r} is stopped: Docker does not answer ({reason})",
            hint,
        )
    if node_state.state == "paused":
        return Obstacle("paused", f"the lab {name!r} is paused", f"{up} thaws it")
    if not node_state.state:
        return Obstacle("gone", f"the node of the lab {name!r} is gone", f"{up} creates it again")
    if node_state.state != "running":
        message = f"the lab {name!r} is stopped: its node {node} is {node_state.state}"
        return Obstacle("stopped", message, f"{up} starts it")
    if api:
        message = f"the lab {name!r} runs, but its API server does not answer: {_line(api)}"
        return Obstacle("silent", message, f"{up} waits for it, and reports what it finds")
    return None


def container(node: str) -> NodeState:
    """Returns the state of a node's container. If Docker does not answer, the result tells why."""
    try:
        answer = docker(
            *("inspect", "--type", "container", "-f", "{{.State.Status}}", node),
            timeout=DOCKER_SECONDS,
            check=False,
        )
    except CommandError as late:
        return NodeState(unreachable=late.message)
    if answer.ok:
        return NodeState(answer.stdout.strip())
    if "no such" in answer.stderr.lower():
        return NodeState()
    return NodeState(unreachable=engine.why_unreachable() or answer.stderr.strip())


def _api(paths: LabPaths) -> str:
    try:
        api = KubeApi.from_file(paths.kubeconfig, timeout=API_SECONDS)
    except ClusterError as error:
        return error.message
    reason = api.ready()
    api.close()
    return reason


def _line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else ""
