"""The observer: a Docker container next to the node's container. It reads pods from outside.

Each lab has one observer. The first process that needs the observer starts it (with
testcontainers), and all processes share it. `lab down` finds it by its label and removes it. The
observer is privileged and runs in the node's pid namespace, so it can enter the network namespace
of every pod. It has no network of its own.
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
"""Label of every container of a lab; its value is the lab's name."""
NODE_LABEL = "sidecar-lab.observes"
"""Label with the id of the node's container. It shows that an observer is for an earlier node."""
ROLE_LABEL = "sidecar-lab.role"
ACTING = frozenset({"run", "http", "connect"})
"""Questions that can change something or increase a counter. They are never asked twice."""


def container_name(lab: str) -> str:
    """Return the name of the container of the lab's observer."""
    return f"{lab}-observer"


class Observer:
    """Answers questions about the pods of one node. Starts the observer's container if necessary.

    Several threads may ask at the same time. `ask` raises ObservationError.
    """

    def __init__(self, lab: str, node: str, image: str, *, lock: Path) -> None:
        """`node`: name of the node's container. `lock`: a lock file that all processes share."""
        self.lab = lab
        self.node = node
        self.image = image
        self._lock = lock
        self._channel: Channel | None = None
        self._guard = threading.Lock()

    def ask(self, question: str, *, wait: float = 5.0, **details: Any) -> Any:
        """Ask the program in the observer (see program.QUESTIONS) and return its answer.

        `wait` is the time limit in seconds. If the observer has stopped, this method starts it and
        asks again. A question in ACTING is not asked again: it raises ObservationError.
        """
        channel = self._open()
        try:
            return channel.ask(question, wait=wait, **details)
        except NoAnswerError:
            # `docker exec` does not always end when its container is removed.
            if _serves(self.lab, self.node, self.image):
                raise
        except ChannelClosedError:
            pass
        self.close()
        if question in ACTING:
            raise ObservationError(
                f"the observer stopped during the question {question!r}",
                hint="run the step again: the next question starts the observer",
            )
        return self._open().ask(question, wait=wait, **details)

    def close(self) -> None:
        """Close the channel. The container keeps running for other processes."""
        with self._guard:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _open(self) -> Channel:
        with self._guard:
            if self._channel is None:
                # Trying is cheaper than to ask Docker first whether the container exists.
                channel = Channel(["docker", "exec", "-i", container_name(self.lab)])
                if not self._fits(channel):
                    channel.close()
                    ensure(self.lab, self.node, self.image, lock=self._lock)
                    channel = Channel(["docker", "exec", "-i", container_name(self.lab)])
                self._channel = channel
            return self._channel

    def _fits(self, channel: Channel) -> bool:
        try:
            greeting = channel.ask("hello", wait=10.0)
        except ObservationError:
            return False
        # The program answers. Docker knows whether the container belongs to the current node.
        return bool(greeting) and _serves(self.lab, self.node, self.image)


def ensure(lab: str, node: str, image: str, *, lock: Path) -> None:
    """Ensure that the lab's observer runs, has this image, and is for the current node.

    An observer with another image, or for an earlier node, is replaced.

    Raises ObservationError when Docker refuses or the node is not running.
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
    """Whether the observer runs, has this image, and was started for the current node."""
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
    # testcontainers' reaper would remove the observer when the first process ends, and the
    # reaper's image cannot be pulled without a registry.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from docker.errors import (  # type: ignore[import-untyped]
        APIError,
        DockerException,
        ImageNotFound,
    )
    from testcontainers.core.container import DockerContainer

    try:
        inspected = run(["docker", "container", "inspect", "--format", "{{.Id}}", node], timeout=30)
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
                labels={LABEL: lab, NODE_LABEL: inspected.stdout.strip(), ROLE_LABEL: "observer"},
            )
        )
        try:
            container.start()
        finally:
            container.get_docker_client().client.close()
    except CommandError as error:
        raise ObservationError(
            f"cannot inspect the node's container {node}: {error.stderr.strip()}",
            hint="`lab up` creates or repairs the lab",
        ) from error
    except ImageNotFound as error:
        raise ObservationError(
            f"the observer's image {image} does not exist", hint="`lab up` builds it"
        ) from error
    except (APIError, DockerException) as error:
        raise ObservationError(
            f"the observer could not be started: {error}",
            hint="is the node running (`lab status`), and may you use Docker (`lab doctor`)?",
        ) from error
