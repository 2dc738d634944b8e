"""Whether an API server takes what annotations and users' own containers add to a pod. Pure.

An API server names fields of containers that the user never wrote. Here the annotation or the
container that asked for them is named. The pod is checked as it will be: a mount needs its volume,
wherever that comes from.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.errors import AnnotationError, UnfitError
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.user_containers import Own
from lab.mesh.manifest import field_types, pod_rules, pod_types
from lab.mesh.manifest.field_types import Fault

Container = Mapping[str, Any]
_GRACE: Final = 30
"""Seconds that a pod has to end where it does not say."""


def check_container(
    made: Container, spec: Mapping[str, Any], given: Mapping[str, str], own: Own
) -> None:
    """Whether an API server takes one of our containers with what was added to it.

    `spec`: the pod's as it will be. Raises AnnotationError, or UnfitError for a container of the
    pod itself.
    """
    settings = own.settings.get(made["name"])
    mine = names.named(given.get(names.USER_VOLUME_MOUNT, "{}"))
    if made["name"] != contract.PROXY_CONTAINER:
        mine = []
    if not settings and not mine:
        return
    place = own.place(made["name"])
    if place:
        settings, made = (pod_types.known(one, "Container") for one in (settings, made))
    # An API server refuses such a pod as it is, and says where: only what was added is looked at.
    refused = bool(place) and any(_faults(settings or {}, spec))
    if refused:
        mounts = [mount for mount in made.get("volumeMounts") or () if mount in mine]
        made = {"name": made["name"], "image": "auto", "volumeMounts": mounts}
    for fault in _faults(made, spec):
        mount = fault.path[:1] == ("volumeMounts",) and made["volumeMounts"][fault.path[1]]
        if mount and mount in mine:
            told = f"{mount['name']!r}: {field_types.show(fault.path[2:])} {fault.text}".replace(
                ":  ", ": "
            )
            raise AnnotationError(names.USER_VOLUME_MOUNT, given[names.USER_VOLUME_MOUNT], told)
        told = f"{field_types.show(fault.path)} {fault.text}".strip()
        if not place:
            name = names.OVERRIDES if settings else names.USER_VOLUME_MOUNT
            raise AnnotationError(name, given[name], f"{made['name']}: {told}")
        raise UnfitError((*place, *fault.path), f"{fault.text}, with the sidecar's")


def _faults(made: Container, spec: Mapping[str, Any]) -> Iterator[Fault]:
    wrong = list(pod_rules.faults(made, "Container"))
    yield from wrong
    if not wrong:
        yield from _in_the_pod(made, spec)


def _in_the_pod(made: Container, spec: Mapping[str, Any]) -> Iterator[Fault]:
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or ()}
    for index, mount in enumerate(made.get("volumeMounts") or ()):
        if mount["name"] not in volumes:
            yield Fault(("volumeMounts", index), f"the pod has no volume {mount['name']!r}")
    mounts = made.get("volumeMounts") or ()
    for index, device in enumerate(made.get("volumeDevices") or ()):
        volume = volumes.get(device["name"], {})
        if not volume.get("persistentVolumeClaim") and not volume.get("ephemeral"):
            yield Fault(("volumeDevices", index), f"the pod has no claim {device['name']!r}")
        taken = {mount["name"] for mount in mounts} | {mount["mountPath"] for mount in mounts}
        if {device["name"], device["devicePath"]} & taken:
            yield Fault(("volumeDevices", index), "is mounted, too")
    yield from _of_the_pod(made, spec)


def _of_the_pod(made: Container, spec: Mapping[str, Any]) -> Iterator[Fault]:
    grace = spec.get("terminationGracePeriodSeconds")
    longest = _GRACE if grace is None else grace
    for hook in ("postStart", "preStop"):
        sleep = ((made.get("lifecycle") or {}).get(hook) or {}).get("sleep")
        if sleep and not 0 <= sleep["seconds"] <= longest:
            yield Fault(("lifecycle", hook, "sleep", "seconds"), f"must be from 0 to {longest}")
    claims = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    for index, claim in enumerate((made.get("resources") or {}).get("claims") or ()):
        if claim["name"] not in claims:
            yield Fault(("resources", "claims", index, "name"), "is no resource claim of the pod")
    if spec.get("restartPolicy") == "Never":
        for index, policy in enumerate(made.get("resizePolicy") or ()):
            if policy["restartPolicy"] != "NotRequired":
                text = "must be NotRequired in a pod that never restarts"
                yield Fault(("resizePolicy", index, "restartPolicy"), text)
