"""`lab up`, as the visible list of steps it is; every step converges and may be repeated.

preflight → docker → images → certificates → cluster → control plane → ready
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.cluster import (
    certificates,
    images,
    install,
    kind,
    mesh_manifests,
    meshes,
    node,
    ownership,
    provision,
    teardown,
)
from lab.cluster import docker as engine
from lab.cluster import state as states
from lab.cluster.images import Built, ImageSource
from lab.cluster.kubeapi import KubeApi, Object
from lab.cluster.meshes import Mesh
from lab.cluster.state import LabState
from lab.cluster.versions import DEFAULT, Versions
from lab.errors import HostError
from lab.paths import LabPaths, manifests
from lab.progress import Progress, Quiet, Task

MINIMUM_FREE = 4 << 30
"""Bytes of disk below which `up` does not begin: a full disk breaks the node in odd ways."""


GONE_SECONDS = 60.0
"""How long the objects of a mesh that is replaced may take to go."""


@dataclass(frozen=True)
class Options:
    """What the command line decides. `confirm` asks before Docker is installed or started."""

    source: ImageSource = ImageSource.AUTO
    provision: bool = True
    confirm: Callable[[str], bool] | None = None
    versions: Versions = DEFAULT
    mesh: Mesh = Mesh.OURS


@dataclass
class Bringup:
    """What one `up` works on and what its steps found so far."""

    paths: LabPaths
    options: Options
    progress: Progress
    built: Built | None = None
    serving: list[certificates.Serving] = field(default_factory=list)
    wanted: list[Object] = field(default_factory=list)
    """Every object of the mesh that is to run."""
    ours: list[Object] = field(default_factory=list)
    """Every object of our own mesh, to be removed where it is not to run."""
    peer_images: dict[str, str] = field(default_factory=dict)
    """Images of Istio where it is to run: reference → tag in Docker."""
    tools: str = ""
    """Folder of the mesh's own command line."""
    state: LabState | None = None
    api: KubeApi | None = None

    @property
    def name(self) -> str:
        """The lab's name, which is also kind's name of the cluster."""
        return self.paths.name

    def remember(self, state: LabState) -> None:
        """Keep and save the state."""
        self.state = state
        states.save(self.paths, state)


@dataclass(frozen=True)
class Step:
    """One step of `up`: the name of its line, and what it does."""

    name: str
    run: Callable[[Bringup, Task], None]


def preflight(up: Bringup, task: Task) -> None:
    """What must hold before anything is begun."""
    import shutil

    from lab.paths import cache_root

    up.paths.make()
    up.paths.logs.mkdir(exist_ok=True)
    cache_root().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache_root()).free
    if free < MINIMUM_FREE:
        raise HostError(
            f"{cache_root()} has only {free / 2**30:.1f} GiB free, at least 4 are needed",
            hint="`lab cache prune` frees what no lab uses; SIDECAR_LAB_CACHE moves the cache",
        )
    task.update(f"{free / 2**30:.0f} GiB free")


def docker(up: Bringup, task: Task) -> None:
    """A daemon that answers."""
    provision.ensure_docker(
        up.progress,
        task,
        up.paths.logs,
        allowed=up.options.provision,
        confirm=up.options.confirm,
    )
    if abandoned := ownership.find(up.paths):
        up.progress.note(f"removing the lab {up.name} of {abandoned}: that folder is gone")
        teardown.down(up.paths, Quiet())


def build_images(up: Bringup, task: Task) -> None:
    """Node image and lab images, only what changed."""
    up.built = images.ensure(up.options.source, up.options.versions, up.progress)
    if up.options.mesh is Mesh.ISTIO:
        from lab.cluster import peerimages, peers  # not for those who never ask for Istio

        binaries = peers.istio_binaries(up.progress, up.options.versions)
        up.tools = str(binaries.folder)
        up.peer_images = peerimages.ensure(up.built.source, up.options.versions, up.progress)
    task.update(f"{up.built.source.value}, {up.built.node_image}")


def make_certificates(up: Bringup, task: Task) -> None:
    """Authority and serving certificates, and the documents that hold them."""
    assert up.built is not None
    up.serving, made = certificates.ensure(up.paths.certificates)
    up.ours = mesh_manifests.documents(
        manifests() / "lab",
        up.serving,
        up.built.control_image,
        up.options.versions.kubernetes,
    )
    up.wanted = up.ours
    task.update(f"made {', '.join(made)}" if made else "sound")
    if up.options.mesh is Mesh.ISTIO:
        from lab.cluster import istio, peers

        binaries = peers.istio_binaries(up.progress, up.options.versions)
        up.wanted = istio.documents(binaries, up.peer_images)
        task.update("Istio makes its own")


def cluster(up: Bringup, task: Task) -> None:
    """A node whose API server answers: as it is, healed, or made anew."""
    assert up.built is not None
    up.state = states.find(up.paths)
    found = node.judge(
        engine.container_state(kind.node_name(up.name)),
        up.state,
        up.built.stage,
    )
    if found.action != "create":
        up.api = node.heal(up.name, found, up.paths, task)
    if up.api is None:
        if found.action == "create" and found.reason:
            up.progress.note(f"the cluster is made anew: {found.reason}")
        create_cluster(up, task)
    assert up.state is not None
    load_changed_images(up, task)


def create_cluster(up: Bringup, task: Task) -> None:
    """Remove what is left of an earlier node and make the cluster."""
    assert up.built is not None
    node.remove(up.name)
    up.paths.kubeconfig.unlink(missing_ok=True)
    daemon = engine.daemon()
    up.remember(_new_state(up, up.built))
    kind.ensure_network(up.name, up.paths.root)
    plan = kind.ClusterPlan(
        up.name,
        up.built.node_image,
        up.built.default_cni,
        kind.cgroup_v1(daemon),
        up.options.versions.kubernetes_minor,
    )
    # Istio's images are not in the node yet.
    early = install.EarlyInstall(up.wanted if up.options.mesh is Mesh.OURS else [])

    def on_line(line: str) -> None:
        text = line.strip(" •✓✗\t.…")
        if text and not line.startswith(("I", "W", "DEBUG", "Command")):
            task.update(text[:80])
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
    task.update(f"Kubernetes {up.options.versions.kubernetes}, made anew")


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
        kubernetes=up.options.versions.kubernetes,
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
    """Bring images that changed since into a node that runs."""
    assert up.built is not None
    assert up.state is not None
    there, ours = dict(up.state.images), _image_refs(up.built)
    versions, source = up.options.versions, up.built.source
    if lacks(there, ours):
        task.update("loading changed images")
        images.load_into(up.state.node, source, versions, up.progress)
    if lacks(there, up.peer_images):
        from lab.cluster import peerimages

        with up.progress.task("images of Istio into the node") as part:
            peerimages.load_into(up.state.node, source, versions, part)
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
    """Whether the node's images are not all those wanted: reference → what names its content."""
    return any(there.get(reference) != content for reference, content in wanted.items())


def control_plane(up: Bringup, task: Task) -> None:
    """The mesh's objects as its manifests say; those of the other mesh go."""
    assert up.api is not None
    gone = meshes.remove(up.api, meshes.other(up.options.mesh), up.ours, GONE_SECONDS, task)
    install.apply(up.api, up.wanted, task)
    if gone:
        task.update(f"{up.options.mesh} in place of {meshes.other(up.options.mesh)}")


def ready(up: Bringup, task: Task) -> None:
    """Proven to work: pods rolled out, and a pod on trial comes back injected."""
    assert up.api is not None
    assert up.state is not None
    inside = meshes.TRAITS[up.options.mesh].namespace
    since = engine.started_at(up.state.node)
    install.wait_rolled_out(up.api, up.wanted, install.READY_SECONDS, task, inside)
    install.wait_alive(up.api, since, install.READY_SECONDS, task, inside)
    install.wait_injecting(up.api, 60, task)
    if up.state.phase != "ready":
        up.remember(up.state.having(phase="ready"))
    task.update(f"KUBECONFIG={shown(up.paths.kubeconfig)}")


def shown(file: Path) -> str:
    """A path as short as a reader here can use it."""
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)


STEPS = (
    Step("preflight", preflight),
    Step("docker", docker),
    Step("images", build_images),
    Step("certificates", make_certificates),
    Step("cluster", cluster),
    Step("control plane", control_plane),
    Step("ready", ready),
)


def bring_up(up: Bringup) -> LabState:
    """Run the steps in order. Raises what a step raises; what was done stays done."""
    for step in STEPS:
        with up.progress.task(step.name) as task:
            step.run(up, task)
    assert up.state is not None
    return up.state
