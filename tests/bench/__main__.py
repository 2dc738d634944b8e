"""`nox -s bench`: what the lab costs, beside what a bare kind cluster costs, in one run.

    nox -s bench            all measurements (about three minutes; labs of their own names)
    nox -s bench -- inject  only `lab kube-inject`

Each figure is whole-process wall time in seconds. Nothing is judged: numbers are for reading.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import paths
from lab.cluster import kind, state
from lab.command import run

NAME = "bench"
BARE = "bench-bare"
MANIFEST = paths.manifests() / "jiuxi-deployment.yaml"
LAB = (sys.executable, "-m", "lab")


def timed(what: str, action: Callable[[], object]) -> float:
    """Run, print one row, return the seconds."""
    started = time.perf_counter()
    action()
    seconds = time.perf_counter() - started
    print(f"{seconds:8.2f} s  {what}", flush=True)
    return seconds


def inject() -> None:
    """`lab kube-inject`, one Deployment and 500, best of five."""
    one = MANIFEST.read_text()
    with tempfile.TemporaryDirectory() as folder:
        many = Path(folder) / "many.yaml"
        many.write_text(
            "---\n".join(one.replace("name: jiuxi", f"name: jiuxi-{n}") for n in range(500))
        )
        for file, what in ((MANIFEST, "1 Deployment"), (many, "500 Deployments")):
            walls = []
            for _ in range(5):
                walls.append(run([*LAB, "kube-inject", "-f", str(file)]).seconds)
            print(f"{min(walls):8.2f} s  lab kube-inject, {what} (best of 5)", flush=True)


def cluster() -> None:
    """Bare `kind create cluster` beside `lab up` to an injected, Ready pod; same node image."""
    known = state.load(paths.lab_paths())
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        config = Path(folder) / "kind.yaml"
        made = json.loads((paths.lab_paths().root / "kind.yaml").read_text())
        made["name"] = BARE
        config.write_text(json.dumps(made))
        arguments = ["--name", BARE, "--kubeconfig", str(kubeconfig)]
        how = ["--image", known.node_image, "--config", str(config), "--wait", "120s"]
        try:
            timed(
                "kind create cluster --wait 120s (bare, same node image and configuration)",
                lambda: run(
                    [known.kind, "create", "cluster", *arguments, *how],
                    env={"KIND_EXPERIMENTAL_DOCKER_NETWORK": kind.network_name("bench-bare")},
                    timeout=300,
                ),
            )
        finally:
            run([known.kind, "delete", "cluster", *arguments], timeout=120)
            run(["docker", "network", "rm", kind.network_name("bench-bare")], check=False)


def lab() -> None:
    """`lab up` with its own split, an injected pod, `lab up` again, and back from a pause."""
    named = ["--name", NAME]
    try:
        first = timed("lab up, from nothing, caches warm (its steps above)", lambda: show("up"))
        pod = timed("Deployment injected and Ready", injected_pod)
        print(f"{first + pod:8.2f} s  lab up to an injected, Ready pod", flush=True)
        timed("lab up on a lab that is up", lambda: run([*LAB, "up", *named]))
        run([*LAB, "pause", *named])
        timed("lab up on a paused lab", lambda: run([*LAB, "up", *named]))
    finally:
        run([*LAB, "down", *named], timeout=120)


def show(command: str) -> None:
    """Run a `lab` command with its output shown."""
    subprocess.run([*LAB, command, "--name", NAME], check=True)


def injected_pod() -> None:
    """Inject, apply, wait until it is rolled out."""
    known = state.load(paths.lab_paths(NAME))
    kubectl = [known.kubectl, "--kubeconfig", known.kubeconfig]
    run([*kubectl, "create", "namespace", "bench"])
    made = run([*LAB, "kube-inject", "-f", MANIFEST]).stdout
    run([*kubectl, "apply", "-n", "bench", "-f", "-"], stdin=made)
    run([*kubectl, "rollout", "status", "-n", "bench", "deployment/jiuxi", "--timeout=60s"])


def main(wanted: Sequence[str]) -> None:
    """Run the measurements that were asked for, or all."""
    every: dict[str, Callable[[], None]] = {"inject": inject, "cluster": cluster, "lab": lab}
    unknown = [name for name in wanted if name not in every]
    if unknown or "--help" in wanted:
        sys.exit(f"{__doc__}\nknown: {', '.join(every)}")
    for name in wanted or every:
        every[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
