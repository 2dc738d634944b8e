"""Lists the Debian packages of the lab's images in one CycloneDX document.

The command `lab status --sbom` prints this document.

The packages are read from the record in each image (debian_record.py) and from dpkg's own list. A
stock image has no record, so its packages are listed without hashes. When the environment variable
SIDECAR_LAB_PACKAGES names a saved document, a later build installs the versions that it lists.
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
    """Returns the JSON text of the document. `images` maps each image's role to its reference.

    Raises ClusterError when the daemon lacks an image.
    """
    listed = {role: (reference, packages(reference)) for role, reference in images.items()}
    return json.dumps(cyclonedx(listed), indent=1)


def packages(image: str) -> list[debian_record.Package]:
    """Returns the Debian packages of an image in the daemon.

    Raises ClusterError when the daemon lacks the image.
    """
    created = docker("create", "--network", "none", image, "none", check=False)
    if not created.ok:
        raise ClusterError(
            f"Docker does not have the image {image}: {created.stderr.strip()}",
            hint="`lab up` builds the lab's images",
        )
    container = created.stdout.strip()
    try:
        records = _texts(container, debian_record.FOLDER, "")
        status = _texts(container, DPKG, "status")
    finally:
        docker("rm", container, check=False)
    return merged(
        [debian_record.parse(text) for text in records],
        [debian_record.parse(text) for text in status],
    )


def merged(
    records: list[list[debian_record.Package]], status: list[list[debian_record.Package]]
) -> list[debian_record.Package]:
    """Returns all packages in the records, and those in dpkg's list that are in no record.

    `records` holds the packages of each record in an image, `status` those of dpkg's list.
    """
    recorded = {package for packages in records for package in packages}
    known = {(package.name, package.version) for package in recorded}
    listed = {package for packages in status for package in packages}
    unrecorded = {package for package in listed if (package.name, package.version) not in known}
    return sorted(recorded | unrecorded)


def _texts(container: str, folder: str, name: str) -> list[str]:
    """Returns the texts of all files in a container's folder, or only of the file `name`.

    `name` "" means all files. Returns an empty list if the folder or file does not exist.
    """
    path = f"{container}:/{folder}/{name}".rstrip("/")
    copied = subprocess.run(["docker", "cp", path, "-"], capture_output=True, check=False)
    if copied.returncode != 0:
        return []
    with tarfile.open(fileobj=io.BytesIO(copied.stdout)) as tar:
        files = [tar.extractfile(member) for member in tar if member.isfile()]
        return [file.read().decode(errors="replace") for file in files if file is not None]


def cyclonedx(images: Mapping[str, tuple[str, list[debian_record.Package]]]) -> dict[str, Any]:
    """Returns a CycloneDX 1.6 document that lists the images and their packages.

    `images` maps an image's role in the lab to its reference and packages. The document contains no
    time and no serial number, so equal images give equal documents. A package that several images
    contain is listed once; the field `dependencies` tells which image contains which packages.
    """
    components: list[dict[str, Any]] = []
    depends = []
    known: dict[str, dict[str, Any]] = {}
    for role, (reference, listed) in sorted(images.items()):
        name, _, version = reference.partition(":")
        components.append({"type": "container", "bom-ref": role, "name": name, "version": version})
        refs = set()
        for package in listed:
            purl = f"pkg:deb/debian/{quote(package.name)}@{quote(package.version, safe='')}"
            purl += f"?arch={package.architecture}"
            entry = known.setdefault(
                purl,
                {"type": "library", "bom-ref": purl, "name": package.name}
                | {"version": package.version, "purl": purl},
            )
            if package.sha256:
                entry["hashes"] = [{"alg": "SHA-256", "content": package.sha256}]
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
