"""The node image: Debian, kind's files and Kubernetes' programs; then our images baked in.

    root ── node-base ── node-kubernetes ── node-lab ── node
    stock kindest/node ──────────────────── node-lab ── node

`node-lab` holds the layers below lab/mesh, so that a change there bakes a few kilobytes.
"""

import hashlib
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
from lab.cluster.images import lab_images as labimages
from lab.cluster.versions import Versions, stock_node
from lab.mesh import contract
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
_CONTENT = "1"
"""To be raised when the code here or in bake.py makes another node image of the same inputs."""


@dataclass(frozen=True)
class Plan:
    """Inputs of each stage. Of a pulled node, the first two are empty and `stock` is set."""

    stock: str
    base: cache.Inputs | None
    kubernetes: cache.Inputs | None
    lab: cache.Inputs
    node: cache.Inputs


def plan(versions: Versions, images: labimages.Plan) -> Plan:
    """Name every stage by what it is made from; builds nothing."""
    stock, base, kubernetes = "", None, None
    if images.pulled:
        stock = stock_node(versions)
        below = stock
    else:
        root = debian_roots.inputs(debian_roots.NODE, images.architecture)
        parts = {
            one.name: go_programs.inputs(one, "linux", images.architecture).key
            for one in go_programs.node_components(versions)
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
                "content": _CONTENT,
                "files": cache.tree_digest(docker_images.DOCKERFILES / "node-base"),
                **parts,
            },
        )
        proxy = labimages.kube_proxy(images, versions)
        kubernetes = cache.Inputs(
            "node-kubernetes", {"base": base.key, "kube-proxy": proxy.key, "content": _CONTENT}
        )
        below = kubernetes.key
    lower = {one.kind: one.key for one in (images.proxy_base, images.control_base, images.nginx)}
    lab = cache.Inputs("node-lab", {"below": below, "content": _CONTENT, **lower})
    top = {"proxy": images.proxy.key, "control": images.control.key}
    return Plan(stock, base, kubernetes, lab, cache.Inputs("node", {"below": lab.key, **top}))


def build_base(versions: Versions, made: Plan, images: labimages.Plan, task: Task) -> None:
    """Root, kind's files and the programs: the image `node-base`."""
    assert made.base is not None
    root_inputs = debian_roots.inputs(debian_roots.NODE, images.architecture)
    if not docker_images.present([docker_images.tag(root_inputs)]):
        root = debian_roots.build(debian_roots.NODE, images.architecture, task)
        docker_images.import_root(root_inputs, root.path / "rootfs.tar", task)
    folders = {
        one.name: go_programs.build(one, "linux", images.architecture, task).path
        for one in go_programs.node_components(versions)
    }
    target = python_wheels.image_platform(images.architecture)
    kubectl = python_wheels.install(labimages.LOCKS / "kubectl.txt", target, task).path
    component = go_programs.kind(versions)
    module = go_programs.module_folder(component, "sigs.k8s.io/kind", versions.kind, task)

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
        # kind reads it even when it is told not to apply it.
        layer.file("kind/manifests/default-cni.yaml", "# the static CNI is in /etc/cni/net.d\n")
        layer.folder("etc/kubernetes/manifests")

    labimages.build_layer(made.base, docker_images.tag(root_inputs), fill, task)


def add_kind_files(layer: Tarball, files: Path) -> None:
    """kind's own static files, with the modes that its Dockerfile gives them."""
    for path in sorted(files.rglob("*")):
        name = path.relative_to(files).as_posix()
        if path.is_file() and not name.startswith("LICENSES"):
            program = name.startswith(("usr/local/bin/", "kind/bin/"))
            layer.file(name, path, 0o755 if program else 0o644)


def build_kubernetes(versions: Versions, made: Plan, images: labimages.Plan, task: Task) -> None:
    """The control plane's images, CoreDNS, pause and kube-proxy baked in: `node-kubernetes`."""
    assert made.base is not None
    assert made.kubernetes is not None
    if not docker_images.present([docker_images.tag(made.base)]):
        build_base(versions, made, images, task)
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
    with tempfile.TemporaryDirectory(dir=parent, prefix=f"{made.kubernetes.key}.") as made_folder:
        folder = Path(made_folder)

        def compose(container: str) -> Sequence[oci.Image]:
            names = bake.image_names(container, versions.kubernetes)
            config = docker("exec", container, "cat", "/etc/containerd/config.toml").stdout
            sandbox = _SANDBOX.search(config)
            task.update("composing the control plane's images")
            return control_plane_images(
                versions, images, names, sandbox[1] if sandbox else "", folder, task
            )

        bake.bake(made.kubernetes, docker_images.tag(made.base), compose, task)


def control_plane_images(
    versions: Versions,
    images: labimages.Plan,
    names: Sequence[str],
    sandbox: str,
    folder: Path,
    task: Task,
) -> list[oci.Image]:
    """The images named `names` (as kubeadm lists them) and `sandbox`, packed into `folder`."""
    programs = {
        name: go_programs.build(component, "linux", images.architecture, task).path / name
        for component in go_programs.node_components(versions)
        for name in component.programs
    }

    def layer(*chosen: str) -> oci.Layer:
        target = folder / "layer.tar"
        with Tarball(target) as content:
            for one in chosen:
                content.file(f"usr/local/bin/{one}", programs[one], 0o755)
        with target.open("rb") as tar:
            packed = oci.pack(tar, folder)
        target.unlink()
        return packed

    def named(part: str) -> list[str]:
        return [name for name in names if re.search(rf"/{part}:", name)]

    together = [layer(*_CONTROL_PLANE)]
    made = [oci.image(named(one), together, images.architecture) for one in _CONTROL_PLANE]
    for one, program in (("coredns", "/usr/local/bin/coredns"), ("pause", "/usr/local/bin/pause")):
        references = named(one)
        if one == "pause" and sandbox and sandbox not in references:
            references.append(sandbox)
        made.append(oci.image(references, [layer(one)], images.architecture, entrypoint=[program]))
    proxy = labimages.kube_proxy(images, versions)
    return [*made, *saved_images({docker_images.tag(proxy): named("kube-proxy")}, {}, folder)]


def saved_images(
    names: dict[str, list[str]], known: dict[str, oci.Layer], folder: Path
) -> list[oci.Image]:
    """Images of the Docker daemon as data: tag → references in the node."""
    saved = folder / "saved.tar"
    docker_images.save(list(names), saved)
    try:
        return oci.from_docker(saved, names, known, folder)
    finally:
        saved.unlink()


def lower_layers(made: Plan, images: labimages.Plan, task: Task) -> cache.Entry:
    """The images below lab/mesh as packed layers, kept for the bakes that follow."""
    keys = {one.kind: one.key for one in (images.proxy_base, images.control_base, images.nginx)}
    inputs = cache.Inputs("layers", {**keys, "content": _CONTENT})

    def pack(folder: Path) -> cache.Facts:
        task.update("packing the lower layers of our images")
        names = {
            docker_images.tag(images.proxy_base): ["docker.io/sidecar-lab/proxy-base:lab"],
            docker_images.tag(images.control_base): ["docker.io/sidecar-lab/control-base:lab"],
            docker_images.tag(images.nginx): [contract.NGINX_IMAGE],
        }
        packed = saved_images(names, {}, folder)
        oci.save_layers(packed, folder)
        return {"layers": {la.diff_id: la.size for la in oci.by_diff_id(packed).values()}}

    return cache.obtain(inputs, pack)


def layers_named(lower: cache.Entry) -> str:
    """What names just these layers: an image that is built again from the same inputs has
    others, and what was packed without its lower layers fits only those it was packed beside.
    """
    layers = lower.facts["layers"]
    assert isinstance(layers, dict)
    return hashlib.sha256("".join(sorted(layers)).encode()).hexdigest()


def top_layers(made: Plan, images: labimages.Plan, task: Task) -> cache.Entry:
    """The proxy and control images as data; only their top layers are packed here."""
    below = lower_layers(made, images, task)
    keys = {"proxy": images.proxy.key, "control": images.control.key}
    inputs = cache.Inputs("top-layers", {**keys, "below": layers_named(below), "content": _CONTENT})

    def pack(folder: Path) -> cache.Facts:
        lower = oci.by_diff_id(oci.load_images(below.path))
        names = {
            docker_images.tag(images.proxy): [contract.PROXY_IMAGE],
            docker_images.tag(images.control): [contract.CONTROL_IMAGE],
        }
        task.update("packing the layers of lab/mesh")
        packed = saved_images(names, lower, folder)
        oci.save_layers(packed, folder)
        return {"digests": {one.references[0]: oci.digest(one.manifest) for one in packed}}

    return cache.obtain(inputs, pack)


def lab_images(made: Plan, images: labimages.Plan, task: Task) -> list[oci.Image]:
    """Proxy, control and nginx as they are imported into a node, every blob at hand."""
    lower = oci.load_images(lower_layers(made, images, task).path)
    known = {layer.digest: layer for layer in oci.by_diff_id(lower).values()}
    top = [
        oci.Image(
            one.references,
            one.config,
            tuple(known.get(la.digest, la) for la in one.layers),
        )
        for one in oci.load_images(top_layers(made, images, task).path)
    ]
    return [*top, *(one for one in lower if contract.NGINX_IMAGE in one.references)]


def build_lab(made: Plan, images: labimages.Plan, below: str, task: Task) -> None:
    """The lower layers of our images baked in: `node-lab`."""
    lower = oci.load_images(lower_layers(made, images, task).path)
    bake.bake(made.lab, below, lambda _: lower, task, tweak=True)


def build_node(made: Plan, images: labimages.Plan, task: Task) -> None:
    """The last stage: proxy and control with today's lab/mesh."""
    complete = lab_images(made, images, task)
    bake.bake(made.node, docker_images.tag(made.lab), lambda _: complete, task)
