"""The lab beside a bare kind cluster of the same node image, and the lab's own times."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lab import paths
from lab.cluster import state
from lab.cluster.node import kind
from lab.command import run
from tests.bench.figures import Table
from tests.bench.programs import LAB, MANIFEST

NAME: Final = "bench"
BARE: Final = "bench-bare"


def timed(table: Table, what: str, action: Callable[[], object]) -> float:
    """Run, print and note one figure, return the seconds."""
    started = time.perf_counter()
    action()
    seconds = time.perf_counter() - started
    table.singles.append((what, seconds))
    print(f"{seconds:8.2f} s  {what}", flush=True)
    return seconds


def bare(name: str) -> Table:
    """`kind create cluster` with the node image and the configuration of the lab `name`."""
    table = Table()
    known = state.load(paths.lab_paths(name))
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        config = Path(folder) / "kind.yaml"
        made = json.loads((paths.lab_paths(name).root / "kind.yaml").read_text())
        made["name"] = BARE
        config.write_text(json.dumps(made))
        arguments = ["--name", BARE, "--kubeconfig", str(kubeconfig)]
        how = ["--image", known.node_image, "--config", str(config), "--wait", "120s"]
        try:
            timed(
                table,
                "kind create cluster --wait (bare, the lab's node image and configuration)",
                lambda: run(
                    [known.kind, "create", "cluster", *arguments, *how],
                    env={"KIND_EXPERIMENTAL_DOCKER_NETWORK": kind.network_name(BARE)},
                    timeout=300,
                ),
            )
        finally:
            run([known.kind, "delete", "cluster", *arguments], timeout=120)
            run(["docker", "network", "rm", kind.network_name(BARE)], check=False)
    return table


def lab() -> Table:
    """`lab up` with its own split, an injected pod, e2e, `up` on up, and back from a pause."""
    table, named = Table(), ["--name", NAME]
    try:
        # Its steps are printed with their times: that is the split.
        first = timed(table, "lab up, from nothing, caches warm", lambda: _shown("up"))
        pod = timed(table, "Deployment injected and Ready", injected_pod)
        table.singles.append(("lab up to an injected, Ready pod", first + pod))
        timed(table, "lab e2e", lambda: run([*LAB, "e2e", *named], timeout=900))
        timed(table, "lab up on a lab that is up", lambda: run([*LAB, "up", *named], timeout=300))
        run([*LAB, "pause", *named])
        timed(table, "lab up on a paused lab", lambda: run([*LAB, "up", *named], timeout=300))
        table.singles += bare(NAME).singles
    finally:
        run([*LAB, "down", *named], timeout=120)
    return table


def _shown(command: str) -> None:
    subprocess.run([*LAB, command, "--name", NAME], check=True, stdout=sys.stdout, timeout=1200)


def injected_pod() -> None:
    """Inject, apply, wait until it is rolled out."""
    known = state.load(paths.lab_paths(NAME))
    kubectl = [known.kubectl, "--kubeconfig", known.kubeconfig]
    run([*kubectl, "create", "namespace", "bench"])
    made = run([*LAB, "kube-inject", "-f", MANIFEST]).stdout
    run([*kubectl, "apply", "-n", "bench", "-f", "-"], stdin=made)
    run([*kubectl, "rollout", "status", "-n", "bench", "deployment/jiuxi", "--timeout=60s"])
