"""Kubelet's probes of the application, sent through the agent. Pure.

A probe from kubelet would be captured like any inbound connection. Rewritten, it asks the
agent (port 15020, outside the capture), and the agent asks the application on localhost.
The originals are handed to the agent in ISTIO_KUBE_APP_PROBERS, ports resolved to numbers;
from there they can also be put back.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

ENVIRONMENT: Final = "ISTIO_KUBE_APP_PROBERS"
PATHS: Final = {"livenessProbe": "livez", "readinessProbe": "readyz", "startupProbe": "startupz"}
ACTIONS: Final = ("httpGet", "tcpSocket", "grpc")

Container = Mapping[str, Any]
Probers = dict[str, dict[str, Any]]


def path_of(container: str, probe: str) -> str:
    """Where the agent answers for one probe of one container."""
    return f"/app-health/{container}/{PATHS[probe]}"


def rewrite(container: Container, status_port: int) -> tuple[dict[str, Any], Probers]:
    """The container with its probes sent to the agent, and what the agent is to ask.

    Left alone: exec probes, probes of another host, of a port name that the container does
    not have (as without a mesh, kubelet reports it), and those that already ask the agent.
    """
    changed, probers = dict(container), Probers()
    for probe in PATHS:
        original = container.get(probe)
        action = next((name for name in ACTIONS if original and original.get(name)), None)
        if not original or not action:
            continue
        target = original[action]
        port = _number(target.get("port"), container)
        if port is None or port == status_port or target.get("host"):
            continue
        path = path_of(container["name"], probe)
        entry: dict[str, Any] = {action: {**target, "port": port}}
        if "timeoutSeconds" in original:
            entry["timeoutSeconds"] = original["timeoutSeconds"]
        probers[path] = entry
        asking = {"path": path, "port": status_port}
        changed[probe] = {
            ("httpGet" if key == action else key): (asking if key == action else value)
            for key, value in original.items()
        }
    return changed, probers


def restore(container: Container, probers: Mapping[str, Any]) -> dict[str, Any]:
    """The container with the probes that `rewrite` took from it put back."""
    changed = dict(container)
    for probe in PATHS:
        current = container.get(probe) or {}
        entry = probers.get(path_of(str(container.get("name")), probe))
        asked = (current.get("httpGet") or {}).get("path")
        if not isinstance(entry, Mapping) or asked != path_of(str(container["name"]), probe):
            continue
        action = next((name for name in ACTIONS if isinstance(entry.get(name), Mapping)), None)
        if action:
            changed[probe] = {
                (action if key == "httpGet" else key): (
                    entry[action] if key == "httpGet" else value
                )
                for key, value in current.items()
            }
    return changed


def encode(probers: Probers) -> str:
    """The value of ISTIO_KUBE_APP_PROBERS."""
    return json.dumps(probers, separators=(",", ":"), sort_keys=True)


def decode(value: str) -> dict[str, Any]:
    """What `encode` made; {} for anything else, since a user may have written the variable."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(port: Any, container: Container) -> int | None:
    if isinstance(port, int):
        return port
    if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) <= 5:
        return int(port)
    for declared in container.get("ports") or ():
        if declared.get("name") == port and isinstance(declared.get("containerPort"), int):
            return int(declared["containerPort"])
    return None
