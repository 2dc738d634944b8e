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
"""Seconds that an API server may take until it answers after its node was started again."""
ALIVE = frozenset({"running", "restarting", "paused"})
"""The states of a container, in Docker's words, whose processes exist."""


@dataclass(frozen=True)
class NodeDecision:
    """What to do about the node, and the reason if it must be created again.

    `ask`: the node must be created again, but it may hold something that its user wants to keep.
    """

    action: Action
    reason: str = ""


def judge(
    container: str | None, state: LabState | None, stage: str, *, folder: bool
) -> NodeDecision:
    """Decide from the container's state (Docker's word), our record and the wanted node image.

    `container` is None when there is no node. `stage` is the stage of the node image that holds
    Kubernetes; only its change needs a new cluster, other images are loaded into the running
    node. `folder`: the lab's folder holds files of an earlier `up`, even damaged ones.
    """
    if container is None:
        lost = state is not None and state.phase != "creating"
        return NodeDecision("create", "its node is gone" if lost else "")
    if state is None and folder:
        return NodeDecision("ask", "its record is damaged or from another version of the lab")
    if state is None:
        return NodeDecision("create", "there is no record of the existing node")
    if state.phase == "creating":
        return NodeDecision("create", "the `up` that created it did not finish")
    if container in ("dead", "removing"):
        return NodeDecision("create", f"its node is {container}")
    if state.stage != stage:
        return NodeDecision("ask", "the node image has changed")
    if container in ("exited", "created"):
        return NodeDecision("start")
    return NodeDecision("unpause" if container == "paused" else "use")


def repair(name: str, decision: NodeDecision, paths: LabPaths, task: Task) -> KubeApi | None:
    """Unpause or start an existing node, wait for its API server and return a client of it.

    Returns None if the node cannot be started. Raises ClusterError if the node runs but its API
    server does not answer: it may only be slow, so what runs in the node must not be lost.
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
            task.update("the node stopped as soon as it was started: creating it again")
            return None
        again = up_command(paths)
        raise ClusterError(
            f"the node {node} runs, but {error.message}",
            hint=f"{again} waits for it again; {recreate_command(paths)} deletes the cluster, with "
            "everything that runs in it, and creates it again",
        ) from error
    if decision.action == "use" and not reason:
        task.skip("runs")
    return api


def _connect(name: str, paths: LabPaths) -> KubeApi:
    """Returns a client by the lab's kubeconfig; reads a lost or damaged one from the node again."""
    try:
        return KubeApi.from_file(paths.kubeconfig)
    except ClusterError:
        text = kind.early_kubeconfig(name)
        if text is None:
            raise
        write_atomically(paths.kubeconfig, text)
        return KubeApi.from_file(paths.kubeconfig)


def recreate_command(paths: LabPaths) -> str:
    """Returns the command that deletes the cluster and creates it again, in backticks."""
    return f"{up_command(paths)[:-1]} --recreate`"


def remove(name: str) -> None:
    """Remove the node and the lab's other containers, with their volumes."""
    engine.remove_containers([container.id for container in belonging(name)])


def belonging(name: str) -> list[engine.Container]:
    """Returns the containers of one lab: its nodes, and those that were started beside them.

    A container belongs to the lab by a label, or because it shares the process namespace of a node.
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
    """Freeze the node; returns a sentence for the user. Raises ClusterError if it does not run."""
    node_state = gate.container(state.node)
    if node_state.unreachable:
        raise ClusterError(
            f"the lab cannot be paused: Docker does not answer ({node_state.unreachable})",
            hint="`lab status` shows what there is",
        )
    now = node_state.state
    if now == "paused":
        return f"the lab {paths.name} is paused already"
    if now != "running":
        raise ClusterError(
            f"the node {state.node} cannot be paused: it is {now or 'gone'}",
            hint=f"run {up_command(paths)}",
        )
    docker("pause", state.node)
    return f"the lab {paths.name} is paused; {up_command(paths)} thaws it"
