"""Finds out which daemon the docker command talks to, and judges whether the lab can run on it.

From the answers of `docker info` and `docker version`, this module recognizes Podman, rootless
Docker, Docker Desktop and daemons on other machines.
"""

import ipaddress
import json
import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lab.cluster.docker.client import docker, why_unreachable
from lab.errors import CommandError, HostError

Kind = Literal["Docker Engine", "Docker Desktop", "rootless Docker", "Podman", "Windows containers"]
FORWARDERS = ("docker-desktop", "colima", "lima-", "rancher-desktop", "orbstack", "finch")
"""Host-name prefixes of virtual machines that forward published ports to our own 127.0.0.1."""


@dataclass(frozen=True)
class Address:
    """The daemon that the docker client is configured to use.

    `by`: the setting that selects the daemon (such as DOCKER_HOST); "" for the client's default.
    `host`: the daemon's address (unix:///…, tcp://…, ssh://…); "" for the default. `lost`: the name
    of the selected Docker context if that context does not exist, else "".
    """

    by: str = ""
    host: str = ""
    lost: str = ""

    @property
    def elsewhere(self) -> bool:
        """Whether the address is on another machine."""
        parts = urlsplit(self.host)
        if parts.scheme == "ssh":
            return True
        if parts.scheme not in ("tcp", "http", "https"):
            return False
        name = parts.hostname or ""
        try:
            return not ipaddress.ip_address(name).is_loopback
        except ValueError:
            return name not in ("", "localhost", "host.docker.internal")


@dataclass(frozen=True)
class Daemon:
    """What `docker info` and `docker version` report about a daemon that answers."""

    kind: Kind
    version: str
    api: str
    product: str
    """The product's name with its version ("Docker Desktop 4.21.1"); often ""."""
    name: str
    """Host name of the daemon's machine."""
    kernel: str
    storage_driver: str
    cgroup_driver: str
    cgroup_version: str
    operating_system: str
    architecture: str
    data_root: str
    cpus: int
    memory: int
    """Memory of the daemon's machine, in bytes."""
    rootless: bool
    limits: bool
    """Whether the daemon can limit memory, processes and CPU time; checked for rootless Docker."""
    http_proxy: str
    runtime: str
    """The name of the default OCI runtime; "" when the daemon does not report it."""


@dataclass(frozen=True)
class Here:
    """Operating system, host name and kernel release of this machine.

    They are compared with those that a daemon reports, to recognize a daemon on another machine.
    """

    system: str
    name: str
    kernel: str


@dataclass(frozen=True)
class DaemonCheck:
    """The kind of daemon that answers, whether the lab can run on it, and the fix if it cannot."""

    finding: str
    verdict: Literal["ok", "warn", "fail"]
    fix: str = ""


def address() -> Address:
    """Returns the daemon that the environment or a Docker context selects for the client."""
    if host := os.environ.get("DOCKER_HOST", ""):
        return Address("DOCKER_HOST", host)
    named = os.environ.get("DOCKER_CONTEXT", "")
    try:
        answer = docker("context", "inspect", *filter(None, [named]), timeout=10, check=False)
    except CommandError:
        return Address("DOCKER_CONTEXT" if named else "")
    return read_context(named, answer.stdout, answer.stderr)


def read_context(named: str, stdout: str, stderr: str) -> Address:
    """Parses the output of `docker context inspect`; returns the address of the context's daemon.

    `named` is the context that DOCKER_CONTEXT selects; "" if the current context was inspected.
    """
    by = "DOCKER_CONTEXT" if named else "the current Docker context"
    if "context not found" in stderr or "not found on the file system" in stderr:
        parts = stderr.split('"')
        return Address(by, lost=named or (parts[1] if len(parts) > 1 else "?"))
    try:
        (context,) = json.loads(stdout)
        host = str(context["Endpoints"]["docker"]["Host"])
    except (ValueError, KeyError, TypeError):
        return Address(by if named else "")
    default = context.get("Name") == "default"
    return Address("" if default else by, "" if default and host.startswith("unix:") else host)


def daemon() -> Daemon:
    """Returns what the daemon reports about itself. Raises HostError when no daemon answers."""
    reason = why_unreachable()
    if reason:
        raise HostError(f"no Docker daemon answers: {reason}", hint="run `lab doctor`")
    answers = [
        json.loads(docker(word, "--format", "{{json .}}").stdout or "{}")
        for word in ("info", "version")
    ]
    return parse(*answers)


def parse(info: Mapping[str, Any], version: Mapping[str, Any]) -> Daemon:
    """Makes a Daemon from the answers of `docker info` and `docker version`.

    What the daemon does not report becomes "", 0 or False.
    """
    if isinstance(info.get("host"), Mapping) and "store" in info:
        return _from_podman(info)
    server = version.get("Server")
    server = server if isinstance(server, Mapping) else {}
    security = " ".join(str(option) for option in info.get("SecurityOptions") or ())
    rootless = "rootless" in security or info.get("Rootless") is True
    product = str((server.get("Platform") or {}).get("Name") or "")
    parts = [str(component.get("Name")) for component in server.get("Components") or ()]
    kind: Kind = "rootless Docker" if rootless else "Docker Engine"
    if "Docker Desktop" in f"{product} {info.get('OperatingSystem')}":
        kind = "Docker Desktop"
    if "BuildahVersion" in info or any("Podman" in part for part in parts):
        kind = "Podman"
    if info.get("OSType") == "windows":
        kind = "Windows containers"

    def text(field: str) -> str:
        value = info.get(field)
        return value if isinstance(value, str) else ""

    def number(field: str) -> int:
        value = info.get(field)
        return value if isinstance(value, int) else 0

    return Daemon(
        kind=kind,
        version=text("ServerVersion"),
        api=str(server.get("ApiVersion") or ""),
        product=product,
        name=text("Name"),
        kernel=text("KernelVersion"),
        storage_driver=text("Driver"),
        cgroup_driver=text("CgroupDriver"),
        cgroup_version=text("CgroupVersion"),
        operating_system=text("OperatingSystem"),
        architecture=text("Architecture"),
        data_root=text("DockerRootDir"),
        cpus=number("NCPU"),
        memory=number("MemTotal"),
        rootless=rootless,
        limits=all(info.get(name) is True for name in ("MemoryLimit", "PidsLimit", "CPUShares")),
        http_proxy=text("HttpProxy") or text("HttpsProxy"),
        runtime=text("DefaultRuntime"),
    )


def _from_podman(info: Mapping[str, Any]) -> Daemon:
    """Makes a Daemon from the answer of `podman info`: the `docker` command may be Podman."""
    host, store = info["host"], info["store"]
    security = host.get("security") or {}
    return Daemon(
        kind="Podman",
        version=str((info.get("version") or {}).get("Version", "")),
        api="",
        product="",
        name=str(host.get("hostname", "")),
        kernel=str(host.get("kernel", "")),
        storage_driver=str(store.get("graphDriverName", "")),
        cgroup_driver=str(host.get("cgroupManager", "")),
        cgroup_version=str(host.get("cgroupVersion", "")).removeprefix("v"),
        operating_system=str((host.get("distribution") or {}).get("distribution", "")),
        architecture=str(host.get("arch", "")),
        data_root=str(store.get("graphRoot", "")),
        cpus=int(host.get("cpus", 0)),
        memory=int(host.get("memTotal", 0)),
        rootless=security.get("rootless") is True,
        limits=False,
        http_proxy="",
        runtime="",
    )


def here() -> Here:
    """Returns operating system, host name and kernel release of this machine."""
    return Here(platform.system(), socket.gethostname(), platform.release())


def judge(daemon: Daemon, where: Address, here: Here, cache: Path) -> DaemonCheck:
    """Decides whether the lab can run on the daemon; no I/O. `cache`: the lab's cache folder."""
    unset = _unset(where)
    if daemon.kind == "Podman":
        mode = "rootless Podman" if daemon.rootless else "Podman"
        return DaemonCheck(
            f"{mode} {daemon.version} answers in Docker's place: the lab needs Docker Engine",
            "fail",
            f"{unset}install Docker Engine (Debian: docker.io); Podman may stay beside it",
        )
    if daemon.kind == "Windows containers":
        fix = "Docker Desktop: switch to Linux containers"
        return DaemonCheck("Docker runs Windows containers", "fail", fix)
    if where.elsewhere or _another_machine(daemon, here):
        at = where.host or f"{daemon.name}, Linux {daemon.kernel}"
        return DaemonCheck(
            f"the daemon is on another machine ({at}): this machine cannot reach what "
            "the lab publishes on that machine's 127.0.0.1",
            "fail",
            f"run the lab on that machine, or use a Docker of this machine: {unset or _DEFAULT}",
        )
    if daemon.kind == "rootless Docker":
        return _rootless(daemon)
    if daemon.kind == "Docker Desktop":
        name = (daemon.product or "Docker Desktop").partition(" (")[0]
        return DaemonCheck(f"{name}: the node runs in its virtual machine", "ok")
    if daemon.data_root.startswith("/var/snap/") and _hidden(cache):
        return DaemonCheck(
            "Docker from snap: it cannot read hidden folders, and the lab's cache is in one",
            "fail",
            'export SIDECAR_LAB_CACHE="$HOME/sidecar-lab-cache"',
        )
    return DaemonCheck("Docker Engine on this machine", "ok")


def _rootless(daemon: Daemon) -> DaemonCheck:
    if daemon.cgroup_version != "2":
        fix = "boot with systemd.unified_cgroup_hierarchy=1, or use Docker as root"
        return DaemonCheck("rootless Docker under cgroup v1: no node can run there", "fail", fix)
    if not daemon.limits:
        return DaemonCheck(
            "rootless Docker that may not limit memory, processes and processor time",
            "fail",
            "systemd must delegate them: a drop-in for user@.service with "
            "Delegate=cpu cpuset io memory pids, then log in again",
        )
    fix = "sudo modprobe -a nf_tables nft_compat nft_chain_nat xt_REDIRECT xt_owner xt_tcpudp"
    finding = "rootless Docker under cgroup v2: kind runs there if these kernel modules are loaded"
    return DaemonCheck(finding, "warn", fix)


def _another_machine(daemon: Daemon, here: Here) -> bool:
    """Whether a daemon on a local socket runs on another machine (behind a tunnel, or in a VM)."""
    if here.system != "Linux" or daemon.kind == "Docker Desktop" or not daemon.kernel:
        return False
    known = daemon.name.startswith(FORWARDERS)
    return not known and daemon.kernel != here.kernel and daemon.name != here.name


_DEFAULT = "`docker context use default`"


def _unset(where: Address) -> str:
    """Returns the command that selects the default daemon, to be put at the beginning of a fix.

    Returns "" when no setting selects another daemon.
    """
    if where.by in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        return f"`unset {where.by}`; "
    return f"{_DEFAULT}; " if where.by else ""


def _hidden(folder: Path) -> bool:
    return any(part.startswith(".") for part in folder.parts)
