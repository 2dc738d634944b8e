"""The node's container through its life: judged, healed, paused, removed."""

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
"""How long an API server may take after its node was started again."""
ALIVE = frozenset({"running", "restarting", "paused"})


@dataclass(frozen=True)
class Found:
    """What to do with the node that is there, and why when it is made anew.

    `ask`: it would have to be made anew, but it may hold what its user wants to keep.
    """

    action: Action
    reason: str = ""


def judge(container: str | None, state: LabState | None, stage: str, *, folder: bool) -> Found:
    """Decide from Docker's word for the container's state, our own record, the wanted image.

    `stage` is the part of the node image that holds Kubernetes; only its change needs a new
    cluster, other images are loaded into the running node. `folder`: the lab's folder holds
    something of an earlier `up`, be it damaged.
    """
    if container is None:
        lost = state is not None and state.phase != "creating"
        return Found("create", "its node is gone" if lost else "")
    if state is None and folder:
        return Found("ask", "what was recorded of it is damaged, or of another version of the lab")
    if state is None:
        return Found("create", "nothing is recorded of the node that is there")
    if state.phase == "creating":
        return Found("create", "the `up` that made it did not come to its end")
    if container in ("dead", "removing"):
        return Found("create", f"its node is {container}")
    if state.stage != stage:
        return Found("ask", "the node image has changed")
    if container in ("exited", "created"):
        return Found("start")
    return Found("unpause" if container == "paused" else "use")


def heal(name: str, found: Found, paths: LabPaths, task: Task) -> KubeApi | None:
    """Bring a node that is there back to an API server that answers.

    None: it cannot be started again. Raises ClusterError when it runs and nothing answers: that
    may be slowness, and is no reason to lose what runs in it.
    """
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
        api = _connect(name, paths)
        reason = api.ready()
        if reason:
            task.update(f"waiting for the API server: {reason[:80]}")
            api.wait_ready(API_SECONDS)
            task.update("the stopped node runs again" if found.action == "start" else "answers")
    except ClusterError as error:
        if engine.container_state(node) not in ALIVE:
            task.update("the node ended as soon as it was started: making it anew")
            return None
        again = up_command(paths)
        raise ClusterError(
            f"the node {node} runs, but {error.message}",
            hint=f"{again} waits for it once more; {recreate_command(paths)} deletes the cluster, "
            "with all that runs in it, and makes it anew",
        ) from error
    if found.action == "use" and not reason:
        task.skip("runs")
    return api


def _connect(name: str, paths: LabPaths) -> KubeApi:
    """Through the lab's kubeconfig; one that is lost or damaged is read from the node again."""
    try:
        return KubeApi.from_file(paths.kubeconfig)
    except ClusterError:
        text = kind.early_kubeconfig(name)
        if text is None:
            raise
        write_atomically(paths.kubeconfig, text)
        return KubeApi.from_file(paths.kubeconfig)


def recreate_command(paths: LabPaths) -> str:
    """The command that deletes the cluster and makes it anew, in backticks."""
    return f"{up_command(paths)[:-1]} --recreate`"


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
    seen = gate.container(state.node)
    if seen.unreachable:
        raise ClusterError(
            f"Docker does not answer ({seen.unreachable}), so nothing runs that could be paused",
            hint="`lab status` says what there is",
        )
    now = seen.state
    if now == "paused":
        return f"the lab {paths.name} is paused already"
    if now != "running":
        raise ClusterError(
            f"the node {state.node} is {now or 'gone'}, it cannot be paused",
            hint=f"run {up_command(paths)}",
        )
    docker("pause", state.node)
    return f"the lab {paths.name} is paused; {up_command(paths)} thaws it"
