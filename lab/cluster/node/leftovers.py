"""Finds what is left of a lab after its removal.

Before the removal, `identify` notes the names and ids of everything that belongs to the lab; after
it, `remaining` looks for each of them.
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

    `bridge` is the host's interface of its network, "" without a network.
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
    """One thing that should have been removed: its kind (such as "volume") and its name."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def identify(paths: LabPaths) -> Traces:
    """Returns the names and ids of what the lab consists of now. Docker must answer."""
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
    """Returns the names of the volumes in the output of `docker inspect` for containers."""
    volumes: list[str] = []
    for container in inspected:
        mounts = container.get("Mounts")
        for mount in mounts if isinstance(mounts, list) else []:
            if mount.get("Type") == "volume":
                volumes.append(mount["Name"])
    return tuple(volumes)


def bridge_of(inspected: Sequence[Mapping[str, object]]) -> str:
    """Returns the bridge's interface from the output of `docker network inspect`; "" without it."""
    for network in inspected:
        options = network.get("Options")
        named = options.get("com.docker.network.bridge.name") if isinstance(options, dict) else ""
        return str(named or f"br-{str(network['Id'])[:12]}")
    return ""


def remaining(traces: Traces) -> list[Leftover]:
    """Returns everything of the lab that still exists."""
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
    """Returns the network namespaces on this machine that are named after the lab."""
    prefix = f"sidecar-lab-{name}"
    if not folder.is_dir():
        return []
    return sorted(file.name for file in folder.iterdir() if file.name.startswith(prefix))


def processes(
    traces: Traces, running: Iterable[tuple[int, Sequence[str]]]
) -> list[tuple[int, str]]:
    """Returns the processes (pid, command line) whose command line names the lab's node, kubeconfig
    or containers.
    """
    marks = {traces.node, traces.kubeconfig, *traces.containers} - {""}
    return [
        (pid, " ".join(words)[:160])
        for pid, words in running
        if any(mark in word for mark in marks for word in words)
    ]


def _running() -> list[tuple[int, Sequence[str]]]:
    """Returns pid and command line of every process except this one and its parents."""
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
    """Returns the machine's firewall rules; "" where they cannot be read (not root)."""
    text = ""
    for program in ("iptables-save", "ip6tables-save"):
        if shutil.which(program):
            text += run([program], check=False).stdout
    return text


def rules_of(bridge: str, saved: str) -> list[str]:
    """Returns the rules of an iptables-save text that name the interface `bridge`."""
    return [line for line in saved.splitlines() if line.startswith("-A") and bridge in line.split()]
