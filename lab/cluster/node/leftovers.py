"""What of a lab is still there after it was removed: looked for, named, counted.

Before the removal `identify` notes by what the lab's traces can be told (ids, bridge, folder);
afterwards `remaining` looks for each of them.
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
    """By what one lab's things can be told. `bridge` is the host's interface of its network."""

    name: str
    node: str
    network: str
    kubeconfig: str
    containers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    bridge: str = ""


@dataclass(frozen=True)
class Leftover:
    """One thing that should be gone."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def identify(paths: LabPaths) -> Traces:
    """Note what the lab consists of now. Docker must answer."""
    network = kind.network_name(paths.name)
    ids = [one.id for one in node.belonging(paths.name)]
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
    """Names of the volumes in `docker inspect`'s answer about containers."""
    found: list[str] = []
    for container in inspected:
        mounts = container.get("Mounts")
        for mount in mounts if isinstance(mounts, list) else []:
            if mount.get("Type") == "volume":
                found.append(mount["Name"])
    return tuple(found)


def bridge_of(inspected: Sequence[Mapping[str, object]]) -> str:
    """The bridge's interface name in `docker network inspect`'s answer; "" without a network."""
    for network in inspected:
        options = network.get("Options")
        named = options.get("com.docker.network.bridge.name") if isinstance(options, dict) else ""
        return str(named or f"br-{str(network['Id'])[:12]}")
    return ""


def remaining(traces: Traces) -> list[Leftover]:
    """Everything of the lab that can still be found."""
    known = set(traces.containers)
    found = [
        Leftover("container", f"{one.name} ({one.state})")
        for one in [*node.belonging(traces.name), *engine.containers()]
        if one.id in known or one.name == traces.node or traces.name in _lab_labels(one)
    ]
    existing = set(engine.names("volume"))
    labelled = engine.names("volume", f"label={engine.LABEL}={traces.name}")
    found += [Leftover("volume", one) for one in {*traces.volumes, *labelled} & existing]
    networks = engine.names("network", f"label={engine.LABEL}={traces.name}")
    found += [Leftover("network", one) for one in networks]
    found += [Leftover("image", one) for one in engine.images_of(traces.name)]
    found += [Leftover("network namespace", one) for one in named_namespaces(traces.name)]
    found += [
        Leftover("process", f"{pid} {command}") for pid, command in processes(traces, _running())
    ]
    if traces.bridge:
        found += [Leftover("interface", one) for one in _interfaces() if one == traces.bridge]
        found += [Leftover("rule", one) for one in rules_of(traces.bridge, _saved_rules())]
    return list(dict.fromkeys(found))


def _lab_labels(container: engine.Container) -> set[str]:
    labels = dict(part.partition("=")[::2] for part in container.labels.split(","))
    return {labels.get(engine.LABEL, ""), labels.get(engine.KIND_LABEL, "")} - {""}


def named_namespaces(name: str, folder: Path = NAMED_NAMESPACES) -> list[str]:
    """Network namespaces on this machine that are named after the lab."""
    prefix = f"sidecar-lab-{name}"
    if not folder.is_dir():
        return []
    return sorted(one.name for one in folder.iterdir() if one.name.startswith(prefix))


def processes(
    traces: Traces, running: Iterable[tuple[int, Sequence[str]]]
) -> list[tuple[int, str]]:
    """Processes (pid, command line) that work for this lab: its node, its kubeconfig."""
    marks = {traces.node, traces.kubeconfig, *traces.containers} - {""}
    return [
        (pid, " ".join(words)[:160])
        for pid, words in running
        if any(mark in word for mark in marks for word in words)
    ]


def _running() -> list[tuple[int, Sequence[str]]]:
    """Every process but this one and those that started it."""
    mine = {psutil.Process().pid, *(one.pid for one in psutil.Process().parents())}
    found = []
    for one in psutil.process_iter(["pid", "cmdline", "status"]):
        dead = one.info["status"] == psutil.STATUS_ZOMBIE
        if one.pid not in mine and one.info["cmdline"] and not dead:
            found.append((one.pid, one.info["cmdline"]))
    return found


def _interfaces() -> list[str]:
    return list(psutil.net_if_addrs())


def _saved_rules() -> str:
    """The machine's rules; "" where they cannot be read (no root: then Docker's word counts)."""
    text = ""
    for program in ("iptables-save", "ip6tables-save"):
        if shutil.which(program):
            text += run([program], check=False).stdout
    return text


def rules_of(bridge: str, saved: str) -> list[str]:
    """The rules of an iptables-save text that name an interface."""
    return [line for line in saved.splitlines() if line.startswith("-A") and bridge in line.split()]
