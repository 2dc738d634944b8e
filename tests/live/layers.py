"""What an image's layers hold, file by file, from `docker save`."""

import hashlib
import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SMALL = 4096
"""Bytes. Identical files up to this size cost less than the care to avoid them."""


@dataclass(frozen=True)
class Stored:
    """One regular file in one layer (from 0, the lowest)."""

    layer: int
    path: str
    size: int
    digest: str


def stored(archive: Path) -> list[Stored]:
    """Every regular file of every layer. Hard links are the same file, so they are not listed."""
    with tarfile.open(archive) as image:
        listed = image.extractfile("manifest.json")
        assert listed is not None
        (manifest,) = json.load(listed)
        found: list[Stored] = []
        for number, name in enumerate(manifest["Layers"]):
            blob = image.extractfile(name)
            assert blob is not None
            with tarfile.open(fileobj=blob, mode="r|*") as layer:
                found += _regular(number, layer)
    return found


def paths_twice(files: list[Stored]) -> list[str]:
    """Paths that more than one layer holds: the lower one is paid for and never seen."""
    where: dict[str, set[int]] = defaultdict(set)
    for file in files:
        where[file.path].add(file.layer)
    return sorted(path for path, layers in where.items() if len(layers) > 1)


def contents_twice(files: list[Stored]) -> list[str]:
    """Groups of different paths with the same content, bigger than SMALL, the dearest first."""
    same: dict[tuple[int, str], set[tuple[int, str]]] = defaultdict(set)
    for file in files:
        if file.size > SMALL:
            same[(file.size, file.digest)].add((file.layer, file.path))
    groups = sorted(((size, w) for (size, _), w in same.items() if len(w) > 1), reverse=True)
    return [
        f"{size} bytes: " + ", ".join(f"{path} (layer {layer})" for layer, path in sorted(where))
        for size, where in ((size, list(w)) for size, w in groups)
    ]


def _regular(number: int, layer: tarfile.TarFile) -> Iterator[Stored]:
    for member in layer:
        if not member.isreg():
            continue
        content = layer.extractfile(member)
        assert content is not None
        digest = hashlib.sha256()
        while chunk := content.read(1 << 20):
            digest.update(chunk)
        path = "/" + member.name.removeprefix("./").removeprefix("/")
        yield Stored(number, path, member.size, digest.hexdigest())
