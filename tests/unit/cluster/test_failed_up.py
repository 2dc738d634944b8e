"""An `up` that fails says what the lab knows of the cause; traces stay in the log."""

from dataclasses import replace
from pathlib import Path

import pytest

from lab.cluster import bringup, doctor, machine_findings
from lab.cluster import up as steps
from lab.cluster.machine import Host
from lab.cluster.node import kind
from lab.errors import BuildError, ClusterError, RefusedError
from lab.paths import LabPaths
from lab.progress import Quiet, Task
from tests.unit.cluster.hosts import BARE, SOUND

DATA = Path(__file__).parent / "data"
NO_SYSTEMD = "could not find a log line that matches"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("kind-no-systemd.log", [NO_SYSTEMD]),
        ("kind-refused.log", ["`docker run …` failed", "No command specified"]),
    ],
)
def test_of_kinds_log_the_cause_is_told_and_not_the_trace(log: str, said: list[str]) -> None:
    told = kind.cause((DATA / log).read_text())
    for words in said:
        assert words in told
    for noise in ("Stack Trace", "sigs.k8s.io", "goexit", "--hostname"):
        assert noise not in told
    assert len(told.splitlines()) <= 5


def test_kubeadms_own_reasons_are_told() -> None:
    rows = [
        "ERROR: failed to create cluster: failed to init node",
        "",
        "Command Output: I1 x.go:1]",
    ]
    rows += ["\t[ERROR NumCPU]: the number of CPUs 1 is less than 2", "noise", "Stack Trace: "]
    told = kind.cause("\n".join(["$ kind create cluster", *rows]))
    assert told.splitlines() == ["failed to init node", rows[3].strip()]


@pytest.mark.parametrize(("log", "said"), [("", "it printed nothing"), ("a\nb\n", "b")])
def test_a_log_without_an_error_is_told_by_its_end(log: str, said: str) -> None:
    assert kind.cause(log) == said


def test_a_creation_that_failed_names_cause_and_logs_and_shows_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stream(argv: object, *, logfile: Path, **_: object) -> None:
        logfile.write_text((DATA / "kind-no-systemd.log").read_text())
        raise BuildError("kind create cluster failed; its last lines: Stack Trace")

    monkeypatch.setattr(kind, "stream", stream)
    monkeypatch.setattr(kind, "collect_node_log", lambda name, file: file)
    plan = kind.ClusterPlan("x", "node:1", False, True, "1.37")
    with pytest.raises(ClusterError) as failed:
        kind.create(Path("kind"), plan, LabPaths("x", tmp_path), tmp_path / "kind.log", print)
    assert NO_SYSTEMD in failed.value.message
    assert "Stack Trace" not in failed.value.message
    assert str(tmp_path / "kind.log") in failed.value.hint


class Noting(Quiet):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def failing(monkeypatch: pytest.MonkeyPatch, step: str, error: Exception) -> None:
    def fail(_: bringup.Bringup, __: Task) -> None:
        raise error

    monkeypatch.setattr(steps, "STEPS", (bringup.BringUpStep(step, fail),))


FEW = replace(SOUND, inotify_instances=8)


def test_a_cluster_that_fails_for_too_few_inotify_instances_says_so_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "gather", lambda: FEW)
    error = ClusterError(f"kind could not create the cluster: {NO_SYSTEMD}", hint="kind's log is f")
    failing(monkeypatch, "cluster", error)
    shown = Noting()
    up = bringup.Bringup(LabPaths("x", tmp_path), bringup.Options(), shown)
    with pytest.raises(ClusterError) as failed:
        steps.bring_up(up)
    said = "\n".join(shown.notes)
    assert "inotify instances  8" in said
    assert "fix: sudo sysctl fs.inotify.max_user_instances=1024" in said
    assert failed.value.hint.splitlines() == [
        "first: sudo sysctl fs.inotify.max_user_instances=1024",
        "kind's log is f",
    ]


@pytest.mark.parametrize(
    ("step", "error", "host"),
    [
        ("certificates", ClusterError("x"), FEW),  # nothing of the machine bears on it
        ("images", BuildError("x"), FEW),
        ("cluster", ClusterError("x"), SOUND),
        ("cluster", RefusedError("x"), FEW),  # nothing failed
    ],
)
def test_nothing_is_said_where_nothing_bears_on_it(
    step: str, error: ClusterError, host: Host, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(doctor, "gather", lambda: host)
    failing(monkeypatch, step, error)
    shown = Noting()
    with pytest.raises(type(error)):
        steps.bring_up(bringup.Bringup(LabPaths("x", tmp_path), bringup.Options(), shown))
    assert shown.notes == []
    assert error.hint == ""


def test_a_doctor_that_fails_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gather() -> Host:
        raise OSError("gone")

    monkeypatch.setattr(doctor, "gather", gather)
    failing(monkeypatch, "cluster", ClusterError("the first fault"))
    with pytest.raises(ClusterError, match="the first fault"):
        steps.bring_up(bringup.Bringup(LabPaths("x", tmp_path), bringup.Options(), Quiet()))


def test_every_name_that_bears_on_a_step_is_one_that_doctor_gives() -> None:
    names = {one.name for host in (SOUND, BARE, *ODD) for one in doctor.judge(host)}
    assert {name for row in machine_findings.AFFECTS.values() for name in row} <= names
    assert set(machine_findings.AFFECTS) < {one.name for one in steps.STEPS}


ODD = [
    replace(SOUND, proxies={"HTTPS_PROXY": "http://p:1"}),
    replace(BARE, machine=replace(BARE.machine, wsl=True)),
]
