"""`lab cache`: Go's caches are listed and pruned, and a build that runs is waited for."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from lab.cluster import cache_list
from lab.cluster.build import cache, go_programs
from lab.cluster.docker import client as docker_engine

DAY = 86400


@pytest.fixture(autouse=True)
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(docker_engine, "why_unreachable", lambda: "no daemon")
    folder = tmp_path / "go"
    for name, size in (("mod", 3000), ("build", 5000)):
        (folder / name / "x").mkdir(parents=True)
        (folder / name / "x" / "file").write_bytes(b"x" * size)
    (folder / "mod" / "x").chmod(0o500)  # as Go leaves it
    return folder


def old(go: Path, days: int) -> None:
    then = time.time() - days * DAY
    for path in (go / "mod", go / "build"):
        os.utime(path, (then, then))


def test_go_caches_are_listed_with_their_size(go: Path) -> None:
    sizes = {one["kind"]: one["size"] for one in json.loads(cache_list.as_json())["entries"]}
    assert sizes == {"go mod": 3000, "go build": 5000}
    assert "go mod" in cache_list.text()
    assert "Go's caches, 8 KiB" in cache_list.text()


def test_go_caches_are_pruned_when_nothing_was_compiled_for_as_long(go: Path) -> None:
    old(go, 3)
    cache_list.prune(4 * DAY, print)
    assert (go / "mod").is_dir()
    (go / "used").touch()
    cache_list.prune(2 * DAY, print)
    assert (go / "mod").is_dir()
    (go / "used").unlink()
    old(go, 3)
    assert "Go's caches, 8 KiB" in cache_list.prune(2 * DAY, print)
    assert not list(go.iterdir())
    assert cache_list.go_caches() == {}


@pytest.mark.parametrize("name", ["images", go_programs.COMPILING])
def test_prune_waits_for_a_build_that_runs(name: str, go: Path) -> None:
    said: list[str] = []
    heard = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        heard.set()

    with cache.named_lock(name):
        pruning = threading.Thread(target=lambda: cache_list.prune(0, say))
        pruning.start()
        assert heard.wait(20)
        assert (go / "mod").is_dir()
    pruning.join(20)
    assert said == ["a build runs: waiting for it to end"]
    assert not (go / "mod").exists()
