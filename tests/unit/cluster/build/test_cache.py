"""The store: one builder, whole entries only, whatever happens to a builder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.cluster.build import cache

BUILDER = """
import signal, sys, time
from pathlib import Path
from lab.cluster.build import cache
# Whoever runs the tests in the background ignores SIGINT, and hands that down.
signal.signal(signal.SIGINT, signal.default_int_handler)
def build(folder):
    (folder / "half").write_text("half")
    with open(sys.argv[1], "a") as marks:
        marks.write("started\\n")
    time.sleep(float(sys.argv[2]))
    (folder / "whole").write_text("whole")
    return {"by": "child"}
print(cache.obtain(cache.Inputs("thing", {"a": "1"}), build).path)
"""
THING = cache.Inputs("thing", {"a": "1"})


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def start(marks: Path, seconds: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(marks), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(marks: Path) -> None:
    deadline = time.monotonic() + 20
    while not (marks.exists() and marks.read_text()):
        assert time.monotonic() < deadline, "the builder did not start"
        time.sleep(0.02)


def test_the_key_depends_on_every_input_and_not_on_their_order() -> None:
    one = cache.Inputs("k", {"a": "1", "b": "2"})
    assert one.key == cache.Inputs("k", {"b": "2", "a": "1"}).key
    others = {
        cache.Inputs("k", {"a": "1"}).key,
        cache.Inputs("k", {"a": "1", "b": "3"}).key,
        cache.Inputs("x", {"a": "1", "b": "2"}).key,
    }
    assert len(others | {one.key}) == 4


def test_an_entry_is_built_once_and_says_from_what() -> None:
    def build(folder: Path) -> cache.Facts:
        (folder / "file").write_bytes(b"x" * 100)
        return {"version": "7"}

    made = cache.obtain(THING, build)
    again = cache.obtain(THING, lambda _: pytest.fail("built twice"))
    assert again.path == made.path
    assert made.inputs == {"a": "1"}
    assert made.facts == {"version": "7"}
    assert made.size == 100
    assert [one.key for one in cache.entries()] == [THING.key]


def test_a_builder_that_raises_leaves_nothing(root: Path) -> None:
    def build(folder: Path) -> cache.Facts:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.obtain(THING, build)
    assert cache.find(THING) is None
    assert list((root / "building").iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_builder_cut_off_leaves_no_entry_and_the_next_one_builds(
    how: signal.Signals, tmp_path: Path, root: Path
) -> None:
    cut = start(tmp_path / "marks", 60)
    wait_for(tmp_path / "marks")
    cut.send_signal(how)
    try:
        cut.communicate(timeout=20)
    finally:
        cut.kill()
        cut.communicate()
    assert cache.find(THING) is None

    def build(folder: Path) -> cache.Facts:
        (folder / "whole").write_text("whole")
        return {}

    made = cache.obtain(THING, build)
    assert not (made.path / "half").exists()
    assert list((root / "building").iterdir()) == []


def test_two_builders_at_once_build_once(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    both = [start(marks, 0.5), start(marks, 0.5)]
    said = [one.communicate(timeout=30) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert marks.read_text() == "started\n"


def test_prune_removes_the_unused_and_keeps_the_named(root: Path) -> None:
    def build(folder: Path) -> cache.Facts:
        inner = folder / "read-only"
        inner.mkdir()
        (inner / "file").write_text("x")
        inner.chmod(0o555)
        return {}

    kept = cache.obtain(cache.Inputs("a", {}), build)
    old = cache.obtain(cache.Inputs("b", {}), build)
    fresh = cache.obtain(cache.Inputs("c", {}), build)
    past = time.time() - 1000
    for entry in (kept, old):
        os.utime(entry.path / cache.MANIFEST, (past, past))
    (root / "building" / "0123.abc").mkdir()
    removed = cache.prune(unused_for=500, keep={kept.key})
    assert [one.key for one in removed] == [old.key]
    assert {one.key for one in cache.entries()} == {kept.key, fresh.key}
    assert list((root / "building").iterdir()) == []


def test_prune_leaves_an_entry_that_is_being_built(tmp_path: Path) -> None:
    builder = start(tmp_path / "marks", 1.0)
    wait_for(tmp_path / "marks")
    assert cache.prune() == []
    out, err = builder.communicate(timeout=30)
    assert builder.returncode == 0, err
    assert Path(out.strip(), "whole").read_text() == "whole"


def test_the_digest_of_a_tree_sees_names_and_content_but_no_bytecode(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = cache.tree_digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    assert cache.tree_digest(tmp_path) == first
    (tmp_path / "a").rename(tmp_path / "b")
    assert cache.tree_digest(tmp_path) != first
