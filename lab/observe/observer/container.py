"""The observer: a container beside the node that looks into pods from outside.

One container for each lab, started by whoever needs it first (testcontainers), shared by every
process that looks, and removed with the lab, which finds it by its label. It is privileged and in
the node's pid namespace, with no network of its own: so it can enter every pod's.
"""

import os
import threading
from pathlib import Path
from typing import Any

from filelock import FileLock

from lab.command import run
from lab.errors import CommandError, ObservationError
from lab.observe.observer.channel import Channel, ChannelClosedError, NoAnswerError

LABEL = "sidecar-lab.name"
"""Every container of a lab carries it, with the lab's name as its value."""
NODE_LABEL = "sidecar-lab.observes"
"""Id of the node's container: an observer of a node that is no more is of no use."""
ROLE_LABEL = "sidecar-lab.role"
ACTING = frozenset({"run", "http", "connect"})
"""Questions that may change something, or count, when they are answered."""


def container_name(lab: str) -> str:
    """Name of the lab's observer container."""
    return f"{lab}-observer"


class Observer:
    """Answers about one node's pods. Starts what is missing when first asked.

    Safe for several threads. `ask` raises ObservationError.
    """

    def __init__(self, lab: str, node: str, image: str, *, lock: Path) -> None:
        """`node` is the node container's name, `lock` a file that all users of the lab share."""
        self.lab = lab
        self.node = node
        self.image = image
        self._lock = lock
        self._channel: Channel | None = None
        self._guard = threading.Lock()

    def ask(self, question: str, *, wait: float = 5.0, **details: Any) -> Any:
        """Ask the program inside (see program.QUESTIONS); `wait` is in seconds.

        If the observer has died since the last question, it is started once more; only a
        question that acts (ACTING) is not asked twice.
        """
        channel = self._open()
        try:
            return channel.ask(question, wait=wait, **details)
        except NoAnswerError:
            # A container that was removed takes docker's own client with it only sometimes.
            if _serves(self.lab, self.node, self.image):
                raise
        except ChannelClosedError:
            pass
        self.close()
        if question in ACTING:
            raise ObservationError(
                f"the observer went away while it was asked {question!r}",
                hint="it is started again when next asked; run the step again",
            )
        return self._open().ask(question, wait=wait, **details)

    def close(self) -> None:
        """Close the channel; the container stays for the next who looks."""
        with self._guard:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _open(self) -> Channel:
        with self._guard:
            if self._channel is None:
                # Trying is cheaper than asking first whether the container is there.
                channel = Channel(["docker", "exec", "-i", container_name(self.lab)])
                if not self._fits(channel):
                    channel.close()
                    ensure(self.lab, self.node, self.image, lock=self._lock)
                    channel = Channel(["docker", "exec", "-i", container_name(self.lab)])
                self._channel = channel
            return self._channel

    def _fits(self, channel: Channel) -> bool:
        try:
            found = channel.ask("hello", wait=10.0)
        except ObservationError:
            return False
        # The node's own process 1 is visible only from its pid namespace.
        return bool(found) and _serves(self.lab, self.node, self.image)


def ensure(lab: str, node: str, image: str, *, lock: Path) -> None:
    """Have the lab's observer running: found if it fits, else made anew.

    Raises ObservationError when Docker refuses, or the node is not running.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        if not _serves(lab, node, image):
            remove(lab)
            _start(lab, node, image)


def remove(lab: str) -> None:
    """Remove the lab's observer, if there is one."""
    run(["docker", "rm", "--force", "--volumes", container_name(lab)], check=False, timeout=60)


def _serves(lab: str, node: str, image: str) -> bool:
    """Whether the observer runs, of this image, beside this very node. One docker call."""
    form = (
        '{{.Id}}|{{.State.Running}}|{{.Config.Image}}|{{index .Config.Labels "' + NODE_LABEL + '"}}'
    )
    done = run(
        ["docker", "container", "inspect", "--format", form, node, container_name(lab)],
        check=False,
        timeout=30,
    )
    rows = [line.split("|") for line in done.stdout.splitlines()]
    if len(rows) != 2:
        return False
    (node_id, node_runs, _, _), (_, runs, its_image, its_node) = rows
    return node_runs == runs == "true" and its_image == image and its_node == node_id


def _start(lab: str, node: str, image: str) -> None:
    # Its reaper would remove the observer with the first process that ends, and its image
    # cannot be pulled where no registry answers.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from docker.errors import (  # type: ignore[import-untyped]
        APIError,
        DockerException,
        ImageNotFound,
    )
    from testcontainers.core.container import DockerContainer

    try:
        found = run(["docker", "container", "inspect", "--format", "{{.Id}}", node], timeout=30)
        container = (
            DockerContainer(image)
            .with_name(container_name(lab))
            .with_command(["sleep", "infinity"])
            .with_kwargs(
                privileged=True,
                pid_mode=f"container:{node}",
                network_mode="none",
                entrypoint=[],
                user="0",
                labels={LABEL: lab, NODE_LABEL: found.stdout.strip(), ROLE_LABEL: "observer"},
            )
        )
        try:
            container.start()
        finally:
            container.get_docker_client().client.close()
    except CommandError as error:
        raise ObservationError(
            f"the node's container {node} is not there: {error.stderr.strip()}",
            hint="`lab up` makes or heals the lab",
        ) from error
    except ImageNotFound as error:
        raise ObservationError(
            f"the observer's image {image} is not there", hint="`lab up` makes it"
        ) from error
    except (APIError, DockerException) as error:
        raise ObservationError(
            f"the observer could not be started: {error}",
            hint="is the node running (`lab status`), and may you use Docker (`lab doctor`)?",
        ) from error
