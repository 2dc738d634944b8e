"""Plans for the probes and hooks that kubelet asks before the proxy can run. Pure.

The agent answers kubelet's probes and hooks in the application's place, so it must run in time. In
native mode it does: istio-proxy starts before all containers that may have a probe. In classic
mode istio-proxy is a container beside the application's, and

- a native sidecar of the user runs, and is stopped, while there is no agent: kubelet asks it
  directly, on a port that is not captured;
- kubelet waits for a postStart hook before it starts the next container: the proxy comes first;
- a container that starts before the agent may fail its probes too often: the proxy comes first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from lab.mesh.injector import probes

Container = Mapping[str, Any]

ALL: Final = frozenset((*probes.PATHS, *probes.HOOKS))
LATER: Final = frozenset(("readinessProbe",))
"""Checks that may fail until the agent runs: no pod is ready before its proxy is."""
DEADLY: Final = ("startupProbe", "livenessProbe")
"""Checks that end a container if they fail."""
PATIENCE: Final = 10
"""Seconds in which the agent answers if only the proxy starts in between."""


class Spared(NamedTuple):
    """A port that is not captured, since kubelet asks `container` there without the agent."""

    port: int
    container: str


class ProbePlan(NamedTuple):
    """What is planned for a pod's probes. `handed`: the checks that go to the agent, by container.

    `spared`: ports to leave uncaptured. `first`: the proxy stands before the application's
    containers; `hold`: these wait for it.
    """

    handed: Mapping[str, frozenset[str]]
    spared: tuple[Spared, ...]
    first: bool
    hold: bool


def plan(
    apps: Sequence[Container],
    inits: Sequence[Container],
    *,
    native: bool,
    hold: bool,
    may_hold: bool = True,
) -> ProbePlan:
    """Returns the plan for a pod's own containers. `may_hold`: the pod does not forbid that its
    containers wait for the proxy.
    """
    handed = {container["name"]: ALL for container in apps}
    spared: list[Spared] = []
    for container in inits:
        stays = container.get("restartPolicy") == "Always"
        # Others may have no probes: the API server reports those that a user wrote.
        keys = (ALL if native else LATER) if stays else frozenset()
        handed[container["name"]] = keys
        if stays:
            spared += _direct(container, ALL - keys)
    if native:
        return ProbePlan(handed, (), first=False, hold=False)
    hooked = [container for container in apps if _port(container, "postStart")]
    if hooked and not hold and not may_hold:
        for container in hooked:
            handed[container["name"]] = ALL - {"postStart"}
            spared += _direct(container, frozenset(("postStart",)))
        hooked = []
    hold = hold or bool(hooked)
    first = hold or any(
        _port(container, key) and (index < len(apps) - 1 or _patience(container[key]) < PATIENCE)
        for index, container in enumerate(apps)
        for key in DEADLY
    )
    return ProbePlan(handed, tuple(dict.fromkeys(spared)), first, hold)


def spare(command: Sequence[str], ports: Sequence[Spared]) -> list[str]:
    """Returns the arguments of istio-iptables, changed so that these ports are not captured."""
    spared = dict.fromkeys(str(entry.port) for entry in ports)
    changed = list(command)
    if not spared:
        return changed
    for index, flag in enumerate(command[:-1]):
        listed = command[index + 1].split(",") if command[index + 1] else []
        if flag == "-d":
            changed[index + 1] = ",".join(dict.fromkeys((*listed, *spared)))
        elif flag == "-b" and listed != ["*"]:
            # istio-iptables ignores the excluded ports if the captured ones are listed.
            kept = [port for port in listed if port.strip() not in spared]
            changed[index + 1] = ",".join(kept)
    return changed


def _direct(container: Container, keys: frozenset[str]) -> list[Spared]:
    pairs = ((key, _port(container, key)) for key in (*probes.PATHS, *probes.HOOKS) if key in keys)
    return [Spared(port, container["name"]) for _, port in pairs if port]


def _port(container: Container, key: str) -> int | None:
    """Returns the port at which kubelet asks this over the pod's network; None if it does not."""
    holder = container if key in probes.PATHS else container.get("lifecycle") or {}
    return probes.asked_port(holder.get(key) or {}, container, hook=key in probes.HOOKS)


def _patience(probe: Mapping[str, Any]) -> int:
    """Returns the seconds from a container's start to the failed check that ends it."""
    delay, period = probe.get("initialDelaySeconds") or 0, probe.get("periodSeconds") or 10
    failures = probe.get("failureThreshold") or 3
    numbers = (setting if isinstance(setting, int) else 0 for setting in (delay, period, failures))
    delay, period, failures = numbers
    return int(delay + period * max(failures - 1, 0))
