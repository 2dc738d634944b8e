"""Defines an API server's rules for a container, other than the types of its fields. Pure.

The rules come from Kubernetes' own validation: one function for each API type that has rules.
`pod_rules` applies them.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from lab.mesh.manifest.field_types import PROBES
from lab.mesh.manifest.quantities import exceeds, quantity
from lab.mesh.manifest.volume_rules import QUANTITY, SUBDOMAIN, Object, Violations, climbs

_MAX_ID: Final = 2**31 - 1


def _environment(variable: Object) -> Violations:
    if not re.fullmatch(r"[ -<>-~]+", variable["name"]):
        yield ("name",), "is not the name of a variable"
    if variable.get("value") and variable.get("valueFrom"):
        yield ("valueFrom",), "cannot be set together with value"


def _field_reference(reference: Object) -> Violations:
    where = reference["fieldPath"]
    label = re.fullmatch(r"metadata\.(?:labels|annotations)\['([^']*)'\]", where)
    if reference.get("apiVersion") not in (None, "", "v1"):
        yield ("apiVersion",), "must be v1"
    elif where not in _FIELDS and not (label and re.fullmatch(_QUALIFIED, label[1])):
        yield ("fieldPath",), "is no field that the downward API offers"


_QUALIFIED: Final = rf"(?:{SUBDOMAIN}/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{{0,61}}[A-Za-z0-9])?"
_FIELDS: Final = frozenset(
    {
        *("metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels"),
        *("metadata.annotations", "spec.nodeName", "spec.serviceAccountName", "status.hostIP"),
        *("status.hostIPs", "status.podIP", "status.podIPs"),
    }
)


def _resource_reference(reference: Object) -> Violations:
    name = r"(?:limits|requests)\.(?:cpu|memory|ephemeral-storage|hugepages-.+)"
    if not re.fullmatch(name, reference["resource"]):
        yield ("resource",), "is no resource that the downward API offers"


def _key_reference(reference: Object) -> Violations:
    key = reference["key"]
    if not re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) or key in (".", ".."):
        yield ("key",), "is no key of a ConfigMap or Secret"


def _port(port: Object) -> Violations:
    name = port.get("name") or ""
    fits = re.fullmatch(r"[a-z0-9-]{1,15}", name) and re.search("[a-z]", name)
    if name and (not fits or name[0] == "-" or name[-1] == "-" or "--" in name):
        yield ("name",), "is no name of a port"
    if not 1 <= port["containerPort"] <= 65535:
        yield ("containerPort",), "must be from 1 to 65535"
    if not 0 <= port.get("hostPort", 0) <= 65535:
        yield ("hostPort",), "must be from 1 to 65535"


def _target(action: Object) -> Violations:
    port = action["port"]
    if isinstance(port, str):
        yield from (((("port",), text)) for _, text in _port({"name": port, "containerPort": 1}))
        if not port:
            yield ("port",), "is missing"
    elif not 1 <= port <= 65535:
        yield ("port",), "must be from 1 to 65535"
    for index, header in enumerate(action.get("httpHeaders") or ()):
        if not re.fullmatch(r"[-A-Za-z0-9]+", header["name"]):
            yield ("httpHeaders", index, "name"), "is no name of a header"


def _probe(probe: Object) -> Violations:
    handlers = [
        key for key in ("exec", "grpc", "httpGet", "tcpSocket") if probe.get(key) is not None
    ]
    if len(handlers) != 1:
        yield (), f"must have exactly one handler, and has {len(handlers)}"
    if probe.get("terminationGracePeriodSeconds", 1) < 1:
        yield ("terminationGracePeriodSeconds",), "must be greater than 0"


def _command(action: Object) -> Violations:
    if not action.get("command"):
        yield ("command",), "is missing"


def _security(context: Object) -> Violations:
    for key in ("runAsUser", "runAsGroup"):
        if not 0 <= context.get(key, 0) <= _MAX_ID:
            yield (key,), f"must be from 0 to {_MAX_ID}"
    if context.get("allowPrivilegeEscalation") is False and context.get("privileged"):
        yield ("allowPrivilegeEscalation",), "cannot be false where privileged is true"
    if context.get("windowsOptions"):
        yield ("windowsOptions",), "is for Windows, where no sidecar runs"


def _profile(profile: Object) -> Violations:
    local = profile.get("localhostProfile")
    if (profile["type"] == "Localhost") != (local is not None):
        yield ("localhostProfile",), "is required with type Localhost, and forbidden with any other"
    elif local is not None and (not local.strip() or local.startswith("/") or climbs(local)):
        yield ("localhostProfile",), "must be a relative path without '..'"


def _resources(resources: Object) -> Violations:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for group, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            if not re.fullmatch(QUANTITY, str(amount)) or quantity(str(amount)) < 0:
                yield (group, name), "must be a quantity, and not negative"
            elif name in ("cpu", "memory", "ephemeral-storage"):
                if group == "requests" and exceeds(amount, limits.get(name)):
                    yield (group, name), "must not be above the limit"
            elif not (page := re.fullmatch(r"hugepages-(.+)", name)) and not re.fullmatch(
                rf"{SUBDOMAIN}/[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?", name
            ):
                yield (group, name), "is no resource"
            elif not _is_whole(amount, page[1] if page else "1"):
                yield (group, name), "must be a whole number; of huge pages, at least one"
            elif group == "requests" and str(limits.get(name)) != str(amount):
                yield (group, name), "must be the same as the limit"
    pages = [name for name in (*limits, *requests) if name.startswith("hugepages-")]
    if pages and not {"cpu", "memory"} & {*limits, *requests}:
        yield (), "must have cpu or memory if it has huge pages"


def _is_whole(amount: object, unit: str) -> bool:
    try:
        count = quantity(str(amount)) / quantity(unit)
    except (ValueError, ZeroDivisionError):
        return False
    return count == int(count) and (count > 0 or unit == "1")


def _restart_rule(rule: Object) -> Violations:
    if rule["action"] not in ("Restart", "RestartAllContainers"):
        yield ("action",), "must be Restart or RestartAllContainers"
    if rule.get("exitCodes") is None:
        yield ("exitCodes",), "is missing"
    elif rule["exitCodes"]["operator"] not in ("In", "NotIn"):
        yield ("exitCodes", "operator"), "must be In or NotIn"


_THERE: Final = "{!r} is in the list twice"


def _twice(entries: Iterable[Object], group: str, key: str) -> Violations:
    earlier = set()
    for index, entry in enumerate(entries):
        name = entry.get(key)
        if name and name in earlier:
            text = "something else is mounted at {!r} already" if key == "mountPath" else _THERE
            yield (group, index), text.format(name)
        earlier.add(name)


def _container(container: Object) -> Violations:
    for group, key in (("ports", "name"), ("volumeMounts", "mountPath")):
        yield from _twice(container.get(group) or (), group, key)
    for key in ("name", "devicePath"):
        yield from _twice(container.get("volumeDevices") or (), "volumeDevices", key)
    yield from _twice(container.get("resizePolicy") or (), "resizePolicy", "resourceName")
    policy = container.get("restartPolicy")
    if policy not in (None, "Always", "Never", "OnFailure") or (
        policy is None and container.get("restartPolicyRules")
    ):
        yield ("restartPolicy",), "must be one of Always, Never, OnFailure"
    for probe in PROBES:
        asked = container.get(probe) or {}
        if probe != "readinessProbe" and asked.get("successThreshold", 1) not in (0, 1):
            yield (probe, "successThreshold"), "must be 1"
        if probe == "readinessProbe" and asked.get("terminationGracePeriodSeconds") is not None:
            yield (probe, "terminationGracePeriodSeconds"), "cannot be set for a readiness probe"
    security = container.get("securityContext") or {}
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("mountPropagation") == "Bidirectional" and not security.get("privileged"):
            where = ("volumeMounts", index, "mountPropagation")
            yield where, "can be Bidirectional only in a privileged container"


RULES: Final[Mapping[str, Callable[[Object], Violations]]] = {
    "Container": _container,
    "EnvVar": _environment,
    "ObjectFieldSelector": _field_reference,
    "ResourceFieldSelector": _resource_reference,
    **dict.fromkeys(("ConfigMapKeySelector", "SecretKeySelector"), _key_reference),
    "ContainerPort": _port,
    **dict.fromkeys(("HTTPGetAction", "TCPSocketAction", "GRPCAction"), _target),
    "Probe": _probe,
    "ExecAction": _command,
    "SecurityContext": _security,
    **dict.fromkeys(("SeccompProfile", "AppArmorProfile"), _profile),
    "ResourceRequirements": _resources,
    "ContainerRestartRule": _restart_rule,
}
