"""Changes the application's probes and hooks to ask the agent, and restores them. Pure.

The redirection rules would capture a probe from kubelet like any inbound connection. A rewritten
probe asks the agent, whose port (15020, or the pod's statusPort) is not captured, and the agent
asks the application. The agent gets the original probes in ISTIO_KUBE_APP_PROBERS, with each port
as a number. That variable, and the names of ports in the status annotation, are enough to restore
the probes.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

PATHS: Final = {
    "livenessProbe": "/app-health/{}/livez",
    "readinessProbe": "/app-health/{}/readyz",
    "startupProbe": "/app-health/{}/startupz",
}
_TYPES: Final = {
    "httpGet": "HTTPGetAction",
    "tcpSocket": "TCPSocketAction",
    "grpc": "GRPCAction",
}
HOOKS: Final = {
    "postStart": "/app-lifecycle/{}/poststartz",
    "preStop": "/app-lifecycle/{}/prestopz",
}
ACTIONS: Final = ("httpGet", "tcpSocket", "grpc")
ALL_CHECKS: Final = (*PATHS, *HOOKS)

Container = Mapping[str, Any]
Probers = dict[str, dict[str, Any]]


class Originals:
    """The original probes and hooks of a pod's containers.

    The keys of both mappings are the paths at which kubelet now asks the agent. `probers` holds
    the original probe or hook, with its port as a number. `ports` holds the port as the user wrote
    it, but only where the user wrote text.
    """

    def __init__(self) -> None:
        self.probers: Probers = {}
        self.ports: dict[str, str] = {}


def rewrite(
    container: Container, status_port: int, originals: Originals, keys: Collection[str] = ALL_CHECKS
) -> Container:
    """Returns the container with probes and hooks that ask the agent.

    Adds the original ones to `originals`. `keys`: the probes and hooks to change. These stay
    unchanged: exec and sleep; probes with a `host` field; probes with a port name that the
    container does not declare (kubelet reports it, as without a mesh); probes that already ask the
    agent; probes that the agent could not send; and TCP hooks, which kubelet does not support.
    """
    changed = dict(container)
    for holder, paths in ((container, PATHS), (container.get("lifecycle") or {}, HOOKS)):
        for key, template in paths.items():
            if not (original := holder.get(key)) or key not in keys:
                continue
            if key in HOOKS and not original.get("httpGet"):
                continue
            path = template.format(container["name"])
            rewritten = _rewritten(original, path, container, status_port, originals)
            if rewritten and holder is container:
                changed[key] = rewritten
            elif rewritten:
                changed["lifecycle"] = {**changed["lifecycle"], key: rewritten}
    return changed


def _rewritten(
    original: Any, path: str, container: Container, status_port: int, originals: Originals
) -> dict[str, Any] | None:
    actions = [name for name in (*ACTIONS, "exec", "sleep") if original.get(name) is not None]
    # The API server refuses two actions, and names what the user wrote.
    if len(actions) != 1 or actions[0] not in ACTIONS or not original[actions[0]]:
        return None
    action = actions[0]
    target = original[action]
    port = _number(target.get("port"), container)
    if port is None or port == status_port or target.get("host"):
        return None
    if not _can_be_asked(action, target, original, port):
        return None
    entry: dict[str, Any] = {action: {**target, "port": port}}
    if "timeoutSeconds" in original:
        entry["timeoutSeconds"] = original["timeoutSeconds"]
    originals.probers[path] = entry
    if port is not target.get("port"):
        originals.ports[path] = target["port"]
    asking = {"path": path, "port": status_port}
    return _swapped(original, action, "httpGet", asking)


def asked_port(check: Mapping[str, Any], container: Container, *, hook: bool) -> int | None:
    """Returns the port of the pod to which kubelet sends `check`, a probe or hook.

    Returns None if `check` has no port (exec), has one that is not valid, or names a `host`.
    """
    for action in ACTIONS[:1] if hook else ACTIONS:
        if target := check.get(action):
            port = _number(target.get("port"), container)
            return port if port and 0 < port < 65536 and not target.get("host") else None
    return None


def _can_be_asked(action: str, target: Mapping[str, Any], probe: Any, port: int) -> bool:
    """Whether the agent can send this probe or hook to the application.

    False for one with a mistake: it stays in the pod, so that the API server reports the mistake.
    """
    timeout, headers = probe.get("timeoutSeconds"), target.get("httpHeaders") or ()
    return (
        0 < port < 65536
        and (action != "grpc" or isinstance(target.get("port"), int))
        and (target.get("scheme") or "HTTP") in ("HTTP", "HTTPS")
        # Kubelet knows newer protocols behind feature gates; the agent does not.
        and (target.get("protocol") or "HTTP1") == "HTTP1"
        and (target.get("mode") or "Plaintext") == "Plaintext"
        and (timeout is None or (isinstance(timeout, int) and timeout >= 0))
        and all(_can_be_sent(header["name"], header.get("value")) for header in headers)
    )


def _can_be_sent(name: str, value: object) -> bool:
    """Whether the agent can send a header. It cannot send a Host that would need Punycode."""
    if value is None:
        return True
    if not isinstance(value, str) or any(c in name + value for c in "\r\n\0"):
        return False
    return value.isascii() or name.lower() != "host"


def restore(
    container: Container, probers: Mapping[str, Any], ports: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the container with its original probes and hooks (see `Originals`)."""
    changed = dict(container)
    for holder, paths in ((container, PATHS), (container.get("lifecycle") or {}, HOOKS)):
        for key, template in paths.items():
            path = template.format(container.get("name"))
            current, entry = holder.get(key) or {}, probers.get(path)
            asked = (current.get("httpGet") or {}).get("path")
            if not isinstance(entry, Mapping) or asked != path:
                continue
            action = next((name for name in ACTIONS if isinstance(entry.get(name), Mapping)), None)
            if not action:
                continue
            target = {**entry[action], **({"port": ports[path]} if path in ports else {})}
            restored = _swapped(current, "httpGet", action, target)
            if holder is container:
                changed[key] = restored
            else:
                changed["lifecycle"] = {**changed["lifecycle"], key: restored}
    return changed


def unknown(container: Container, probers: Mapping[str, Any]) -> list[str]:
    """Names the probes and hooks that cannot be restored, in one phrase each.

    These ask the agent, but their originals are not in `probers`.
    """
    lost = []
    for holder, paths in ((container, PATHS), (container.get("lifecycle") or {}, HOOKS)):
        for key, template in paths.items():
            path = template.format(container.get("name"))
            asked = ((holder.get(key) or {}).get("httpGet") or {}).get("path")
            if asked == path and not isinstance(probers.get(path), Mapping):
                lost.append(f"the original {key}")
    return lost


def _swapped(probe: Mapping[str, Any], old: str, new: str, action: Any) -> dict[str, Any]:
    """Returns the probe with `action`, of the kind `new`, in place of its action `old`."""
    kept = ((k, v) for k, v in probe.items() if k == old or k not in ACTIONS)
    return {(new if k == old else k): (action if k == old else v) for k, v in kept}


def encode(probers: Probers) -> str:
    """Returns the value of ISTIO_KUBE_APP_PROBERS."""
    return json.dumps(probers, separators=(",", ":"), sort_keys=True)


def decode(value: str) -> dict[str, Any]:
    """Returns the entries of ISTIO_KUBE_APP_PROBERS, without unusable ones; {} if it is not JSON.

    A user may have changed the variable.
    """
    try:
        decoded = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    sound = isinstance(decoded, dict)
    return {path: entry for path, entry in decoded.items() if _is_sound(entry)} if sound else {}


def _is_sound(entry: Any) -> bool:
    """Whether the actions in an entry of ISTIO_KUBE_APP_PROBERS have no field of a wrong type."""
    from lab.mesh.manifest import pod_types  # a table that few pods need

    return isinstance(entry, Mapping) and not any(
        list(pod_types.faults(entry[action], kind, types_alone=True))
        for action, kind in _TYPES.items()
        if entry.get(action) is not None
    )


def _number(port: Any, container: Container) -> int | None:
    if isinstance(port, int):
        return port
    if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) <= 5:
        return int(port)
    for declared in (container.get("ports") or ()) if port else ():
        if declared.get("name") == port and isinstance(declared.get("containerPort"), int):
            return int(declared["containerPort"])
    return None
