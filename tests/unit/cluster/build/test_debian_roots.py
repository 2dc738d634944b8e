"""Debian roots: where mmdebstrap works, and what is left of it."""

from pathlib import Path

import pytest

from lab.cluster.build import debian_roots
from lab.cluster.build.debian_record import Package
from lab.progress import Quiet


def test_mmdebstrap_works_below_the_cache_where_nobody_else_can_put_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path / "cache"))
    shared = tmp_path / "tmp"
    victim = tmp_path / "victim"
    (victim / "inner").mkdir(parents=True)
    (victim / "inner").chmod(0o500)
    shared.mkdir()
    (shared / "sidecar-lab-root-999999999-x").symlink_to(victim)
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    works: list[Path] = []

    def stream(words: object, *, env: dict[str, str], **_: object) -> None:
        works.append(Path(env["TMPDIR"]))
        assert works[-1].is_dir()

    monkeypatch.setattr(debian_roots, "stream", stream)
    monkeypatch.setattr(debian_roots, "ensure_mmdebstrap", lambda task: None)
    monkeypatch.setattr(
        debian_roots, "recorded_packages", lambda target: [Package("a", "1", "all", "")]
    )
    cut_off = (
        tmp_path
        / "cache"
        / "building"
        / f"{debian_roots.inputs(debian_roots.BASE, 'amd64').key}.work-x"
    )
    (cut_off / "etc").mkdir(parents=True)
    with Quiet().task("base") as task:
        debian_roots.build(debian_roots.BASE, "amd64", task)
    assert works[0].is_relative_to(tmp_path / "cache")
    assert not works[0].exists()
    assert not cut_off.exists()
    assert (victim / "inner").stat().st_mode & 0o777 == 0o500


def test_mmdebstrap_mounts_where_its_end_unmounts(tmp_path: Path) -> None:
    words = debian_roots.bootstrap(debian_roots.BASE, "amd64", tmp_path / "rootfs.tar", tmp_path)
    assert words[: words.index("mmdebstrap")] == ["unshare", "--mount", "--propagation", "private"]
