"""Packs our images as layers for a node; a change in lab/mesh packs only the top layers again."""

import hashlib
from pathlib import Path

from lab.cluster.build import cache, docker_images, oci
from lab.cluster.images import lab_images as labimages
from lab.mesh import contract
from lab.progress import Task

CONTENT = "1"
"""Part of the inputs of every packed layer and of every stage of the node image.

Raise it when the code here, in node_image.py or in bake.py changes its images.
"""


def lower_images(images: labimages.LabImagesPlan) -> tuple[cache.Inputs, ...]:
    """Returns the inputs of the images below lab/mesh."""
    return images.proxy_base, images.control_base, images.nginx


def saved_images(
    names: dict[str, list[str]], known: dict[str, oci.Layer], folder: Path
) -> list[oci.Image]:
    """Returns images of the Docker daemon as data.

    `names` maps an image's tag to its references in the node. Layers in `known` (by diff id) are
    taken from there; the others are packed into `folder`.
    """
    saved = folder / "saved.tar"
    docker_images.save(list(names), saved)
    try:
        return oci.from_docker(saved, names, known, folder)
    finally:
        saved.unlink()


def lower_layers(images: labimages.LabImagesPlan, task: Task) -> cache.Entry:
    """Returns the entry with the images below lab/mesh, packed; later bakes use it again."""
    keys = {lower.kind: lower.key for lower in lower_images(images)}
    inputs = cache.Inputs("layers", {**keys, "content": CONTENT})

    def pack(folder: Path) -> cache.Facts:
        task.update("packing the lower layers of our images")
        names = {
            docker_images.tag(images.proxy_base): ["docker.io/sidecar-lab/proxy-base:lab"],
            docker_images.tag(images.control_base): ["docker.io/sidecar-lab/control-base:lab"],
            docker_images.tag(images.nginx): [contract.NGINX_IMAGE],
        }
        packed = saved_images(names, {}, folder)
        oci.save_layers(packed, folder)
        return {"layers": {layer.diff_id: layer.size for layer in oci.by_diff_id(packed).values()}}

    return cache.obtain(inputs, pack)


def layers_digest(lower: cache.Entry) -> str:
    """Returns the sha256 of the diff ids of an entry of lower_layers.

    It is part of the inputs of what is packed without its lower layers: that fits only these
    layers, and an image that is built again from the same inputs has others.
    """
    layers = lower.facts["layers"]
    assert isinstance(layers, dict)
    return hashlib.sha256("".join(sorted(layers)).encode()).hexdigest()


def top_layers(images: labimages.LabImagesPlan, task: Task) -> cache.Entry:
    """Returns the entry with the proxy and control images as data; packs only their top layers."""
    below = lower_layers(images, task)
    keys = {"proxy": images.proxy.key, "control": images.control.key}
    inputs = cache.Inputs("top-layers", {**keys, "below": layers_digest(below), "content": CONTENT})

    def pack(folder: Path) -> cache.Facts:
        lower = oci.by_diff_id(oci.load_images(below.path))
        names = {
            docker_images.tag(images.proxy): [contract.PROXY_IMAGE],
            docker_images.tag(images.control): [contract.CONTROL_IMAGE],
        }
        task.update("packing the layers of lab/mesh")
        packed = saved_images(names, lower, folder)
        oci.save_layers(packed, folder)
        return {"digests": {image.references[0]: oci.digest(image.manifest) for image in packed}}

    return cache.obtain(inputs, pack)


def lab_images(images: labimages.LabImagesPlan, task: Task) -> list[oci.Image]:
    """Returns the images proxy, control and nginx for import into a node, with every blob."""
    lower = oci.load_images(lower_layers(images, task).path)
    known = {layer.digest: layer for layer in oci.by_diff_id(lower).values()}
    top = [
        oci.Image(
            image.references,
            image.config,
            tuple(known.get(layer.digest, layer) for layer in image.layers),
        )
        for image in oci.load_images(top_layers(images, task).path)
    ]
    return [*top, *(image for image in lower if contract.NGINX_IMAGE in image.references)]
