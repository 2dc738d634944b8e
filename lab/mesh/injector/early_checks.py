"""Plans what happens to the probes and hooks that kubelet sends while no agent runs. Pure.

The agent answers kubelet's probes and hooks in the application's place, so it must run in time. In
native mode it does: istio-proxy starts before all containers that may have a probe. In classic
mode istio-proxy is a container beside the application's, and there are three cases:

- A native sidecar of the user runs before the agent starts and after it has ended. Kubelet sends
  its probes and hooks directly to the sidecar, on ports that are not captured. Only its
  readinessProbe goes to the agent, because the pod is not ready before the agent runs anyway.
- Kubelet waits for a postStart hook before it starts the next container. So istio-proxy is placed
  before the application's containers, and these wait until it runs. If the pod forbids this wait
  (holdApplicationUntilProxyStarts: false), kubelet sends the hook directly to the application, on
  a port that is not captured.
- A container that starts before the agent could fail its startupProbe or livenessProbe so often
  that kubelet kills it. So istio-proxy is placed before the application's containers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from lab.mesh.injector import probes

Container = Mapping[str, Any]

ALL: Final = frozenset((*probes.PATHS, *probes.HOOKS))
LATER: Final = frozenset(("readinessProbe",))
"""Checks that may fail until the agent runs: the pod is not ready before the proxy anyway."""
DEADLY: Final = ("startupProbe", "livenessProbe")
"""Checks that make kubelet kill the container if they fail."""
PATIENCE: Final = 10
"""A container that starts just before istio-proxy can wait this many seconds for the agent."""


class Spared(NamedTuple):
    """A port that is not captured: kubelet's checks reach `container` there without the agent."""

    port: int
    container: str


class ProbePlan(NamedTuple):
    """Says what happens to a pod's checks, which are its probes and hooks.

    `handed`: for each container, the checks that go to the agent. `spared`: the ports that must not
    be captured. `first`: whether istio-proxy is placed before the application's containers. `hold`:
    whether the application's containers wait until the proxy runs.
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
    """Returns the plan for a pod's own containers (`apps`) and init containers (`inits`).

    `native`: istio-proxy is a native sidecar. `hold`: the settings already make the application's
    containers wait for istio-proxy. `may_hold`: the plan may make them wait if `hold` is false.
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
    """Returns a command of istio-iptables, changed so that it does not capture these ports."""
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
    """Returns the port of the pod to which kubelet sends the check `key`; None if there is none."""
    holder = container if key in probes.PATHS else container.get("lifecycle") or {}
    return probes.asked_port(holder.get(key) or {}, container, hook=key in probes.HOOKS)


def _patience(probe: Mapping[str, Any]) -> int:
    """Returns after how many seconds kubelet kills a container whose `probe` always fails."""
    delay, period = probe.get("initialDelaySeconds") or 0, probe.get("periodSeconds") or 10
    failures = probe.get("failureThreshold") or 3
    numbers = (setting if isinstance(setting, int) else 0 for setting in (delay, period, failures))
    delay, period, failures = numbers
    return int(delay + period * max(failures - 1, 0))
