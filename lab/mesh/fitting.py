"""Whether a sidecar fits a pod: what an API server would refuse is refused by its cause. Pure.

An API server names fields of containers that the user never wrote. Here the annotation or the
field that asked for them is named.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lab.mesh import annotations as names
from lab.mesh.errors import AnnotationError, SidecarLabError
from lab.mesh.operating_system import not_for_linux
from lab.mesh.yaml_reader import FieldPath

_UNITS: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_PAIRS: Final = (
    (names.PROXY_CPU, names.PROXY_CPU_LIMIT),
    (names.PROXY_MEMORY, names.PROXY_MEMORY_LIMIT),
)


_MOST_ANNOTATIONS: Final = 256 * 1024
"""Bytes of keys and values that an API server takes, all together."""


class UnfitError(SidecarLabError):
    """A field of the pod with which no sidecar can be; `path` from the pod's root."""

    exit_code = 2

    def __init__(self, path: FieldPath, problem: str, *, hint: str = "") -> None:
        super().__init__(problem, hint=hint)
        self.path = path


def check_pod(template: Mapping[str, Any]) -> None:
    """Before the injection. Raises UnfitError, or AnnotationError for limits below requests."""
    if elsewhere := not_for_linux(template):
        hint = "label the pod sidecar.istio.io/inject=false"
        raise UnfitError(*elsewhere, hint=hint)
    seen = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(template["spec"].get(group) or ()):
            if (name := container["name"]) in seen:
                problem = f"two containers are called {name!r}"
                raise UnfitError(("spec", group, index, "name"), problem)
            seen.add(name)
    given = (template.get("metadata") or {}).get("annotations") or {}
    for request, limit in _PAIRS:
        if exceeds(given.get(request), given.get(limit)):
            raise AnnotationError(limit, given[limit], f"must not be less than {request}")
    _check_budget(template["spec"].get("resources"), given)


def _check_budget(budget: object, given: Mapping[str, str]) -> None:
    """What the pod allows for all its containers. Raises AnnotationError."""
    if not isinstance(budget, Mapping):
        return
    for resource, pair in zip(("cpu", "memory"), _PAIRS, strict=True):
        for group, asked in (("limits", pair), ("requests", pair[:1])):
            of_all = budget.get(group)
            allowed = of_all.get(resource) if isinstance(of_all, Mapping) else None
            for name in asked:
                if exceeds(given.get(name), allowed):
                    problem = f"is above spec.resources.{group}.{resource} of the pod, {allowed}"
                    raise AnnotationError(name, given[name], problem)


def check_mounts(
    proxy: Mapping[str, Any], volumes: Sequence[Mapping[str, Any]], given: Mapping[str, str]
) -> None:
    """What annotations add to volumes and mounts. Raises AnnotationError.

    `volumes`: all of the injected pod, `given`: its annotations.
    """
    there = Counter(volume["name"] for volume in volumes)
    for name in names.mappings(given.get(names.USER_VOLUME, "{}")):
        if there[name] > 1:
            problem = f"{name!r} is a volume of the mesh; choose another name"
            raise AnnotationError(names.USER_VOLUME, given[names.USER_VOLUME], problem)
    paths = Counter(mount["mountPath"] for mount in proxy.get("volumeMounts") or ())
    for name, mount in names.mappings(given.get(names.USER_VOLUME_MOUNT, "{}")).items():
        if name not in there:
            problem = f"the pod has no volume {name!r}; {names.USER_VOLUME} can bring one"
            raise AnnotationError(names.USER_VOLUME_MOUNT, given[names.USER_VOLUME_MOUNT], problem)
        if paths[mount["mountPath"]] > 1:
            problem = f"{name!r}: something else is mounted at {mount['mountPath']!r} already"
            raise AnnotationError(names.USER_VOLUME_MOUNT, given[names.USER_VOLUME_MOUNT], problem)


def check_annotations(entries: Mapping[str, str]) -> None:
    """Whether an API server takes so much. Raises UnfitError."""
    size = sum(len(text.encode(errors="replace")) for pair in entries.items() for text in pair)
    if size > _MOST_ANNOTATIONS:
        problem = (
            f"with the sidecar's these are {size} bytes; at most {_MOST_ANNOTATIONS} are taken"
        )
        raise UnfitError(("metadata", "annotations"), problem, hint="shorten the largest")


def exceeds(request: object, limit: object) -> bool:
    """Whether a request is above a limit; False where one is missing or no quantity."""
    try:
        return quantity(str(request)) > quantity(str(limit))
    except ValueError:
        return False


def quantity(text: str) -> float:
    """The value of a quantity of Kubernetes. Raises ValueError for what is none."""
    if text[-2:] in _BINARY:
        return float(text[:-2]) * 2.0 ** _BINARY[text[-2:]]
    if text[-1:] in _UNITS:
        return float(text[:-1] + f"e{_UNITS[text[-1]]}")
    return float(text)
