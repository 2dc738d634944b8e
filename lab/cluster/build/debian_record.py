"""Records the Debian packages of an image: name, version, architecture, SHA-256 of the .deb.

The record is in the image, in FOLDER: one file for each layer that holds packages, in the format
of Debian's control files. A later build can ask for the recorded versions: `pins` makes apt prefer
them, and `compare` returns the packages that came in another version.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from lab.errors import BuildError, HostError

FOLDER: Final = "usr/share/sidecar-lab/packages"
"""The record's folder in every image that has Debian packages."""
WANTED: Final = "SIDECAR_LAB_PACKAGES"
"""Environment variable: a file that `lab status --sbom` printed; builds install its versions."""
PIN_FILE: Final = "/etc/apt/preferences.d/sidecar-lab"
_FIELDS = "Package|Version|Architecture|SHA256"


@dataclass(frozen=True, order=True)
class Package:
    """One package. `sha256` is "" when the archive does not list the installed version."""

    name: str
    version: str
    architecture: str
    sha256: str


def recorder(root: str, apt: str = "apt-cache", name: str = "root") -> str:
    """Returns a shell command that writes the record of the Debian root at `root` ("" is /).

    The command writes it into that root, as FOLDER/`name`. `apt` is the apt-cache command that
    reads the root's package lists.
    """
    folder = f"{root}/{FOLDER}"
    return (
        f"mkdir -p {folder} && "
        f"dpkg-query --admindir={root}/var/lib/dpkg -W -f '${{binary:Package}}=${{Version}}\\n' | "
        f"xargs {apt} show | grep -E '^(({_FIELDS}):|$)' > {folder}/{name}"
    )


def parse(text: str) -> list[Package]:
    """Returns the packages of a record, sorted; of two entries for a package, the hash is kept.

    dpkg's entry has no hash, the archive's has one.
    """
    digests: dict[tuple[str, str, str], str] = {}
    for stanza in re.split(r"\n\s*\n", text):
        rows = [line.partition(": ") for line in stanza.splitlines()]
        fields = {key: value.strip() for key, _, value in rows}
        # dpkg's own list also holds packages that were removed.
        if not fields.get("Status", "installed").endswith("installed"):
            continue
        if fields.get("Package") and fields.get("Version"):
            key = (fields["Package"], fields["Version"], fields.get("Architecture", ""))
            digests[key] = fields.get("SHA256") or digests.get(key, "")
    return sorted(Package(*key, digest) for key, digest in digests.items())


def text(packages: Iterable[Package]) -> str:
    """Returns the record of the packages, in the form that `parse` reads."""
    return "\n".join(
        f"Package: {package.name}\nVersion: {package.version}\n"
        f"Architecture: {package.architecture}\nSHA256: {package.sha256}\n"
        for package in sorted(packages)
    )


def of_files(debs: Iterable[Path]) -> list[Package]:
    """Returns the packages of .deb files, from the file names that apt gives them.

    Raises BuildError for a file with another kind of name.
    """
    packages = []
    for deb in debs:
        parts = deb.name.removesuffix(".deb").split("_")
        if len(parts) != 3:
            raise BuildError(f"{deb.name} is not named as apt names a package")
        name, version, architecture = parts
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        packages.append(Package(name, unquote(version), architecture, digest))
    return sorted(packages)


def wanted(environ: Mapping[str, str] = os.environ) -> list[Package]:
    """Returns the packages of the record that the user named in WANTED; empty without one.

    Raises HostError for a file that is not a record, or that names no package.
    """
    file = environ.get(WANTED)
    if not file:
        return []
    try:
        packages = from_sbom(json.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(
            f"{WANTED} names {file}, which holds no record of packages: {error}",
            hint="`lab status --sbom > FILE` writes one",
        ) from error
    if not packages:
        raise HostError(
            f"{file} names no Debian package", hint="`lab status --sbom > FILE` writes a record"
        )
    return packages


def from_sbom(document: Mapping[str, Any]) -> list[Package]:
    """Returns the Debian packages of a CycloneDX document, sorted."""
    packages = set()
    for component in document["components"]:
        purl = component.get("purl", "")
        match = re.fullmatch(r"pkg:deb/debian/([^@?]+)@([^?]+)(?:\?(.*))?", purl)
        if match:
            architecture = parse_qs(match[3] or "").get("arch", [""])[0]
            hashes = component.get("hashes", [])
            digests = [row["content"] for row in hashes if row["alg"] == "SHA-256"]
            packages.add(
                Package(unquote(match[1]), unquote(match[2]), architecture, *(digests or [""]))
            )
    return sorted(packages)


def pins(packages: Iterable[Package]) -> str:
    """Returns apt preferences that choose these versions over newer ones; "" for no packages.

    apt ignores a preference for a version that the archive no longer has.
    """
    versions: dict[str, set[str]] = {}
    for package in packages:
        versions.setdefault(package.name, set()).add(package.version)
    return "\n".join(
        f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n"
        for name, several in sorted(versions.items())
        for version in sorted(several)
    )


def compare(recorded: Iterable[Package], installed: Iterable[Package]) -> dict[str, str]:
    """Returns name → "old → new" of the packages that came in another version than recorded.

    Raises BuildError when a package has the recorded version but another hash: the archive
    changed.
    """
    known: dict[str, dict[str, str]] = {}
    for package in recorded:
        known.setdefault(package.name, {})[package.version] = package.sha256
    moved = {}
    for package in installed:
        name, version, sha256 = package.name, package.version, package.sha256
        versions = known.get(name)
        if versions is None:
            continue
        if version not in versions:
            moved[name] = f"{' or '.join(sorted(versions))} → {version}"
        elif versions[version] and sha256 and versions[version] != sha256:
            raise BuildError(
                f"{name} {version} is not the package of the record: "
                f"SHA-256 {sha256}, recorded {versions[version]}",
                hint="the archive serves other bytes under the same version: find out why",
            )
    return moved
