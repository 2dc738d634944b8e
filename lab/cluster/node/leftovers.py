"""Finds what is left of a lab after its removal.

Before the removal, `identify` returns the names and ids of everything that belongs to the lab.
After the removal, `remaining` looks for each of these names and ids.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from lab.cluster.docker import client as engine
from lab.cluster.docker.client import docker
from lab.cluster.node import container as node
from lab.cluster.node import kind
from lab.command import run
from lab.paths import LabPaths

NAMED_NAMESPACES = Path("/run/netns")


@dataclass(frozen=True)
class Traces:
    """Names and ids that identify one lab's containers, volumes, network, processes and rules.

    `name` is the lab's name. `bridge` is the name of the interface that the lab's Docker network
    has on the host, or "" when the lab has no network.
    """

    name: str
    node: str
    network: str
    kubeconfig: str
    containers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    bridge: str = ""


@dataclass(frozen=True)
class Leftover:
    """Describes one thing that should have been removed: its kind (such as "volume"), its name."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def identify(paths: LabPaths) -> Traces:
    """Returns what identifies the lab's node, containers, volumes, network and kubeconfig now.

    Raises CommandError when Docker does not answer.
    """
    network = kind.network_name(paths.name)
    ids = [container.id for container in node.belonging(paths.name)]
    inspected = docker("inspect", "--type", "container", *ids).stdout if ids else "[]"
    answer = docker("network", "inspect", network, check=False)
    return Traces(
        name=paths.name,
        node=kind.node_name(paths.name),
        network=network,
        kubeconfig=str(paths.kubeconfig),
        containers=tuple(ids),
        volumes=volumes_of(json.loads(inspected)),
        bridge=bridge_of(json.loads(answer.stdout) if answer.ok else []),
    )


def volumes_of(inspected: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """Returns the names of the volumes that containers mount.

    `inspected` is the parsed output of `docker inspect` for these containers.
    """
    volumes: list[str] = []
    for container in inspected:
        mounts = container.get("Mounts")
        for mount in mounts if isinstance(mounts, list) else []:
            if mount.get("Type") == "volume":
                volumes.append(mount["Name"])
    return tuple(volumes)


def bridge_of(inspected: Sequence[Mapping[str, object]]) -> str:
    """Returns the name of the host's interface that belongs to a Docker bridge network.

    `inspected` is the parsed output of `docker network inspect`; if it holds no network, the result
    is "".
    """
    for network in inspected:
        options = network.get("Options")
        named = options.get("com.docker.network.bridge.name") if isinstance(options, dict) else ""
        return str(named or f"br-{str(network['Id'])[:12]}")
    return ""


def remaining(traces: Traces) -> list[Leftover]:
    """Returns what still exists of the lab.

    Looks for its containers, volumes, networks, images, named network namespaces and processes; for
    the interface of its network, and for the iptables rules that name this interface.
    """
    known = set(traces.containers)
    left = [
        Leftover("container", f"{container.name} ({container.state})")
        for container in [*node.belonging(traces.name), *engine.containers()]
        if container.id in known
        or container.name == traces.node
        or traces.name in _lab_labels(container)
    ]
    existing = set(engine.names("volume"))
    labelled = engine.names("volume", f"label={engine.LABEL}={traces.name}")
    left += [Leftover("volume", volume) for volume in {*traces.volumes, *labelled} & existing]
    networks = engine.names("network", f"label={engine.LABEL}={traces.name}")
    left += [Leftover("network", network) for network in networks]
    left += [Leftover("image", image) for image in engine.images_of(traces.name)]
    left += [Leftover("network namespace", space) for space in named_namespaces(traces.name)]
    left += [
        Leftover("process", f"{pid} {command}") for pid, command in processes(traces, _running())
    ]
    if traces.bridge:
        left += [Leftover("interface", link) for link in _interfaces() if link == traces.bridge]
        left += [Leftover("rule", rule) for rule in rules_of(traces.bridge, _saved_rules())]
    return list(dict.fromkeys(left))


def _lab_labels(container: engine.Container) -> set[str]:
    labels = dict(part.partition("=")[::2] for part in container.labels.split(","))
    return {labels.get(engine.LABEL, ""), labels.get(engine.KIND_LABEL, "")} - {""}


def named_namespaces(name: str, folder: Path = NAMED_NAMESPACES) -> list[str]:
    """Returns the names of network namespaces on this machine that begin with `sidecar-lab-NAME`.

    NAME is the lab's name. `folder` holds one file for each named network namespace.
    """
    prefix = f"sidecar-lab-{name}"
    if not folder.is_dir():
        return []
    return sorted(file.name for file in folder.iterdir() if file.name.startswith(prefix))


def processes(
    traces: Traces, running: Iterable[tuple[int, Sequence[str]]]
) -> list[tuple[int, str]]:
    """Returns the processes in `running` whose command line names something of the lab.

    A command line does so if it contains the name of the lab's node, the path of the lab's
    kubeconfig, or the id of one of the lab's containers. `running` holds the pid and the words of
    the command line of each process. The result holds the pid and the first 160 characters of the
    command line.
    """
    marks = {traces.node, traces.kubeconfig, *traces.containers} - {""}
    return [
        (pid, " ".join(words)[:160])
        for pid, words in running
        if any(mark in word for mark in marks for word in words)
    ]


def _running() -> list[tuple[int, Sequence[str]]]:
    """Returns the pid and command line of every process that has a command line.

    Leaves out zombies, this process and its ancestors.
    """
    mine = {psutil.Process().pid, *(parent.pid for parent in psutil.Process().parents())}
    others = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        dead = process.info["status"] == psutil.STATUS_ZOMBIE
        if process.pid not in mine and process.info["cmdline"] and not dead:
            others.append((process.pid, process.info["cmdline"]))
    return others


def _interfaces() -> list[str]:
    return list(psutil.net_if_addrs())


def _saved_rules() -> str:
    """Returns this machine's iptables rules for IPv4 and IPv6.

    Returns "" if they cannot be read, for instance because this user is not root.
    """
    text = ""
    for program in ("iptables-save", "ip6tables-save"):
        if shutil.which(program):
            text += run([program], check=False).stdout
    return text


def rules_of(bridge: str, saved: str) -> list[str]:
    """Returns the rules in `saved` (output of iptables-save) that name the interface `bridge`."""
    return [line for line in saved.splitlines() if line.startswith("-A") and bridge in line.split()]
