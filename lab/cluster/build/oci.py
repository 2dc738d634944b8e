"""Holds images as data and writes OCI archives of them, without the layers that a node has.

`ctr images import` imports such an archive. An image refers to each of its layers by the digest of
the layer's file (the blob). So an archive can leave out the layers that the node already has.
"""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab.cluster.build.tarball import EPOCH

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """Describes one layer of an image. Its file, the blob, can be compressed.

    `diff_id` is the digest of the uncompressed tar archive; `digest` and `size` are the blob's.
    """

    diff_id: str
    digest: str
    size: int
    media_type: str
    path: Path | None
    """The path of the blob; None when the folder from which the image was read lacks the blob."""


@dataclass(frozen=True)
class Image:
    """An image: its full references (docker.io/…:tag), its configuration (JSON) and its layers."""

    references: tuple[str, ...]
    config: bytes
    layers: tuple[Layer, ...]

    @property
    def manifest(self) -> bytes:
        """The image's manifest as JSON; the sha256 of the manifest is the image's digest."""
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": CONFIG,
                    "digest": digest(self.config),
                    "size": len(self.config),
                },
                "layers": [
                    {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
                    for layer in self.layers
                ],
            }
        )


def digest(data: bytes) -> str:
    """Returns the digest of the bytes, `sha256:…`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def pack(content: IO[bytes], folder: Path) -> Layer:
    """Compress a layer's tar archive into a blob in `folder`; return the layer.

    The blob's file name is its digest.
    """
    plain = hashlib.sha256()
    temporary = folder / "packing"
    # Level 1 is four times as fast as the default, for a tenth more bytes; a node reads them once.
    with temporary.open("wb") as out, gzip.GzipFile("", "wb", 1, out, mtime=0) as packed:
        while chunk := content.read(CHUNK):
            plain.update(chunk)
            packed.write(chunk)
    name = file_digest(temporary)
    path = temporary.rename(folder / name.replace(":", "-"))
    return Layer(f"sha256:{plain.hexdigest()}", name, path.stat().st_size, f"{LAYER}+gzip", path)


def file_digest(path: Path) -> str:
    """Returns the digest of a file, `sha256:…`."""
    with path.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


def image(
    references: Sequence[str],
    layers: Sequence[Layer],
    architecture: str,
    *,
    entrypoint: Sequence[str] = (),
) -> Image:
    """Returns an image that consists of exactly these layers, without a base image below them.

    Its PATH begins with /usr/local/bin, the folder of the layers' programs.
    """
    config: dict[str, object] = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]}
    if entrypoint:
        config["Entrypoint"] = list(entrypoint)
    return Image(
        tuple(references),
        _json(
            {
                "architecture": architecture,
                "os": "linux",
                "created": "2026-01-01T00:00:00Z",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            }
        ),
        tuple(layers),
    )


def from_docker(
    saved: Path,
    names: Mapping[str, Sequence[str]],
    known: Mapping[str, Layer],
    folder: Path,
) -> list[Image]:
    """Returns the images in `saved` (an archive of `docker save`) whose tags are in `names`.

    `names` maps an image's tag in Docker to the references that the returned image gets. `known`
    maps the diff ids of layers that are packed already to these layers; the other layers are packed
    into `folder`. Archives of old and of new Docker versions can be read, because both contain the
    file manifest.json.
    """
    layers = dict(known)
    images = []
    with tarfile.open(saved) as tar:
        listing = json.loads(_read(tar, "manifest.json"))
        for entry in listing:
            config = _read(tar, entry["Config"])
            diff_ids = json.loads(config)["rootfs"]["diff_ids"]
            for diff_id, member in zip(diff_ids, entry["Layers"], strict=True):
                if diff_id not in layers:
                    layers[diff_id] = _packed(tar, member, folder)
            for tag in entry["RepoTags"] or ():
                if tag in names:
                    chosen = tuple(layers[diff_id] for diff_id in diff_ids)
                    images.append(Image(tuple(names[tag]), config, chosen))
    return images


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    assert member is not None, name
    return member.read()


def _packed(tar: tarfile.TarFile, name: str, folder: Path) -> Layer:
    content = tar.extractfile(name)  # follows the links that old daemons write for shared layers
    assert content is not None, name
    if content.read(2) == b"\x1f\x8b":
        content.seek(0)
        return pack(gzip.GzipFile(fileobj=content), folder)  # type: ignore[arg-type]
    content.seek(0)
    return pack(content, folder)


def write_archive(images: Sequence[Image], present: Collection[str], out: IO[bytes]) -> int:
    """Write an OCI archive of `images` without the layers whose digest is in `present`.

    Returns the total size in bytes of the layers in the archive. Raises FileNotFoundError for a
    layer that has no file and is not in `present`.
    """
    written: set[str] = set(present)
    listed = []
    sent = 0
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _put(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        for img in images:
            for layer in img.layers:
                if layer.digest in written:
                    continue
                if layer.path is None:
                    raise FileNotFoundError(
                        f"the node lacks the layer {layer.digest}, and there is no file of it here"
                    )
                written.add(layer.digest)
                sent += layer.size
                with layer.path.open("rb") as content:
                    tar.addfile(_member(_blob(layer.digest), layer.size), content)
            for data in (img.config, img.manifest):
                name = digest(data)
                # Written even if the node has them: they are small, and `ctr` needs the manifest.
                if name not in written or name in present:
                    _put(tar, _blob(name), data)
                written.add(name)
            for reference in img.references:
                listed.append(
                    {
                        "mediaType": MANIFEST,
                        "digest": digest(img.manifest),
                        "size": len(img.manifest),
                        "annotations": {"io.containerd.image.name": reference},
                    }
                )
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
        _put(tar, "index.json", _json(index))
    return sent


def _blob(name: str) -> str:
    return f"blobs/{name.replace(':', '/')}"


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, EPOCH
    return member


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_member(name, len(data)), io.BytesIO(data))


def save_layers(images: Sequence[Image], folder: Path) -> None:
    """Write the file `images.json`, which describes the images, beside their blobs in `folder`.

    load_images reads this file.
    """
    layers = {layer.digest: layer for img in images for layer in img.layers}
    (folder / "images.json").write_text(
        json.dumps(
            {
                "layers": [
                    [layer.diff_id, layer.digest, layer.size, layer.media_type]
                    for layer in layers.values()
                ],
                "images": [
                    [
                        list(img.references),
                        img.config.decode(),
                        [layer.digest for layer in img.layers],
                    ]
                    for img in images
                ],
            },
            indent=1,
        )
    )


def load_images(folder: Path) -> list[Image]:
    """Returns the images that save_layers described in `folder`."""
    data = json.loads((folder / "images.json").read_text())
    layers = {}
    for diff_id, name, size, media_type in data["layers"]:
        path = folder / name.replace(":", "-")
        layers[name] = Layer(diff_id, name, size, media_type, path if path.is_file() else None)
    return [
        Image(tuple(references), config.encode(), tuple(layers[name] for name in chosen))
        for references, config, chosen in data["images"]
    ]


def by_diff_id(images: Sequence[Image]) -> dict[str, Layer]:
    """Returns the layers of the images as a mapping: diff id → layer."""
    return {layer.diff_id: layer for img in images for layer in img.layers}


def copy_blobs(images: Sequence[Image], folder: Path) -> None:
    """Copy the blobs of the images into `folder`, unless they are there already.

    A layer whose blob has no path is left out.
    """
    for layer in by_diff_id(images).values():
        target = folder / layer.digest.replace(":", "-")
        if layer.path is not None and not target.exists():
            shutil.copyfile(layer.path, target)
