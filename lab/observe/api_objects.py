"""What the Kubernetes API says of pods, deployments and events, as plain frozen data. Pure.

Every function takes the API's own JSON object, so what is decided here is tested on samples.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

Object = Mapping[str, Any]
"""A Kubernetes object as JSON."""

State = Literal["waiting", "running", "terminated", "unknown"]


@dataclass(frozen=True)
class Container:
    """One container of a pod: what was asked for and what became of it.

    `image_id` is the digest the runtime resolved the image to; `container_id` has no scheme
    prefix. `restarts` counts. `exit_code` is of this run if it ended, `last_exit_code` of the
    run before. `sidecar` says that it is a native sidecar (an init container that goes on).
    `command` and `args` are the pod spec's; () when absent.
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
        """Whether it ran to a good end."""
        return self.state == "terminated" and self.exit_code == 0

    @property
    def running(self) -> bool:
        """Whether its process runs now."""
        return self.state == "running"


@dataclass(frozen=True)
class Event:
    """A Kubernetes event. `about` is "Kind/name"; `count` is how often it happened.

    `at` is the time it was last seen (RFC 3339, as the API gives it).
    """

    kind: str
    reason: str
    about: str
    message: str
    count: int = 1
    at: str = ""

    @property
    def warning(self) -> bool:
        """Whether Kubernetes calls it a warning."""
        return self.kind == "Warning"

    def __str__(self) -> str:
        return f"{self.at} {self.kind} {self.reason} {self.about}: {self.message} (x{self.count})"


@dataclass(frozen=True)
class Deployment:
    """A deployment's counts of pods, and whether its controller has seen the newest spec."""

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
        """As `kubectl rollout status`: every replica new and available, none of the old left."""
        return self.current and self.updated == self.replicas == self.available == self.wanted

    def __str__(self) -> str:
        return (
            f"deployment {self.name}: {self.updated} of {self.wanted} updated, "
            f"{self.available} available, {self.replicas} in all"
        )


def pod_containers(pod: Object) -> tuple[Container, ...]:
    """The app containers in the order of the spec (init containers are in `pod_inits`)."""
    return tuple(_containers(pod, "containers", "containerStatuses", init=False))


def pod_inits(pod: Object) -> tuple[Container, ...]:
    """The init containers, native sidecars among them, in the order of the spec."""
    return tuple(_containers(pod, "initContainers", "initContainerStatuses", init=True))


def _containers(pod: Object, spec: str, status: str, *, init: bool) -> Iterator[Container]:
    statuses = {one["name"]: one for one in pod.get("status", {}).get(status) or ()}
    for asked in pod["spec"].get(spec) or ():
        yield _container(asked, statuses.get(asked["name"], {}), init)


def _container(asked: Object, status: Object, init: bool) -> Container:
    states = status.get("state") or {}
    state = cast(State, next(iter(states), "unknown"))
    now: Object = states.get(state) or {}
    last: Object = (status.get("lastState") or {}).get("terminated") or {}
    return Container(
        name=asked["name"],
        image=asked.get("image", ""),
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
        command=tuple(asked.get("command") or ()),
        args=tuple(asked.get("args") or ()),
        init=init,
        sidecar=init and asked.get("restartPolicy") == "Always",
    )


def ready_text(pod: Object) -> str:
    """The READY column of `kubectl get pods`: native sidecars count, other init containers not."""
    counted = [*pod_containers(pod), *(one for one in pod_inits(pod) if one.sidecar)]
    return f"{sum(one.ready for one in counted)}/{len(counted)}"


def is_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is true and it is not being deleted."""
    return condition(pod, "Ready") == "True" and not is_leaving(pod)


def is_leaving(pod: Object) -> bool:
    """Whether the pod is being deleted."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def condition(pod: Object, kind: str) -> str:
    """Status ("True", "False", "Unknown") of a condition; "" when it is not there."""
    for one in pod.get("status", {}).get("conditions") or ():
        if one["type"] == kind:
            return str(one["status"])
    return ""


def condition_message(pod: Object, kind: str) -> str:
    """Reason and message of a condition, "" when it has none."""
    for one in pod.get("status", {}).get("conditions") or ():
        if one["type"] == kind:
            return " ".join(filter(None, (one.get("reason"), one.get("message"))))
    return ""


def status_text(pod: Object) -> str:
    """The STATUS column of `kubectl get pods`, for the cases that a lab pod can be in."""
    if is_leaving(pod):
        return "Terminating"
    inits = pod_inits(pod)
    for number, one in enumerate(inits):
        if one.done or (one.sidecar and one.started):
            continue
        if one.state == "terminated":
            return f"Init:{one.reason or f'ExitCode:{one.exit_code}'}"
        if one.state == "waiting" and one.reason not in ("", "PodInitializing"):
            return f"Init:{one.reason}"
        if condition(pod, "PodScheduled") == "True":
            return f"Init:{number}/{len(inits)}"
    reason = pod.get("status", {}).get("reason") or pod.get("status", {}).get("phase", "Unknown")
    running = False
    for one in reversed(pod_containers(pod)):
        if one.state == "waiting" and one.reason:
            reason = one.reason
        elif one.state == "terminated":
            reason = one.reason or f"ExitCode:{one.exit_code}"
        elif one.running and one.ready:
            running = True
    if reason == "Completed" and running:
        return "Running" if condition(pod, "Ready") == "True" else "NotReady"
    return str(reason)


def event(seen: Object) -> Event:
    """An event of the core/v1 API."""
    about = seen.get("involvedObject") or {}
    series = seen.get("series") or {}
    at = (
        seen.get("lastTimestamp")
        or series.get("lastObservedTime")
        or seen.get("eventTime")
        or seen["metadata"].get("creationTimestamp")
        or ""
    )
    return Event(
        kind=seen.get("type", "Normal"),
        reason=seen.get("reason", ""),
        about=f"{about.get('kind', '')}/{about.get('name', '')}",
        message=(seen.get("message") or "").strip(),
        count=int(series.get("count") or seen.get("count") or 1),
        at=at,
    )


def deployment(seen: Object) -> Deployment:
    """A deployment of the apps/v1 API."""
    status = seen.get("status") or {}
    meta = seen["metadata"]
    return Deployment(
        name=meta["name"],
        wanted=int(seen["spec"].get("replicas", 1)),
        replicas=int(status.get("replicas", 0)),
        updated=int(status.get("updatedReplicas", 0)),
        ready=int(status.get("readyReplicas", 0)),
        available=int(status.get("availableReplicas", 0)),
        current=int(status.get("observedGeneration", 0)) >= int(meta.get("generation", 0)),
        revision=(meta.get("annotations") or {}).get("deployment.kubernetes.io/revision", ""),
    )


def selector_matches(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether every wanted label is there with its value."""
    return all(labels.get(key) == value for key, value in wanted.items())


def describe(pod: Object) -> str:
    """One line for messages: name, READY, STATUS and each container's state."""
    parts = [f"pod {pod['metadata']['name']} {ready_text(pod)} {status_text(pod)}"]
    for one in (*pod_inits(pod), *pod_containers(pod)):
        text = f"{one.name} {one.state}"
        if one.reason:
            text += f" ({one.reason})"
        if one.state == "terminated":
            text += f" exit {one.exit_code}"
        parts.append(text)
    if not is_ready(pod):
        why = condition_message(pod, "PodScheduled") or condition_message(pod, "Ready")
        if why:
            parts.append(why)
    return "; ".join(parts)
