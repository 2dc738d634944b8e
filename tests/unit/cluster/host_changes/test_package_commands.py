"""Package commands: how they are marked and, after their lab has ended, found and ended."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lab.cluster.host_changes import package_commands
from lab.cluster.host_changes.package_commands import Process

DEAD = Process(2**22 - 1, 1.0)


def test_a_package_command_is_marked_from_its_first_moment(tmp_path: Path) -> None:
    show = [sys.executable, "-c", f"import os; print(os.environ[{package_commands.VARIABLE!r}])"]
    assert package_commands.run_logged(show, tmp_path / "log")
    me = Process.of(os.getpid())
    assert (tmp_path / "log").read_text().splitlines()[-1] == f"{me.pid} {me.born}"


def test_a_command_that_ends_while_it_is_looked_at_is_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marked = {**os.environ, package_commands.VARIABLE: f"{DEAD.pid} {DEAD.born}"}
    argv = [sys.executable, "-c", "input()"]
    child = subprocess.Popen(argv, env=marked, stdin=subprocess.PIPE)
    listed = [one for one in psutil.process_iter(["environ", "ppid"]) if one.pid == child.pid]
    monkeypatch.setattr(psutil, "process_iter", lambda _: listed)
    assert [one.pid for one in package_commands.orphans()] == [child.pid]

    def alive_and_then_gone(_: psutil.Process) -> bool:
        child.communicate(b"\n", timeout=10)
        return True

    monkeypatch.setattr(package_commands, "_alive", alive_and_then_gone)
    gone = package_commands.orphans()
    assert [one.pid for one in gone] == [child.pid]
    for one in gone:
        package_commands.end(one)
