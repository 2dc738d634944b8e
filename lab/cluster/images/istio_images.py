"""Builds images of real Istio: Istio's programs on the same base and the same Envoy as ours.

Only `lab up --mesh istio` needs these images, so they are not baked into the node image. That
command imports them into the node's containerd, but sends only the layers that the node lacks:
those with Istio's programs.
"""

from pathlib import Path

from lab.cluster.build import bake, cache, docker_images, oci
from lab.cluster.build.tarball import Tarball
from lab.cluster.images import image_layers, istio_programs, lab_images
from lab.cluster.images.ensure import ImageSource
from lab.cluster.versions import Versions
from lab.mesh import contract
from lab.progress import Progress, Task

HUB = "docker.io/sidecar-lab"
TAG = "istio"
PROXY_IMAGE = f"{HUB}/proxyv2:{TAG}"
PILOT_IMAGE = f"{HUB}/pilot:{TAG}"
TEMPLATE_PATH = "var/lib/istio/envoy/envoy_bootstrap_tmpl.json"
"""The path at which pilot-agent looks for the template of Envoy's bootstrap."""


def plan(images: lab_images.LabImagesPlan, versions: Versions) -> dict[str, cache.Inputs]:
    """Maps the reference of each image of Istio to the image's inputs; builds nothing."""
    parts = istio_programs.inputs(versions, images.architecture)
    programs = parts["istio"].key

    def named(kind: str, below: cache.Inputs, **values: str) -> cache.Inputs:
        files = cache.tree_digest(docker_images.DOCKERFILES / kind)
        base = {"base": below.key, "files": files, "programs": programs}
        return cache.Inputs(kind, {**base, **values})

    template = parts["template"].key
    return {
        PROXY_IMAGE: named("istio-proxy", images.proxy_base, template=template),
        PILOT_IMAGE: named("istio-pilot", images.base),
    }


def ensure(source: ImageSource, versions: Versions, progress: Progress) -> dict[str, str]:
    """Build the images of Istio that are missing; return the tag in Docker of each image.

    The result maps image references to tags. Raises BuildError.
    """
    images = lab_images.plan(docker_images.architecture(), source is ImageSource.PULL)
    planned = plan(images, versions)
    binaries = istio_programs.istio_binaries(progress, versions, images.architecture)
    tags = {reference: docker_images.tag(inputs) for reference, inputs in planned.items()}
    if docker_images.present(list(tags.values())) != set(tags.values()):
        with cache.named_lock("images"), progress.task("images of Istio") as task:
            lab_images.build_all(images, task, only=frozenset({"proxy-base"}))
            lab_images.build_base(images, task)
            _build(planned, images, binaries, task)
    return tags


def _build(
    planned: dict[str, cache.Inputs],
    images: lab_images.LabImagesPlan,
    binaries: istio_programs.IstioBinaries,
    task: Task,
) -> None:
    def proxy(layer: Tarball) -> None:
        layer.file(contract.PILOT_AGENT_PATH.lstrip("/"), binaries.pilot_agent, 0o755)
        layer.file(TEMPLATE_PATH, binaries.bootstrap_template)

    def pilot(layer: Tarball) -> None:
        layer.file("usr/local/bin/pilot-discovery", binaries.pilot_discovery, 0o755)

    for reference, below, fill in (
        (PROXY_IMAGE, images.proxy_base, proxy),
        (PILOT_IMAGE, images.base, pilot),
    ):
        if not docker_images.present([docker_images.tag(planned[reference])]):
            lab_images.build_layer(planned[reference], docker_images.tag(below), fill, task)


def load_into(container: str, source: ImageSource, versions: Versions, task: Task) -> int:
    """Import the images that `ensure` built into a running node.

    Returns the total size in bytes of the layers that the node lacked. Raises BuildError.
    """
    images = lab_images.plan(docker_images.architecture(), source is ImageSource.PULL)
    below = image_layers.lower_layers(images, task)
    packed = _packed(images, versions, below, task)
    lower = oci.load_images(below.path)
    known = {layer.digest: layer for layer in oci.by_diff_id(lower).values()}
    complete = [
        oci.Image(
            image.references,
            image.config,
            tuple(known.get(layer.digest, layer) for layer in image.layers),
        )
        for image in oci.load_images(packed.path)
    ]
    return bake.import_images(container, complete, task)


def _packed(
    images: lab_images.LabImagesPlan, versions: Versions, below: cache.Entry, task: Task
) -> cache.Entry:
    """Returns the cache entry with the images of Istio as data.

    If there is no entry, packs only the layers that the entry `below` (lower_layers) lacks.
    """
    planned = plan(images, versions)
    keys = {reference: inputs.key for reference, inputs in planned.items()}
    layers = cache.Inputs("istio-layers", {**keys, "below": image_layers.layers_digest(below)})

    def pack(folder: Path) -> cache.Facts:
        lower = oci.by_diff_id(oci.load_images(below.path))
        task.update("packing the layers of Istio's programs")
        names = {docker_images.tag(inputs): [reference] for reference, inputs in planned.items()}
        packed = image_layers.saved_images(names, lower, folder)
        oci.save_layers(packed, folder)
        return {"digests": {image.references[0]: oci.digest(image.manifest) for image in packed}}

    return cache.obtain(layers, pack, task=task)
