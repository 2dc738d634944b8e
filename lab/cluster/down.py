"""Removes one lab, or all labs and the Docker daemon that the lab started."""

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from lab.cluster.docker import client as engine
from lab.cluster.docker import daemon, daemon_processes, daemons, provision
from lab.cluster.docker.client import docker
from lab.cluster.host_changes import apt, kernel_settings
from lab.cluster.node import container, kind, leftovers, ownership
from lab.cluster.node.leftovers import Leftover
from lab.errors import HostError, RefusedError
from lab.long_command import build_log
from lab.paths import LabPaths
from lab.progress import Progress

KEPT = frozenset({"records", "logs"})
"""Folders in `.lab/NAME` that `down` keeps: the user may still want to read them."""
SETTLE_SECONDS = 10.0
"""Seconds that interfaces, rules and processes may need to vanish after Docker removed the lab."""


def down(paths: LabPaths, progress: Progress, *, insist: bool = False) -> list[Leftover]:
    """Remove one lab and return what is left of it.

    `insist`: the user agrees to remove a lab whose folder is gone (see ownership.find). Raises
    RefusedError when the name belongs to a lab in another folder, or to a kind cluster that no lab
    created.
    """
    with progress.task("cluster") as task:
        if _nothing_answers(progress):
            task.skip("no Docker daemon runs, so no lab runs")
            _forget(paths)
            return _on_disk(paths)
        if abandoned := ownership.find(paths, insist=insist):
            task.update(f"it belonged to {abandoned}, a folder that no longer exists")
        traces = leftovers.identify(paths)
        container.remove(paths.name)
        task.update(f"{len(traces.containers)} containers removed")
    with progress.task("network, volumes, images"):
        for network in engine.names("network", f"label={engine.LABEL}={paths.name}"):
            docker("network", "rm", network, check=False)
        for volume in engine.names("volume", f"label={engine.LABEL}={paths.name}"):
            docker("volume", "rm", volume, check=False)
        if images := engine.images_of(paths.name):
            docker("rmi", "--force", *images, check=False)
    _forget(paths)
    if not labs():
        for sentence in kernel_settings.undo():
            progress.note(sentence)
    with progress.task("what is left") as task:
        deadline = time.monotonic() + SETTLE_SECONDS
        left = leftovers.remaining(traces)
        while left and time.monotonic() < deadline:
            time.sleep(0.2)  # before the condition is checked again
            left = leftovers.remaining(traces)
        left += _on_disk(paths)
        task.update(f"{len(left)}")
    return left


def _nothing_answers(progress: Progress) -> bool:
    """Whether no Docker daemon answers, so that there is nothing to remove from Docker.

    If the daemon that the lab started has died, starts it again and returns False, so that its
    containers can be removed. Raises HostError when the user selected a daemon (DOCKER_HOST or a
    Docker context) and it does not answer.
    """
    if not engine.why_unreachable():
        return False
    if engine.client() and (where := daemons.address()).by:
        remedy = provision.plan_address(where)
        raise HostError(
            f"{remedy.sentence}: the lab's containers cannot be listed", hint=remedy.instruction
        )
    if daemon_processes.recorded() is None:
        return True
    progress.note("the lab's Docker daemon has died: starting it again, to remove its containers")
    daemon.start()
    return False


def _forget(paths: LabPaths) -> None:
    if not paths.root.is_dir():
        return
    for entry in paths.root.iterdir():
        if entry.name in KEPT:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _on_disk(paths: LabPaths) -> list[Leftover]:
    if not paths.root.is_dir():
        return []
    return [Leftover("file", str(path)) for path in paths.root.iterdir() if path.name not in KEPT]


def down_all(
    progress: Progress,
    *,
    force: bool,
    exclusively: Callable[[LabPaths, Callable[[str], None]], AbstractContextManager[None]],
) -> list[Leftover]:
    """Remove every lab in this Docker daemon, then stop the daemon if the lab started it.

    Returns what is left. If that daemon has containers or networks that belong to no lab, `force`
    removes those too; without `force`, raises RefusedError and leaves the daemon running.
    `exclusively` returns a context manager that holds the lock of a lab.
    """
    from pathlib import Path

    left: list[Leftover] = []
    if _nothing_answers(progress):
        _remove_packages(progress)
        return left
    for name, home in labs():
        paths = LabPaths(name, Path(home))
        progress.note(f"removing the lab {name} ({home})")
        with exclusively(paths, progress.note):
            left += down(paths, progress)
    with progress.task("docker") as task:
        if not daemon.runs():
            task.skip("not started by the lab: left as it is")
            return left
        others = engine.containers()
        networks = engine.names("network", "type=custom")
        if (others or networks) and not force:
            names = ", ".join([*(container.name for container in others), *networks])
            raise RefusedError(
                f"the lab's Docker also has containers or networks that belong to no lab: {names}",
                hint="remove them, or let `lab down --all --yes` remove them",
            )
        engine.remove_containers([container.id for container in others])
        # Only the daemon knows exactly which rules and interfaces it made for a network.
        for network in networks:
            docker("network", "rm", network, check=False)
        stays = daemon.stop() or []
        task.update("stopped")
    for sentence in stays:
        progress.note(sentence)
    _remove_packages(progress)
    return left + [Leftover("process", line) for line in daemon_processes.still_there()]


def _remove_packages(progress: Progress) -> None:
    """Remove the packages that `up` installed, unless other software on this machine needs them."""
    if not apt.read().installed:
        return
    with progress.task("packages") as task:
        stays = apt.remove(build_log("packages"))
        task.update("; ".join(stays) or "removed those that the lab installed")


def labs() -> list[tuple[str, str]]:
    """Returns the name and folder of every lab in this Docker daemon (from labels of networks)."""
    form = f'{{{{.Label "{engine.LABEL}"}}}}\t{{{{.Label "{kind.HOME_LABEL}"}}}}'
    rows = docker(
        "network", "ls", "--filter", f"label={kind.HOME_LABEL}", "--format", form
    ).stdout.splitlines()
    return [(name, home) for name, _, home in (row.partition("\t") for row in rows) if home]
