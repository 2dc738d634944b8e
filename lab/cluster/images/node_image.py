"""Builds the node image: Debian, kind's files and Kubernetes' programs, with our images baked in.

    root ── node-base ── node-kubernetes ── node-lab ── node
    stock kindest/node ──────────────────── node-lab ── node

`node-lab` holds all layers of our images except the top ones, which contain lab/mesh. So after a
change in lab/mesh, only a few kilobytes must be baked.
"""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.build import (
    bake,
    cache,
    debian_roots,
    docker_images,
    go_programs,
    oci,
    python_wheels,
)
from lab.cluster.build.tarball import Tarball
from lab.cluster.docker.client import docker
from lab.cluster.images import image_layers
from lab.cluster.images import lab_images as labimages
from lab.cluster.versions import Versions, stock_node
from lab.paths import cache_root
from lab.progress import Task

POD_SUBNET = "10.244.0.0/24"
_CNI = """{
  "cniVersion": "0.4.0",
  "name": "lab",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": true,
      "mtu": 1500,
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni-ipam-state",
        "ranges": [[{"subnet": "%s"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"""
_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
_SANDBOX = re.compile(r'sandbox_image\s*=\s*"([^"]+)"')


@dataclass(frozen=True)
class NodeImagePlan:
    """The inputs of each stage of the node image.

    For a node image that is pulled, `stock` is the reference of the stock image, and `base` and
    `kubernetes` are None. For a node image that is built here, `stock` is "".
    """

    stock: str
    base: cache.Inputs | None
    kubernetes: cache.Inputs | None
    lab: cache.Inputs
    node: cache.Inputs


def plan(versions: Versions, images: labimages.LabImagesPlan) -> NodeImagePlan:
    """Returns the inputs of every stage of the node image; builds nothing."""
    stock, base, kubernetes = "", None, None
    if images.pulled:
        stock = stock_node(versions)
        below = stock
    else:
        root = debian_roots.inputs(debian_roots.NODE, images.architecture)
        parts = {
            component.name: go_programs.inputs(component, "linux", images.architecture).key
            for component in go_programs.node_components(versions)
        }
        kubectl = python_wheels.inputs(
            labimages.LOCKS / "kubectl.txt", python_wheels.image_platform(images.architecture)
        )
        base = cache.Inputs(
            "node-base",
            {
                "root": root.key,
                "kind": versions.kind,
                "kubernetes": versions.kubernetes,
                "kubectl": kubectl.key,
                "content": image_layers.CONTENT,
                "files": cache.tree_digest(docker_images.DOCKERFILES / "node-base"),
                **parts,
            },
        )
        proxy = labimages.kube_proxy(images, versions)
        kubernetes = cache.Inputs(
            "node-kubernetes",
            {"base": base.key, "kube-proxy": proxy.key, "content": image_layers.CONTENT},
        )
        below = kubernetes.key
    lower = {inputs.kind: inputs.key for inputs in image_layers.lower_images(images)}
    lab = cache.Inputs("node-lab", {"below": below, "content": image_layers.CONTENT, **lower})
    top = {"proxy": images.proxy.key, "control": images.control.key}
    node = cache.Inputs("node", {"below": lab.key, **top})
    return NodeImagePlan(stock, base, kubernetes, lab, node)


def build_base(
    versions: Versions, node: NodeImagePlan, images: labimages.LabImagesPlan, task: Task
) -> None:
    """Build the image `node-base` from the Debian root, kind's files and the compiled programs."""
    assert node.base is not None
    root_inputs = debian_roots.inputs(debian_roots.NODE, images.architecture)
    if not docker_images.present([docker_images.tag(root_inputs)]):
        root = debian_roots.build(debian_roots.NODE, images.architecture, task)
        docker_images.import_root(root_inputs, root.path / "rootfs.tar", task)
    folders = {
        component.name: go_programs.build(component, "linux", images.architecture, task).path
        for component in go_programs.node_components(versions)
    }
    target = python_wheels.image_platform(images.architecture)
    kubectl = python_wheels.install(labimages.LOCKS / "kubectl.txt", target, task).path
    kind = go_programs.kind(versions)
    module = go_programs.module_folder(kind, "sigs.k8s.io/kind", versions.kind, task)

    def fill(layer: Tarball) -> None:
        add_kind_files(layer, module / "images" / "base" / "files")
        for name in ("kubelet", "kubeadm"):
            layer.file(f"usr/bin/{name}", folders["kubernetes"] / name, 0o755)
        layer.file("usr/bin/kubectl", kubectl / "site" / "bin" / "kubectl", 0o755)
        for name in go_programs.containerd(versions).programs:
            layer.file(f"usr/local/bin/{name}", folders["containerd"] / name, 0o755)
        for name in go_programs.cni_plugins(versions).programs:
            layer.file(f"opt/cni/bin/{name}", folders["cni-plugins"] / name, 0o755)
        layer.file("etc/cni/net.d/10-lab.conflist", _CNI % POD_SUBNET)
        layer.file("kind/version", f"v{versions.kubernetes}")
        # kind reads this file even when its configuration disables the default CNI.
        layer.file("kind/manifests/default-cni.yaml", "# the static CNI is in /etc/cni/net.d\n")
        layer.folder("etc/kubernetes/manifests")

    labimages.build_layer(node.base, docker_images.tag(root_inputs), fill, task)


def add_kind_files(layer: Tarball, files: Path) -> None:
    """Add kind's static files for a node image, which are in the folder `files`, to a layer.

    The files get the modes that kind's own Dockerfile gives them.
    """
    for path in sorted(files.rglob("*")):
        name = path.relative_to(files).as_posix()
        if path.is_file() and not name.startswith("LICENSES"):
            program = name.startswith(("usr/local/bin/", "kind/bin/"))
            layer.file(name, path, 0o755 if program else 0o644)


def build_kubernetes(
    versions: Versions, node: NodeImagePlan, images: labimages.LabImagesPlan, task: Task
) -> None:
    """Build the image `node-kubernetes`, and `node-base` below it if that is missing.

    `node-kubernetes` is `node-base` and, baked into it, the images that kubeadm needs: Kubernetes'
    control plane, CoreDNS, pause and kube-proxy.
    """
    assert node.base is not None
    assert node.kubernetes is not None
    if not docker_images.present([docker_images.tag(node.base)]):
        build_base(versions, node, images, task)
    labimages.build_base(images, task)
    proxy = labimages.kube_proxy(images, versions)
    programs = go_programs.build(
        go_programs.kubernetes(versions), "linux", images.architecture, task
    )
    if not docker_images.present([docker_images.tag(proxy)]):
        labimages.build_layer(
            proxy,
            docker_images.tag(images.base),
            lambda layer: layer.file(
                "usr/local/bin/kube-proxy", programs.path / "kube-proxy", 0o755
            ),
            task,
        )
    parent = cache_root() / "building"
    with tempfile.TemporaryDirectory(dir=parent, prefix=f"{node.kubernetes.key}.") as temporary:
        folder = Path(temporary)

        def compose(container: str) -> Sequence[oci.Image]:
            names = bake.image_names(container, versions.kubernetes)
            config = docker("exec", container, "cat", "/etc/containerd/config.toml").stdout
            sandbox = _SANDBOX.search(config)
            task.update("composing the control plane's images")
            return control_plane_images(
                versions, images, names, sandbox[1] if sandbox else "", folder, task
            )

        bake.bake(node.kubernetes, docker_images.tag(node.base), compose, task)


def control_plane_images(
    versions: Versions,
    images: labimages.LabImagesPlan,
    names: Sequence[str],
    sandbox: str,
    folder: Path,
    task: Task,
) -> list[oci.Image]:
    """Packs the images that a node needs to run Kubernetes, and returns them.

    `names` are the references that kubeadm lists. `sandbox` is the reference of the pause image
    that containerd's configuration names, or "" if it names none. The layers are packed into
    `folder`.
    """
    programs = {
        name: go_programs.build(component, "linux", images.architecture, task).path / name
        for component in go_programs.node_components(versions)
        for name in component.programs
    }

    def layer(*chosen: str) -> oci.Layer:
        target = folder / "layer.tar"
        with Tarball(target) as content:
            for name in chosen:
                content.file(f"usr/local/bin/{name}", programs[name], 0o755)
        with target.open("rb") as tar:
            packed = oci.pack(tar, folder)
        target.unlink()
        return packed

    def references_of(part: str) -> list[str]:
        return [name for name in names if re.search(rf"/{part}:", name)]

    shared, machine = [layer(*_CONTROL_PLANE)], images.architecture
    composed = [oci.image(references_of(part), shared, machine) for part in _CONTROL_PLANE]
    for part, program in (("coredns", "/usr/local/bin/coredns"), ("pause", "/usr/local/bin/pause")):
        references = references_of(part)
        if part == "pause" and sandbox and sandbox not in references:
            references.append(sandbox)
        composed.append(oci.image(references, [layer(part)], machine, entrypoint=[program]))
    proxy = docker_images.tag(labimages.kube_proxy(images, versions))
    return [*composed, *image_layers.saved_images({proxy: references_of("kube-proxy")}, {}, folder)]


def build_lab(node: NodeImagePlan, images: labimages.LabImagesPlan, below: str, task: Task) -> None:
    """Build the image `node-lab`: the image `below`, with the lower layers of our images in it."""
    lower = oci.load_images(image_layers.lower_layers(images, task).path)
    bake.bake(node.lab, below, lambda _: lower, task, tweak=True)


def build_node(node: NodeImagePlan, images: labimages.LabImagesPlan, task: Task) -> None:
    """Build the node image: `node-lab` with the images `proxy`, `control` and `nginx` baked in.

    `proxy` and `control` contain the current lab/mesh.
    """
    complete = image_layers.lab_images(images, task)
    bake.bake(node.node, docker_images.tag(node.lab), lambda _: complete, task)
