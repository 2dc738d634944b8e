"""Whether a lab can be worked with now: asked by every command before it begins.

A lab that is absent, incomplete, paused, stopped or silent is named so at once, with the command
that mends it, rather than by what fails later.
"""

from dataclasses import dataclass
from typing import Literal

from lab.cluster import state
from lab.cluster.docker import client as engine
from lab.cluster.docker import provision
from lab.cluster.docker.client import docker
from lab.cluster.state import LabState
from lab.errors import ClusterError, CommandError
from lab.kube.client import KubeApi
from lab.paths import LabPaths

DOCKER_SECONDS = 10.0
API_SECONDS = 4.0
"""How long Docker and the API server may take to answer the one question that is asked."""

Kind = Literal["no docker", "gone", "paused", "stopped", "silent"]


@dataclass(frozen=True)
class Container:
    """Docker's word for a node's state; "" when there is none. `unreachable`: Docker's silence."""

    state: str = ""
    unreachable: str = ""


@dataclass(frozen=True)
class Trouble:
    """Why a lab cannot be worked with, and what mends it."""

    kind: Kind
    message: str
    hint: str

    def error(self) -> ClusterError:
        """The same, to be raised."""
        return ClusterError(self.message, hint=self.hint)


def require(paths: LabPaths) -> LabState:
    """What is known of a lab that can be worked with. Raises ClusterError that names why not."""
    known = state.load(paths)
    if found := trouble(paths, known):
        raise found.error()
    return known


def trouble(paths: LabPaths, known: LabState) -> Trouble | None:
    """Why a lab that was brought up cannot be worked with now; None: it can."""
    seen = container(known.node)
    api = "" if seen.unreachable or seen.state != "running" else _api(paths)
    remedy = provision.plan(provision.look(seen.unreachable)) if seen.unreachable else None
    return judge(paths.name, state.up_command(paths), known.node, seen, api, remedy)


def judge(
    name: str,
    up: str,
    node: str,
    seen: Container,
    api: str,
    remedy: provision.Plan | None,
) -> Trouble | None:
    """The decision of `trouble` on plain data.

    `api`: why the API server does not answer. `remedy`: what mends a Docker that is silent.
    """
    if seen.unreachable:
        by_hand = remedy.instruction if remedy else ""
        hint = f"{by_hand}; then {up}" if by_hand else f"run {up}"
        return Trouble(
            "no docker",
            f"the lab {name!r} is stopped: Docker does not answer ({_line(seen.unreachable)})",
            hint,
        )
    if seen.state == "paused":
        return Trouble("paused", f"the lab {name!r} is paused", f"{up} thaws it")
    if not seen.state:
        return Trouble("gone", f"the node of the lab {name!r} is gone", f"{up} makes it anew")
    if seen.state != "running":
        said = f"the lab {name!r} is stopped: its node {node} is {seen.state}"
        return Trouble("stopped", said, f"{up} starts it")
    if api:
        said = f"the lab {name!r} runs, but its API server does not answer: {_line(api)}"
        return Trouble("silent", said, f"{up} waits for it, and says what it finds")
    return None


def container(node: str) -> Container:
    """The state of a node's container; never raises."""
    try:
        answer = docker(
            *("inspect", "--type", "container", "-f", "{{.State.Status}}", node),
            timeout=DOCKER_SECONDS,
            check=False,
        )
    except CommandError as late:
        return Container(unreachable=late.message)
    if answer.ok:
        return Container(answer.stdout.strip())
    if "no such" in answer.stderr.lower():
        return Container()
    return Container(unreachable=engine.why_unreachable() or answer.stderr.strip())


def _api(paths: LabPaths) -> str:
    try:
        api = KubeApi.from_file(paths.kubeconfig, timeout=API_SECONDS)
    except ClusterError as error:
        return error.message
    said = api.ready()
    api.close()
    return said


def _line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else ""
