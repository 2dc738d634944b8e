"""Installs or starts Docker where that is allowed; elsewhere tells the user what to do."""

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.cluster.docker import daemon as dockerd
from lab.cluster.docker import daemon_processes, daemons
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
    """The facts for `plan`. `distribution` has the words of ID and ID_LIKE in /etc/os-release."""

    system: str
    distribution: frozenset[str]
    root: bool
    systemd: bool
    apt: bool
    client: bool
    dockerd: bool
    address: Address
    """The daemon that the docker command is configured to use."""
    unreachable: str
    """Why no daemon answers; "" when one answers."""
    wsl: bool = False


@dataclass(frozen=True)
class DockerRemedy:
    """What must be done so that Docker answers.

    `sentence`: the situation and what `lab up` does about it, if it can do anything. `instruction`:
    what the user has to do; "" when the user has to do nothing.
    """

    action: Action
    sentence: str
    instruction: str = ""


def plan(machine: Machine) -> DockerRemedy:
    """Decides what must be done so that Docker answers; does no I/O.

    If Docker answers already, the result's action is "nothing".
    """
    if not machine.unreachable:
        return DockerRemedy("nothing", "Docker answers")
    if "permission denied" in machine.unreachable.lower():
        return DockerRemedy(
            "instruct",
            "Docker runs, but this user may not use it",
            "sudo usermod -aG docker $USER, then log in again (or run as root)",
        )
    if machine.address.lost or machine.address.by:
        return plan_address(machine.address)
    if machine.system == "Darwin":
        step = "start Docker Desktop" if machine.client else "install and start Docker Desktop"
        return DockerRemedy("instruct", "Docker does not answer", f"{step}: open -a Docker")
    if machine.system == "Windows":
        return DockerRemedy(
            "instruct",
            "Docker does not answer",
            "start Docker Desktop with its WSL 2 engine, and run the lab inside WSL",
        )
    return _plan_linux(machine)


def plan_address(address: Address) -> DockerRemedy:
    """Decides what to do when the daemon that the user selected does not answer.

    The lab never starts its own daemon instead of that daemon: the result is an instruction.
    """
    by, host = address.by, address.host
    context = by != "DOCKER_HOST"
    leave = "`docker context use default`" if by.startswith("the") else f"`unset {by}`"
    if address.lost:
        return DockerRemedy(
            "instruct",
            f"{by} is {address.lost!r}, and there is no Docker context of that name",
            f"`docker context ls` lists the existing ones; {leave} goes back to the default",
        )
    scheme, separator, place = host.partition("://")
    if not context and (not separator or scheme not in SCHEMES):
        problem = f"DOCKER_HOST is {host!r}, which is not the address of a daemon"
        return DockerRemedy(
            "instruct", problem, f"write unix:///path, tcp://host:port, ssh://host, or {leave}"
        )
    socket = Path(place)
    if scheme == "unix" and not socket.exists():
        problem = f"{by} means {host}, and that socket does not exist"
    else:
        problem = f"{by} means {host or 'a daemon'}, and nothing answers there"
    return DockerRemedy("instruct", problem, f"start that daemon, or {leave}")


def _plan_linux(machine: Machine) -> DockerRemedy:
    sudo = "" if machine.root else "sudo "
    debian = bool(machine.distribution & {"debian", "ubuntu"}) and machine.apt
    if machine.dockerd and machine.systemd:
        return DockerRemedy("instruct", "Docker is stopped", f"{sudo}systemctl start docker")
    if machine.dockerd and machine.root:
        return DockerRemedy("start", "Docker is installed but not running: `lab up` starts it")
    if machine.dockerd:
        return DockerRemedy("instruct", "Docker is not running", "sudo dockerd &")
    if machine.wsl and not machine.systemd and not machine.root:
        return DockerRemedy(
            "instruct",
            "Docker is missing",
            "start Docker Desktop and switch on its WSL integration for this distribution",
        )
    if debian and machine.root:
        return DockerRemedy(
            "install", "Docker is missing: `lab up` installs docker.io and starts it"
        )
    if debian:
        return DockerRemedy("instruct", "Docker is missing", "sudo apt-get install docker.io")
    return DockerRemedy(
        "instruct",
        "Docker is missing",
        "install Docker Engine with your distribution's packages (docker, moby-engine) "
        "and start it: sudo systemctl enable --now docker",
    )


def look(unreachable: str) -> Machine:
    """Gather the facts for `plan`; `unreachable` is the result of client.why_unreachable."""
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
    """Ensure that a Docker daemon answers: install and start one if needed.

    If `allowed` is False (`--no-provision`), nothing is installed or started. `confirm` asks the
    user first; if it is None, the user is not asked. Raises HostError with an instruction when no
    usable Docker answers in the end.
    """
    if note := apt.settle():
        progress.note(note)
    unreachable = why_unreachable()
    if not unreachable:
        refuse_where_it_cannot_run()
        ours = dockerd.runs()
        if ours:
            dockerd.note_what_it_made()
        task.skip("answers (started by the lab)" if ours else "answers")
        return
    machine = look(unreachable)
    remedy = plan(machine)
    if remedy.action == "instruct":
        # For a context that does not exist, the client's error is longer and says no more.
        why = "" if machine.address.lost else f" ({machine.unreachable.splitlines()[0][:300]})"
        raise HostError(f"{remedy.sentence}{why}", hint=remedy.instruction)
    if not allowed:
        fetch = "apt-get install docker.io && " if remedy.action == "install" else ""
        by_hand = f"{fetch}dockerd --data-root {daemon_processes.home() / 'data'} &"
        raise HostError(f"{remedy.sentence}, but --no-provision forbids it", hint=by_hand)
    if confirm is not None and not confirm(f"{remedy.sentence}. Go on?"):
        raise HostError(
            "Docker is needed", hint="install and start Docker, then run `lab up` again"
        )
    progress.note(remedy.sentence)
    if remedy.action == "install":
        install(task, logs / "apt.log")
    if why_unreachable():
        task.update("starting dockerd")
        dockerd.start()
    task.update("answers (started by the lab)")


def refuse_where_it_cannot_run() -> None:
    """Raise HostError if the lab cannot run on the daemon that answers."""
    check = daemons.judge(daemons.daemon(), daemons.address(), daemons.here(), cache_root())
    if check.verdict == "fail":
        raise HostError(check.finding, hint=check.fix)


def install(task: Task, log: Path) -> None:
    """Install the Debian packages in PACKAGES; docker.io is kept from starting a daemon itself.

    Raises HostError with the path of the log when the installation fails.
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
        hint=f"the complete log is {log}; install Docker by hand, then run `lab up` again",
    )


def is_terminal() -> bool:
    """Whether standard input and output are a terminal, so that the user can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()
