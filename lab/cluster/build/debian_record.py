"""Which Debian packages an image was made from: name, version, architecture, SHA-256 of the .deb.

The record lies in the image, in FOLDER, a file for each of its layers that holds packages, in the
form of Debian's own control files. What a record says can be asked for again: `pins` is what makes
apt prefer just those versions, and `compare` says what came instead.
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
"""In every image that has Debian packages."""
WANTED: Final = "SIDECAR_LAB_PACKAGES"
"""Names a file that `lab status --sbom` printed: builds take the versions that it names."""
PIN_FILE: Final = "/etc/apt/preferences.d/sidecar-lab"
_FIELDS = "Package|Version|Architecture|SHA256"


@dataclass(frozen=True, order=True)
class Package:
    """One package. `sha256` is "" where the archive no longer lists what is installed."""

    name: str
    version: str
    architecture: str
    sha256: str


def recorder(root: str, apt: str = "apt-cache", name: str = "root") -> str:
    """A shell command that writes the record of the Debian root at `root` ("" is /) into it.

    `apt` is the apt-cache that reads that root's lists of packages.
    """
    folder = f"{root}/{FOLDER}"
    return (
        f"mkdir -p {folder} && "
        f"dpkg-query --admindir={root}/var/lib/dpkg -W -f '${{binary:Package}}=${{Version}}\\n' | "
        f"xargs {apt} show | grep -E '^(({_FIELDS}):|$)' > {folder}/{name}"
    )


def parse(text: str) -> list[Package]:
    """The packages of a record, sorted; of two entries for one the archive's, with its hash."""
    found: dict[tuple[str, str, str], str] = {}
    for stanza in re.split(r"\n\s*\n", text):
        rows = [line.partition(": ") for line in stanza.splitlines()]
        fields = {key: value.strip() for key, _, value in rows}
        # Of dpkg's own list: what was removed is there, too.
        if not fields.get("Status", "installed").endswith("installed"):
            continue
        if fields.get("Package") and fields.get("Version"):
            key = (fields["Package"], fields["Version"], fields.get("Architecture", ""))
            found[key] = fields.get("SHA256") or found.get(key, "")
    return sorted(Package(*key, digest) for key, digest in found.items())


def text(packages: Iterable[Package]) -> str:
    """The record that `parse` reads."""
    return "\n".join(
        f"Package: {one.name}\nVersion: {one.version}\nArchitecture: {one.architecture}\n"
        f"SHA256: {one.sha256}\n"
        for one in sorted(packages)
    )


def of_files(debs: Iterable[Path]) -> list[Package]:
    """The packages of .deb files, by the names that apt gives them. Raises BuildError."""
    found = []
    for deb in debs:
        parts = deb.name.removesuffix(".deb").split("_")
        if len(parts) != 3:
            raise BuildError(f"{deb.name} is not named as apt names a package")
        name, version, architecture = parts
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        found.append(Package(name, unquote(version), architecture, digest))
    return sorted(found)


def wanted(environ: Mapping[str, str] = os.environ) -> list[Package]:
    """The packages of the record that the user asks for; none when nothing is asked for.

    Raises HostError for a file that is no record.
    """
    file = environ.get(WANTED)
    if not file:
        return []
    try:
        found = from_sbom(json.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(
            f"{WANTED} names {file}, which holds no record of packages: {error}",
            hint="`lab status --sbom > FILE` writes one",
        ) from error
    if not found:
        raise HostError(f"{file} names no Debian package", hint="`lab status --sbom > FILE`")
    return found


def from_sbom(document: Mapping[str, Any]) -> list[Package]:
    """The Debian packages of a CycloneDX document."""
    found = set()
    for one in document["components"]:
        match = re.fullmatch(r"pkg:deb/debian/([^@?]+)@([^?]+)(?:\?(.*))?", one.get("purl", ""))
        if match:
            architecture = parse_qs(match[3] or "").get("arch", [""])[0]
            digests = [row["content"] for row in one.get("hashes", []) if row["alg"] == "SHA-256"]
            found.add(
                Package(unquote(match[1]), unquote(match[2]), architecture, *(digests or [""]))
            )
    return sorted(found)


def pins(packages: Iterable[Package]) -> str:
    """Preferences for apt: these versions, also where newer ones are served; "" for none.

    A version that the archive no longer has is passed over by apt.
    """
    versions: dict[str, set[str]] = {}
    for one in packages:
        versions.setdefault(one.name, set()).add(one.version)
    return "\n".join(
        f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n"
        for name, several in sorted(versions.items())
        for version in sorted(several)
    )


def compare(asked: Iterable[Package], made: Iterable[Package]) -> dict[str, str]:
    """Name → "old → new" of packages that came in another version than asked for.

    Raises BuildError when one of an equal version has another hash: the archive was changed.
    """
    known: dict[str, dict[str, str]] = {}
    for one in asked:
        known.setdefault(one.name, {})[one.version] = one.sha256
    moved = {}
    for one in made:
        versions = known.get(one.name)
        if versions is None:
            continue
        if one.version not in versions:
            moved[one.name] = f"{' or '.join(sorted(versions))} → {one.version}"
        elif versions[one.version] and one.sha256 and versions[one.version] != one.sha256:
            raise BuildError(
                f"{one.name} {one.version} is not the package of the record: "
                f"SHA-256 {one.sha256}, recorded {versions[one.version]}",
                hint="the archive serves other bytes under the same version: find out why",
            )
    return moved
