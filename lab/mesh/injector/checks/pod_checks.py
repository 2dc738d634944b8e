"""Checks whether a sidecar fits a pod, before an API server refuses the injected pod. Pure.

An API server names fields of containers that the user never wrote. These checks name the
annotation or the field that asked for them.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.errors import AnnotationError, UnfitError
from lab.mesh.injector.checks.operating_system import not_for_linux
from lab.mesh.injector.settings import annotations as names
from lab.mesh.manifest.quantities import exceeds, quantity

_PAIRS: Final = (
    (names.PROXY_CPU, names.PROXY_CPU_LIMIT),
    (names.PROXY_MEMORY, names.PROXY_MEMORY_LIMIT),
)


_MOST_ANNOTATIONS: Final = 256 * 1024
"""Bytes of all keys and values that an API server accepts."""


def check_pod(template: Mapping[str, Any]) -> None:
    """Checks a pod before its injection. Raises UnfitError or AnnotationError."""
    if elsewhere := not_for_linux(template):
        hint = "label the pod sidecar.istio.io/inject=false"
        raise UnfitError(*elsewhere, hint=hint)
    earlier = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(template["spec"].get(group) or ()):
            if (name := container["name"]) in earlier:
                problem = f"two containers are called {name!r}"
                raise UnfitError(("spec", group, index, "name"), problem)
            earlier.add(name)
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    for request, limit in _PAIRS:
        if exceeds(annotations.get(request), annotations.get(limit)):
            raise AnnotationError(limit, annotations[limit], f"must not be less than {request}")
    _check_budget(template["spec"], annotations)


def _check_budget(spec: Mapping[str, Any], annotations: Mapping[str, str]) -> None:
    """Checks that the proxy's resources stay within the pod's own. Raises AnnotationError."""
    budget = spec.get("resources")
    if not isinstance(budget, Mapping):
        return
    for resource, pair in zip(("cpu", "memory"), _PAIRS, strict=True):
        # A container with a limit and no request requests as much as its limit.
        requested = pair[:1] if annotations.get(pair[0]) else pair[1:]
        for group, asked in (("limits", pair), ("requests", requested)):
            of_all = budget.get(group)
            allowed = of_all.get(resource) if isinstance(of_all, Mapping) else None
            for name in asked:
                if exceeds(annotations.get(name), allowed):
                    problem = f"is above spec.resources.{group}.{resource} of the pod, {allowed}"
                    raise AnnotationError(name, annotations[name], problem)
        for name in requested:
            _check_sum(spec, budget, resource, name, annotations)


def _check_sum(
    spec: Mapping[str, Any],
    budget: Mapping[str, Any],
    resource: str,
    name: str,
    annotations: Mapping[str, str],
) -> None:
    """Checks that all containers stay within the pod's own resources. Raises AnnotationError."""
    groups = [group for group in ("requests", "limits") if _amount(budget, group, resource)]
    if not groups or not annotations.get(name):
        return
    others = [
        _amount(container.get("resources"), "requests", resource)
        or _amount(container.get("resources"), "limits", resource)
        for container in spec.get("containers") or ()
        if container["name"] not in (contract.PROXY_CONTAINER, contract.INIT_CONTAINER)
    ]
    allowed = budget[groups[0]][resource]
    if sum(others) + _units(annotations[name]) > _units(allowed):
        problem = "and what the pod's containers request are together above spec.resources"
        raise AnnotationError(
            name, annotations[name], f"{problem}.{groups[0]}.{resource} of the pod, {allowed}"
        )


def _amount(resources: object, group: str, resource: str) -> int:
    """Returns thousandths of a resource, 0 if it is missing or no quantity."""
    amounts = resources.get(group) if isinstance(resources, Mapping) else None
    return _units(amounts.get(resource)) if isinstance(amounts, Mapping) else 0


def _units(amount: object) -> int:
    """Returns thousandths, rounded up as an API server does."""
    try:
        return math.ceil(round(quantity(str(amount)) * 1000, 6))
    except (ValueError, OverflowError):
        return 0


def check_volumes(
    spec: Mapping[str, Any], added: Sequence[Mapping[str, Any]], annotations: Mapping[str, str]
) -> None:
    """Checks that the added volumes (ours, then the annotation's) agree with the pod's volumes.

    `spec`: of the pod before its injection. Raises AnnotationError, and UnfitError for a volume of
    the pod that an application mounts and the mesh would replace by another.
    """
    if names.USER_VOLUME not in annotations and not spec.get("volumes"):
        return
    own = names.named(annotations.get(names.USER_VOLUME, "{}"))
    twice = [name for name, count in Counter(v["name"] for v in added).items() if count > 1]
    if twice:
        problem = f"{twice[0]!r} is a volume of the mesh; choose another name"
        raise AnnotationError(names.USER_VOLUME, annotations[names.USER_VOLUME], problem)
    users = {volume["name"] for volume in own}
    there = {volume["name"]: volume for volume in added}
    for index, volume in enumerate(spec.get("volumes") or ()):
        name = volume["name"]
        if name not in there or _source(volume) == _source(there[name]):
            continue
        if name in users:
            problem = f"the pod has another volume {name!r} already; choose another name"
            raise AnnotationError(names.USER_VOLUME, annotations[names.USER_VOLUME], problem)
        if set(_source(volume)) != set(_source(there[name])) and _mounted(spec, name):
            problem = f"{name!r} is a volume of the mesh, and an application mounts this one"
            raise UnfitError(("spec", "volumes", index, "name"), problem, hint="rename it")


def _source(volume: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the source of a volume; the API server makes an empty folder if there is none."""
    fields = {key: value for key, value in volume.items() if key != "name" and value is not None}
    return fields or {"emptyDir": {}}


def _mounted(spec: Mapping[str, Any], name: str) -> bool:
    return any(
        mount.get("name") == name
        for group in ("containers", "initContainers")
        for container in spec.get(group) or ()
        if container["name"] not in (contract.PROXY_CONTAINER, contract.INIT_CONTAINER)
        for mount in container.get("volumeMounts") or ()
    )


def check_annotations(entries: Mapping[str, str]) -> None:
    """Raises UnfitError if an API server does not accept so many bytes of annotations."""
    size = sum(len(text.encode(errors="replace")) for pair in entries.items() for text in pair)
    if size > _MOST_ANNOTATIONS:
        problem = (
            f"with the sidecar's these are {size} bytes; "
            f"an API server takes at most {_MOST_ANNOTATIONS}"
        )
        raise UnfitError(("metadata", "annotations"), problem, hint="shorten the largest")
