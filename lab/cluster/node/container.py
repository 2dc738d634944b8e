"""Decides what to do with the node's container; repairs, pauses and removes it."""

from dataclasses import dataclass
from typing import Literal

from lab.cluster import gate
from lab.cluster.docker import client as engine
from lab.cluster.docker.client import docker
from lab.cluster.node import kind
from lab.cluster.state import LabState, up_command, write_atomically
from lab.errors import ClusterError
from lab.kube.client import KubeApi
from lab.paths import LabPaths
from lab.progress import Task

Action = Literal["create", "ask", "use", "unpause", "start"]
API_SECONDS = 45.0
"""How long to wait, in seconds, until the API server of an existing node answers."""
ALIVE = frozenset({"running", "restarting", "paused"})
"""Docker's names of those states of a container in which the container's processes exist."""


@dataclass(frozen=True)
class NodeDecision:
    """Tells `lab up` what to do with the node's container, and why.

    `reason` tells why the node must be created again; it is "" if the node is created for the first
    time, or need not be created.

    The action `ask` means: the node must be created again, but the user must agree first, because
    something in the node may still be needed.
    """

    action: Action
    reason: str = ""


def judge(
    container: str | None, state: LabState | None, stage: str, *, folder: bool
) -> NodeDecision:
    """Decides what `lab up` does with the node's container.

    `container` is the state of the node's container as Docker names it, or None when there is no
    container. `state` is the record of the last `up`, or None when there is no readable record.
    `stage` is the wanted Built.stage, the image that contains Kubernetes: when this image has
    changed, a new cluster is needed; all other images are loaded into the running node.
    `folder` is true when the lab's folder holds files of an earlier `up`, damaged files included.
    """
    if container is None:
        lost = state is not None and state.phase != "creating"
        return NodeDecision("create", "the lab's node is gone" if lost else "")
    if state is None and folder:
        return NodeDecision(
            "ask", "the lab's record is damaged or was written by another version of the lab"
        )
    if state is None:
        return NodeDecision("create", "there is a node, but the lab has no record of it")
    if state.phase == "creating":
        return NodeDecision("create", "the `lab up` that began to create the node did not finish")
    if container in ("dead", "removing"):
        return NodeDecision("create", f"Docker reports the node's container as {container}")
    if state.stage != stage:
        return NodeDecision("ask", "the node image has changed")
    if container in ("exited", "created"):
        return NodeDecision("start")
    return NodeDecision("unpause" if container == "paused" else "use")


def repair(name: str, decision: NodeDecision, paths: LabPaths, task: Task) -> KubeApi | None:
    """Unpause or start an existing node as `decision` says; wait for the node's API server.

    Returns a client of the API server. Returns None if the node cannot be started or has stopped
    again; the caller must then create it again. Raises ClusterError if the node runs but the API
    server does not answer: the API server may only be slow, so the caller must not delete the node.
    """
    node = kind.node_name(name)
    if decision.action == "unpause":
        docker("unpause", node)
        task.update("thawed")
    if decision.action == "start":
        task.update("starting the stopped node")
        if not docker("start", node, check=False).ok:
            task.update("the stopped node cannot be started: creating it again")
            return None
    try:
        api = _connect(name, paths)
        reason = api.ready()
        if reason:
            task.update(f"waiting for the API server: {reason[:80]}")
            api.wait_ready(API_SECONDS)
            task.update("the stopped node runs again" if decision.action == "start" else "answers")
    except ClusterError as error:
        if engine.container_state(node) not in ALIVE:
            task.update("the node stopped right after its start: creating it again")
            return None
        again = up_command(paths)
        raise ClusterError(
            f"the node {node} runs, but {error.message}",
            hint=f"{again} waits for the API server again; {recreate_command(paths)} deletes the "
            "cluster with everything that runs in it, and creates a new one",
        ) from error
    if decision.action == "use" and not reason:
        task.skip("runs")
    return api


def _connect(name: str, paths: LabPaths) -> KubeApi:
    """Returns a client of the API server, made from the lab's kubeconfig.

    If that file is missing or damaged, writes it again from the kubeconfig in the node.
    """
    try:
        return KubeApi.from_file(paths.kubeconfig)
    except ClusterError:
        text = kind.early_kubeconfig(name)
        if text is None:
            raise
        write_atomically(paths.kubeconfig, text)
        return KubeApi.from_file(paths.kubeconfig)


def recreate_command(paths: LabPaths) -> str:
    """Returns the text, in backticks, of the command that deletes and creates the cluster again."""
    return f"{up_command(paths)[:-1]} --recreate`"


def remove(name: str) -> None:
    """Remove all containers of the lab `name`, the node among them, and their volumes."""
    engine.remove_containers([container.id for container in belonging(name)])


def belonging(name: str) -> list[engine.Container]:
    """Returns the lab's nodes and all other containers that belong to the lab `name`.

    A container belongs to the lab if it has kind's or the lab's label with this name, or if it
    shares the process namespace of one of the nodes.
    """
    nodes = engine.containers(f"label={engine.KIND_LABEL}={name}")
    labelled = engine.containers(f"label={engine.LABEL}={name}")
    ids = {container.id for container in nodes + labelled}
    beside = [
        container
        for container in engine.containers()
        if container.id not in ids
        and _pid_mode(container.id) in {f"container:{node.id}" for node in nodes}
    ]
    everything = [*beside, *labelled, *nodes]
    return list({container.id: container for container in everything}.values())


def _pid_mode(container: str) -> str:
    answer = docker("inspect", "-f", "{{.HostConfig.PidMode}}", container, check=False)
    return answer.stdout.strip()


def pause(paths: LabPaths, state: LabState) -> str:
    """Pause the node's container; return a sentence that tells the user that it is paused.

    Does nothing if the container is paused already. Raises ClusterError if the container is in any
    other state than running or paused, or if Docker does not answer.
    """
    node_state = gate.container(state.node)
    if node_state.unreachable:
        raise ClusterError(
            f"the lab cannot be paused: Docker does not answer ({node_state.unreachable})",
            hint="`lab status` shows the state of the lab",
        )
    now = node_state.state
    if now == "paused":
        return f"the lab {paths.name} is paused already"
    if now != "running":
        raise ClusterError(
            f"the node {state.node} cannot be paused: its container is {now or 'gone'}",
            hint=f"{up_command(paths)} makes the node run again",
        )
    docker("pause", state.node)
    return f"the lab {paths.name} is paused; {up_command(paths)} thaws it"
