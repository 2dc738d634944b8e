"""Turns API objects of pods, deployments and events into plain frozen data. Pure.

Every function takes the API's own JSON object, so tests can use recorded samples.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

Object = Mapping[str, Any]
"""A Kubernetes object as JSON."""

State = Literal["waiting", "running", "terminated", "unknown"]


@dataclass(frozen=True)
class Container:
    """One container of a pod: its spec and its current status.

    `image_id` is the image's digest as the container runtime reports it. `container_id` has no
    prefix such as "containerd://". `exit_code` is None unless the container is terminated now;
    `last_exit_code` and `last_reason` are those of the previous run. `init` is True for each init
    container, and `sidecar` for a native sidecar (an init container with `restartPolicy: Always`).
    `command` and `args` are those of the pod's spec, () when absent.
    """

    name: str
    image: str
    state: State = "unknown"
    reason: str = ""
    message: str = ""
    ready: bool = False
    started: bool = False
    restarts: int = 0
    exit_code: int | None = None
    last_exit_code: int | None = None
    last_reason: str = ""
    image_id: str = ""
    container_id: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    init: bool = False
    sidecar: bool = False

    @property
    def done(self) -> bool:
        """Whether the container ended with exit code 0."""
        return self.state == "terminated" and self.exit_code == 0

    @property
    def running(self) -> bool:
        """Whether the container runs now."""
        return self.state == "running"


@dataclass(frozen=True)
class Event:
    """A Kubernetes event.

    `kind` is the type, "Normal" or "Warning". `about` names the object as "Kind/name". `count` is
    how often the event happened, `at` the time of the last occurrence (RFC 3339).
    """

    kind: str
    reason: str
    about: str
    message: str
    count: int = 1
    at: str = ""

    @property
    def warning(self) -> bool:
        """Whether the event is of the type Warning."""
        return self.kind == "Warning"

    def __str__(self) -> str:
        return f"{self.at} {self.kind} {self.reason} {self.about}: {self.message} (x{self.count})"


@dataclass(frozen=True)
class Deployment:
    """A Deployment's numbers of pods.

    `current`: whether the Deployment's controller has read the newest spec.
    """

    name: str
    wanted: int
    replicas: int
    updated: int
    ready: int
    available: int
    current: bool
    revision: str = ""

    @property
    def rolled_out(self) -> bool:
        """Whether all replicas are new and available, and no old replica is left.

        `kubectl rollout status` decides in the same way.
        """
        return self.current and self.updated == self.replicas == self.available == self.wanted

    def __str__(self) -> str:
        return (
            f"deployment {self.name}: {self.updated} of {self.wanted} updated, "
            f"{self.available} available, {self.replicas} in all"
        )


def pod_containers(pod: Object) -> tuple[Container, ...]:
    """Return the app containers of a pod, in the order of the spec."""
    return tuple(_containers(pod, "containers", "containerStatuses", init=False))


def pod_inits(pod: Object) -> tuple[Container, ...]:
    """Return the init containers of a pod, including native sidecars, in the order of the spec."""
    return tuple(_containers(pod, "initContainers", "initContainerStatuses", init=True))


def _containers(pod: Object, spec: str, status: str, *, init: bool) -> Iterator[Container]:
    statuses = {entry["name"]: entry for entry in pod.get("status", {}).get(status) or ()}
    for container in pod["spec"].get(spec) or ():
        yield _container(container, statuses.get(container["name"], {}), init)


def _container(container: Object, status: Object, init: bool) -> Container:
    states = status.get("state") or {}
    state = cast(State, next(iter(states), "unknown"))
    now: Object = states.get(state) or {}
    last: Object = (status.get("lastState") or {}).get("terminated") or {}
    return Container(
        name=container["name"],
        image=container.get("image", ""),
        state=state,
        reason=now.get("reason", ""),
        message=now.get("message", ""),
        ready=bool(status.get("ready")),
        started=bool(status.get("started")),
        restarts=int(status.get("restartCount", 0)),
        exit_code=now.get("exitCode"),
        last_exit_code=last.get("exitCode"),
        last_reason=last.get("reason", ""),
        image_id=status.get("imageID", ""),
        container_id=status.get("containerID", "").rsplit("/", 1)[-1],
        command=tuple(container.get("command") or ()),
        args=tuple(container.get("args") or ()),
        init=init,
        sidecar=init and container.get("restartPolicy") == "Always",
    )


def ready_text(pod: Object) -> str:
    """Return the READY column of `kubectl get pods`. It counts native sidecars, as kubectl does."""
    counted = [
        *pod_containers(pod),
        *(container for container in pod_inits(pod) if container.sidecar),
    ]
    return f"{sum(container.ready for container in counted)}/{len(counted)}"


def is_ready(pod: Object) -> bool:
    """Whether the pod has the condition Ready and is not being deleted."""
    return condition(pod, "Ready") == "True" and not is_leaving(pod)


def is_leaving(pod: Object) -> bool:
    """Whether the pod is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def condition(pod: Object, kind: str) -> str:
    """Return a condition's status ("True", "False", "Unknown"); "" without the condition."""
    for entry in pod.get("status", {}).get("conditions") or ():
        if entry["type"] == kind:
            return str(entry["status"])
    return ""


def condition_message(pod: Object, kind: str) -> str:
    """Return a condition's reason and message as one text; "" without the condition."""
    for entry in pod.get("status", {}).get("conditions") or ():
        if entry["type"] == kind:
            return " ".join(filter(None, (entry.get("reason"), entry.get("message"))))
    return ""


def status_text(pod: Object) -> str:
    """Return the STATUS column of `kubectl get pods`, for the states that pods of the lab have."""
    if is_leaving(pod):
        return "Terminating"
    inits = pod_inits(pod)
    for number, container in enumerate(inits):
        if container.done or (container.sidecar and container.started):
            continue
        if container.state == "terminated":
            return f"Init:{container.reason or f'ExitCode:{container.exit_code}'}"
        if container.state == "waiting" and container.reason not in ("", "PodInitializing"):
            return f"Init:{container.reason}"
        if condition(pod, "PodScheduled") == "True":
            return f"Init:{number}/{len(inits)}"
    reason = pod.get("status", {}).get("reason") or pod.get("status", {}).get("phase", "Unknown")
    running = False
    for container in reversed(pod_containers(pod)):
        if container.state == "waiting" and container.reason:
            reason = container.reason
        elif container.state == "terminated":
            reason = container.reason or f"ExitCode:{container.exit_code}"
        elif container.running and container.ready:
            running = True
    if reason == "Completed" and running:
        return "Running" if condition(pod, "Ready") == "True" else "NotReady"
    return str(reason)


def event(raw: Object) -> Event:
    """Convert an event object of the core/v1 API."""
    about = raw.get("involvedObject") or {}
    series = raw.get("series") or {}
    at = (
        raw.get("lastTimestamp")
        or series.get("lastObservedTime")
        or raw.get("eventTime")
        or raw["metadata"].get("creationTimestamp")
        or ""
    )
    return Event(
        kind=raw.get("type", "Normal"),
        reason=raw.get("reason", ""),
        about=f"{about.get('kind', '')}/{about.get('name', '')}",
        message=(raw.get("message") or "").strip(),
        count=int(series.get("count") or raw.get("count") or 1),
        at=at,
    )


def deployment(raw: Object) -> Deployment:
    """Convert a Deployment object of the apps/v1 API."""
    status = raw.get("status") or {}
    meta = raw["metadata"]
    return Deployment(
        name=meta["name"],
        wanted=int(raw["spec"].get("replicas", 1)),
        replicas=int(status.get("replicas", 0)),
        updated=int(status.get("updatedReplicas", 0)),
        ready=int(status.get("readyReplicas", 0)),
        available=int(status.get("availableReplicas", 0)),
        current=int(status.get("observedGeneration", 0)) >= int(meta.get("generation", 0)),
        revision=(meta.get("annotations") or {}).get("deployment.kubernetes.io/revision", ""),
    )


def selector_matches(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether `labels` has every wanted label with the wanted value."""
    return all(labels.get(key) == value for key, value in wanted.items())


def describe(pod: Object) -> str:
    """Describe a pod in one line for messages: name, READY, STATUS, each container's state."""
    parts = [f"pod {pod['metadata']['name']} {ready_text(pod)} {status_text(pod)}"]
    for container in (*pod_inits(pod), *pod_containers(pod)):
        text = f"{container.name} {container.state}"
        if container.reason:
            text += f" ({container.reason})"
        if container.state == "terminated":
            text += f" exit {container.exit_code}"
        parts.append(text)
    if not is_ready(pod):
        why = condition_message(pod, "PodScheduled") or condition_message(pod, "Ready")
        if why:
            parts.append(why)
    return "; ".join(parts)
