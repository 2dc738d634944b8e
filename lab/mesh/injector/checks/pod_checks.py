"""Checks before injection whether a pod can have a sidecar. Pure.

Without these checks, an API server would refuse the injected pod, and its message would name a
field that the injector wrote. These checks name the user's annotation or field that is the cause.
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
"""The most bytes that an API server accepts in all annotations, keys and values together."""


def check_pod(template: Mapping[str, Any]) -> None:
    """Checks the pod's nodes, container names and resources before injection.

    Raises UnfitError if a field of the pod is the cause, AnnotationError if an annotation is.
    """
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
    """Checks that the resources that annotations give the proxy stay within spec.resources.

    Raises AnnotationError.
    """
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
    """Checks that all requests, the proxy's included, together stay within spec.resources.

    `resource`: cpu or memory; `name`: the annotation for the proxy. Raises AnnotationError.
    """
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
        problem = "together with the requests of the pod's containers this is above spec.resources"
        raise AnnotationError(
            name, annotations[name], f"{problem}.{groups[0]}.{resource} of the pod, {allowed}"
        )


def _amount(resources: object, group: str, resource: str) -> int:
    """Returns the amount of a resource in thousandths; 0 if it is missing or not a quantity."""
    amounts = resources.get(group) if isinstance(resources, Mapping) else None
    return _units(amounts.get(resource)) if isinstance(amounts, Mapping) else 0


def _units(amount: object) -> int:
    """Returns a quantity in thousandths, rounded up as in an API server; 0 for anything else."""
    try:
        return math.ceil(round(quantity(str(amount)) * 1000, 6))
    except (ValueError, OverflowError):
        return 0


def check_volumes(
    spec: Mapping[str, Any], added: Sequence[Mapping[str, Any]], annotations: Mapping[str, str]
) -> None:
    """Checks that the names of the added volumes do not clash with each other or the pod's volumes.

    `spec`: the pod's, before injection. `added`: the mesh's volumes, then those of the annotation
    userVolume. If a volume of the pod has the name of a mesh's volume, the injector replaces it.
    This is allowed if both have the same kind of source, or if no container mounts the pod's.
    Raises AnnotationError if userVolume is the cause, and UnfitError if a volume of the pod is.
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
            problem = f"{name!r} is a volume of the mesh, and a container mounts the pod's volume"
            raise UnfitError(("spec", "volumes", index, "name"), problem, hint="rename it")


def _source(volume: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the source of a volume; emptyDir if it has none, as in an API server."""
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
    """Raises UnfitError if the annotations have more bytes than an API server accepts."""
    size = sum(len(text.encode(errors="replace")) for pair in entries.items() for text in pair)
    if size > _MOST_ANNOTATIONS:
        problem = (
            f"with the sidecar's own, the annotations are {size} bytes; "
            f"an API server takes at most {_MOST_ANNOTATIONS}"
        )
        raise UnfitError(("metadata", "annotations"), problem, hint="shorten the largest")
