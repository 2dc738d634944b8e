"""Finds applications that listen on a port that the sidecar needs. Pure."""

from typing import Final

from lab.explain.changes.pod import Advice, EditPod
from lab.explain.findings import proxy_log, traffic
from lab.explain.findings.causes import Cause, Finding
from lab.explain.situation import Object, Situation
from lab.explain.symptoms import OURS, Symptoms, unready
from lab.mesh import contract
from lab.mesh.injector.settings import annotations

LINE: Final = "works"
PORTS: Final = {
    contract.ENVOY_ADMIN_PORT: "Envoy's admin interface",
    contract.OUTBOUND_PORT: "Envoy's outbound capture",
    contract.INBOUND_PORT: "Envoy's inbound capture",
    contract.AGENT_PORT: "the agent",
    contract.ENVOY_HEALTH_PORT: "Envoy's health",
    contract.ENVOY_STATS_PORT: "Envoy's statistics",
}
"""Ports that the sidecar uses in every pod, each with the part of the sidecar that uses it."""


def taken(situation: Situation, symptoms: Symptoms) -> Finding | None:
    """Returns the finding about a port that the sidecar and the application both need, else None.

    One of them cannot listen there: the sidecar does not become ready, or the application ends.
    """
    known = ports_of(situation)
    if unready(symptoms) is not None:
        for port in proxy_log.taken_ports(symptoms.log(contract.PROXY_CONTAINER)):
            if port in known:
                return _taken(situation, port, "so the sidecar never gets ready")
    for container in symptoms.containers:
        if container.name in OURS or not (container.failing or container.restarts):
            continue
        port_ = proxy_log.application_ports(symptoms.log(container.name), frozenset(known))
        declared = _declared(situation.subject.spec, container.name)
        if port_ is None and not container.ready:
            port_ = next((port for port in declared if port in known), None)
        if port_ is not None:
            end = f"so container {container.name} ends with code {container.exit_code} every time"
            return _taken(situation, port_, end)
    return None


def _taken(situation: Situation, port: int, end: str) -> Finding:
    what = ports_of(situation)[port]
    spec = situation.subject.spec
    holders = [
        str(container.get("name"))
        for container in traffic.all_containers(spec)
        if container.get("name") not in OURS and port in _declared(spec, str(container.get("name")))
    ]
    who = f"container {holders[0]}" if holders else "the application"
    sentence = (
        f"{who} listens on port {port}, which in a pod with a sidecar belongs to {what}, {end}"
    )
    status = annotations.STATUS_PORT
    if what == PORTS[contract.AGENT_PORT]:
        free = next(
            candidate for candidate in (15029, 15039, 15049) if candidate not in (port, *PORTS)
        )
        text = f"give the agent another port with the annotation {status}"
        edit = EditPod({"metadata": {"annotations": {status: str(free)}}}, text)
        return Finding(Cause.MESH_PORT, LINE, sentence, edit)
    return Finding(Cause.MESH_PORT, LINE, sentence, Advice(f"let {who} listen on another port"))


def ports_of(situation: Situation) -> dict[int, str]:
    """Returns the sidecar's ports in this pod, each with the part of the sidecar that uses it.

    The agent's port is 15020, or the one that an annotation of the pod names.
    """
    moved_to = situation.subject.annotations.get(annotations.STATUS_PORT, "")
    if not moved_to.isdecimal() or int(moved_to) in (0, contract.AGENT_PORT):
        return PORTS
    moved = {port: what for port, what in PORTS.items() if port != contract.AGENT_PORT}
    return {**moved, int(moved_to): PORTS[contract.AGENT_PORT]}


def _declared(spec: Object, name: str) -> list[int]:
    return [port["containerPort"] for port in traffic.container(spec, name).get("ports") or ()]
