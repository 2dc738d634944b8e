"""What answers to the docker command, where it is, and whether the lab can run there.

`docker info` and `docker version` are read as plain data; Podman, rootless Docker, Docker Desktop
and daemons of other machines are told apart by it.
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
"""How the names of virtual machines begin whose 127.0.0.1 is this machine's, too."""


@dataclass(frozen=True)
class Address:
    """Which daemon the client is told to talk with.

    `by` is the setting that says so ("" for the client's default), `host` what it says
    (unix:///…, tcp://…, ssh://…), `lost` the name of a context that there is none of.
    """

    by: str = ""
    host: str = ""
    lost: str = ""

    @property
    def elsewhere(self) -> bool:
        """Whether that is another machine."""
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
    """What a daemon that answers says of itself (`docker info`, `docker version`)."""

    kind: Kind
    version: str
    api: str
    product: str
    """What it calls itself, with a version ("Docker Desktop 4.21.1"); often ""."""
    name: str
    """Its machine's."""
    kernel: str
    storage_driver: str
    cgroup_driver: str
    cgroup_version: str
    operating_system: str
    architecture: str
    data_root: str
    cpus: int
    memory: int
    """Bytes."""
    rootless: bool
    limits: bool
    """Whether it can limit memory, processes and processor time: what kind asks of a rootless."""
    http_proxy: str
    runtime: str
    """The OCI runtime of a container that names none; "" where it does not say."""


@dataclass(frozen=True)
class Here:
    """What of this machine tells a daemon of its own from another's."""

    system: str
    name: str
    kernel: str


@dataclass(frozen=True)
class Verdict:
    """What answers, and whether the lab can run there: "ok", "warn", "fail", with what mends it."""

    seen: str
    verdict: Literal["ok", "warn", "fail"]
    fix: str = ""


def address() -> Address:
    """Which daemon the client is told to talk with; asks the client for its contexts."""
    if host := os.environ.get("DOCKER_HOST", ""):
        return Address("DOCKER_HOST", host)
    named = os.environ.get("DOCKER_CONTEXT", "")
    try:
        asked = docker("context", "inspect", *filter(None, [named]), timeout=10, check=False)
    except CommandError:
        return Address("DOCKER_CONTEXT" if named else "")
    return read_context(named, asked.stdout, asked.stderr)


def read_context(named: str, stdout: str, stderr: str) -> Address:
    """`docker context inspect`'s answer about the context `named` ("" is the current one)."""
    by = "DOCKER_CONTEXT" if named else "the current Docker context"
    if "context not found" in stderr or "not found on the file system" in stderr:
        parts = stderr.split('"')
        return Address(by, lost=named or (parts[1] if len(parts) > 1 else "?"))
    try:
        (found,) = json.loads(stdout)
        host = str(found["Endpoints"]["docker"]["Host"])
    except (ValueError, KeyError, TypeError):
        return Address(by if named else "")
    default = found.get("Name") == "default"
    return Address("" if default else by, "" if default and host.startswith("unix:") else host)


def daemon() -> Daemon:
    """What the daemon says of itself. Raises HostError when none answers."""
    reason = why_unreachable()
    if reason:
        raise HostError(f"no Docker daemon answers: {reason}", hint="run `lab doctor`")
    told = [
        json.loads(docker(word, "--format", "{{json .}}").stdout or "{}")
        for word in ("info", "version")
    ]
    return parse(*told)


def parse(info: Mapping[str, Any], version: Mapping[str, Any]) -> Daemon:
    """Both answers as a Daemon; fields that a daemon leaves out become empty."""
    if isinstance(info.get("host"), Mapping) and "store" in info:
        return _podmans_own(info)
    server = version.get("Server")
    server = server if isinstance(server, Mapping) else {}
    security = " ".join(str(option) for option in info.get("SecurityOptions") or ())
    rootless = "rootless" in security or info.get("Rootless") is True
    product = str((server.get("Platform") or {}).get("Name") or "")
    parts = [str(one.get("Name")) for one in server.get("Components") or ()]
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


def _podmans_own(info: Mapping[str, Any]) -> Daemon:
    """`podman info`, where the docker command is Podman itself."""
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
    """This machine."""
    return Here(platform.system(), socket.gethostname(), platform.release())


def judge(daemon: Daemon, where: Address, here: Here, cache: Path) -> Verdict:
    """What answers and whether the lab can run there; `cache` is the lab's cache folder."""
    back = _back(where)
    if daemon.kind == "Podman":
        mode = "rootless Podman" if daemon.rootless else "Podman"
        return Verdict(
            f"{mode} {daemon.version} answers in Docker's place: the lab needs Docker Engine",
            "fail",
            f"{back}install Docker Engine (Debian: docker.io); Podman may stay beside it",
        )
    if daemon.kind == "Windows containers":
        fix = "Docker Desktop: switch to Linux containers"
        return Verdict("Docker runs Windows containers", "fail", fix)
    if where.elsewhere or _another_machine(daemon, here):
        at = where.host or f"{daemon.name}, Linux {daemon.kernel}"
        return Verdict(
            f"the daemon is on another machine ({at}): what the lab publishes on that one's "
            "127.0.0.1 is not reached from here",
            "fail",
            f"run the lab on that machine, or use a Docker of this one: {back or _UNSET}",
        )
    if daemon.kind == "rootless Docker":
        return _rootless(daemon)
    if daemon.kind == "Docker Desktop":
        name = (daemon.product or "Docker Desktop").partition(" (")[0]
        return Verdict(f"{name}: the node runs in its virtual machine", "ok")
    if daemon.data_root.startswith("/var/snap/") and _hidden(cache):
        return Verdict(
            "Docker from snap: it reads no hidden folder, and the lab's cache is in one",
            "fail",
            'export SIDECAR_LAB_CACHE="$HOME/sidecar-lab-cache"',
        )
    return Verdict("Docker Engine on this machine", "ok")


def _rootless(daemon: Daemon) -> Verdict:
    if daemon.cgroup_version != "2":
        fix = "boot with systemd.unified_cgroup_hierarchy=1, or use Docker as root"
        return Verdict("rootless Docker under cgroup v1: no node can run there", "fail", fix)
    if not daemon.limits:
        return Verdict(
            "rootless Docker that may not limit memory, processes and processor time",
            "fail",
            "systemd must delegate them: a drop-in for user@.service with "
            "Delegate=cpu cpuset io memory pids, then log in again",
        )
    fix = "sudo modprobe -a nf_tables nft_compat nft_chain_nat xt_REDIRECT xt_owner xt_tcpudp"
    seen = "rootless Docker under cgroup v2: kind runs there if these kernel modules are loaded"
    return Verdict(seen, "warn", fix)


def _another_machine(daemon: Daemon, here: Here) -> bool:
    """Whether a daemon behind a socket of this machine is another's (a tunnel, a bare VM)."""
    if here.system != "Linux" or daemon.kind == "Docker Desktop" or not daemon.kernel:
        return False
    known = daemon.name.startswith(FORWARDERS)
    return not known and daemon.kernel != here.kernel and daemon.name != here.name


_UNSET = "`docker context use default`"


def _back(where: Address) -> str:
    if where.by in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        return f"`unset {where.by}`; "
    return f"{_UNSET}; " if where.by else ""


def _hidden(folder: Path) -> bool:
    return any(part.startswith(".") for part in folder.parts)
