"""Where there is no home, or none that can be written."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab import package_clients, paths
from lab.cluster.build import cache
from lab.mesh.errors import SidecarLabError


def test_a_user_without_a_home_is_told_how_to_place_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SIDECAR_LAB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: Path("~/.cache/x"))
    with pytest.raises(SidecarLabError, match="no home folder") as told:
        paths.cache_root()
    assert "SIDECAR_LAB_CACHE" in told.value.hint


def test_a_cache_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(SidecarLabError, match="cannot be made: Not a directory"):
        cache.named_lock("x")


@pytest.mark.parametrize(
    ("folder", "writable"), [("~/.cache/uv", False), ("{}/a/b", True), ("{}/file/b", False)]
)
def test_uv_goes_without_a_cache_where_it_could_not_write_one(
    folder: str, writable: bool, tmp_path: Path
) -> None:
    (tmp_path / "file").touch(mode=0o400)
    found = package_clients._writable(Path(folder.format(tmp_path)))
    assert found == writable


def test_pip_that_is_not_there_has_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    said = subprocess.CompletedProcess([], 1, b"", b"No module named pip")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: said)
    assert package_clients._ask_pip(sys.executable) == ({}, ())
