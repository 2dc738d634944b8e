"""Checks whether a pod can run only on nodes without Linux, where no sidecar can run. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lab.mesh.manifest.reading import FieldPath

LINUX: Final = "linux"
OS_LABELS: Final = ("kubernetes.io/os", "beta.kubernetes.io/os")
"""Labels of a node that name its operating system; the second is deprecated."""
WINDOWS_BUILD: Final = "node.kubernetes.io/windows-build"
"""A label that only Windows nodes have."""
_TERMS: Final = (
    *("spec", "affinity", "nodeAffinity"),
    *("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"),
)


def not_for_linux(pod: Mapping[str, Any]) -> tuple[FieldPath, str] | None:
    """Returns the field that keeps a pod off all Linux nodes, and a sentence about it.

    Returns None if there is no such field. `pod`: a mapping with `spec`. Reads spec.os, the node
    selector and the required node affinity. An affinity excludes Linux only if each of its terms
    does. Ignores spec.runtimeClassName and spec.nodeName.
    """
    spec = pod.get("spec") or {}
    system = spec.get("os")
    if isinstance(system, Mapping) and system.get("name") == "windows":
        return ("spec", "os", "name"), _sentence(["windows"])
    selector = spec.get("nodeSelector")
    for key, value in selector.items() if isinstance(selector, Mapping) else ():
        if _shuts_out(key, "In", [value or ""]):
            return ("spec", "nodeSelector", key), _sentence([value or ""])
    terms: Any = pod
    for key in _TERMS:
        terms = terms.get(key) if isinstance(terms, Mapping) else None
    # A term without a requirement matches no node at all.
    usable = [term for term in _list(terms) if isinstance(term, Mapping) and any(term.values())]
    values_by_term = [_shut_out_by(term) for term in usable]
    if values_by_term and all(values is not None for values in values_by_term):
        return _TERMS, _sentence([value for values in values_by_term for value in values or ()])
    return None


def _shut_out_by(term: Mapping[str, Any]) -> Sequence[Any] | None:
    """Returns what a node selector term asks for instead of Linux, as a list of values.

    Returns None if the term does not exclude Linux nodes.
    """
    for expression in _list(term.get("matchExpressions")):
        if isinstance(expression, Mapping):
            values = _list(expression.get("values"))
            if _shuts_out(expression.get("key"), expression.get("operator"), values):
                return values if expression.get("operator") == "In" else ["windows"]
    return None


def _shuts_out(key: Any, operator: Any, values: Sequence[Any]) -> bool:
    if key == WINDOWS_BUILD:
        return operator in ("In", "Exists", "Gt", "Lt")
    if key not in OS_LABELS:
        return False
    if operator == "In":
        return LINUX not in values
    return operator == "DoesNotExist" or (operator == "NotIn" and LINUX in values)


def _sentence(asked: Sequence[Any]) -> str:
    other = [value for value in asked if value != "windows" and not str(value)[:1].isdigit()]
    if other:
        return f"the sidecar runs only on Linux, and this field asks for {other[0]!r}"
    return "the sidecar does not run on Windows"


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
