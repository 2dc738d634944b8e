"""`lab status --sbom`: the Debian packages of the lab's images, as one CycloneDX document.

Read out of the images themselves, which hold a record (debrecord.py); of a stock image only what
dpkg knows is had, without hashes. SIDECAR_LAB_PACKAGES makes a later build take these versions.
"""

import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from lab.cluster.build import debian_record
from lab.cluster.docker.client import docker
from lab.errors import ClusterError

DPKG: Final = "var/lib/dpkg"


def document(images: Mapping[str, str]) -> str:
    """The document (JSON) for images, role → reference. Raises ClusterError: one is gone."""
    found = {role: (reference, packages(reference)) for role, reference in images.items()}
    return json.dumps(cyclonedx(found), indent=1)


def packages(image: str) -> list[debian_record.Package]:
    """The Debian packages of one image in the daemon."""
    made = docker("create", "--network", "none", image, "none", check=False)
    if not made.ok:
        raise ClusterError(f"there is no image {image}: {made.stderr.strip()}", hint="`lab up`")
    container = made.stdout.strip()
    try:
        records = _texts(container, debian_record.FOLDER, "")
        status = _texts(container, DPKG, "status")
    finally:
        docker("rm", container, check=False)
    return merged(
        [debian_record.parse(one) for one in records], [debian_record.parse(one) for one in status]
    )


def merged(
    records: list[list[debian_record.Package]], status: list[list[debian_record.Package]]
) -> list[debian_record.Package]:
    """What the records say, and what dpkg alone knows of."""
    recorded = {one for several in records for one in several}
    named = {(one.name, one.version) for one in recorded}
    alone = {one for several in status for one in several if (one.name, one.version) not in named}
    return sorted(recorded | alone)


def _texts(container: str, folder: str, name: str) -> list[str]:
    """The texts of the files in a container's folder (only of `name`, when given)."""
    place = f"{container}:/{folder}/{name}".rstrip("/")
    done = subprocess.run(["docker", "cp", place, "-"], capture_output=True, check=False)
    if done.returncode != 0:
        return []
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        found = [tar.extractfile(member) for member in tar if member.isfile()]
        return [one.read().decode(errors="replace") for one in found if one is not None]


def cyclonedx(images: Mapping[str, tuple[str, list[debian_record.Package]]]) -> dict[str, Any]:
    """Role → (reference, packages) as a CycloneDX 1.6 document: no time, no serial, so equal for
    equal images. A package that several images hold is there once; `dependencies` says whose it is.
    """
    components: list[dict[str, Any]] = []
    depends = []
    known: dict[str, dict[str, Any]] = {}
    for role, (reference, found) in sorted(images.items()):
        name, _, version = reference.partition(":")
        components.append({"type": "container", "bom-ref": role, "name": name, "version": version})
        refs = set()
        for one in found:
            purl = f"pkg:deb/debian/{quote(one.name)}@{quote(one.version, safe='')}"
            purl += f"?arch={one.architecture}"
            entry = known.setdefault(
                purl,
                {"type": "library", "bom-ref": purl, "name": one.name, "version": one.version}
                | {"purl": purl},
            )
            if one.sha256:
                entry["hashes"] = [{"alg": "SHA-256", "content": one.sha256}]
            refs.add(purl)
        depends.append({"ref": role, "dependsOn": sorted(refs)})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "sidecar-lab"}},
        "components": [*components, *(known[purl] for purl in sorted(known))],
        "dependencies": depends,
    }
