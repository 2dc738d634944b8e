"""Chapter 5's four cases of `command` and `args`, and what its breaks change."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lab.mesh.contract import CONTROL_IMAGE, INIT_CONTAINER, NGINX_IMAGE
from lab.scenario import World
from scenarios import application


@dataclass(frozen=True)
class Case:
    """One row of the table: what the pod says, and what its first process is then called.

    nginx rewrites its own title: its argument list follows "nginx: master process ".
    """

    name: str
    command: tuple[str, ...] | None
    args: tuple[str, ...] | None
    runs: str


CASES = (
    Case("neither", None, None, "nginx: master process nginx -g daemon off;"),
    Case("command", ("sleep", "infinity"), None, "sleep infinity"),
    Case(
        "args",
        None,
        ("-e", "/dev/stderr", "-g", "daemon off;"),
        "nginx: master process nginx -e /dev/stderr -g daemon off;",
    ),
    Case("both", ("sleep",), ("1000000",), "sleep 1000000"),
)


EXPECTED = {case.name: case.runs for case in CASES}
"""The image's own are ENTRYPOINT ["nginx"] and CMD ["-g", "daemon off;"]."""


def pod(name: str, case: Case) -> str:
    """The manifest of a pod of one case."""
    lines = [
        "apiVersion: v1",
        "kind: Pod",
        f"metadata: {{name: {name}, labels: {{case: {name}}}}}",
        "spec:",
        "  terminationGracePeriodSeconds: 1",
        "  containers:",
        "  - name: nginx",
        f"    image: {NGINX_IMAGE}",
        "    imagePullPolicy: IfNotPresent",
    ]
    for key, words in (("command", case.command), ("args", case.args)):
        if words is not None:
            lines.append(f"    {key}: {json.dumps(words)}")
    return "\n".join(lines) + "\n"


def another_image(world: World) -> Iterator[None]:
    """The control plane's image, and nginx's for both others."""
    init = application.container(INIT_CONTAINER, "true", image=CONTROL_IMAGE)
    yield from application.stand_in(world, init=init)


def a_missing_image(world: World) -> Iterator[None]:
    """So it has no digest."""
    init = application.container(INIT_CONTAINER, image="docker.io/sidecar-lab/nowhere:lab")
    yield from application.stand_in(world, init=init, ready=False)


def an_image_with_a_cmd(world: World) -> Iterator[None]:
    """An image made from the proxy's, of another name."""
    own = 'ENTRYPOINT ["sh"]\nCMD ["proxy", "--help"]\n'
    yield from _derived(world, "proxy_image", "proxy-with-cmd", own)


def _derived(world: World, name: str, title: str, instructions: str) -> Iterator[None]:
    original = world.names[name]
    lab = world.names.resolve("lab")
    tag = f"sidecar-lab/{title}:{lab}"
    dockerfile = f"FROM {world.names.resolve(name)}\n{instructions}"
    # Labelled, so that `lab down` finds it if this run is killed before it is removed below.
    world.run("docker", "build", "--quiet", "--network", "none", "--tag", tag,
              "--label", f"sidecar-lab.name={lab}", "-", stdin=dockerfile)  # fmt: skip
    world.names[name] = tag
    yield
    world.names[name] = original
    world.docker("rmi", "--force", tag)


def other_commands(world: World) -> Iterator[None]:
    """A pod whose istio-init and istio-proxy run what a shell is told."""
    init = application.container(INIT_CONTAINER, "true")
    yield from application.stand_in(world, init=init)


def other_cases(world: World) -> Iterator[None]:
    """The pods are made anew, each as its neighbour in the table, and again as they were."""
    _replace(world, {case.name: other for case, other in zip(CASES, reversed(CASES), strict=True)})
    yield
    _replace(world, {case.name: case for case in CASES})


def _replace(world: World, cases: Mapping[str, Case]) -> None:
    world.kubectl("delete", "pod", *cases, "--force", "--grace-period=0")
    world.apply("---\n".join(pod(name, case) for name, case in cases.items()))
    for name in cases:
        world.ready(f"case={name}")


OTHER_PROGRAMS = r"""
RUN cd /usr/local/bin && cp /bin/sleep pause \
 && printf '#!/bin/sh\n[ "$1" = -v ] && echo none && exit\nexec pause 1000\n' > other \
 && printf '#!/bin/sh\nexec pause 1000\n' > sleep \
 && printf '#!/bin/sh\nexec /usr/bin/ps -e\n' > ps \
 && chmod +x other sleep ps
ENTRYPOINT ["other"]
"""


def an_image_with_another_entrypoint(world: World) -> Iterator[None]:
    """An image made from nginx's that waits by itself; its `sleep` and its `ps` are others, too."""
    yield from _derived(world, "nginx_image", "nginx-with-entrypoint", OTHER_PROGRAMS)
