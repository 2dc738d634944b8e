"""Packs our images as layers for a node.

After a change in lab/mesh, only the top layers (those that contain lab/mesh) are packed again.
"""

import hashlib
from pathlib import Path

from lab.cluster.build import cache, docker_images, oci
from lab.cluster.images import lab_images as labimages
from lab.mesh import contract
from lab.progress import Task

CONTENT = "1"
"""A version number in the inputs of our packed layers and of the stages of the node image.

Increase it after a change of the code here, in node_image.py or in bake.py that makes other images
from the same inputs; otherwise the lab continues to use the images in the cache.
"""


def lower_images(images: labimages.LabImagesPlan) -> tuple[cache.Inputs, ...]:
    """Returns the inputs of the images without lab/mesh: proxy-base, control-base and nginx.

    The images `proxy` and `control` add lab/mesh to the first two.
    """
    return images.proxy_base, images.control_base, images.nginx


def saved_images(
    names: dict[str, list[str]], known: dict[str, oci.Layer], folder: Path
) -> list[oci.Image]:
    """Returns images of the Docker daemon as data, with their layers packed as files.

    `names` maps an image's tag in Docker to its references in the node. `known` maps the diff ids
    of layers that are packed already to these layers; the other layers are packed into `folder`.
    """
    saved = folder / "saved.tar"
    docker_images.save(list(names), saved)
    try:
        return oci.from_docker(saved, names, known, folder)
    finally:
        saved.unlink()


def lower_layers(images: labimages.LabImagesPlan, task: Task) -> cache.Entry:
    """Returns the cache entry with the packed lower_images; packs them if there is no entry.

    As long as the lower images stay the same, every bake uses this entry.
    """
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

    Images that are packed without their lower layers have this digest in their inputs, because they
    fit only these lower layers. The cache key of the entry cannot be used instead: an image that is
    built again from the same inputs has the same key, but layers with other diff ids.
    """
    layers = lower.facts["layers"]
    assert isinstance(layers, dict)
    return hashlib.sha256("".join(sorted(layers)).encode()).hexdigest()


def top_layers(images: labimages.LabImagesPlan, task: Task) -> cache.Entry:
    """Returns the cache entry with the images `proxy` and `control` as data.

    If there is no entry, packs the top layers and makes one. The entry holds the files of the top
    layers only.
    """
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
    """Returns the images `proxy`, `control` and `nginx` for import into a node.

    Each of their layers has a file, so the import works whichever layers the node has.
    """
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
