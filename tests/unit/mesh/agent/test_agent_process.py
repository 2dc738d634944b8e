"""The agent as a process, with real Envoy and a real xDS server."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab import mesh
from lab.mesh.agent.start import HANDLED_SIGNALS
from tests.unit.waiting import wait_for

# A process that leaves a grandchild behind which then dies: work for whoever reaps orphans.
SUBREAPER = (
    sys.executable, "-c",
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(36, 1)\n"  # PR_SET_CHILD_SUBREAPER: orphans come to us, as to PID 1
    "if os.fork() == 0:\n"
    "    if os.fork() == 0:\n"
    "        import time; time.sleep(2)\n"
    "    os._exit(0)\n"
    "os.wait()\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n",
)  # fmt: skip
Start = Callable[..., Any]


def blocks(status: Path, number: int) -> bool:
    (mask,) = (row for row in status.read_text().splitlines() if row.startswith("SigBlk:"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def hello(port: int) -> bool:
    """One request of its own connection, closed by us."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b"200 OK" in connection.recv(1000)
    except OSError:
        return False


@pytest.fixture
def up(agent: Start, discovery: Any) -> Any:
    running = agent(discovery.port)
    running.wait_ready()
    return running


def test_ready_only_after_discovery_gave_clusters_and_listeners(
    agent: Start, discovery: Any, authority: Any
) -> None:
    discovery.stop()
    running = agent(discovery.port, "--readyHold", "0s")
    running.until("the agent", lambda: running.ask("/healthz/live")[0] == 200)
    running.until("clusters missing", lambda: "clusters" in running.ask("/healthz/ready")[1])
    assert running.ask("/healthz/ready")[0] == 503


def test_ready_pod_serves_and_names_itself(up: Any, discovery: Any) -> None:
    assert hello(discovery.inbound)
    assert discovery.nodes[0].id == "sidecar~127.0.0.1~demo.default~default.svc.cluster.local"
    assert up.children() == [up.envoy()]
    status, text = up.ask("/stats/prometheus")
    assert status == 200
    assert "sidecar_agent_envoy_starts_total 1" in text
    assert "envoy_server_live" in text
    argv = psutil.Process(up.envoy()).cmdline()
    assert argv[1:3] == ["-c", str(up.folder / "envoy-rev0.json")]


def test_memory_of_a_working_agent_is_reported(up: Any, record_property: Any) -> None:
    resident = psutil.Process(up.process.pid).memory_info().rss / 2**20
    record_property("agent_resident_mib", round(resident, 1))
    print(f"agent resident: {resident:.1f} MiB")
    assert resident < 40


def test_killed_envoy_is_started_again_and_serves_within_two_seconds(
    up: Any, discovery: Any
) -> None:
    first = up.envoy()
    os.kill(first, signal.SIGKILL)
    began = time.monotonic()
    up.until("another Envoy", lambda: up.children() not in ([], [first]))
    up.until("traffic", lambda: hello(discovery.inbound))
    print(f"traffic back after {time.monotonic() - began:.2f} s")
    up.until("ready", up.ready)
    assert up.process.poll() is None
    assert up.metric("envoy_failures_total") == 1
    assert "was killed by SIGKILL" in up.log


def test_sigterm_drains_ends_with_0_and_leaves_nothing(up: Any) -> None:
    child = up.envoy()
    assert up.end() == 0
    assert gone(child)
    assert "drained" in up.log
    assert not (up.folder / "XDS").exists()


def test_sigterm_waits_for_an_active_connection_but_not_for_ever(up: Any, discovery: Any) -> None:
    with socket.create_connection(("127.0.0.1", discovery.inbound)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in idle.recv(1000)
        began = time.monotonic()
        assert up.end() == 0
        assert time.monotonic() - began >= 0.9
    assert "1 connections were still active" in up.log


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.03, 0.1, 0.3])
def test_a_signal_at_any_moment_of_the_start_ends_the_agent_in_order(
    discovery: Any, agent: Any, seconds: float
) -> None:
    # By the launcher's own first line: it makes signals wait before there is a Python.
    launcher = Path(mesh.__file__).parent / "launchers" / "pilot-agent"
    first = launcher.read_text().splitlines()[0]
    words = first.removeprefix("#!").split()
    before = [words[0], *words[2 : words.index("/usr/bin/python3")]]
    blocked = {f"SIG{name}" for name in before[1].partition("=")[2].split(",")}
    assert blocked == {number.name for number in HANDLED_SIGNALS}
    running = agent(discovery.port, before=before)
    status = Path(f"/proc/{running.process.pid}/status")
    wait_for("the first program, env, to block signals", lambda: blocks(status, signal.SIGTERM))
    time.sleep(seconds)  # the moment of the signal is the case
    assert running.end() == 0, running.log
    assert "ended" in running.log


def test_an_envoy_that_does_not_end_is_killed(up: Any) -> None:
    child = up.envoy()
    os.kill(child, signal.SIGSTOP)
    assert up.end() == 0
    assert gone(child)
    assert "SIGKILL" in up.log


def test_quitquitquit_ends_at_once_and_takes_post_only(up: Any) -> None:
    assert up.ask("/quitquitquit")[0] == 405
    assert up.ask("/quitquitquit", "POST")[0] == 200
    assert up.process.wait(5) == 0


def test_drain_makes_the_pod_unready_and_goes_on(up: Any) -> None:
    assert up.ask("/drain", "POST")[0] == 200
    assert up.ask("/healthz/ready") == (503, "draining\n")
    assert up.process.poll() is None


def test_changed_annotation_makes_a_new_revision_and_a_new_envoy(up: Any) -> None:
    first = up.envoy()
    text = 'proxy.istio.io/config="concurrency: 2\\nruntimeValues:\\n  a.b: 3"\n'
    (up.info / "annotations").write_text(text)
    up.until("another Envoy", lambda: up.children() not in ([], [first]))
    up.until("ready", up.ready)
    argv = psutil.Process(up.envoy()).cmdline()
    assert argv[2] == str(up.folder / "envoy-rev1.json")
    assert argv[-2:] == ["--concurrency", "2"]
    assert '"a.b": 3' in (up.folder / "envoy-rev1.json").read_text()
    assert up.metric("envoy_failures_total") == 0


def test_a_swapped_symlink_is_a_change_as_kubelet_makes_it(agent: Start, discovery: Any) -> None:
    running = agent(discovery.port)
    running.wait_ready()
    first = running.envoy()
    for name, workers in (("..1", 2), ("..2", 3)):
        (running.info / name).mkdir()
        text = f'proxy.istio.io/config="concurrency: {workers}"\n'
        (running.info / name / "annotations").write_text(text)
    (running.info / "..data").symlink_to("..1")
    (running.info / "annotations").unlink(missing_ok=True)
    (running.info / "annotations").symlink_to("..data/annotations")
    running.until("revision 1", lambda: running.metric("envoy_revision") == 1)
    (running.info / "..new").symlink_to("..2")
    (running.info / "..new").replace(running.info / "..data")
    running.until("revision 2", lambda: running.metric("envoy_revision") == 2)
    running.until("ready", running.ready)
    assert running.envoy() != first


def test_a_label_reaches_the_next_envoy_and_starts_none(up: Any, discovery: Any) -> None:
    first = up.envoy()
    (up.info / "labels").write_text('app="renamed"\n')
    up.until("revision 1", lambda: up.metric("envoy_revision") == 1)
    assert up.children() == [first]
    assert up.ready()
    os.kill(first, signal.SIGKILL)
    up.until("another Envoy", lambda: up.children() not in ([], [first]))
    up.until("ready", up.ready)
    assert discovery.nodes[-1].cluster == "renamed.default"


def test_what_envoy_does_not_see_starts_no_envoy(up: Any) -> None:
    first = up.envoy()
    (up.info / "annotations").write_text('note="nothing of Envoy\'s"\n')
    up.process.send_signal(signal.SIGHUP)
    up.until("a look", lambda: "Envoy's part of it has not changed" in up.log)
    assert up.children() == [first]


def test_an_unusable_change_is_refused_and_the_old_goes_on(up: Any) -> None:
    first = up.envoy()
    (up.info / "annotations").write_text('proxy.istio.io/config="concurrency: many"\n')
    up.until("a refusal", lambda: "field 'concurrency' must be a int" in up.log)
    assert up.children() == [first]
    assert up.ready()


def test_a_rotated_ca_makes_the_xds_connection_prove_itself_again(up: Any, authority: Any) -> None:
    before = up.metric("xds_connections_total")
    authority.ca.write_bytes(authority.ca.read_bytes() + b"\n")
    up.until("a new connection", lambda: up.metric("xds_connections_total") > before)
    up.until("connected", lambda: up.metric("xds_active") == 1)
    assert up.ready()


def test_orphans_are_reaped(agent: Start, discovery: Any) -> None:
    running = agent(discovery.port, "--log_output_level", "debug", before=SUBREAPER)
    running.wait_ready()
    running.until("the orphan reaped", lambda: running.metric("orphans_total") == 1)
    assert running.children() == [running.envoy()]


def test_an_envoy_that_cannot_start_ends_the_agent_with_a_hint(
    agent: Start, discovery: Any
) -> None:
    running = agent(discovery.port, "--binaryPath", "/nonexistent/envoy")
    assert running.process.wait(10) == 1
    assert "error: Envoy could not be started: /nonexistent/envoy" in running.log
    assert "hint: " in running.log


@pytest.mark.parametrize("name", ["POD_NAME", "POD_NAMESPACE", "INSTANCE_IP"])
def test_without_a_pod_the_missing_variable_is_named(
    agent: Start, discovery: Any, name: str
) -> None:
    running = agent(discovery.port, env={name: ""})
    assert running.process.wait(10) == 1
    assert f"error: {name}: not set" in running.log
    assert Path(running.logfile).read_text().count("\n") == 2
