"""Gathers facts about this machine as plain data, which lab.cluster.doctor judges.

This module judges nothing and leaves nothing changed: test rules are set in a new network
namespace, which ends with the process that sets them, and a test network is removed at once.
Every attempt has a time limit.
"""

import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from lab.cluster.docker import client as engine
from lab.cluster.docker import daemon as dockerd
from lab.cluster.docker import daemons, provision
from lab.cluster.docker.client import docker
from lab.command import run
from lab.errors import CommandError, HostError
from lab.paths import cache_root

REGISTRY = ("registry-1.docker.io", 443)
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "NO_PROXY", "no_proxy")
INOTIFY = Path("/proc/sys/fs/inotify")


@dataclass(frozen=True)
class Host:
    """The facts about this machine. Sizes are in bytes.

    A field is None if this system does not have what it describes (for instance inotify limits).
    """

    machine: provision.Machine
    daemon: daemons.Daemon | None
    here: daemons.Here
    cache: Path
    daemon_is_ours: bool
    client: str
    socket_denied: bool
    cgroup: str
    lacking: frozenset[str] | None
    disk_path: str
    disk_free: int
    memory: int
    inotify_watches: int | None
    inotify_instances: int | None
    netfilter: str
    """The error of setting PROBE_RULES; "" when they could be set, "?" when they were not tried."""
    netfilter_where: str
    registry: str
    """Why the registry accepts no connection; "" when it accepts one."""
    go: str
    kubectl: str
    proxies: dict[str, str]
    free_pool: str
    """Why Docker could not create a network; "" when it could, "?" when it was not tried."""
    labs: tuple[str, ...]


def gather() -> Host:
    """Gather all facts; the three slow ones (registry, netfilter, Go) in threads of their own."""
    with ThreadPoolExecutor(max_workers=3) as pool:
        registry = pool.submit(registry_problem)
        netfilter = pool.submit(try_netfilter)
        go = pool.submit(_version, ["go", "version"])
        unreachable = engine.why_unreachable()
        machine = provision.look(unreachable)
        daemon = _daemon() if not unreachable else None
        disk = _existing(Path(daemon.data_root) if daemon else cache_root())
        netfilter_error, netfilter_where = netfilter.result()
        return Host(
            machine=machine,
            daemon=daemon,
            here=daemons.here(),
            cache=cache_root(),
            daemon_is_ours=dockerd.answers(),
            client=_version(["docker", "--version"]),
            socket_denied="permission denied" in unreachable.lower(),
            cgroup=_cgroup(),
            lacking=dockerd.lacking_capabilities() if machine.system == "Linux" else None,
            disk_path=str(disk),
            disk_free=shutil.disk_usage(disk).free,
            memory=daemon.memory if daemon else psutil.virtual_memory().total,
            inotify_watches=_number(INOTIFY / "max_user_watches"),
            inotify_instances=_number(INOTIFY / "max_user_instances"),
            netfilter=netfilter_error,
            netfilter_where=netfilter_where,
            registry=registry.result(),
            go=go.result(),
            kubectl=_kubectl(),
            proxies={name: os.environ[name] for name in PROXIES if os.environ.get(name)},
            free_pool=_pool() if daemon else "?",
            labs=_labs() if daemon else (),
        )


def _daemon() -> daemons.Daemon | None:
    try:
        return daemons.daemon()
    except (HostError, CommandError, ValueError):
        return None


def _existing(path: Path) -> Path:
    """Returns `path` or its nearest parent that is an existing folder.

    If Docker runs in a virtual machine, its data root does not exist on this machine.
    """
    for folder in (path, *path.parents):
        try:
            if folder.is_dir():
                return folder
        except PermissionError:
            continue
    return Path.cwd()


def _cgroup() -> str:
    if Path("/sys/fs/cgroup/cgroup.controllers").is_file():
        return "2"
    return "1" if Path("/sys/fs/cgroup").is_dir() and os.listdir("/sys/fs/cgroup") else ""  # noqa: PTH208


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _version(argv: list[str]) -> str:
    if shutil.which(argv[0]) is None:
        return ""
    try:
        return run(argv, timeout=10, check=False).stdout.strip()
    except CommandError:
        return ""


def _kubectl() -> str:
    from lab.cluster.images.ensure import kubectl

    try:
        return str(kubectl())
    except HostError:
        return ""


def registry_problem(address: tuple[str, int] = REGISTRY, seconds: float = 3.0) -> str:
    """Returns why no connection to the registry can be made; "" when it can be made."""
    try:
        socket.create_connection(address, timeout=seconds).close()
    except OSError as error:
        return str(error) or type(error).__name__
    return ""


PROBE_RULES = """*nat
:LAB_PROBE - [0:0]
-A LAB_PROBE -p tcp -m owner ! --uid-owner 1337 -j REDIRECT --to-ports 15001
-A OUTPUT -p tcp -j LAB_PROBE
COMMIT
"""
"""iptables rules with the matches and the target that the mesh's redirection needs."""


def try_netfilter() -> tuple[str, str]:
    """Try to set PROBE_RULES in a new network namespace; returns the error and the place.

    The error is "" when the rules could be set, and "?" when no place was found to try them. The
    first place is this machine; there, a user who is not root also gets a new user namespace. If
    such a user does not succeed, or programs are missing, the second place is a running kind node.
    """
    if shutil.which("unshare") and shutil.which("iptables-restore"):
        root = getattr(os, "geteuid", lambda: 1)() == 0
        flags = "-n" if root else "-Urn"
        try:
            tried = run(
                ["unshare", flags, "iptables-restore"], stdin=PROBE_RULES, timeout=15, check=False
            )
        except CommandError as error:
            return error.message, "a network namespace of its own"
        if tried.ok:
            return "", "a network namespace of its own"
        if root:
            return tried.stderr.strip() or "iptables-restore failed", "a namespace of its own"
    for node in _running_nodes():
        argv = ["docker", "exec", "-i", node, "unshare", "-n", "iptables-restore"]
        tried = run(argv, stdin=PROBE_RULES, timeout=15, check=False)
        return ("" if tried.ok else tried.stderr.strip()), f"the node {node}"
    return "?", ""


def _running_nodes() -> list[str]:
    try:
        nodes = engine.containers(f"label={engine.KIND_LABEL}", "status=running")
    except CommandError:
        return []
    return [node.name for node in nodes]


def _pool() -> str:
    """Returns "" when Docker has a free address range for a network, else Docker's error.

    To find out, creates a network and removes it again.
    """
    name = f"sidecar-lab-doctor-{os.getpid()}"
    try:
        created = docker("network", "create", name, timeout=20, check=False)
        if created.ok:
            docker("network", "rm", name, timeout=20, check=False)
    except CommandError as error:
        return error.message
    return "" if created.ok else created.stderr.strip()


def _labs() -> tuple[str, ...]:
    from lab.cluster.down import labs

    return tuple(f"{name} ({home})" for name, home in labs())
