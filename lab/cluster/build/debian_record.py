"""Records the Debian packages of an image: name, version, architecture, SHA-256 of the .deb.

The record is in the image, in FOLDER: one file for each layer that holds packages, in the format
of Debian's control files. A later build can ask for the recorded versions: `pins` makes apt prefer
these versions, and `compare` finds the packages that were installed in another version.
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
"""The folder of the record in each image of ours that has Debian packages; relative to /."""
WANTED: Final = "SIDECAR_LAB_PACKAGES"
"""The environment variable that names a saved output of `lab status --sbom`.

Builds install the package versions that this file lists.
"""
PIN_FILE: Final = "/etc/apt/preferences.d/sidecar-lab"
_FIELDS = "Package|Version|Architecture|SHA256"


@dataclass(frozen=True, order=True)
class Package:
    """One Debian package. `sha256` is the hash of the .deb file, or "" if it is not known.

    The hash is not known when Debian's package lists do not contain the installed version.
    """

    name: str
    version: str
    architecture: str
    sha256: str


def recorder(root: str, apt: str = "apt-cache", name: str = "root") -> str:
    """Returns a shell command that writes the record of the Debian root file system at `root`.

    `root` "" means the root of the system in which the command runs. The command writes the record
    to the file FOLDER/`name` in that root file system. `apt` is the apt-cache command that reads
    the package lists of that root file system.
    """
    folder = f"{root}/{FOLDER}"
    return (
        f"mkdir -p {folder} && "
        f"dpkg-query --admindir={root}/var/lib/dpkg -W -f '${{binary:Package}}=${{Version}}\\n' | "
        f"xargs {apt} show | grep -E '^(({_FIELDS}):|$)' > {folder}/{name}"
    )


def parse(text: str) -> list[Package]:
    """Parses a record, or dpkg's own list of packages, and returns the packages, sorted.

    The text may hold two entries for one package: one from dpkg without a hash, and one from
    Debian's package lists with a hash. Such a package is returned once, with the hash.
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
    """Returns the text of a record that lists the packages, in the format that `parse` reads."""
    return "\n".join(
        f"Package: {package.name}\nVersion: {package.version}\n"
        f"Architecture: {package.architecture}\nSHA256: {package.sha256}\n"
        for package in sorted(packages)
    )


def of_files(debs: Iterable[Path]) -> list[Package]:
    """Returns the packages in the .deb files, with the hash of each file, sorted.

    Name, version and architecture are taken from the file name, NAME_VERSION_ARCHITECTURE.deb, as
    apt writes it. Raises BuildError for a file whose name has another form.
    """
    packages = []
    for deb in debs:
        parts = deb.name.removesuffix(".deb").split("_")
        if len(parts) != 3:
            raise BuildError(
                f"{deb.name} is not a file name of the form NAME_VERSION_ARCHITECTURE.deb"
            )
        name, version, architecture = parts
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        packages.append(Package(name, unquote(version), architecture, digest))
    return sorted(packages)


def wanted(environ: Mapping[str, str] = os.environ) -> list[Package]:
    """Returns the packages that the user wants, from the file that the variable WANTED names.

    Returns an empty list when the variable is not set or empty. Raises HostError when the file
    cannot be read as an output of `lab status --sbom`, or lists no Debian package.
    """
    file = environ.get(WANTED)
    if not file:
        return []
    try:
        packages = from_sbom(json.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(
            f"{WANTED} names {file}, but the lab cannot read a list of packages from it: {error}",
            hint="`lab status --sbom > FILE` writes such a list",
        ) from error
    if not packages:
        raise HostError(
            f"{WANTED} names {file}, but this file lists no Debian package",
            hint="`lab status --sbom > FILE` writes a list of packages",
        )
    return packages


def from_sbom(document: Mapping[str, Any]) -> list[Package]:
    """Returns the Debian packages that a CycloneDX document (parsed JSON) lists, sorted."""
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
    """Returns the text of an apt preferences file that prefers these versions to newer ones.

    Returns "" when there are no packages. When Debian's package mirror no longer has a version,
    apt ignores the preference for it.
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
    """Returns the packages that were installed in another version than a recorded one.

    The result maps a package's name to the text "recorded version → installed version". Packages
    that are not in the record are ignored. Raises BuildError when a package has a recorded version
    but another hash than the record: then the package mirror serves another file under the same
    version. An unknown hash is not compared.
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
                hint="the package mirror serves another file under the same version: find out why",
            )
    return moved
