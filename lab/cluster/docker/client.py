"""Calls the docker client: asks whether a daemon answers, lists and removes containers.

Every request goes through the `docker` command, so that contexts, DOCKER_HOST, Docker Desktop and
remote daemons work as the user configured them.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.command import Completed, run
from lab.errors import CommandError

LABEL = "sidecar-lab.name"
"""Label of the containers, networks and volumes that the lab creates; its value names the lab."""
KIND_LABEL = "io.x-k8s.kind.cluster"
"""Label that kind puts on its node containers; its value is the cluster's name."""
DEFAULT_SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True)
class Container:
    """One container as `docker ps -a` lists it; `state` is Docker's term (running, paused, …)."""

    id: str
    name: str
    state: str
    image: str
    labels: str


def client() -> str | None:
    """Returns the path of the docker client; None when it is not on PATH."""
    return shutil.which("docker")


def docker(*words: str | Path, timeout: float | None = 60, check: bool = True) -> Completed:
    """Run the docker client with these arguments. Raises CommandError as lab.command.run does."""
    return run(["docker", *words], timeout=timeout, check=check)


def why_unreachable(host: str = "") -> str:
    """Returns why no Docker daemon answers, as the client says it; "" when one answers.

    `host` is the address of the daemon to ask (unix:///…); "" asks the daemon that the environment
    or the Docker context selects.
    """
    if client() is None:
        return "there is no docker client on PATH"
    try:
        where = ["-H", host] if host else []
        words = [*where, "version", "--format", "{{.Server.Version}}"]
        answer = docker(*words, timeout=20, check=False)
    except CommandError as error:
        return error.message
    if answer.ok and answer.stdout.strip():
        return ""
    return answer.stderr.strip() or "the client printed no server version"


def containers(*filters: str) -> list[Container]:
    """Returns the containers that match every filter (such as label=x), also the stopped ones."""
    form = "\t".join(
        "{{%s}}" % field  # noqa: UP031 - braces are Go's template here
        for field in (".ID", ".Names", ".State", ".Image", ".Labels")
    )
    words = ["ps", "-a", "--no-trunc", "--format", form]
    listed = docker(*words, *_filters(filters)).stdout.splitlines()
    return [Container(*line.split("\t", 4)) for line in listed if line.count("\t") >= 4]


def names(kind: str, *filters: str) -> list[str]:
    """Returns the names of the networks or volumes that match every filter.

    `kind`: "network" or "volume".
    """
    listed = docker(kind, "ls", "--format", "{{.Name}}", *_filters(filters)).stdout
    return listed.split()


def images_of(lab: str) -> list[str]:
    """Returns the tags of the images that chapters of the walkthrough built for the lab."""
    form = "{{.Repository}}:{{.Tag}}"
    filters = _filters((f"label={LABEL}={lab}",))
    return docker("image", "ls", "--format", form, *filters).stdout.split()


def container_state(name: str) -> str | None:
    """Returns Docker's term for a container's state; None when there is no such container."""
    answer = docker("inspect", "--type", "container", "-f", "{{.State.Status}}", name, check=False)
    return answer.stdout.strip() if answer.ok else None


def started_at(name: str) -> str:
    """Returns the time of a container's last start as RFC 3339 text, by the daemon's clock."""
    return docker("inspect", "-f", "{{.State.StartedAt}}", name).stdout.strip()


def _filters(filters: Iterable[str]) -> list[str]:
    words: list[str] = []
    for condition in filters:
        words += ["--filter", condition]
    return words


def remove_containers(ids: Sequence[str]) -> None:
    """Remove containers, running or not, and their anonymous volumes; ignore absent ones."""
    if ids:
        docker("rm", "-f", "-v", *ids, timeout=120)
