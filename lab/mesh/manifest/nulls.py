"""A key without a value, as an API server reads it. Pure.

It drops the key; in a mapping of texts the value is "", in one of quantities "0" (asked by dry
runs: tests/unit/mesh/manifest/data/nulls.json). Only what the injector reads is looked at; what it
does not read stays as it was written, as some tools read a null in other ways.
"""

from collections.abc import Mapping
from typing import Any, Final

_TEXTS: Final = ("labels", "annotations")
_GROUPS: Final = ("containers", "initContainers")
_READ: Final = (
    *("ports", "env", "volumeMounts", "volumeDevices", "securityContext", "lifecycle"),
    *("livenessProbe", "readinessProbe", "startupProbe"),
)
"""Fields of a container; none of them holds a mapping of texts or of quantities."""
_BUDGETS: Final = ("limits", "requests")


def resolved(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """A pod or pod template without nulls in what the injector reads; the very same where none is.

    Field types must have been checked (fields.template_faults).
    """
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    read = {key: metadata[key] for key in _TEXTS if metadata.get(key)}
    known = {key: spec[key] for key in (*_GROUPS, "resources") if spec.get(key)}
    if not _holds_null(read) and not _holds_null(known):
        return template
    read = {key: texts(entries) for key, entries in read.items()}
    for group in _GROUPS:
        if group in known:
            known[group] = [_container(one) for one in known[group]]
    known |= _resources(known)
    return {**template, "metadata": {**metadata, **read}, "spec": {**spec, **known}}


def texts(entries: Mapping[str, str | None] | None) -> Mapping[str, str]:
    """Labels or annotations, a null as the "" that it is to an API server."""
    return {key: value or "" for key, value in (entries or {}).items()}


def kept(before: Mapping[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """What was made of a template, with the nulls among its labels and annotations as they were:
    `kubectl apply` leaves such a label out, other ways to create an object do not. The pod's own
    resources are only read, so they stay as they were written.
    """
    old, new = before.get("metadata") or {}, dict(made["metadata"])
    for key in _TEXTS:
        nulls = {name for name, value in (old.get(key) or {}).items() if value is None}
        if nulls and key in new:
            new[key] = {k: None if k in nulls and v == "" else v for k, v in new[key].items()}
    spec = made["spec"]
    if "resources" in spec:
        spec = {**spec, "resources": before["spec"]["resources"]}
    return {**made, "metadata": new, "spec": spec}


def _container(container: Mapping[str, Any]) -> Mapping[str, Any]:
    read = {key: _without(container[key]) for key in _READ if container.get(key) is not None}
    given = {k: v for k, v in container.items() if v is not None}
    return {**given, **read, **_resources(container)}


def _resources(holder: Mapping[str, Any]) -> dict[str, Any]:
    resources = holder.get("resources")
    if not isinstance(resources, Mapping):
        return {}
    budgets = {
        key: {name: "0" if value is None else value for name, value in resources[key].items()}
        for key in _BUDGETS
        if isinstance(resources.get(key), Mapping)
    }
    return {"resources": {**{k: v for k, v in resources.items() if v is not None}, **budgets}}


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without(v) for k, v in value.items() if v is not None}
    return [_without(item) for item in value] if isinstance(value, list) else value


def _holds_null(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_null, value.values()))
    return any(map(_holds_null, value)) if isinstance(value, list) else value is None
