"""The record of Debian packages: read, written, asked for again, and printed as a document."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cluster.build import debian_record, debian_roots
from lab.cluster.build.debian_record import Package
from lab.cluster.images import sbom
from lab.errors import BuildError, HostError

VERSIONS = st.from_regex(r"([0-9]:)?[0-9][0-9A-Za-z.+~-]{0,12}", fullmatch=True)
PACKAGES = st.builds(
    Package,
    name=st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,10}", fullmatch=True),
    version=VERSIONS,
    architecture=st.sampled_from(["amd64", "arm64", "all"]),
    sha256=st.just("") | st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
)
SEVERAL = st.lists(
    PACKAGES, max_size=6, unique_by=lambda one: (one.name, one.version, one.architecture)
)


@given(SEVERAL)
def test_a_record_is_read_as_it_was_written(packages: list[Package]) -> None:
    assert debian_record.parse(debian_record.text(packages)) == sorted(packages)


@given(SEVERAL)
def test_the_document_holds_what_a_build_from_it_asks_for(packages: list[Package]) -> None:
    made = sbom.cyclonedx({"node": ("sidecar-lab/node:1", packages)})
    assert debian_record.from_sbom(json.loads(json.dumps(made))) == sorted(packages)


def test_what_apt_cache_and_dpkg_print_is_read() -> None:
    text = (
        "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\nArchitecture: amd64\n\n"
        "Package: libc6\nVersion: 2.36-9\nArchitecture: amd64\nSHA256: aa\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n\n\n"
        "Package: b\nVersion: 2:4\nDescription: Package: c\n more\n"
    )
    assert debian_record.parse(text) == [
        Package("b", "2:4", "", ""),
        Package("libc6", "2.36-9", "amd64", "aa"),
    ]


def test_a_debs_name_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "vim_2%3a9.0-1+b1_arm64.deb").write_bytes(b"x")
    (found,) = debian_record.of_files(tmp_path.iterdir())
    assert (found.name, found.version, found.architecture) == ("vim", "2:9.0-1+b1", "arm64")
    (tmp_path / "odd.deb").write_bytes(b"x")
    with pytest.raises(BuildError, match="odd"):
        debian_record.of_files(tmp_path.iterdir())


def test_apt_is_made_to_prefer_the_versions_of_the_record() -> None:
    asked = [Package("b", "1", "amd64", "x"), Package("a", "2:3", "all", "")]
    assert debian_record.pins(asked) == (
        "Package: a\nPin: version 2:3\nPin-Priority: 1001\n\n"
        "Package: b\nPin: version 1\nPin-Priority: 1001\n"
    )
    assert debian_record.pins([]) == ""


def test_what_came_instead_is_told_and_other_bytes_are_refused() -> None:
    asked = [Package("a", "1", "all", "aa"), Package("b", "1", "all", "bb")]
    assert debian_record.compare(asked, asked) == {}
    newer = [
        Package("a", "2", "all", "cc"),
        Package("b", "1", "all", "bb"),
        Package("c", "1", "all", ""),
    ]
    assert debian_record.compare(asked, newer) == {"a": "1 → 2"}
    with pytest.raises(BuildError, match="b 1 is not the package of the record"):
        debian_record.compare(asked, [Package("b", "1", "all", "other")])


def test_a_record_that_is_asked_for_names_other_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = debian_roots.inputs(debian_roots.BASE, "amd64")
    file = tmp_path / "sbom.json"
    document = sbom.cyclonedx({"node": ("x:1", [Package("curl", "1", "amd64", "aa")])})
    file.write_text(json.dumps(document))
    monkeypatch.setenv(debian_record.WANTED, str(file))
    asked = debian_roots.inputs(debian_roots.BASE, "amd64")
    assert asked.key != plain.key
    words = [
        str(one)
        for one in debian_roots.bootstrap(debian_roots.BASE, "amd64", tmp_path, tmp_path, file)
    ]
    set_up = next(n for n, word in enumerate(words) if word.startswith("--setup-hook"))
    assert f'cp {file} "$1"{debian_record.PIN_FILE}' in words[set_up]
    assert words[-3] == f'--customize-hook=rm "$1"{debian_record.PIN_FILE}'


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"components": [1]}', '{"components": []}'])
def test_a_file_that_is_no_record_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "sbom.json"
    file.write_text(text)
    monkeypatch.setenv(debian_record.WANTED, str(file))
    with pytest.raises(HostError, match=r"sbom\.json"):
        debian_record.wanted()
    monkeypatch.setenv(debian_record.WANTED, str(tmp_path / "absent"))
    with pytest.raises(HostError, match="absent"):
        debian_record.wanted()


def test_one_package_in_two_images_is_in_the_document_once() -> None:
    one = Package("a", "1", "all", "aa")
    made = sbom.cyclonedx({"node": ("n:1", [one]), "proxy": ("p:2", [one])})
    refs = [entry["bom-ref"] for entry in made["components"]]
    assert refs == ["node", "proxy", "pkg:deb/debian/a@1?arch=all"]
    assert made["dependencies"][1] == {"ref": "proxy", "dependsOn": [refs[2]]}


def test_dpkg_alone_tells_of_what_has_no_record() -> None:
    recorded, alone = Package("a", "1", "all", "aa"), Package("b", "1", "all", "")
    status = [Package("a", "1", "all", ""), alone]
    assert sbom.merged([[recorded]], [status]) == [recorded, alone]
