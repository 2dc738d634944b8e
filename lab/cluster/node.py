"""The node's container through its life: judged, healed, paused, removed."""

from dataclasses import dataclass
from typing import Literal

from lab.cluster import docker as engine
from lab.cluster import kind
from lab.cluster.docker import docker
from lab.cluster.kubeapi import KubeApi
from lab.cluster.state import LabState
from lab.errors import ClusterError
from lab.paths import LabPaths
from lab.progress import Task

Action = Literal["create", "use", "unpause", "start"]
API_SECONDS = 45.0
"""How long an API server may take after its node was started again."""


@dataclass(frozen=True)
class Found:
    """What to do with the node that is there, and why when it is made anew."""

    action: Action
    reason: str = ""


def judge(container: str | None, state: LabState | None, stage: str) -> Found:
    """Decide from Docker's word for the container's state, our own record, the wanted image.

    `stage` is the part of the node image that holds Kubernetes; only its change needs a new
    cluster, other images are loaded into the running node.
    """
    if container is None:
        lost = state is not None and state.phase != "creating"
        return Found("create", "its node is gone" if lost else "")
    if state is None:
        return Found("create", "nothing is recorded of the node that is there")
    if state.phase == "creating":
        return Found("create", "the `up` that made it did not come to its end")
    if state.stage != stage:
        return Found("create", "the node image has changed")
    actions: dict[str, Action] = {
        "running": "use",
        "restarting": "use",
        "paused": "unpause",
        "exited": "start",
    }
    if container in actions:
        return Found(actions[container])
    return Found("create", f"its node is {container}")


def heal(name: str, found: Found, paths: LabPaths, task: Task) -> KubeApi | None:
    """Bring a node that is there back to an API server that answers; None: make it anew."""
    node = kind.node_name(name)
    if found.action == "unpause":
        docker("unpause", node)
        task.update("thawed")
    if found.action == "start":
        task.update("starting the stopped node")
        if not docker("start", node, check=False).ok:
            task.update("the node cannot be started again: making it anew")
            return None
    try:
        api = KubeApi.from_file(paths.kubeconfig)
        reason = api.ready()
        if reason:
            task.update(f"waiting for the API server: {reason[:80]}")
            api.wait_ready(API_SECONDS)
            task.update("the stopped node runs again" if found.action == "start" else "answers")
    except ClusterError as error:
        task.update(f"making it anew: {error.message[:80]}")
        return None
    if found.action == "use" and not reason:
        task.skip("runs")
    return api


def remove(name: str) -> None:
    """Remove the node and the containers that look at it, with their volumes."""
    engine.remove_containers([one.id for one in belonging(name)])


def belonging(name: str) -> list[engine.Container]:
    """Containers of one lab: its nodes, and what was started beside them."""
    nodes = engine.containers(f"label={engine.KIND_LABEL}={name}")
    labelled = engine.containers(f"label={engine.LABEL}={name}")
    ids = {one.id for one in nodes + labelled}
    beside = [
        one
        for one in engine.containers()
        if one.id not in ids and _pid_mode(one.id) in {f"container:{two.id}" for two in nodes}
    ]
    return list({one.id: one for one in [*beside, *labelled, *nodes]}.values())


def _pid_mode(container: str) -> str:
    answer = docker("inspect", "-f", "{{.HostConfig.PidMode}}", container, check=False)
    return answer.stdout.strip()


def pause(paths: LabPaths, state: LabState) -> str:
    """Freeze the node; says what was done. Raises ClusterError when there is nothing to freeze."""
    now = engine.container_state(state.node)
    if now == "paused":
        return f"the lab {paths.name} is paused already"
    if now != "running":
        raise ClusterError(
            f"the node {state.node} is {now or 'gone'}, it cannot be paused", hint="run `lab up`"
        )
    docker("pause", state.node)
    return f"the lab {paths.name} is paused; `lab up` thaws it"
