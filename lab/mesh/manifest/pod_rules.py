"""Rules of an API server for containers and volumes beyond the types of fields. Pure.

Each type of the API has one rule, from Kubernetes' own validation; tests/live compares the rules
with an API server on generated objects, in both directions.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from lab.mesh.manifest import pod_types, volume_rules
from lab.mesh.manifest.field_types import PROBES, Fault
from lab.mesh.manifest.quantities import exceeds, quantity
from lab.mesh.manifest.volume_rules import QUANTITY, SUBDOMAIN, Object, Violations, climbs
from lab.mesh.manifest.yaml_reader import FieldPath

_MAX_ID: Final = 2**31 - 1
_EMPTY_MAY_BE: Final = {("HTTPHeader", "value"), ("EnvVar", "value")}
_ONE_OF: Final = {
    "Volume": ("name",),
    "VolumeProjection": (),
    "EnvVarSource": (),
    "EnvFromSource": ("prefix",),
    "LifecycleHandler": (),
}
"""Types of which exactly one field must be set, and the fields that do not count."""
_WORDS_OF: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("Container", "imagePullPolicy"): ("Always", "IfNotPresent", "Never"),
    ("Container", "terminationMessagePolicy"): ("File", "FallbackToLogsOnError"),
    ("ImageVolumeSource", "pullPolicy"): ("Always", "IfNotPresent", "Never"),
    ("ContainerPort", "protocol"): ("TCP", "UDP", "SCTP"),
    ("ContainerResizePolicy", "resourceName"): ("cpu", "memory"),
    ("ContainerResizePolicy", "restartPolicy"): ("NotRequired", "RestartContainer"),
    ("HTTPGetAction", "scheme"): ("HTTP", "HTTPS"),
    ("HostPathVolumeSource", "type"): (
        *("DirectoryOrCreate", "Directory", "FileOrCreate", "File"),
        *("Socket", "CharDevice", "BlockDevice"),
    ),
    ("SecurityContext", "procMount"): ("Default", "Unmasked"),
    ("SeccompProfile", "type"): ("RuntimeDefault", "Unconfined", "Localhost"),
    ("AppArmorProfile", "type"): ("RuntimeDefault", "Unconfined", "Localhost"),
    ("VolumeMount", "mountPropagation"): ("None", "HostToContainer", "Bidirectional"),
    ("VolumeMount", "recursiveReadOnly"): ("Disabled", "IfPossible", "Enabled"),
}
_NAMES_NEEDED: Final = {
    ("SecretVolumeSource", "secretName"),
    ("ConfigMapVolumeSource", "name"),
    ("ConfigMapProjection", "name"),
    ("SecretProjection", "name"),
    ("ConfigMapKeySelector", "name"),
    ("SecretKeySelector", "name"),
    ("ConfigMapEnvSource", "name"),
    ("SecretEnvSource", "name"),
    ("ImageVolumeSource", "reference"),
    ("EphemeralVolumeSource", "volumeClaimTemplate"),
}
_NOT_NEGATIVE: Final = {
    *(("Probe", f"{what}Seconds") for what in ("initialDelay", "timeout", "period")),
    *(("Probe", f"{what}Threshold") for what in ("success", "failure")),
}


def faults(value: Any, kind: str, path: FieldPath = ()) -> Iterator[Fault]:
    """Yields the faults of a value of an API type: wrong types, or else what breaks a rule."""
    wrong = list(pod_types.faults(value, kind, path))
    yield from wrong
    if wrong:
        return
    for name, holder, here in pod_types.walk(value, kind, path):
        fields = {key: entry for key, entry in holder.items() if entry is not None}
        for where, text in _of_any(name, fields):
            yield Fault((*here, *where), text)
        for where, text in RULES.get(name, _nothing)(fields):
            yield Fault((*here, *where), text)


def _nothing(_: Object) -> Violations:
    return iter(())


def _of_any(name: str, fields: Object) -> Violations:
    """Yields the violations of the rules that hold for fields of every type."""
    kinds = pod_types.types()[name]
    for key, entry in fields.items():
        kind = kinds[key]
        if entry == "" and kind == "text!" and (name, key) not in _EMPTY_MAY_BE:
            yield (key,), "is missing"
        words = _WORDS_OF.get((name, key))
        if words and entry not in words and not (entry == "" and _defaulted(name, key)):
            yield (key,), f"must be one of {', '.join(words)}"
        if kind.rstrip("!") == "quantity" and not re.fullmatch(QUANTITY, str(entry)):
            yield (key,), "must be a quantity"
        if (name, key) in _NOT_NEGATIVE and entry < 0:
            yield (key,), "must not be negative"
        if kind.rstrip("!") == "int" and not _fits(name, key, entry):
            yield (key,), "must be from -2147483648 to 2147483647"
        mode = key in ("mode", "defaultMode") and kind == "int"
        if mode and name != "EmptyDirVolumeSource" and not 0 <= entry <= 0o777:
            yield (key,), "must be from 0 to 0777, in octal"
    for owner, key in _NAMES_NEEDED:
        if owner == name and not fields.get(key):
            yield (key,), "is missing"
    beside = _ONE_OF.get(name)
    if beside is not None:
        sources = [key for key in fields if key not in beside]
        if len(sources) != 1 and not (name == "Volume" and not sources):
            yield (), f"must have exactly one source, and has {len(sources)}"


def _defaulted(name: str, key: str) -> bool:
    """Whether an API server reads an empty text as unset, and sets the default."""
    never = ("procMount", "type", "mountPropagation", "recursiveReadOnly")
    return key not in never or name == "HostPathVolumeSource"


def _fits(name: str, key: str, entry: int) -> bool:
    long = (name, key) in {
        ("SecurityContext", "runAsUser"),
        ("SecurityContext", "runAsGroup"),
        ("SleepAction", "seconds"),
        ("Probe", "terminationGracePeriodSeconds"),
        ("ServiceAccountTokenProjection", "expirationSeconds"),
    }
    # The user who owns a file has 64 bits, too.
    return long or key in ("user", "defaultUser") or -(2**31) <= entry < 2**31


def _environment(variable: Object) -> Violations:
    if not re.fullmatch(r"[ -<>-~]+", variable["name"]):
        yield ("name",), "is no name of a variable"
    if variable.get("value") and variable.get("valueFrom"):
        yield ("valueFrom",), "cannot stand beside a value"


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
    if context.get("procMount") == "Unmasked":
        yield ("procMount",), "must be Default where the pod uses the host's users"


def _profile(profile: Object) -> Violations:
    local = profile.get("localhostProfile")
    if (profile["type"] == "Localhost") != (local is not None):
        yield ("localhostProfile",), "is required with type Localhost, and forbidden with any other"
    elif local is not None and (not local.strip() or local.startswith("/") or climbs(local)):
        yield ("localhostProfile",), "must be a path below the profiles"


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
                yield (group, name), "must be a whole number, of huge pages at least one"
            elif group == "requests" and str(limits.get(name)) != str(amount):
                yield (group, name), "must be the same as the limit"
    pages = [name for name in (*limits, *requests) if name.startswith("hugepages-")]
    if pages and not {"cpu", "memory"} & {*limits, *requests}:
        yield (), "needs cpu or memory beside huge pages"


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


_THERE: Final = "{!r} is there already"


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
            yield (probe, "terminationGracePeriodSeconds"), "is not for readiness probes"
    security = container.get("securityContext") or {}
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("mountPropagation") == "Bidirectional" and not security.get("privileged"):
            where = ("volumeMounts", index, "mountPropagation")
            yield where, "Bidirectional is for privileged containers alone"


RULES: Final[Mapping[str, Callable[[Object], Violations]]] = {
    **volume_rules.RULES,
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
