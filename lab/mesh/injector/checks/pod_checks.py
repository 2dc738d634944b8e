"""Whether a sidecar fits a pod: what an API server would refuse is refused by its cause. Pure.

An API server names fields of containers that the user never wrote. Here the annotation or the
field that asked for them is named.
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
"""Bytes of keys and values that an API server takes, all together."""


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
    _check_budget(template["spec"], given)


def _check_budget(spec: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """What the pod allows for all its containers. Raises AnnotationError."""
    budget = spec.get("resources")
    if not isinstance(budget, Mapping):
        return
    for resource, pair in zip(("cpu", "memory"), _PAIRS, strict=True):
        # A container with a limit alone requests as much.
        requested = pair[:1] if given.get(pair[0]) else pair[1:]
        for group, asked in (("limits", pair), ("requests", requested)):
            of_all = budget.get(group)
            allowed = of_all.get(resource) if isinstance(of_all, Mapping) else None
            for name in asked:
                if exceeds(given.get(name), allowed):
                    problem = f"is above spec.resources.{group}.{resource} of the pod, {allowed}"
                    raise AnnotationError(name, given[name], problem)
        for name in requested:
            _check_sum(spec, budget, resource, name, given)


def _check_sum(
    spec: Mapping[str, Any],
    budget: Mapping[str, Any],
    resource: str,
    name: str,
    given: Mapping[str, str],
) -> None:
    """Whether all containers together stay within what the pod allows. Raises AnnotationError."""
    groups = [group for group in ("requests", "limits") if _amount(budget, group, resource)]
    if not groups or not given.get(name):
        return
    others = [
        _amount(one.get("resources"), "requests", resource)
        or _amount(one.get("resources"), "limits", resource)
        for one in spec.get("containers") or ()
        if one["name"] not in (contract.PROXY_CONTAINER, contract.INIT_CONTAINER)
    ]
    allowed = budget[groups[0]][resource]
    if sum(others) + _units(given[name]) > _units(allowed):
        problem = "and what the pod's containers request are together above spec.resources"
        raise AnnotationError(
            name, given[name], f"{problem}.{groups[0]}.{resource} of the pod, {allowed}"
        )


def _amount(resources: object, group: str, resource: str) -> int:
    """Thousandths of a resource, 0 where nothing, or no quantity, is said."""
    amounts = resources.get(group) if isinstance(resources, Mapping) else None
    return _units(amounts.get(resource)) if isinstance(amounts, Mapping) else 0


def _units(amount: object) -> int:
    """Thousandths, rounded up as an API server does it."""
    try:
        return math.ceil(round(quantity(str(amount)) * 1000, 6))
    except (ValueError, OverflowError):
        return 0


def check_volumes(
    spec: Mapping[str, Any], added: Sequence[Mapping[str, Any]], given: Mapping[str, str]
) -> None:
    """Whether what is added (ours, then the annotation's) and the pod's volumes go together.

    `spec`: the pod's as it was given. Raises AnnotationError, and UnfitError for a volume of the
    pod that an application mounts and the mesh would replace by another.
    """
    if names.USER_VOLUME not in given and not spec.get("volumes"):
        return
    own = names.named(given.get(names.USER_VOLUME, "{}"))
    twice = [name for name, count in Counter(v["name"] for v in added).items() if count > 1]
    if twice:
        problem = f"{twice[0]!r} is a volume of the mesh; choose another name"
        raise AnnotationError(names.USER_VOLUME, given[names.USER_VOLUME], problem)
    users = {volume["name"] for volume in own}
    there = {volume["name"]: volume for volume in added}
    for index, volume in enumerate(spec.get("volumes") or ()):
        name = volume["name"]
        if name not in there or _source(volume) == _source(there[name]):
            continue
        if name in users:
            problem = f"the pod has another volume {name!r} already; choose another name"
            raise AnnotationError(names.USER_VOLUME, given[names.USER_VOLUME], problem)
        if set(_source(volume)) != set(_source(there[name])) and _mounted(spec, name):
            problem = f"{name!r} is a volume of the mesh, and an application mounts this one"
            raise UnfitError(("spec", "volumes", index, "name"), problem, hint="rename it")


def _source(volume: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a volume is; the API server makes an empty folder of one that does not say."""
    said = {key: value for key, value in volume.items() if key != "name" and value is not None}
    return said or {"emptyDir": {}}


def _mounted(spec: Mapping[str, Any], name: str) -> bool:
    return any(
        mount.get("name") == name
        for group in ("containers", "initContainers")
        for container in spec.get(group) or ()
        if container["name"] not in (contract.PROXY_CONTAINER, contract.INIT_CONTAINER)
        for mount in container.get("volumeMounts") or ()
    )


def check_annotations(entries: Mapping[str, str]) -> None:
    """Whether an API server takes so much. Raises UnfitError."""
    size = sum(len(text.encode(errors="replace")) for pair in entries.items() for text in pair)
    if size > _MOST_ANNOTATIONS:
        problem = (
            f"with the sidecar's these are {size} bytes; at most {_MOST_ANNOTATIONS} are taken"
        )
        raise UnfitError(("metadata", "annotations"), problem, hint="shorten the largest")
