"""Finds what breaks an API server's rules in a container or volume. Pure.

This module holds the rules that are the same for every type, such as ranges, and those that are a
table of fields, such as allowed words. container_rules.py and volume_rules.py hold the other rules,
with one function for each API type. All rules come from Kubernetes' own validation. tests/live
generates objects, and checks that an API server and these rules refuse the same ones.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lab.mesh.manifest import container_rules, pod_types, volume_rules
from lab.mesh.manifest.field_types import Fault
from lab.mesh.manifest.reading import FieldPath
from lab.mesh.manifest.volume_rules import QUANTITY, Object, Violations

_EMPTY_MAY_BE: Final = {("HTTPHeader", "value"), ("EnvVar", "value")}
_ONE_OF: Final = {
    "Volume": ("name",),
    "VolumeProjection": (),
    "EnvVarSource": (),
    "EnvFromSource": ("prefix",),
    "LifecycleHandler": (),
}
"""Types in which exactly one field must be set (in a Volume, at most one).

The tuple has the type's fields that do not count.
"""
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
_RULES: Final = {**volume_rules.RULES, **container_rules.RULES}
"""For each type, the function that yields the violations of its rules."""


def faults(value: Any, kind: str, path: FieldPath = ()) -> Iterator[Fault]:
    """Yields the faults of a value of the API type `kind`.

    These are wrong types of fields or, if all types are right, broken rules.
    """
    wrong = list(pod_types.faults(value, kind, path))
    yield from wrong
    if wrong:
        return
    for name, holder, here in pod_types.walk(value, kind, path):
        fields = {key: entry for key, entry in holder.items() if entry is not None}
        for where, text in _of_any(name, fields):
            yield Fault((*here, *where), text)
        for where, text in _RULES.get(name, _nothing)(fields):
            yield Fault((*here, *where), text)


def _nothing(_: Object) -> Violations:
    return iter(())


def _of_any(name: str, fields: Object) -> Violations:
    """Yields what breaks the rules of this module in `fields`, an object of the type `name`."""
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
    """Whether an API server sets the default of field `key` of type `name` if its text is empty."""
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
