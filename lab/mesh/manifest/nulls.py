"""Resolves a null (a key without a value) as an API server does. Pure.

An API server drops the key. But in a mapping of texts, such as labels, the value becomes "", and
in a mapping of quantities, such as limits, it becomes "0" (recorded from dry runs:
tests/unit/mesh/manifest/data/nulls.json). This module changes only the fields that the injector
reads; others stay as written, because some tools read a null in other ways.
"""

from collections.abc import Mapping
from typing import Any, Final

_TEXTS: Final = ("labels", "annotations")
_GROUPS: Final = ("containers", "initContainers")
_READ: Final = (
    *("ports", "env", "volumeMounts", "volumeDevices", "securityContext", "lifecycle"),
    *("livenessProbe", "readinessProbe", "startupProbe"),
)
"""Fields of a container in which every null is dropped."""
_BUDGETS: Final = ("limits", "requests")


def resolved(template: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a pod or pod template without nulls in the fields that the injector reads.

    Returns the same object if there are none. Field types must have been checked
    (field_types.template_faults).
    """
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    read = {key: metadata[key] for key in _TEXTS if metadata.get(key)}
    known = {key: spec[key] for key in (*_GROUPS, "resources") if spec.get(key)}
    if not _holds_null(read) and not _holds_null(known):
        return template
    read = {key: texts(entries) for key, entries in read.items()}
    for group in _GROUPS:
        if group in known:
            known[group] = [_container(container) for container in known[group]]
    known |= _resources(known)
    return {**template, "metadata": {**metadata, **read}, "spec": {**spec, **known}}


def texts(entries: Mapping[str, str | None] | None) -> Mapping[str, str]:
    """Returns labels or annotations with "" in place of each null, as an API server reads it."""
    return {key: value or "" for key, value in (entries or {}).items()}


def kept(before: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Returns `result` with the nulls that `before` has in labels and annotations.

    `kubectl apply` omits a label with a null, other tools do not; the injector leaves this to the
    tool. spec.resources is copied from `before`, too, because the injector never changes it.
    """
    old, new = before.get("metadata") or {}, dict(result["metadata"])
    for key in _TEXTS:
        nulls = {name for name, value in (old.get(key) or {}).items() if value is None}
        if nulls and key in new:
            new[key] = {k: None if k in nulls and v == "" else v for k, v in new[key].items()}
    spec = result["spec"]
    if "resources" in spec:
        spec = {**spec, "resources": before["spec"]["resources"]}
    return {**result, "metadata": new, "spec": spec}


def _container(container: Mapping[str, Any]) -> Mapping[str, Any]:
    read = {key: _without(container[key]) for key in _READ if container.get(key) is not None}
    present = {k: v for k, v in container.items() if v is not None}
    return {**present, **read, **_resources(container)}


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
