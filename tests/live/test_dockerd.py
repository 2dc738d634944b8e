"""A Docker daemon of the lab's own: started, killed, found dead, healed, stopped.

A second daemon beside the machine's: other socket, data and runtime folders, and a network
namespace of its own, for two daemons in one would take each other's bridge and rules away.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.cluster.docker import daemon, daemon_processes
from lab.cluster.docker.client import docker, why_unreachable
from lab.cluster.host_changes import network_rules, notes

pytestmark = pytest.mark.live


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    runtime = Path(f"/run/sidecar-lab-test-{os.getpid()}")
    real = shutil.which("dockerd")
    apart = tmp_path / "bin" / "dockerd"
    apart.parent.mkdir()
    apart.write_text(f'#!/bin/sh\nexec unshare -n "{real}" "$@"\n')
    apart.chmod(0o755)
    before = _links()
    monkeypatch.setenv("PATH", f"{apart.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{runtime}.sock")
    monkeypatch.setattr(daemon, "DEFAULT_SOCKET", Path(f"{runtime}.sock"))
    monkeypatch.setattr(daemon_processes, "EXEC_ROOT", runtime)
    # This test's network is not the daemon's; what that does to rules is in test_machine.py.
    nothing = notes.MachineState(network_rules.Rules(), (), {}, ())
    monkeypatch.setattr(notes, "look", lambda: nothing)
    yield runtime
    daemon.stop()
    assert daemon_processes.still_there() == []
    assert not runtime.exists()
    assert not ({"docker0"} & before) - _links()
    mounted = [one.mountpoint for one in psutil.disk_partitions(all=True)]
    assert not [place for place in mounted if place.startswith((str(tmp_path), str(runtime)))]


def _links() -> set[str]:
    return {one.name for one in Path("/sys/class/net").iterdir()}


def a_container() -> str:
    """A container that runs until it is removed, from an image of one static program."""
    sleep = Path(daemon_processes.home() / "image")
    sleep.mkdir(parents=True, exist_ok=True)
    source = sleep / "wait.c"
    source.write_text("#include <unistd.h>\nint main(void) { for (;;) pause(); }\n")
    subprocess.run(["cc", "-static", "-o", sleep / "wait", source], check=True)
    archive = subprocess.run(["tar", "-c", "-C", sleep, "wait"], capture_output=True, check=True)
    subprocess.run(["docker", "import", "-", "wait:1"], input=archive.stdout, check=True)
    made = docker("run", "-d", "--privileged", "--network", "none", "wait:1", "/wait")
    return made.stdout.strip()


def test_a_daemon_that_was_killed_is_healed_and_its_containers_went_on(own: Path) -> None:
    first = daemon.start()
    assert first is not None
    assert why_unreachable() == ""
    assert daemon.start() == first
    container = a_container()
    pid = int(docker("inspect", "-f", "{{.State.Pid}}", container).stdout)
    process = daemon_processes.process(first)
    assert process is not None
    os.kill(first.pid, signal.SIGKILL)
    process.wait(10)
    assert why_unreachable()
    assert daemon_processes.process(daemon_processes.recorded()) is None
    second = daemon.start()
    assert second is not None
    assert second.pid != first.pid
    assert docker("inspect", "-f", "{{.State.Pid}}", container).stdout.strip() == str(pid)
    assert psutil.pid_exists(pid)
    docker("rm", "-f", container)
    assert daemon.stop() == []
    assert why_unreachable()
    assert daemon.stop() is None


def test_pid_files_that_name_another_program_do_not_stop_the_daemon(own: Path) -> None:
    (own / "containerd").mkdir(parents=True)
    own.with_suffix(".pid").write_text(str(os.getpid()))
    (own / "containerd" / "containerd.pid").write_text(str(os.getpid()))
    Path(f"{own}.sock").touch()
    started = daemon.start()
    assert started is not None
    assert why_unreachable() == ""


def test_a_docker_host_elsewhere_is_no_reason_to_replace_a_daemon_that_runs(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = daemon.start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{own}-elsewhere.sock")
    assert why_unreachable()
    assert daemon.start() == first
