"""A bundle is bounded, and a missing part is named instead of costing the others."""

from pathlib import Path

from lab.errors import ObservationError
from lab.observe.cluster import Cluster
from lab.scenario.failure.bundle import bounded, write_bundle, write_parts


def missing() -> str:
    raise ObservationError("Envoy does not answer")


def test_one_missing_part_is_named_and_the_rest_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "bundles" / "3.2"
    made = write_parts(
        folder,
        [("a/one.txt", lambda: "1"), ("envoy.txt", missing), ("two.txt", lambda: "2")],
        about="step 3.2 failed",
    )
    assert made.files == ("a/one.txt", "two.txt")
    assert made.missing == (("envoy.txt", "Envoy does not answer"),)
    assert (folder / "a" / "one.txt").read_text() == "1"
    index = (folder / "index.txt").read_text()
    assert index.startswith("step 3.2 failed\n")
    assert "missing: envoy.txt: Envoy does not answer" in index


def test_a_bundle_replaces_that_of_an_earlier_run(tmp_path: Path) -> None:
    write_parts(tmp_path / "x", [("old.txt", lambda: "1")])
    write_parts(tmp_path / "x", [("new.txt", lambda: "1")])
    assert sorted(file.name for file in (tmp_path / "x").iterdir()) == ["index.txt", "new.txt"]


def test_a_large_part_keeps_both_ends() -> None:
    data = bounded("first" + "x" * 5000 + "last", limit=1000)
    assert data.startswith(b"first")
    assert data.endswith(b"last")
    assert len(data) < 1100
    assert b"bytes left out" in data


def test_parts_after_the_time_limit_are_named(tmp_path: Path) -> None:
    made = write_parts(tmp_path / "x", [("late.txt", lambda: "1")], seconds=-1)
    assert made.files == ()
    assert "the time limit of" in made.missing[0][1]


def test_a_lab_that_does_not_answer_at_all_gives_an_index_of_what_is_missing(
    tmp_path: Path,
) -> None:
    with Cluster(tmp_path / "no-kubeconfig", "no-node", "no-image") as cluster:
        made = write_bundle(cluster, "jiuxi-ns", tmp_path / "x")
    assert made.files == ()
    assert {path for path, _ in made.missing} >= {"events.txt", "pods", "control/pods"}
    assert "no-kubeconfig" in (tmp_path / "x" / "index.txt").read_text()
