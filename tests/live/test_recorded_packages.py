"""A Debian root built a second time from the record of the first (root; Debian's archive)."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lab.cluster.build import debian_record, debian_roots
from lab.cluster.build.debian_record import Package
from lab.cluster.images import sbom
from lab.progress import Quiet

pytestmark = pytest.mark.live
ROOT = debian_roots.Root("probe", ("ca-certificates",), ("jq",))


def build(architecture: str) -> tuple[list[Package], dict[str, str]]:
    """The packages of a new root, downloaded ones too, and what came in another version."""
    with Quiet().task("root") as task:
        made = debian_roots.build(ROOT, architecture, task)
    found = debian_roots.recorded_packages(made.path / "rootfs.tar")
    moved = made.facts["moved"]
    assert isinstance(moved, dict)
    return sorted([*found, *debian_record.of_files((made.path / "debs").glob("*.deb"))]), moved


def older(packages: list[Package]) -> Package:
    """One of the packages in a version that the archive has, too, but that is not the newest."""
    for one in packages:
        listed = subprocess.run(
            ["apt-cache", "show", one.name], capture_output=True, text=True, check=False
        ).stdout
        for other in debian_record.parse(listed):
            known = other.sha256 and other.architecture in (one.architecture, "all")
            if known and other.version < one.version:
                return other
    raise AssertionError("the archive has one version of everything: nothing to go back to")


def test_equal_names_versions_and_hashes_where_the_archive_still_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path / "cache"))
    words = ["dpkg", "--print-architecture"]
    architecture = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    first, moved = build(architecture)
    assert moved == {}
    assert all(len(one.sha256) == 64 for one in first)

    # In the record: one version that is no longer the newest, and one that nobody serves.
    back = older(first)
    lost = next(one for one in first if one.name == "jq")
    asked = {one.name: one for one in first} | {back.name: back}
    asked["jq"] = replace(lost, version="0.1-1", sha256="0" * 64)
    file = tmp_path / "record.json"
    document = sbom.cyclonedx({"root": ("root:1", list(asked.values()))})
    file.write_text(json.dumps(document))
    monkeypatch.setenv(debian_record.WANTED, str(file))
    second, moved = build(architecture)

    assert moved == {"jq": f"0.1-1 → {lost.version}"}
    expected = {**{one.name: one for one in first}, back.name: back}
    assert second == sorted(expected.values())
