"""Which Go builds, that it names what it built, and that it never writes into the checkout."""

import stat
from pathlib import Path

import pytest

from lab.cluster.build import cache, go_programs, go_tool
from lab.cluster.versions import DEFAULT
from lab.errors import BuildError
from lab.progress import Quiet

GO = """#!/bin/sh
case "$1" in
  version) echo "go version {said} linux/amd64" ;;
  env) echo '{{"GOPROXY": "https://proxy.example", "GOFLAGS": "-mod=mod"}}' ;;
  mod) echo "in $PWD" >> go.sum; echo spoilt >> go.mod; env > "{seen}" ;;
  list) if [ "$2" = -m ]; then echo /module; else echo one; fi ;;
  build) while [ "$1" != -o ]; do shift; done; echo program > "$2" ;;
esac
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    monkeypatch.setenv("GOAMD64", "v4")
    return say(tmp_path, monkeypatch, "go1.90.1")


def say(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> Path:
    file = folder / version.replace(" ", "-") / "go"
    file.parent.mkdir()
    file.write_text(GO.format(said=version, seen=folder / "seen"))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{file.parent}:/usr/bin:/bin")
    return file


def key() -> str:
    return go_programs.inputs(go_programs.kind(DEFAULT), "linux", "amd64").key


def test_another_go_makes_another_entry(
    go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {key()}
    for version in ("go1.90.2", "go1.90.1 X:noinline", "devel go1.91-3f2 Tue"):
        say(tmp_path, monkeypatch, version)
        keys.add(key())
    assert len(keys) == 4


def test_a_go_that_is_too_old_is_passed_over_for_the_locked_one(
    go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert go_tool.chosen((1, 90)).command == go
    say(tmp_path, monkeypatch, "go1.2.3")
    assert go_tool.chosen((1, 90)) == go_tool.Toolchain(None, f"go{go_tool.locked()}")
    with pytest.raises(BuildError, match=r"older than 1\.99"):
        go_tool.command(go_tool.chosen((1, 99)), (1, 99), Quiet().task("x").__enter__())


def test_a_build_leaves_the_checkout_as_it_was_and_hears_no_setting_of_the_user(
    go: Path, tmp_path: Path
) -> None:
    component = go_programs.pause()
    before = cache.tree_digest(component.source)
    with Quiet().task("x") as task:
        made = go_programs.build(component, "linux", "amd64", task)
        assert go_programs.module_folder(component, "m", "v1", task) == Path("/module")
    assert cache.tree_digest(component.source) == before
    assert made.facts["go"] == "go1.90.1"
    assert (made.path / "pause").read_text() == "program\n"
    heard = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    assert heard["GOENV"] == "off"
    assert heard["GOPROXY"] == "https://proxy.example"
    assert not {"GOFLAGS", "GOAMD64"} & set(heard)
    assert list((tmp_path / "cache" / "building").iterdir()) == []
