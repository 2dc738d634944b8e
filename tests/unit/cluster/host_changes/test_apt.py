"""Packages that the lab installs: what is noted, what is marked, what is taken away again."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cluster.host_changes import apt, package_commands
from lab.cluster.host_changes.apt import InstallNote
from lab.cluster.host_changes.package_commands import Process
from lab.command import Completed

DEAD = Process(2**22 - 1, 1.0)


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "sbin" / "policy-rc.d"
    file.parent.mkdir()
    monkeypatch.setattr(apt, "POLICY", file)
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path / "cache"))
    return file


class Machine:
    """Answers to dpkg-query and apt-get's simulations; what is removed is noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.packages = {"bash": "installed", "old": "config-files"}
        self.also: list[str] = []
        self.done: list[Sequence[str]] = []
        monkeypatch.setattr(apt, "run", self.run)
        monkeypatch.setattr(package_commands, "run_logged", self.logged)
        monkeypatch.setattr(psutil, "process_iter", lambda _: [])

    def run(self, argv: Sequence[str], **_: object) -> Completed:
        rows = [f"{state} {name}" for name, state in self.packages.items()]
        if argv[0] == "apt-get" and argv[2] == "install":
            rows = ["Inst docker.io (20.10)", "Inst runc (1.1)", "Conf runc (1.1)"]
        elif argv[0] == "apt-get":
            rows = [f"Purg {name} [1]" for name in (*argv[3:], *self.also)]
        return Completed(tuple(argv), 0, "\n".join(rows), "", 0)

    def logged(self, argv: Sequence[str], log: Path) -> bool:
        self.done.append(argv)
        if "install" in argv:
            self.packages |= {"docker.io": "installed", "runc": "half-configured"}
        else:
            self.packages = {one: state for one, state in self.packages.items() if one not in argv}
        return True


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, policy: Path) -> Machine:
    return Machine(monkeypatch)


names = st.lists(st.sampled_from(["docker.io", "runc", "iptables", "theirs", "bash"]), unique=True)


@given(planned=names, before=names, now=names)
def test_only_what_was_planned_and_was_not_there_came_by_the_lab(
    planned: list[str], before: list[str], now: list[str]
) -> None:
    note = InstallNote(planned=tuple(planned), before=tuple(before))
    assert set(apt.added_packages(note, now)) == (set(now) & set(planned)) - set(before)


def test_what_was_installed_is_noted_and_removed(machine: Machine, tmp_path: Path) -> None:
    assert apt.install(["docker.io"], tmp_path / "log")
    assert apt.read().installed == ("docker.io", "runc")
    assert apt.read().owner is None
    assert apt.remove(tmp_path / "log") == []
    assert set(machine.packages) == {"bash", "old"}
    assert machine.done[-1][-2:] == ["docker.io", "runc"]


def test_no_package_of_the_users_is_upgraded(machine: Machine, tmp_path: Path) -> None:
    apt.install(["ca-certificates"], tmp_path / "log")
    assert "--no-upgrade" in machine.done[0]


def test_an_installation_cut_off_is_noted_by_the_next_command_without_what_others_did(
    machine: Machine, tmp_path: Path
) -> None:
    apt._save(InstallNote(planned=("docker.io", "runc"), before=("bash",), owner=DEAD))
    machine.packages |= {"docker.io": "unpacked", "theirs": "installed"}
    assert "interrupted" in apt.settle()
    assert apt.read() == InstallNote(installed=("docker.io",))
    assert apt.settle() == ""


def test_packages_that_others_need_by_now_stay(machine: Machine, tmp_path: Path) -> None:
    apt.install(["docker.io"], tmp_path / "log")
    machine.also = ["theirs"]
    (said,) = apt.remove(tmp_path / "log")
    assert said == "the packages docker.io, runc stay: theirs need them"
    assert "docker.io" in machine.packages
    assert apt.read().installed == ("docker.io", "runc")


class Daemon:
    info = {"name": "dockerd", "environ": None}  # noqa: RUF012 - as psutil has it


def test_packages_that_another_daemon_runs_from_stay(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt.install(["docker.io"], tmp_path / "log")
    monkeypatch.setattr(psutil, "process_iter", lambda _: [Daemon()])
    (said,) = apt.remove(tmp_path / "log")
    assert "a Docker daemon that is not the lab's uses them" in said


def policy_of(maker: Process) -> str:
    return f"#!/bin/sh\n{apt.MARK} {maker.pid} {maker.born}\nexit 101\n"


@pytest.mark.parametrize(
    ("text", "goes"),
    [
        (policy_of(DEAD), True),
        ("#!/bin/sh\nexit 101\n", False),
        ("#!/bin/sh\n# made by somebody else: sidecar-lab\nexit 101\n", False),
        ("", False),
    ],
)
def test_a_policy_file_goes_only_if_a_lab_that_ended_made_it(
    text: str, goes: bool, policy: Path, machine: Machine
) -> None:
    policy.write_text(text)
    assert bool(apt.settle()) == goes
    assert policy.exists() != goes


def test_a_lab_that_installs_now_is_left_alone(policy: Path, machine: Machine) -> None:
    maker = psutil.Process().parent()
    assert maker is not None
    policy.write_text(policy_of(Process.of(maker.pid)))
    assert apt.settle() == ""
    assert policy.exists()


def test_the_policy_is_whole_and_ours_while_packages_are_installed_and_gone_after(
    policy: Path, machine: Machine
) -> None:
    with apt._no_service_starts():
        if Path("/run/systemd/system").is_dir():
            assert not policy.exists()
        else:
            assert policy.read_text() == policy_of(Process.of(os.getpid()))
            assert policy.stat().st_mode & 0o777 == 0o755
            assert [one.name for one in policy.parent.iterdir()] == [policy.name]
    assert list(policy.parent.iterdir()) == []


def test_somebody_elses_policy_stays_as_it_is(policy: Path, machine: Machine) -> None:
    policy.write_text("theirs")
    with apt._no_service_starts():
        assert policy.read_text() == "theirs"
    assert policy.read_text() == "theirs"


PATIENT = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (time.sleep(0.3), print("ended well"), sys.exit(0)))
print("begun", flush=True)
time.sleep(60)
"""


def test_a_package_command_that_outlived_its_lab_is_asked_to_end_and_waited_for(
    policy: Path,
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PATIENT],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, package_commands.VARIABLE: f"{DEAD.pid} {DEAD.born}"},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    apt._save(InstallNote(owner=DEAD))
    started = time.monotonic()
    assert "interrupted" in apt.settle()
    assert time.monotonic() - started >= 0.3
    assert child.communicate(timeout=10)[0] == "ended well\n"
    assert child.returncode == 0


def test_the_package_command_of_a_lab_that_lives_is_left_alone(policy: Path) -> None:
    maker = Process.of(os.getpid())
    apt._save(InstallNote(owner=DEAD))
    with subprocess.Popen(
        ["sleep", "60"], env={**os.environ, package_commands.VARIABLE: f"{maker.pid} {maker.born}"}
    ) as child:
        assert apt.settle()
        assert child.poll() is None
        child.kill()
