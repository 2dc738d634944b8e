"""`lab up`, interrupted at ten moments spread over its duration, is completed by the next `up`.

Eight times by SIGINT as Ctrl-C does, twice by SIGKILL, which lets nothing be put in order.
A lab of its own name. Prints each moment with the step it hit:
`pytest -m live -s tests/live/test_interrupts.py`.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.cluster import state
from lab.cluster.node import leftovers
from lab.kube.client import KubeApi
from lab.kube.paths import Object, named
from lab.kube.watch import watch
from lab.mesh import contract
from lab.paths import lab_paths

pytestmark = pytest.mark.live

NAME = "interrupts"
LAB = [sys.executable, "-m", "lab"]
MOMENTS = 10
KILLED = frozenset({3, 7})
STEP = re.compile(r"^(ok|FAIL|stop|\.\.\.)\s+(\S.*?)\s{2,}")
POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "after-interrupt",
        "namespace": "default",
        "labels": {contract.INJECT_POD_LABEL: "true"},
    },
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {"name": "nginx", "image": contract.NGINX_IMAGE, "imagePullPolicy": "IfNotPresent"}
        ],
    },
}
PODS = "/api/v1/namespaces/default/pods"


@dataclass(frozen=True)
class Ended:
    """How an `up` ended: exit code, all it printed, seconds."""

    code: int
    text: str
    seconds: float

    @property
    def step(self) -> str:
        """The step whose line is the last, or what a kill kept from printing one."""
        rows = [found for row in self.text.splitlines() if (found := STEP.match(row))]
        if not rows:
            return "the start"
        return f"after {rows[-1][2]}" if rows[-1][1] == "ok" else rows[-1][2]


def up(interrupt_at: float | None = None, how: signal.Signals = signal.SIGINT) -> Ended:
    """Run `lab up`; with `interrupt_at`, signal its process group after so many seconds."""
    started = time.monotonic()
    process = subprocess.Popen(
        [*LAB, "up", "--name", NAME],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A test run in the background ignores SIGINT, and would hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        text, _ = process.communicate(timeout=interrupt_at or 400)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, how)
        text, _ = process.communicate(timeout=60)
    return Ended(process.returncode, text, time.monotonic() - started)


def interrupted(share: float, duration: float, how: signal.Signals) -> Ended:
    """An `up` that was interrupted; tried earlier when this machine was faster than before."""
    for _ in range(5):
        ended = up(share * duration, how)
        if ended.code != 0:
            return ended
        down()
        duration *= 0.8
    pytest.fail("`lab up` was always over before it could be interrupted")


def down() -> str:
    done = subprocess.run(
        [*LAB, "down", "--name", NAME], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def lab_of_its_own() -> Iterator[None]:
    down()
    yield
    said = down()
    assert "left over: 0" in said


@pytest.fixture(scope="module")
def duration() -> float:
    """Seconds that an `up` from nothing takes here, with warm caches."""
    ended = up()
    assert ended.code == 0, ended.text
    assert_an_injected_pod_becomes_ready()
    down()
    print(f"\nfrom nothing to a proven lab: {ended.seconds:.1f} s")
    return ended.seconds


def assert_an_injected_pod_becomes_ready() -> None:
    api = KubeApi.from_file(lab_paths(NAME).kubeconfig)
    api.request("POST", PODS, POD)
    last: Object = {}
    try:
        for pods in watch(api, PODS, 60, named("after-interrupt")):
            last = pods[0] if pods else {}
            conditions = last.get("status", {}).get("conditions", [])
            if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                break
        else:
            pytest.fail(f"the injected pod did not become READY: {last.get('status')}")
        names = [one["name"] for one in last["spec"]["containers"]]
        assert contract.PROXY_CONTAINER in names
    finally:
        api.request("DELETE", f"{PODS}/after-interrupt")
        for pods in watch(api, PODS, 60, named("after-interrupt")):
            if not pods:
                break
        api.close()


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_an_interrupted_up_is_completed_by_the_next(moment: int, duration: float) -> None:
    how = signal.SIGKILL if moment in KILLED else signal.SIGINT
    first = interrupted((moment + 0.5) / MOMENTS, duration, how)
    print(f"\n{how.name} at {first.seconds:.1f} s of {duration:.1f}: hit {first.step!r}", end="")
    assert "Traceback" not in first.text, first.text
    if how is signal.SIGINT:
        assert first.code == 130, first.text
        assert "run the same command again" in first.text
    second = up()
    assert second.code == 0, second.text
    assert_an_injected_pod_becomes_ready()
    print(f", completed in {second.seconds:.1f} s", flush=True)
    assert state.load(lab_paths(NAME)).phase == "ready"
    assert "left over: 0" in down()
    assert not leftovers.named_namespaces(NAME)
