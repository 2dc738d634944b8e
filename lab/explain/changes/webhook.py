"""Changes to the webhook: its configuration, its Service, its Deployment. Pure."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from lab.explain.changes.pod import Advice, Change, kubectl
from lab.explain.situation import Entry, Port, RootPlace, Service, Situation
from lab.mesh import contract

_SERVING_NAMES: Final = ("https", "webhook", "inject")
"""A port whose name contains one of these texts probably serves a webhook."""


@dataclass(frozen=True)
class Repair:
    """A change that repairs the webhook or discovery.

    `entries`: the webhook entries after the repair, () if they do not change.
    `service`: the Service after the repair, None if it does not change.
    """

    text: str
    lines: tuple[str, ...]
    entries: tuple[Entry, ...] = ()
    service: Service | None = None
    order: int = 0

    def apply(self, situation: Situation) -> Situation:
        """Returns the situation with the repaired webhook entries and Service."""
        repaired = {(entry.configuration, entry.index): entry for entry in self.entries}
        entries = tuple(
            repaired.get((entry.configuration, entry.index), entry)
            for entry in situation.entries or ()
        )
        services = dict(situation.services)
        if self.service is not None:
            services[(self.service.namespace, self.service.name)] = self.service
        return replace(situation, entries=entries, services=services, trial=None, refusals=())

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """Returns `lines`."""
        return self.lines


def reinstall(situation: Situation) -> Change:
    """Returns the change that installs the control plane again."""
    if situation.restore:
        return Advice("install the mesh again", lines=(shlex.join(situation.restore),))
    return Advice("install the mesh's control plane again, as it was installed")


def start_pods(situation: Situation, service: Service) -> Change:
    """Returns the change after which the Service (of the webhook or discovery) has ready pods."""
    workload = service.workload
    space = ("-n", service.namespace)
    if workload is None:
        return _select_pods(situation, service)
    ready = replace(service, ready={port.number: 1 for port in service.ports})
    name = f"deployment/{workload.name}"
    if workload.wanted == 0:
        line = kubectl(situation, *space, "scale", name, "--replicas=1")
        return Repair(f"start the pods of {name}, which has 0 replicas", (line,), service=ready)
    lines = (
        kubectl(situation, *space, "rollout", "restart", name),
        kubectl(situation, *space, "rollout", "status", name),
    )
    return Repair(f"restart {name}, which has no ready pod", lines, service=ready)


def _select_pods(situation: Situation, service: Service) -> Change:
    """Returns the change for a Service whose selector matches the pods of no Deployment.

    The Service gets the pods of the Deployment that has the same name, or of the only Deployment in
    the namespace. If there is no such Deployment, the change is a new installation.
    """
    named = [workload for workload in service.workloads if workload.name == service.name]
    meant = named or (service.workloads if len(service.workloads) == 1 else ())
    if not meant:
        return reinstall(situation)
    key = "app" if "app" in meant[0].labels else next(iter(meant[0].labels), "")
    selector = {key: meant[0].labels[key]} if key else {}
    patch = [{"op": "replace", "path": "/spec/selector", "value": selector}]
    line = _patched(situation, ("-n", service.namespace, "patch", "service", service.name), patch)
    repaired = replace(service, selector=selector, ready={port.number: 1 for port in service.ports})
    return Repair(f"let the Service select the pods of {meant[0].name}", (line,), service=repaired)


def call_port(situation: Situation, entries: Sequence[Entry], service: Service) -> Change:
    """Returns the change that sets the port of the webhook entries to a port of the Service."""
    named = [port for port in service.ports if any(part in port.name for part in _SERVING_NAMES)]
    usual = [port for port in service.ports if port.number == 443]
    port = (usual or named or list(service.ports))[0].number
    changed = tuple(replace(entry, port=port) for entry in entries)
    lines = _configured(situation, entries, "service/port", port)
    return Repair(f"let the API server call the webhook on port {port}", lines, entries=changed)


def call_path(situation: Situation, entries: Sequence[Entry], path: str) -> Change:
    """Returns the change that sets the URL path of the webhook entries to `path`."""
    changed = tuple(replace(entry, path=path) for entry in entries)
    lines = _configured(situation, entries, "service/path", path)
    return Repair(f"let the API server call the webhook at the path {path}", lines, entries=changed)


def target_port(situation: Situation, service: Service, number: int) -> Change | None:
    """Returns the change that sets a targetPort of the Service to the webhook's container port.

    `number`: the port of the Service whose targetPort is set. Returns None if the targetPort is
    right, or if it is not known on which port the webhook's container listens.
    """
    workload = service.workload
    if workload is None:
        return None
    index, port = next(
        (i, service_port)
        for i, service_port in enumerate(service.ports)
        if service_port.number == number
    )  # the caller has checked that the port exists
    container_port = serving_port(workload.ports, port)
    if container_port is None or port.target in (str(container_port.number), container_port.name):
        return None
    patch = [
        {"op": "replace", "path": f"/spec/ports/{index}/targetPort", "value": container_port.number}
    ]
    line = _patched(situation, ("-n", service.namespace, "patch", "service", service.name), patch)
    ports = tuple(
        replace(service_port, target=str(container_port.number)) if i == index else service_port
        for i, service_port in enumerate(service.ports)
    )
    text = (
        f"point the Service to port {container_port.number}, where the webhook's container listens"
    )
    return Repair(text, (line,), service=replace(service, ports=ports))


def serving_port(declared: Sequence[Port], port: Port) -> Port | None:
    """Returns the container port to which the Service's `port` should lead, None if none is likely.

    `declared`: the ports that the container declares.
    """
    same = [candidate for candidate in declared if port.name and candidate.name == port.name]
    named = [
        candidate
        for candidate in declared
        if any(part in candidate.name for part in _SERVING_NAMES)
    ]
    usual = [
        candidate
        for candidate in declared
        if candidate.number in (contract.WEBHOOK_PORT, 15017, 9443)
    ]
    return next(iter([*same, *named, *usual]), None)


def trust(situation: Situation, entries: Sequence[Entry], service: Service | None) -> Change:
    """Returns the change that sets caBundle to the root certificate that the mesh publishes.

    If that certificate is not known, the change is a new installation.
    """
    if service is None or not service.root:
        return reinstall(situation)
    place = RootPlace.of(service.namespace, service.name)
    words = ("-n", place.namespace, "get", place.resource, place.name)
    key = place.key.replace(".", "\\.")
    read = kubectl(situation, *words, "-o", f"jsonpath={{.data.{key}}}")
    if place.resource != "secret":
        read += " | base64 | tr -d '\\n'"
    marker = "AUTHORITY"
    lines = _configured(situation, entries, "caBundle", marker)
    filled = tuple(line.replace(f'"{marker}"', "\"'$CA'\"") for line in lines)
    changed = tuple(replace(entry, authority=service.root) for entry in entries)
    text = (
        "put the webhook's root certificate into the configuration "
        f"(from {place.resource} {place.name})"
    )
    return Repair(text, (f"CA=$({read})", *filled), entries=changed)


def renew_certificate(situation: Situation, service: Service | None) -> Change:
    """Returns the change after which the webhook has a new server certificate."""
    if situation.restore:
        text = "let the lab issue a new certificate"
        return Advice(text, lines=(shlex.join(situation.restore),))
    workload = service.workload if service else None
    if service is None or workload is None:
        return reinstall(situation)
    name = f"deployment/{workload.name}"
    line = kubectl(situation, "-n", service.namespace, "rollout", "restart", name)
    return Advice("let the control plane issue a new certificate", lines=(line,))


def _configured(
    situation: Situation, entries: Sequence[Entry], field: str, value: object
) -> tuple[str, ...]:
    """Returns one command per configuration, which sets `field` in the entries' clientConfig."""
    lines = []
    for name in dict.fromkeys(entry.configuration for entry in entries):
        patch = [
            {"op": "add", "path": f"/webhooks/{entry.index}/clientConfig/{field}", "value": value}
            for entry in entries
            if entry.configuration == name
        ]
        words = ("patch", "mutatingwebhookconfiguration", name)
        lines.append(_patched(situation, words, patch))
    return tuple(lines)


def _patched(situation: Situation, words: Sequence[str], patch: object) -> str:
    text = shlex.quote(json.dumps(patch, separators=(",", ":")))
    return f"{kubectl(situation, *words, '--type', 'json')} -p {text}"
