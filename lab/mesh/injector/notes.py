"""Writes warnings about what may not work as a user expects. Pure.

kube-inject prints them as notes, and the webhook returns them to the API server's client. None of
them prevents an injection.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lab.mesh import contract, workloads
from lab.mesh.injector.checks import program_checks
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.pod_settings import Wishes
from lab.mesh.injector.settings.user_containers import GROUPS, OURS
from lab.mesh.manifest.field_types import PROBES, show

Template = Mapping[str, Any]

_LISTENS: Final = {
    contract.ENVOY_ADMIN_PORT: "Envoy's admin interface",
    contract.OUTBOUND_PORT: "outbound connections",
    contract.INBOUND_PORT: "inbound connections",
    contract.ENVOY_STATS_PORT: "Envoy's statistics",
}
_PASSED_BY: Final = (contract.TUNNEL_PORT, contract.ENVOY_HEALTH_PORT)
"""Ports that istio-init's rules never redirect, and on which no part of this mesh listens."""
_OF_THE_AGENT: Final = ("/app-health/", "/app-lifecycle/", "/healthz/ready", "/stats/prometheus")
_WISHES: Final = {
    "labels": (contract.INJECT_POD_LABEL, "istio.io/rev"),
    "annotations": (
        contract.INJECT_POD_LABEL,
        *names.RULES,
        names.OVERRIDES,
        names.NATIVE_SIDECAR,
        names.REWRITE_PROBES,
    ),
}
"""Labels and annotations that the injector reads in the metadata of a pod."""


def of_wishes(template: Template) -> Iterator[str]:
    """Yields a warning for each label or annotation that must be true or false and is neither.

    The warnings are the same whether or not the pod is injected.
    """
    metadata = template.get("metadata") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    key = contract.INJECT_POD_LABEL
    where = "label" if key in labels else "annotation"
    if (value := (labels if key in labels else annotations).get(key)) not in ("true", "false"):
        yield from _undecided(where, key, value)
    if (value := annotations.get(names.NATIVE_SIDECAR)) not in ("true", "false"):
        yield from _undecided("annotation", names.NATIVE_SIDECAR, value)
    value = annotations.get(names.REWRITE_PROBES)
    if names.flag(value, True) and not names.flag(value, False):
        yield from _undecided("annotation", names.REWRITE_PROBES, value)


def _undecided(where: str, key: str, value: str | None) -> Iterator[str]:
    if value:
        yield f"{where} {key} is {value!r}; only true and false count, so the mesh decides"


def of_injected(template: Template, wishes: Wishes) -> Iterator[str]:
    """Yields the warnings for a pod that gets a sidecar; `template` is the pod before injection."""
    spec = template["spec"]
    yield from _users(spec)
    policy = spec.get("dnsPolicy")
    if policy not in (None, "", "ClusterFirst"):
        yield f"dnsPolicy {policy}: the proxy may not find the discovery service"
    for name in program_checks.DNS_VARIABLES:
        if name in wishes.config.metadata:
            yield f"{name} is left out: this mesh's agent does not answer DNS"
    yield from _ports(spec, wishes)


def _users(spec: Mapping[str, Any]) -> Iterator[str]:
    uid = contract.PROXY_UID
    users = {"the pod": spec.get("securityContext") or {}}
    users |= {
        f"container {c['name']}": c.get("securityContext") or {}
        for c in spec.get("containers") or ()
        if c["name"] not in OURS
    }
    for who, context in users.items():
        if context.get("runAsUser") == uid or context.get("runAsGroup") == uid:
            yield f"{who} runs as {uid}, the id of the proxy: traffic of {who} is not redirected"


def _ports(spec: Mapping[str, Any], wishes: Wishes) -> Iterator[str]:
    """Yields a warning for each port that the application declares or probes and the mesh uses."""
    taken = {wishes.status_port or contract.AGENT_PORT: "the agent"} | _LISTENS
    for group in GROUPS:
        for container in spec.get(group) or ():
            if container["name"] in OURS:
                continue
            who = f"container {container['name']}"
            for port in container.get("ports") or ():
                number = port.get("containerPort")
                if (port.get("protocol") or "TCP") != "TCP":
                    continue
                if number in taken:
                    yield (
                        f"{who} declares port {number}, on which istio-proxy listens "
                        f"({taken[number]}): only one of them can listen"
                    )
                elif number in _PASSED_BY and wishes.mode != "NONE":
                    yield f"{who} declares port {number}, which is never redirected to the proxy"
            for key in PROBES:
                number = _probed_port(container, key)
                if number in taken:
                    yield (
                        f"{key} of {who} asks port {number}, on which istio-proxy listens "
                        f"({taken[number]}), not the application"
                    )


def _probed_port(container: Mapping[str, Any], key: str) -> Any:
    """Returns the port of a probe; None if the probe has no port or asks the agent.

    A port's name stays as it is if the container does not declare a port with this name.
    """
    probe = container.get(key) or {}
    for action in ("httpGet", "tcpSocket", "grpc"):
        target = probe.get(action) or {}
        port = target.get("port")
        if port and not str(target.get("path") or "").startswith(_OF_THE_AGENT):
            numbers = {
                declared.get("name"): declared.get("containerPort")
                for declared in container.get("ports") or ()
            }
            digits = isinstance(port, str) and port.isascii() and port.isdigit()
            return int(port) if digits else numbers.get(port, port)
    return None


def misplaced(value: Mapping[str, Any], workload: workloads.Workload) -> Iterator[str]:
    """Yields a warning for each label or annotation of a workload that belongs on its pod template.

    The injector reads only the pod template's metadata, so its labels and annotations do nothing
    on the workload itself. If the pod template has the same key, there is no warning.
    """
    where = workload.template
    metadata = (workload.pod_in(value) or {}).get("metadata") or {}
    right = show((*where, "metadata"))
    holder: Any = value
    for depth in range(len(where)):
        above = holder.get("metadata") if isinstance(holder, Mapping) else None
        for group, keys in _WISHES.items():
            entries = above.get(group) if isinstance(above, Mapping) else None
            inside = metadata.get(group) or {}
            present = entries if isinstance(entries, Mapping) else {}
            for key in keys:
                if key in present and key not in inside:
                    at = show((*where[:depth], "metadata", group, key))
                    yield f"{at} changes nothing there: it belongs in {right}.{group}"
        holder = holder.get(where[depth]) if isinstance(holder, Mapping) else None
