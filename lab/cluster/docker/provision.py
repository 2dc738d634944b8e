"""From a machine without Docker to one with it, or to the exact instruction for its owner."""

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.cluster.docker import daemon as dockerd
from lab.cluster.docker import daemons
from lab.cluster.docker.client import client, why_unreachable
from lab.cluster.docker.daemons import Address
from lab.cluster.host_changes import apt
from lab.errors import HostError
from lab.paths import cache_root
from lab.progress import Progress, Task

Action = Literal["nothing", "start", "install", "instruct"]
SCHEMES = ("unix", "tcp", "ssh", "http", "https", "npipe", "fd")
PACKAGES = ("docker.io", "iptables", "ca-certificates")


@dataclass(frozen=True)
class Machine:
    """What decides how Docker gets here. `distribution` is ID and ID_LIKE of os-release."""

    system: str
    distribution: frozenset[str]
    root: bool
    systemd: bool
    apt: bool
    client: bool
    dockerd: bool
    address: Address
    """Which daemon the docker command is told to talk with."""
    unreachable: str
    """Empty: a daemon answers; else why not."""
    wsl: bool = False


@dataclass(frozen=True)
class Plan:
    """What `up` will do about Docker, and the sentence that says so."""

    action: Action
    sentence: str
    instruction: str = ""


def plan(machine: Machine) -> Plan:
    """Decide from plain facts; a daemon that answers is never touched."""
    if not machine.unreachable:
        return Plan("nothing", "Docker answers")
    if "permission denied" in machine.unreachable.lower():
        return Plan(
            "instruct",
            "Docker runs, but this user may not talk to it",
            "sudo usermod -aG docker $USER, then log in again (or run as root)",
        )
    if machine.address.lost or machine.address.by:
        return plan_address(machine.address)
    if machine.system == "Darwin":
        step = "start Docker Desktop" if machine.client else "install and start Docker Desktop"
        return Plan("instruct", "Docker does not answer", f"{step}: open -a Docker")
    if machine.system == "Windows":
        return Plan(
            "instruct",
            "Docker does not answer",
            "start Docker Desktop with its WSL 2 engine, and run the lab inside WSL",
        )
    return _plan_linux(machine)


def plan_address(address: Address) -> Plan:
    """A daemon that the user named is not replaced by ours; what is wrong with it is said."""
    by, host = address.by, address.host
    context = by != "DOCKER_HOST"
    leave = "`docker context use default`" if by.startswith("the") else f"`unset {by}`"
    if address.lost:
        return Plan(
            "instruct",
            f"{by} is {address.lost!r}, and there is no Docker context of that name",
            f"`docker context ls` lists those there are; {leave} goes back to the default",
        )
    scheme, separator, place = host.partition("://")
    if not context and (not separator or scheme not in SCHEMES):
        said = f"DOCKER_HOST is {host!r}, which is no address of a daemon"
        return Plan(
            "instruct", said, f"write unix:///path, tcp://host:port, ssh://host, or {leave}"
        )
    socket = Path(place)
    if scheme == "unix" and not socket.exists():
        said = f"{by} means {host}, and there is no such socket"
    else:
        said = f"{by} means {host or 'a daemon'}, and nothing answers there"
    return Plan("instruct", said, f"start that daemon, or {leave}")


def _plan_linux(machine: Machine) -> Plan:
    sudo = "" if machine.root else "sudo "
    debian = bool(machine.distribution & {"debian", "ubuntu"}) and machine.apt
    if machine.dockerd and machine.systemd:
        return Plan("instruct", "Docker is stopped", f"{sudo}systemctl start docker")
    if machine.dockerd and machine.root:
        return Plan("start", "Docker is installed but not running: `lab up` starts it")
    if machine.dockerd:
        return Plan("instruct", "Docker is not running", "sudo dockerd &")
    if machine.wsl and not machine.systemd and not machine.root:
        return Plan(
            "instruct",
            "Docker is missing",
            "start Docker Desktop and switch on its WSL integration for this distribution",
        )
    if debian and machine.root:
        return Plan("install", "Docker is missing: `lab up` installs docker.io and starts it")
    if debian:
        return Plan("instruct", "Docker is missing", "sudo apt-get install docker.io")
    return Plan(
        "instruct",
        "Docker is missing",
        "install Docker Engine with your distribution's packages (docker, moby-engine) "
        "and start it: sudo systemctl enable --now docker",
    )


def look(unreachable: str) -> Machine:
    """Gather the facts that `plan` decides on; `unreachable` as docker.why_unreachable says."""
    release = Path("/etc/os-release")
    ids: set[str] = set()
    if release.is_file():
        for line in release.read_text().splitlines():
            key, _, value = line.partition("=")
            if key in ("ID", "ID_LIKE"):
                ids.update(value.strip('"').split())
    return Machine(
        system=platform.system(),
        distribution=frozenset(ids),
        root=getattr(os, "geteuid", lambda: 1)() == 0,
        systemd=Path("/run/systemd/system").is_dir(),
        apt=shutil.which("apt-get") is not None,
        client=client() is not None,
        dockerd=shutil.which("dockerd") is not None,
        address=daemons.address() if client() else daemons.Address(),
        unreachable=unreachable,
        wsl="microsoft" in platform.release().lower(),
    )


def ensure_docker(
    progress: Progress,
    task: Task,
    logs: Path,
    *,
    allowed: bool = True,
    confirm: Callable[[str], bool] | None = None,
) -> None:
    """A daemon that answers, whatever it takes here.

    `allowed` False (`--no-provision`) refuses to install or start anything. `confirm` asks the
    user; None goes on after saying what is done. Raises HostError with an instruction.
    """
    if said := apt.settle():
        progress.note(said)
    unreachable = why_unreachable()
    if not unreachable:
        refuse_where_it_cannot_run()
        ours = dockerd.runs()
        if ours:
            dockerd.note_what_it_made()
        task.skip("answers (started by the lab)" if ours else "answers")
        return
    machine = look(unreachable)
    decided = plan(machine)
    if decided.action == "instruct":
        # Of a context that is not there the client tells no more, at greater length.
        why = "" if machine.address.lost else f" ({machine.unreachable.splitlines()[0][:300]})"
        raise HostError(f"{decided.sentence}{why}", hint=decided.instruction)
    if not allowed:
        fetch = "apt-get install docker.io && " if decided.action == "install" else ""
        by_hand = f"{fetch}dockerd --data-root {dockerd.home() / 'data'} &"
        raise HostError(f"{decided.sentence}, but --no-provision forbids it", hint=by_hand)
    if confirm is not None and not confirm(f"{decided.sentence}. Go on?"):
        raise HostError("Docker is needed", hint="install and start it yourself")
    progress.note(decided.sentence)
    if decided.action == "install":
        install(task, logs / "apt.log")
    if why_unreachable():
        task.update("starting dockerd")
        dockerd.start()
    task.update("answers (started by the lab)")


def refuse_where_it_cannot_run() -> None:
    """Raises HostError when what answers to `docker` is nothing that the lab can run on."""
    found = daemons.judge(daemons.daemon(), daemons.address(), daemons.here(), cache_root())
    if found.verdict == "fail":
        raise HostError(found.seen, hint=found.fix)


def install(task: Task, log: Path) -> None:
    """Install Debian's docker.io without letting its package start a daemon we do not know.

    Raises HostError that names the log.
    """
    task.update("installing docker.io")
    if apt.install(PACKAGES, log) and shutil.which("dockerd"):
        return
    task.update("reading package lists, installing docker.io")
    apt.refresh(log)
    if apt.install(PACKAGES, log) and shutil.which("dockerd"):
        return
    raise HostError(
        f"docker.io could not be installed:\n{dockerd.tail(log)}",
        hint=f"the whole log is {log}; install Docker by hand, then run `lab up` again",
    )


def is_terminal() -> bool:
    """Whether a question can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()
