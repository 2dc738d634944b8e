"""Helpers of chapter 7, about the kinds of resources: its expectations and its breaks.

A break is a deliberate fault: its function makes the fault, yields, and undoes the fault.
"""

import json
import re
from collections.abc import Callable, Iterator

from lab.mesh.contract import AGENT_PORT, INIT_CONTAINER, PROXY_CONTAINER
from lab.observe.pod import Pod
from lab.scenario import World, eventually, expect
from scenarios import application


def _replace(world: World, file: str, manifest: str) -> None:
    """Delete the objects of `file` with their pods, and apply `manifest`."""
    world.kubectl("delete", "-f", file, "--cascade=foreground", "--timeout=45s")
    world.apply(manifest)


def plain_instead(kind: str) -> Callable[[World], Iterator[None]]:
    """Return a break that replaces the injected object of `kind` by one without a sidecar."""

    def instead(world: World) -> Iterator[None]:
        file, app = f"{kind}.yaml", f"app=kind-{kind}"
        _replace(world, file, world.read(file))
        world.ready(app)
        yield
        _replace(world, file, application.kube_inject(world, file))
        world.ready(app)

    instead.__doc__ = f"Create the {kind} without a sidecar; then create it with a sidecar again."
    return instead


def _work_ended(world: World, app: str) -> None:
    eventually(
        lambda: world.pod(f"app={app}").container("work").state == "terminated",
        "the work has ended",
        within=30,
    )


def a_proxy_that_quits(world: World) -> Iterator[None]:
    """Send the agent the request `/quitquitquit`: it ends, and so the Job completes.

    Then create the Job again.
    """
    quit_url = f"http://127.0.0.1:{AGENT_PORT}/quitquitquit"
    pod = world.pod("app=kind-job")
    world.kubectl(
        "exec", pod.name, "-c", PROXY_CONTAINER, "--", "curl", "-s", "-X", "POST", quit_url
    )
    world.kubectl("wait", "--for=condition=complete", "job/kind-job", "--timeout=45s")
    yield
    _again(world)


def _again(world: World) -> None:
    _replace(world, "job.yaml", application.kube_inject(world, "job.yaml"))
    _work_ended(world, "kind-job")
    eventually(lambda: world.pod("app=kind-job").ready == "1/2", "the proxy is Ready", within=30)


def work_that_fails(world: World) -> Iterator[None]:
    """Replace the Job by one that has no sidecar and whose work ends with exit code 3.

    Then create the injected Job again.
    """
    _replace(world, "job.yaml", _failing(world.read("job.yaml")))
    _work_ended(world, "kind-job")
    yield
    _again(world)


def _failing(manifest: str) -> str:
    return manifest.replace("echo the work is done", "exit 3")


def a_classic_sidecar(world: World) -> Iterator[None]:
    """Replace the Job by one that has a classic sidecar and whose work ends with exit code 3.

    Then create the Job with the native sidecar again.
    """
    classic = world.read("job.yaml").replace("kind-job", "kind-job-native")
    injected = application.kube_inject(world, "-", _failing(classic))
    _replace(world, "job-native.yaml", injected)
    _work_ended(world, "kind-job-native")
    yield
    _replace(world, "job-native.yaml", application.kube_inject(world, "job-native.yaml"))
    world.kubectl("wait", "--for=condition=complete", "job/kind-job-native", "--timeout=45s")


def with_a_pod(*files: str) -> Callable[[World], Iterator[None]]:
    """Return a break that appends the manifest of a Pod to each of `files`."""

    def added(world: World) -> Iterator[None]:
        pod = world.read("pod.yaml")
        before = {file: world.read(file) for file in files}
        for file, text in before.items():
            world.write(file, f"{text.rstrip().removesuffix('...')}\n---\n{pod}")
        yield
        for file, text in before.items():
            world.write(file, text)

    added.__doc__ = f"Append the manifest of a Pod to {' and '.join(files)}; then remove it again."
    return added


def another_selector(world: World) -> Iterator[None]:
    """Set the Service's selector to `app: nobody` and its port to 81; then restore both."""

    def point(app: str, port: int) -> None:
        spec = {"selector": {"app": app}, "ports": [{"port": port, "targetPort": 80}]}
        world.kubectl("patch", "svc", "jiuxi", "--type=merge", "-p", json.dumps({"spec": spec}))

    point("nobody", 81)
    yield
    point("kind-deployment", 80)


def is_injected(world: World, app: str) -> None:
    """Expect the pod with the label `app: APP` to have a Ready sidecar.

    Also expect its istio-init to have ended with exit code 0.
    """
    pod = world.pod(f"app={app}")
    expect(pod.ready, "READY").equal("2/2")
    expect({container.name for container in pod.containers()}, "the containers").equal(
        {"nginx", PROXY_CONTAINER}
    )
    expect(ended(pod), "the init containers' exit codes").equal({INIT_CONTAINER: 0})


def ended(pod: Pod) -> dict[str, int | None]:
    """Map the names of the pod's init containers, except native sidecars, to their exit codes."""
    return {init.name: init.exit_code for init in pod.inits() if not init.sidecar}


def complete(world: World, job: str) -> str | None:
    """Return the status of the Job's condition Complete, in lower case; None if there is none."""
    conditions = world.json("get", "job", job)["status"].get("conditions") or ()
    statuses = [
        condition["status"].lower() for condition in conditions if condition["type"] == "Complete"
    ]
    return statuses[0] if statuses else None


def expect_good_work(pod: Pod) -> None:
    """Expect the container `work` to exist and to have ended with exit code 0."""
    work = {
        container.name: container.exit_code
        for container in pod.containers()
        if container.name == "work"
    }
    expect(work, "the exit code of the work").equal({"work": 0})


def untouched(world: World, file: str, injected: str, kind: str) -> None:
    """Expect the file `injected`, the output of kube-inject, to have the same bytes as its input.

    The input is `file`, with one object of the kind `kind`. istioctl adds a separator at the end.
    """
    before, after = ((world.workdir / name).read_bytes() for name in (file, injected))
    expect(_kinds(world.read(file)), f"the kinds in {file}").equal([kind])
    wanted = before + world.mesh.after_untouched
    separator = " and the separator that istioctl ends with" if world.mesh.after_untouched else ""
    expect(after, injected).equal(wanted, f"is {file}, byte for byte{separator}")


def _kinds(manifest: str) -> list[str]:
    return re.findall(r"(?m)^kind: (\w+)$", manifest)
