"""What kubelet asks before the proxy can run, and what a pod needs so that it is answered. Pure.

The agent answers kubelet's probes and hooks in the application's place, so it has to be there in
time. In native mode it is: istio-proxy starts before all containers that may have a probe. In
classic mode it is a container beside the application's, and

- a native sidecar of the user's runs, and is stopped, while there is no agent: kubelet asks it
  directly, on a port that is not captured;
- kubelet waits for a postStart hook before it starts the next container: the proxy comes first;
- a container that starts before the agent may have used up its probes' patience: the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from lab.mesh.injector import probes

Container = Mapping[str, Any]

ALL: Final = frozenset((*probes.PATHS, *probes.HOOKS))
LATER: Final = frozenset(("readinessProbe",))
"""What may fail until the agent is there: no pod is ready before its proxy is."""
DEADLY: Final = ("startupProbe", "livenessProbe")
"""What ends a container by failing."""
PATIENCE: Final = 10
"""Seconds within which the agent answers where nothing but the proxy starts in between."""


class Spared(NamedTuple):
    """A port that is not captured, since kubelet asks `container` there without the agent."""

    port: int
    container: str


class Plan(NamedTuple):
    """Who asks what. `handed`: by container, which checks go to the agent.

    `first`: the proxy stands before the application's containers; `hold`: which wait for it.
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
) -> Plan:
    """The plan for a pod's own containers. `may_hold`: nobody said that the proxy must not be
    waited for.
    """
    handed = {one["name"]: ALL for one in apps}
    spared: list[Spared] = []
    for one in inits:
        stays = one.get("restartPolicy") == "Always"
        # Others have no probes: the API server says so of what the user wrote.
        keys = (ALL if native else LATER) if stays else frozenset()
        handed[one["name"]] = keys
        if stays:
            spared += _direct(one, ALL - keys)
    if native:
        return Plan(handed, (), first=False, hold=False)
    hooked = [one for one in apps if _port(one, "postStart")]
    if hooked and not hold and not may_hold:
        for one in hooked:
            handed[one["name"]] = ALL - {"postStart"}
            spared += _direct(one, frozenset(("postStart",)))
        hooked = []
    hold = hold or bool(hooked)
    first = hold or any(
        _port(one, key) and (index < len(apps) - 1 or _patience(one[key]) < PATIENCE)
        for index, one in enumerate(apps)
        for key in DEADLY
    )
    return Plan(handed, tuple(dict.fromkeys(spared)), first, hold)


def spare(command: Sequence[str], ports: Sequence[Spared]) -> list[str]:
    """The arguments of istio-iptables, by which these ports are not captured."""
    spared = dict.fromkeys(str(one.port) for one in ports)
    changed = list(command)
    if not spared:
        return changed
    for index, flag in enumerate(command[:-1]):
        listed = command[index + 1].split(",") if command[index + 1] else []
        if flag == "-d":
            changed[index + 1] = ",".join(dict.fromkeys((*listed, *spared)))
        elif flag == "-b" and listed != ["*"]:
            # Where ports are named that are captured, what is excluded counts for nothing.
            kept = [port for port in listed if port.strip() not in spared]
            changed[index + 1] = ",".join(kept)
    return changed


def _direct(container: Container, keys: frozenset[str]) -> list[Spared]:
    found = ((key, _port(container, key)) for key in (*probes.PATHS, *probes.HOOKS) if key in keys)
    return [Spared(port, container["name"]) for _, port in found if port]


def _port(container: Container, key: str) -> int | None:
    """Where kubelet asks this over the pod's network; None where it does not."""
    holder = container if key in probes.PATHS else container.get("lifecycle") or {}
    return probes.asked_port(holder.get(key) or {}, container, hook=key in probes.HOOKS)


def _patience(probe: Mapping[str, Any]) -> int:
    """Seconds from a container's start to the failure that ends it, as the API server defaults."""
    delay, period = probe.get("initialDelaySeconds") or 0, probe.get("periodSeconds") or 10
    failures = probe.get("failureThreshold") or 3
    numbers = (one if isinstance(one, int) else 0 for one in (delay, period, failures))
    delay, period, failures = numbers
    return int(delay + period * max(failures - 1, 0))
