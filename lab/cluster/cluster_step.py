"""The step `cluster` of `lab up`: use, repair or create the node, and load images into it."""

import time
from collections.abc import Mapping

from lab.cluster import state as states
from lab.cluster.bringup import Bringup
from lab.cluster.control_plane import install
from lab.cluster.control_plane.switch import Mesh
from lab.cluster.docker import client as engine
from lab.cluster.docker import daemons
from lab.cluster.host_changes import kernel_settings
from lab.cluster.images import ensure
from lab.cluster.images.ensure import Built
from lab.cluster.node import container, kind
from lab.cluster.state import LabState
from lab.errors import RefusedError
from lab.kube.client import KubeApi
from lab.progress import Task


def cluster(up: Bringup, task: Task) -> None:
    """Ensure that the node runs and its API server answers; load the changed images into the node.

    Uses the existing node, repairs it, or creates a new one. Raises RefusedError when the cluster
    must be created again and the user did not agree to lose it.
    """
    assert up.built is not None
    up.state = states.find(up.paths)
    found = container.judge(
        engine.container_state(kind.node_name(up.name)),
        up.state,
        up.built.stage,
        folder=up.paths.state.exists() or up.paths.kubeconfig.exists(),
    )
    if found.action == "ask" or (up.options.recreate and found.action != "create"):
        found = agreed(up, found)
    if found.action != "create":
        up.api = container.repair(up.name, found, up.paths, task)
    if up.api is None:
        if found.action == "create" and found.reason:
            up.progress.note(f"creating a new cluster: {found.reason}")
        create_cluster(up, task)
    assert up.state is not None
    load_changed_images(up, task)


def agreed(up: Bringup, found: container.NodeDecision) -> container.NodeDecision:
    """Returns the decision to create the cluster again, if the user agrees to lose the old one.

    `found`: the earlier decision; its reason is shown to the user. Raises RefusedError if the user
    does not agree.
    """
    if up.options.recreate:
        return container.NodeDecision("create", found.reason or "--recreate asks for it")
    lost = "everything that runs in it is lost"
    if up.options.confirm_loss is not None and up.options.confirm_loss(
        f"The cluster of the lab {up.name!r} must be created again: {found.reason}. "
        f"This deletes it, and {lost}. Go on?"
    ):
        return container.NodeDecision("create", found.reason)
    raise RefusedError(
        f"the cluster of the lab {up.name!r} was left as it is, but it must be created again: "
        f"{found.reason}",
        hint=f"{container.recreate_command(up.paths)} deletes it and creates it again: {lost}",
    )


def create_cluster(up: Bringup, task: Task) -> None:
    """Remove what is left of an earlier node and create the cluster."""
    assert up.built is not None
    container.remove(up.name)
    up.paths.kubeconfig.unlink(missing_ok=True)
    daemon = daemons.daemon()
    up.remember(_new_state(up, up.built))
    kernel_settings.note()
    kind.ensure_network(up.name, up.paths.root)
    plan = kind.ClusterPlan(
        up.name,
        up.built.node_image,
        up.built.default_cni,
        kind.cgroup_v1(daemon),
        up.options.versions.kubernetes_minor,
    )
    # Our images are in the node image. Istio's are loaded later, so its objects cannot start yet.
    early = install.EarlyInstall(up.wanted if up.options.mesh is Mesh.OURS else [])

    def on_line(line: str) -> None:
        # Only kind's own steps: it also prints the output of commands, and Go's stack traces.
        if line.lstrip().startswith(("•", "✓", "✗")):
            task.update(line.strip(" •✓✗\t.…")[:80])
        if "Starting control-plane" in line:
            early.begin(lambda: kind.early_kubeconfig(up.name))

    try:
        kind.create(up.built.kind, plan, up.paths, up.paths.logs / "kind.log", on_line)
    finally:
        early.end(seconds=6)
    up.api = KubeApi.from_file(up.paths.kubeconfig)
    up.api.wait_ready(60)
    assert up.state is not None
    up.remember(up.state.having(phase="installing"))
    task.update(f"Kubernetes {up.built.kubernetes}, newly created")


def _new_state(up: Bringup, built: Built) -> LabState:
    return LabState(
        name=up.name,
        phase="creating",
        node=kind.node_name(up.name),
        network=kind.network_name(up.name),
        kubeconfig=str(up.paths.kubeconfig),
        node_image=built.node_image,
        observer_image=built.observer_image,
        kind=str(built.kind),
        kubectl=str(built.kubectl),
        default_cni=built.default_cni,
        kubernetes=built.kubernetes,
        mesh=up.options.mesh.value,
        tools=up.tools,
        images=_image_refs(built),
        source=built.source.value,
        stage=built.stage,
        created=time.time(),
    )


def _image_refs(built: Built) -> dict[str, str]:
    return {"proxy": built.proxy_image, "control": built.control_image, "nginx": built.nginx_image}


def load_changed_images(up: Bringup, task: Task) -> None:
    """Load the images that changed into the running node, and record them in the lab's state."""
    assert up.built is not None
    assert up.state is not None
    there, ours = dict(up.state.images), _image_refs(up.built)
    versions, source = up.options.versions, up.built.source
    if lacks(there, ours):
        task.update("loading changed images")
        ensure.load_into(up.state.node, source, versions, up.progress)
    if lacks(there, up.peer_images):
        from lab.cluster.images import istio_images

        with up.progress.task("images of Istio into the node") as part:
            istio_images.load_into(up.state.node, source, versions, part)
    wanted = {**ours, **up.peer_images}
    same = not lacks(there, wanted) and up.state.mesh == up.options.mesh
    now = _new_state(up, up.built).having(
        phase=up.state.phase if same else "installing",
        images={**there, **wanted},
        created=up.state.created,
        node_image=up.built.node_image,
    )
    if now != up.state:
        up.remember(now)


def lacks(there: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether the node lacks a wanted image or has another version of it.

    `there`: the images that the node has. `wanted`: the images that it must have. Both are dicts
    from an image's name to its tag in Docker, which changes with the image's content.
    """
    return any(there.get(reference) != content for reference, content in wanted.items())
