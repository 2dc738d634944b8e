"""Our mesh beside real Istio on one lab, in one run: admission under load, memory, a Deployment.

The lab changes its mesh from one to the other, nothing else changes. One replica is asked: a pod's
own address, from the node's network namespace, by wrk on four kept connections.
"""

import json
import re
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lab import paths
from lab.command import run
from lab.errors import HostError
from lab.observe.pod import Pod
from lab.scenario.lab_access import LabAccess, open_lab
from tests.bench.clusters import NAME
from tests.bench.figures import Row, Table
from tests.bench.programs import LAB, MANIFEST

SECONDS: Final = 4
"""How long wrk asks in one run."""
CONNECTIONS: Final = 4
SCRIPT: Final = """
local body = [[BODY]]
local count = 0
request = function()
  count = count + 1
  local one = body:gsub("jiuxi%-0", "jiuxi-" .. count)
  return wrk.format("POST", "/inject", {["Content-Type"] = "application/json"}, one)
end
local bad = 0
response = function(status, headers, text)
  if status ~= 200 or not text:find('"patch"') then bad = bad + 1 end
end
done = function(summary, latency, requests)
  io.write(string.format("figures %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Where:
    """Who answers reviews: namespace and label of its pods, container, port."""

    namespace: str
    label: str
    container: str
    port: int


WHERE: Final = {
    "sidecar-lab": Where("sidecar-lab", "sidecar-lab-webhook", "webhook", 8443),
    "istio": Where("istio-system", "istiod", "discovery", 15017),
}


@dataclass
class Seen:
    """Samples of one mesh: reviews/s, p99 in ms, MB resident, seconds to available."""

    rate: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    injected: list[float] = field(default_factory=list)


def measure(runs: int) -> Table:
    """Bring a lab up with each mesh in turn. Raises HostError without wrk or the right to enter."""
    if shutil.which("wrk") is None:
        raise HostError("there is no wrk, which asks the webhooks", hint="apt-get install wrk")
    found: dict[str, Seen] = {}
    try:
        for mesh in ("istio", "sidecar-lab"):
            run([*LAB, "up", "--name", NAME, "--mesh", mesh], timeout=900)
            found[mesh] = _of(open_lab(paths.lab_paths(NAME)), WHERE[mesh], runs)
    finally:
        run([*LAB, "down", "--name", NAME], timeout=120)
    ours, theirs = found["sidecar-lab"], found["istio"]

    def row(what: str, unit: str, name: str, goal: float, more: bool = False) -> Row:
        mine, other = (tuple(getattr(seen, name)) for seen in (ours, theirs))
        return Row(what, unit, mine, other, goal=goal, more_is_better=more, why=_why(ours))

    return Table(
        [
            row("admission reviews at 4 connections", "/s", "rate", 5, more=True),
            row("admission, 99th percentile", "ms", "p99", 0.2),
            row("webhook, resident (istiod is all in one)", "MB", "memory", 0.5),
            row("Deployment applied to available, injected", "s", "injected", 0.7),
            row("Deployment applied to available, plain", "s", "plain", 1.2),
        ]
    )


def _why(ours: Seen) -> str:
    plain, whole = min(ours.plain), min(ours.injected)
    return (
        f"  {plain:.2f} s of ours: the same Deployment without a sidecar\n"
        f"  {whole - plain:.2f} s of ours: admission, istio-init, Envoy's start and first xDS\n"
        "  in both meshes: kubelet looks once a second whether istio-init has ended (0.5 s on\n"
        "  average) and asks the startup probe once a second (0.5 s more); what two programs\n"
        "  differ by is less than that grid\n"
        f"  wrk and the webhook share this machine's processors; a busy one lengthens the tail"
    )


def _of(lab: LabAccess, where: Where, runs: int) -> Seen:
    seen = Seen()
    pod = lab.cluster.pods(where.namespace, {"app": where.label})[0]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "review.lua"
        script.write_text(SCRIPT.replace("BODY", json.dumps(review())))
        for _ in range(runs):
            rate, p99 = _asked(lab, pod, where, script)
            seen.rate.append(rate)
            seen.p99.append(p99)
            seen.memory.append(_resident(lab, pod, where))
    for name, namespace, label in (
        ("plain", "bench-plain", ""),
        ("injected", "bench-injected", "istio-injection=enabled"),
    ):
        lab_kubectl(lab, "create", "namespace", namespace)
        if label:
            lab_kubectl(lab, "label", "namespace", namespace, label)
        getattr(seen, name).extend(_available(lab, namespace) for _ in range(2 * runs))
        lab_kubectl(lab, "delete", "namespace", namespace)
    return seen


def review() -> dict[str, object]:
    """An AdmissionReview of a small pod; wrk gives each its own name."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "jiuxi-0", "namespace": "default", "labels": {"app": "jiuxi"}},
        "spec": {"containers": [{"name": "nginx", "image": "nginx", "ports": [
            {"containerPort": 80, "protocol": "TCP"}]}]},
    }  # fmt: skip
    request = {
        "uid": "00000000-0000-0000-0000-000000000000",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "default",
        "operation": "CREATE",
        "object": pod,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def _asked(lab: LabAccess, pod: Pod, where: Where, script: Path) -> tuple[float, float]:
    node = run(["docker", "inspect", "-f", "{{.State.Pid}}", lab.node]).stdout.strip()
    url = f"https://{pod.ip}:{where.port}/inject"
    load = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), url]
    said = run(["nsenter", "-t", node, "-n", *load], timeout=SECONDS + 30).stdout
    requests, micros, p99 = map(int, re.findall(r"figures (\d+) (\d+) (\d+)", said)[0])
    if "Non-2xx" in said:
        raise HostError(f"the webhook did not answer as it should:\n{said}")
    return requests / (micros / 1e6), p99 / 1000


def _resident(lab: LabAccess, pod: Pod, where: Where) -> float:
    status = ["docker", "exec", lab.node, "cat", f"/proc/{pod.pid(where.container)}/status"]
    found = re.search(r"VmRSS:\s+(\d+) kB", run(status).stdout)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def _available(lab: LabAccess, namespace: str) -> float:
    started = time.perf_counter()
    lab_kubectl(lab, "apply", "-n", namespace, "-f", str(MANIFEST))
    wait = ("rollout", "status", "deployment/jiuxi", "-n", namespace, "--timeout=60s")
    lab_kubectl(lab, *wait)
    seconds = time.perf_counter() - started
    gone = ("delete", "-n", namespace, "-f", str(MANIFEST), "--cascade=foreground")
    lab_kubectl(lab, *gone)
    return seconds


def lab_kubectl(lab: LabAccess, *words: str) -> str:
    """`kubectl` on the lab."""
    return run(
        [lab.kubectl or "kubectl", "--kubeconfig", lab.kubeconfig, *words], timeout=90
    ).stdout
