"""Helpers of chapter 5: its four cases of `command` and `args`, and its breaks.

A break is a deliberate fault: its function makes the fault, yields, and undoes the fault.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lab.mesh.contract import CONTROL_IMAGE, INIT_CONTAINER, NGINX_IMAGE
from lab.scenario import World
from scenarios import application


@dataclass(frozen=True)
class Case:
    """One row of the chapter's table: `command` and `args` of the pod, and its first process.

    `runs` is the first process as `ps` prints it. nginx changes this text: it writes "nginx: master
    process " before its argument list.
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
"""The first process that is expected in each case. The image has ENTRYPOINT ["nginx"] and
CMD ["-g", "daemon off;"]."""


def pod(name: str, case: Case) -> str:
    """Return the manifest of a pod `name` with the `command` and `args` of `case`."""
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
    """Let `{pod}` name a pod whose containers do not have the proxy's image.

    Its istio-init has the control plane's image, its istio-proxy the image of nginx.
    """
    init = application.container(INIT_CONTAINER, "true", image=CONTROL_IMAGE)
    yield from application.stand_in(world, init=init)


def a_missing_image(world: World) -> Iterator[None]:
    """Let `{pod}` name a pod whose istio-init has an image that does not exist.

    So the pod's status has no digest of this image.
    """
    init = application.container(INIT_CONTAINER, image="docker.io/sidecar-lab/nowhere:lab")
    yield from application.stand_in(world, init=init, ready=False)


def an_image_with_a_cmd(world: World) -> Iterator[None]:
    """Let `{proxy_image}` name a copy of the proxy's image with another Entrypoint and a Cmd.

    Then restore the name and remove the image.
    """
    own = 'ENTRYPOINT ["sh"]\nCMD ["proxy", "--help"]\n'
    yield from _derived(world, "proxy_image", "proxy-with-cmd", own)


def _derived(world: World, name: str, title: str, instructions: str) -> Iterator[None]:
    original = world.names[name]
    lab = world.names.resolve("lab")
    tag = f"sidecar-lab/{title}:{lab}"
    dockerfile = f"FROM {world.names.resolve(name)}\n{instructions}"
    # With the label, `lab down` finds the image if this run is killed before it removes it below.
    world.run("docker", "build", "--quiet", "--network", "none", "--tag", tag,
              "--label", f"sidecar-lab.name={lab}", "-", stdin=dockerfile)  # fmt: skip
    world.names[name] = tag
    yield
    world.names[name] = original
    world.docker("rmi", "--force", tag)


def other_commands(world: World) -> Iterator[None]:
    """Let `{pod}` name a pod whose istio-init and istio-proxy run commands in a shell."""
    init = application.container(INIT_CONTAINER, "true")
    yield from application.stand_in(world, init=init)


def other_cases(world: World) -> Iterator[None]:
    """Create each pod again with the settings of another case; then restore them."""
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
    """Let `{nginx_image}` name a copy of nginx's image with another Entrypoint.

    In this copy the programs `sleep` and `ps` are others, too. Then restore the name and remove the
    image.
    """
    yield from _derived(world, "nginx_image", "nginx-with-entrypoint", OTHER_PROGRAMS)
